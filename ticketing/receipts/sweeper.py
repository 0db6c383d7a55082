"""The sweeper: enqueues what is overdue in the outbox, so that every purchase gets its receipt whatever died.

What must stay true: two sweepers do no harm; a backlog is not enqueued again and again. So it sweeps only while the
queue is short: what is overdue while many jobs wait is most likely in one of them. A receipt that was begun before goes
into a job of its own, so that one that kills its worker can't take others along.
"""

import os
import threading

from loguru import logger
from prometheus_client import CollectorRegistry, Counter

from ticketing.config import Settings
from ticketing.errors import StoreError
from ticketing.store.connection import Store
from ticketing.store.durability import server_state
from ticketing.store.events import EventStore
from ticketing.store.opening import queue_client_of, store_of
from ticketing.store.outbox import OutboxStore, Overdue
from ticketing.store.queue import ReceiptQueue
from ticketing.store.sale import Versions
from ticketing.telemetry import endpoint, logs
from ticketing.telemetry.backlog import QueueMetrics, ServerMetrics
from ticketing.telemetry.faults import Faults
from ticketing.telemetry.processes import Processes

SWEEP_AT_ONCE = 1_000
SHORT_QUEUE_JOBS = 8


class Sweeper:
    """Sweeps every event's outbox from time to time."""

    def __init__(
        self, events: EventStore, outbox: OutboxStore, queue: ReceiptQueue, *, job_size: int, interval_s: float
    ) -> None:
        self._events = events
        self._outbox = outbox
        self._queue = queue
        self._job_size = job_size
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._up = True
        self.swept = Counter(
            "ticketing_receipts_swept_total",
            "Overdue receipts that the sweeper enqueued again",
            registry=CollectorRegistry(),
        )

    def run(self) -> None:
        """Sweep until `stop` is called. A store or queue that is away is waited for."""
        while not self._ended.is_set():
            try:
                swept = self.sweep()
                self._queue.say_swept()
                self._say_up()
                if swept:
                    logger.info("{} overdue receipts enqueued again", swept)
            except StoreError as error:
                self._say_down(error)
            except Exception:  # one event's, say: it must not keep the others' receipts from being swept next time
                logger.exception("a sweep failed")
            self._ended.wait(self._interval_s)

    def stop(self, *_: object) -> None:
        """End `run`; fit to be a signal handler."""
        self._ended.set()

    def sweep(self) -> int:
        """How many overdue receipts were enqueued now. Raises StoreError."""
        if self._queue.depth() > SHORT_QUEUE_JOBS:
            return 0
        swept = 0
        for event_id, overdue in self._outbox.sweep(self._events.ids(), SWEEP_AT_ONCE):
            self._queue.enqueue((event_id, purchase_ids) for purchase_ids in self._jobs(overdue))
            swept += len(overdue)
            self.swept.inc(len(overdue))
        return swept

    def _jobs(self, overdue: list[Overdue]) -> list[list[str]]:
        fresh = [one.purchase_id for one in overdue if not one.tries]
        together = [fresh[first : first + self._job_size] for first in range(0, len(fresh), self._job_size)]
        return together + [[one.purchase_id] for one in overdue if one.tries]

    def _say_down(self, error: StoreError) -> None:
        if self._up:
            logger.warning("the sweeper waits: {}", error)
        self._up = False

    def _say_up(self) -> None:
        if not self._up:
            logger.info("the sweeper goes on")
        self._up = True


def build(settings: Settings) -> Sweeper:
    """The sweeper of these settings, logging as `sweeper`, its metrics told. Connects when it first sweeps."""
    logs.set_up("sweeper", settings.log_level, settings.log_format)
    Faults(settings.faults_file).keep()
    store = store_of(settings, connections=2)
    queue = ReceiptQueue(queue_client_of(settings), job_timeout_s=settings.receipt_job_timeout_s)
    outbox = OutboxStore(store, tries=settings.receipt_tries, retry_base_ms=settings.receipt_retry_base_ms)
    sweeper = Sweeper(
        EventStore(store, Versions()),
        outbox,
        queue,
        job_size=settings.receipt_job_size,
        interval_s=settings.sweep_interval_s,
    )
    if settings.metrics_port:
        _tell_metrics(settings, store, queue, sweeper)
    return sweeper


def _tell_metrics(settings: Settings, store: Store, queue: ReceiptQueue, sweeper: Sweeper) -> None:
    endpoint.serve(
        settings.metrics_host,
        [settings.metrics_port],
        ServerMetrics(lambda: server_state(store)),
        QueueMetrics(queue.level),
        sweeper.swept,
        Processes("sweeper", lambda: [os.getpid()]),
    )
