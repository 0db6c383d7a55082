"""python -m workers: one RQ worker for receipts, until a signal ends it."""

import os
import secrets
import socket
import sys

from ticketing import config
from ticketing.errors import SettingsError
from ticketing.telemetry import logs


def main() -> int:
    """0 when a signal ended it, 2 where it could not start."""
    try:
        settings = config.load()
        settings.resolved_queue_url  # noqa: B018 - says here what is missing
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.set_up("receipts", settings.log_level, settings.log_format)
    # The files in it are named by process id, and containers that share the folder share those.
    metrics_dir = settings.metrics_dirs[1] / socket.gethostname()
    metrics_dir.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)  # read when prometheus_client is first imported

    from ticketing.store.opening import queue_client_of
    from ticketing.store.queue import run_worker
    from workers import jobs

    jobs.warm_up()
    run_worker(queue_client_of(settings), f"receipts-{os.getpid()}-{secrets.token_hex(4)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
