"""Purchases that were answered, and script calls that were made, a moment ago: handed to Prometheus ten times a second
instead of each by itself.

What must stay true: a scrape of this process counts every answer that was given before it; one of another process is
at most INTERVAL_S behind. A process that is killed takes that much with it.
"""

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator, Sequence
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
        outcomes: Counter[str] = Counter()
        took: list[float] = []
        for outcome, took_s in _taken(self._answers):
            outcomes[outcome] += 1
            if took_s is not None:
                took.append(took_s)
        for outcome, count in outcomes.items():
            self._metrics.purchases[outcome].inc(count)
        _observe(self._metrics.duration, LATENCY_BUCKETS_S, took)
        batches = list(_taken(self._batches))
        _observe(self._metrics.batch, BATCH_BUCKETS, [purchases for purchases, _ in batches])
        _observe(self._metrics.batch_duration, LATENCY_BUCKETS_S, [took_s for _, took_s in batches])

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            try:
                self.hand_over()
            except Exception:  # a disk that is full of metrics must not end the counting
                logger.exception("purchases could not be counted")


def _taken(counted: deque[T]) -> Iterator[T]:
    """Each of what is there now, taken by this caller alone, or by another that hands over meanwhile."""
    for _ in range(len(counted)):
        try:
            yield counted.popleft()
        except IndexError:
            return


def _observe(histogram: Histogram, bounds: Sequence[float], amounts: Sequence[float]) -> None:
    """Many observations at once, which the library has no call for: what its `observe` does, a bucket at a time."""
    if not amounts:
        return
    histogram._sum.inc(sum(amounts))
    for bucket, count in Counter(bisect_left(bounds, amount) for amount in amounts).items():
        histogram._buckets[bucket].inc(count)
