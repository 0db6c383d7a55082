"""Purchases that were answered a moment ago, handed to Prometheus ten times a second instead of each by itself.

What must stay true: a scrape of this process counts every answer that was given before it; one of another process is
at most INTERVAL_S behind. A process that is killed takes that much with it.
"""

import threading
from bisect import bisect_left
from collections import Counter, deque

from loguru import logger
from prometheus_client import Histogram

from ticketing.telemetry.metrics import LATENCY_BUCKETS_S, SaleMetrics

INTERVAL_S = 0.1


class AnswerCounts:
    """Counts answers on the hot path, for a twentieth of what the metrics themselves charge."""

    def __init__(self, metrics: SaleMetrics) -> None:
        self._metrics = metrics
        self._answers: deque[tuple[str, float | None]] = deque()  # outcome, seconds; its ends are safe between threads
        self._ended = threading.Event()

    def answered(self, outcome: str, seconds: float | None = None) -> None:
        """A purchase was answered, so long after it was read; or refused unread."""
        self._answers.append((outcome, seconds))

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
        buckets: Counter[int] = Counter()
        seconds = 0.0
        for _ in range(len(self._answers)):  # each taken by this caller alone, or by another that hands over now
            try:
                outcome, took_s = self._answers.popleft()
            except IndexError:
                break
            outcomes[outcome] += 1
            if took_s is not None:
                buckets[bisect_left(LATENCY_BUCKETS_S, took_s)] += 1
                seconds += took_s
        for outcome, count in outcomes.items():
            self._metrics.purchases[outcome].inc(count)
        if buckets:
            _observe(self._metrics.duration, buckets, seconds)

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            try:
                self.hand_over()
            except Exception:  # a disk that is full of metrics must not end the counting
                logger.exception("purchases could not be counted")


def _observe(histogram: Histogram, buckets: Counter[int], seconds: float) -> None:
    """Many observations at once, which the library has no call for: what its `observe` does, a bucket at a time."""
    histogram._sum.inc(seconds)
    for bucket, count in buckets.items():
        histogram._buckets[bucket].inc(count)
