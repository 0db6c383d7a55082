"""The queue of receipt jobs: RQ, with jobs named by dotted path, so that nothing here imports the workers.

What must stay true: a job carries many purchases; its description names none of them (a purchase id is its buyer's
secret); the queue being away is a StoreError here and no more than a delay, since the outbox enqueues again. RQ retries
no job: it would do so at once, and burn the tries of all its receipts within milliseconds.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from loguru import logger
from rq import Queue, SimpleWorker
from rq.exceptions import NoSuchJobError as NoSuchJob
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException as JobTimeout

from ticketing.store import connection, keys
from ticketing.store.connection import as_store_errors

__all__ = [
    "QUEUE",
    "SERIALIZER",
    "JobTimeout",
    "NoSuchJob",
    "QueueClient",
    "QueueLevel",
    "ReceiptJob",
    "ReceiptQueue",
    "ReceiptWorker",
    "ShownWorker",
    "open_client",
    "run_worker",
]

QueueClient = redis.Redis
ReceiptJob = tuple[str, list[str]]  # an event's id, and purchases of it
Carried = Callable[[Sequence[str]], list[dict[str, str] | None] | None]
CONNECTIONS = 32  # at most
QUEUE = "receipts"
SERIALIZER = JSONSerializer  # pickle would run whatever somebody puts into the queue
RENDER_JOB = "workers.jobs.render_receipts"
FAILED_JOBS_KEPT_S = 24 * 3600  # RQ's default keeps them a year
RECONNECT_WAIT_MAX_S = 2.0
SWEPT_EVERY_S, SWEPT_KEPT_S = 10.0, 30
WORKER_TTL_S = 45  # a worker that was killed counts as alive this long, and a minute more; RQ's default is 7 minutes


@dataclass(frozen=True, slots=True)
class QueueLevel:
    """Jobs that wait, jobs that failed, and live workers."""

    depth: int
    failed: int
    workers: int


def open_client(url: str, *, timeout_s: float, connect_timeout_s: float) -> redis.Redis:
    """A client for the queue, and for workers (RQ raises the socket timeout itself where it blocks)."""
    return connection.open_client(
        url, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, connections=CONNECTIONS
    )


class ReceiptQueue:
    """Where receipt jobs are put."""

    def __init__(self, client: redis.Redis, *, job_timeout_s: int, name: str = QUEUE) -> None:
        self.client = client
        self._queue = Queue(name, connection=client, serializer=SERIALIZER)
        self._job_timeout_s = job_timeout_s
        self._said_swept_s = -math.inf
        self.carried: Carried | None = None  # the traces of purchases, where there are any, for their receipts

    def enqueue(self, jobs: Iterable[ReceiptJob]) -> None:
        """All of these jobs, in one round trip. Raises StoreError."""
        datas = [
            Queue.prepare_data(
                RENDER_JOB,
                args=[event_id, purchase_ids],
                kwargs=None if self.carried is None else self._traces(self.carried(purchase_ids)),
                timeout=self._job_timeout_s,
                result_ttl=0,
                failure_ttl=FAILED_JOBS_KEPT_S,
                description=f"{len(purchase_ids)} receipts of event {event_id}",
            )
            for event_id, purchase_ids in jobs
        ]
        with as_store_errors():
            self._queue.enqueue_many(datas)

    def _traces(self, carriers: list[dict[str, str] | None] | None) -> dict[str, Any] | None:
        return None if carriers is None else {"traces": carriers}

    def depth(self) -> int:
        """How many jobs wait. Raises StoreError."""
        with as_store_errors():
            return self._queue.count

    def level(self) -> QueueLevel:
        """How the queue stands. Raises StoreError."""
        with as_store_errors():
            return QueueLevel(
                depth=self.depth(),
                failed=FailedJobRegistry(QUEUE, connection=self.client).get_job_count(cleanup=False),
                workers=self._live_workers(),
            )

    def _live_workers(self) -> int:
        """Those whose sign of life has not run out; RQ's `count` counts the dead as well."""
        registered = ShownWorker.all_keys(queue=self._queue)
        return int(self.client.exists(*registered)) if registered else 0

    def say_swept(self) -> None:
        """A sweeper has swept: a sign of life for who looks, renewed now and then. Raises StoreError."""
        now_s = time.monotonic()
        if now_s - self._said_swept_s >= SWEPT_EVERY_S:
            with as_store_errors():
                self.client.set(keys.SWEPT, "1", ex=SWEPT_KEPT_S)
            self._said_swept_s = now_s

    def was_swept(self) -> bool:
        """Whether a sweeper has swept lately. Raises StoreError."""
        with as_store_errors():
            return bool(self.client.exists(keys.SWEPT))


class ShownWorker(SimpleWorker):
    """RQ's worker for who only looks: RQ would raise the timeout of that client's connections to minutes."""

    connection_timeout = 0


class ReceiptWorker(SimpleWorker):
    """RQ's worker without a fork a job, which is back soon after the queue is: RQ's own wait doubles up to a minute."""

    max_connection_wait_time = RECONNECT_WAIT_MAX_S


def run_worker(client: redis.Redis, name: str, first: str | None = None) -> None:
    """Work on receipt jobs until a signal ends it, in this process: the supervisor is what restarts it.

    `first` is a queue whose jobs only this worker and its neighbours can do.

    A forked work horse a job costs 15 ms and would compile each event's page again; see design.md. Raises StoreError
    where the queue goes away while it does anything but wait for a job.
    """
    _await(client)
    with as_store_errors():
        worker = ReceiptWorker(
            [QUEUE] if first is None else [first, QUEUE],
            name=name,
            connection=client,
            serializer=SERIALIZER,
            log_job_description=False,
            worker_ttl=WORKER_TTL_S,
        )
        worker.work(logging_level="WARNING")


def _await(client: redis.Redis) -> None:
    """Returns once the queue answers: RQ's worker would end where it can't say that it was born."""
    waits = False
    while True:
        try:
            client.ping()
        except (redis.RedisError, OSError) as error:
            if not waits:
                logger.warning("this receipt worker waits for the queue: {}", error)
            waits = True
            time.sleep(RECONNECT_WAIT_MAX_S / 2)
        else:
            return
