"""A worker that hangs before it served anything is found by gunicorn's master, like any other."""

import os
import time

from gunicorn.config import Config

from ticketing.server.express_worker import ExpressWorker


def test_the_first_sign_of_life_is_given_before_the_fork() -> None:
    """gunicorn subtracts it from the time since the machine's start, and so it has to be of that clock."""
    worker = ExpressWorker(1, os.getpid(), [], None, 30, Config(), None)
    try:
        assert 0 <= time.monotonic() - worker.tmp.last_update() < Config().timeout
    finally:
        worker.tmp.close()
