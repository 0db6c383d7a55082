"""python -m workers: one RQ worker for receipts, until a signal ends it.

What must stay true: where the queue is away it waits in here. Ending would leave the wait to whoever restarts it, and
Docker waits twice as long after each end, up to a minute.
"""

import os
import secrets
import sys
from pathlib import Path

from loguru import logger

from ticketing import config
from ticketing.config import Settings
from ticketing.errors import SettingsError, StoreError
from ticketing.telemetry import logs
from ticketing.telemetry.claims import claim
from ticketing.telemetry.faults import Faults


def main() -> int:
    """0 when a signal ended it, 1 where the queue went away in the middle of something, 2 where it could not start."""
    try:
        settings = config.load()
        settings.resolved_queue_url  # noqa: B018 - says here what is missing
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.set_up("receipts", settings.log_level, settings.log_format)
    Faults(settings.faults_file).keep()
    claimed = claim(settings.metrics_dirs[1])  # until the process ends
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(claimed.folder)  # read when prometheus_client is first imported

    from prometheus_client import values

    import ticketing.telemetry.metrics  # noqa: F401 - it has files named by the process id: the claim comes after it

    # The files are named by the claim: another process that takes it over goes on with them.
    values.ValueClass = values.MultiProcessValue(lambda: claimed.number)

    from ticketing.receipts.nearby import made_queue_of
    from ticketing.store.opening import queue_client_of
    from ticketing.store.queue import run_worker
    from workers import jobs

    _tell_metrics(settings, claimed.folder)
    jobs.warm_up()
    try:
        nearby = None if settings.receipts_url else made_queue_of(settings.receipts_dir)
        run_worker(queue_client_of(settings), f"receipts-{os.getpid()}-{secrets.token_hex(4)}", nearby)
    except StoreError as error:
        logger.warning("the receipt queue went away in the middle of something ({}): beginning anew", error)
        return 1
    finally:
        jobs.end()
    return 0


def _tell_metrics(settings: Settings, folder: Path) -> None:
    from ticketing.telemetry import endpoint
    from ticketing.telemetry.metrics import Summed
    from ticketing.telemetry.processes import Processes

    if settings.metrics_port:
        ports = endpoint.worker_ports(settings.metrics_port)
        endpoint.serve(settings.metrics_host, ports, Summed([folder]), Processes("receipts", lambda: [os.getpid()]))


if __name__ == "__main__":
    sys.exit(main())
