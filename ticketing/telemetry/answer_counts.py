"""Purchases that were answered, and script calls that were made, a moment ago: handed to Prometheus ten times a second
instead of each by itself.

What must stay true: a scrape of this process counts every answer that was given before it; one of another process is
at most INTERVAL_S behind. A process that is killed takes that much with it.
"""

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar

from loguru import logger
from prometheus_client import Histogram

from ticketing.telemetry.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S, SaleMetrics

T = TypeVar("T")

INTERVAL_S = 0.1


class AnswerCounts:
    """Counts answers on the hot path, for a twentieth of what the metrics themselves charge."""

    def __init__(self, metrics: SaleMetrics) -> None:
        self._metrics = metrics
        # The ends of both are safe between threads.
        self._answers: deque[tuple[str, float | None]] = deque()  # outcome, seconds
        self._batches: deque[tuple[int, float]] = deque()  # purchases, seconds
        self._handing_over = threading.Lock()
        self._ended = threading.Event()

    def answered(self, outcome: str, seconds: float | None = None) -> None:
        """A purchase was answered, so long after it was read; or refused unread."""
        self._answers.append((outcome, seconds))

    def taken_to_store(self, purchases: int, seconds: float) -> None:
        """So many purchases went in one script call, whose round trip took so long."""
        self._batches.append((purchases, seconds))

    def start(self) -> None:
        """From now on the metrics are at most INTERVAL_S behind. In a gevent worker the thread is a greenlet."""
        threading.Thread(target=self._run, name="answer-counts", daemon=True).start()

    def stop(self) -> None:
        """The metrics have what was counted so far."""
        self._ended.set()
        self.hand_over()

    def hand_over(self) -> None:
        """The metrics have what was counted so far."""
        with self._handing_over:
            answers, batches = _taken(self._answers), _taken(self._batches)
        for outcome, count in Counter(map(itemgetter(0), answers)).items():
            self._metrics.purchases[outcome].inc(count)
        _observe(self._metrics.duration, LATENCY_BUCKETS_S, [took_s for _, took_s in answers if took_s is not None])
        _observe(self._metrics.batch, BATCH_BUCKETS, [purchases for purchases, _ in batches])
        _observe(self._metrics.batch_duration, LATENCY_BUCKETS_S, [took_s for _, took_s in batches])

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            try:
                self.hand_over()
            except Exception:  # a disk that is full of metrics must not end the counting
                logger.exception("purchases could not be counted")


def _taken(counted: deque[T]) -> list[T]:
    """What is there now; nobody else takes meanwhile, and whoever adds does so at the other end."""
    return [counted.popleft() for _ in range(len(counted))]


def _observe(histogram: Histogram, bounds: Sequence[float], amounts: Sequence[float]) -> None:
    """Many observations at once, which the library has no call for: what its `observe` does, a bucket at a time."""
    if not amounts:
        return
    histogram._sum.inc(sum(amounts))
    for bucket, count in Counter(bisect_left(bounds, amount) for amount in amounts).items():
        histogram._buckets[bucket].inc(count)
