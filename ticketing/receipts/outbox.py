"""From the sale to the queue: what was sold is enqueued in a few jobs, soon, and never in the buyer's way.

What must stay true: nothing is lost here. A purchase is in the store's outbox before it comes here, so whatever this
process drops (a crash, a queue that is away, a full buffer) the sweeper enqueues again.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

import gevent
from gevent.event import Event as Signal
from loguru import logger

from ticketing.errors import ReceiptsAway, StoreError
from ticketing.receipts.storage import ReceiptStorage
from ticketing.store.queue import ReceiptJob

MOST = 100_000  # ids that wait here; past that the sweeper's turn is soon enough
BUSY_JOBS = 4  # that wait: the workers have enough to do for now
JOBS_AT_ONCE = 100  # in one round trip; the queue does nothing else meanwhile
PATIENCE_S = 1.0


def deleting(files: ReceiptStorage) -> Callable[[list[str]], None]:
    """What deletes receipts, and keeps its caller no longer than a disk does: a bucket may hang."""

    def delete(purchase_ids: list[str]) -> None:
        try:
            files.delete_all(purchase_ids)
        except ReceiptsAway as error:
            logger.error("receipts of voided purchases are left behind: {}", error)

    def delete_soon(purchase_ids: list[str]) -> None:
        gevent.spawn(delete, purchase_ids)

    return files.delete_all if files.is_near else delete_soon


class JobQueue(Protocol):
    """Where jobs are put. Both raise StoreError."""

    def enqueue(self, jobs: Iterable[ReceiptJob]) -> None:
        """All of these jobs, in one round trip."""

    def depth(self) -> int:
        """How many jobs wait."""


class Dispatcher:
    """Collects the purchases of this process for a moment, and enqueues one job for many of them."""

    def __init__(self, queue: JobQueue, *, collect_ms: int, job_size: int) -> None:
        self._queue = queue
        self._collect_s = collect_ms / 1000
        self._job_size = job_size
        self._waiting: dict[str, list[str]] = defaultdict(list)
        self._count = 0
        self._wake = Signal()
        self._queue_up = True
        self._worker: gevent.Greenlet[..., None] | None = None

    def add(self, event_id: str, purchase_ids: list[str]) -> None:
        """Their receipts are enqueued soon, here or by the sweeper."""
        if purchase_ids and self._count < MOST:
            self._waiting[event_id] += purchase_ids
            self._count += len(purchase_ids)
            self._wake.set()

    def start(self) -> None:
        """From now on what is added is enqueued."""
        if self._worker is None:
            self._worker = gevent.spawn(self._run)

    def stop(self) -> None:
        """Enqueue what is left, if the queue answers now."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
        if self._queue_up:  # else the outbox keeps it, and the stop does not wait for a timeout
            self._enqueue_all()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._collect()
            self._wake.clear()
            self._enqueue_all()

    def _collect(self) -> None:
        """A moment; longer while jobs wait. A job has its price, whatever is in it: large ones catch up."""
        gevent.sleep(self._collect_s)
        until_s = time.monotonic() + PATIENCE_S
        while self._largest() < self._job_size and time.monotonic() < until_s and self._is_busy():
            gevent.sleep(self._collect_s)

    def _largest(self) -> int:
        """Receipts of the event that has most of them waiting: jobs are cut an event."""
        return max(map(len, self._waiting.values()), default=0)

    def _is_busy(self) -> bool:
        try:
            return self._queue.depth() >= BUSY_JOBS
        except Exception:  # enqueueing will say what it is
            return False

    def _enqueue_all(self) -> None:
        waiting, self._waiting, self._count = self._waiting, defaultdict(list), 0
        jobs = [
            (event_id, ids[first : first + self._job_size])
            for event_id, ids in waiting.items()
            for first in range(0, len(ids), self._job_size)
        ]
        for first in range(0, len(jobs), JOBS_AT_ONCE):
            try:
                self._queue.enqueue(jobs[first : first + JOBS_AT_ONCE])
            except StoreError as error:
                self._say("the receipt queue is away ({}); the sale goes on, the outbox waits", error)
                return
            except Exception:  # whatever is wrong with these jobs, the next ones must be enqueued
                logger.exception("{} jobs could not be enqueued; the sweeper will", len(jobs[first:][:JOBS_AT_ONCE]))
        self._say("")

    def _say(self, trouble: str, *details: object) -> None:
        """One line when the queue goes away, and one when it is back: none a batch."""
        if self._queue_up and trouble:
            logger.warning(trouble, *details)
        elif not self._queue_up and not trouble:
            logger.info("the receipt queue is back")
        self._queue_up = not trouble
