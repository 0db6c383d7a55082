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
        queue_url = settings.resolved_queue_url
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.set_up("receipts", settings.log_level, settings.log_format)
    # The files in it are named by process id, and containers that share the folder share those.
    metrics_dir = settings.metrics_dirs[1] / socket.gethostname()
    metrics_dir.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)  # read when prometheus_client is first imported

    from ticketing.store.queue import open_client, run_worker
    from workers import jobs

    jobs.warm_up()
    client = open_client(
        queue_url, timeout_s=settings.store_timeout_s, connect_timeout_s=settings.store_connect_timeout_s
    )
    run_worker(client, f"receipts-{os.getpid()}-{secrets.token_hex(4)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
