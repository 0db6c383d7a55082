"""A pair of running gunicorns: the short way, and gunicorn's own handler."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.gunicorns import WORKERS, Gunicorn

Pair = tuple[Gunicorn, Gunicorn]
Start = Callable[..., Gunicorn]


def start_pair(folder: Path, **settings: Any) -> Pair:
    express, gevent = (Gunicorn(web_server, folder / web_server, **settings) for web_server in WORKERS)
    return express, gevent


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both trust 127.0.0.1 as a proxy."""
    made = start_pair(tmp_path_factory.mktemp("pair"))
    yield made
    for each in made:
        each.stop(signal.SIGQUIT)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a gunicorn with settings of its own: `start("express", max_requests=3)`."""
    started: list[Gunicorn] = []

    def start(web_server: str, **settings: Any) -> Gunicorn:
        started.append(Gunicorn(web_server, tmp_path / f"{len(started)}-{web_server}", **settings))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGQUIT)
