"""Purchases that were answered a moment ago, handed to Prometheus ten times a second instead of each by itself.

What must stay true: a scrape of this process counts every answer that was given before it; one of another process is
at most INTERVAL_S behind. A process that is killed takes that much with it.
"""

import threading
from bisect import bisect_left
from collections import Counter, deque
from operator import itemgetter

from loguru import logger
from prometheus_client import Histogram

from ticketing.telemetry.metrics import LATENCY_BUCKETS_S, SaleMetrics

INTERVAL_S = 0.1


class AnswerCounts:
    """Counts answers on the hot path, for a twentieth of what the metrics themselves charge."""

    def __init__(self, metrics: SaleMetrics) -> None:
        self._metrics = metrics
        self._answers: deque[tuple[str, float | None]] = deque()  # outcome, seconds; its ends are safe between threads
        self._handing_over = threading.Lock()
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
        with self._handing_over:
            answers = [self._answers.popleft() for _ in range(len(self._answers))]
        for outcome, count in Counter(map(itemgetter(0), answers)).items():
            self._metrics.purchases[outcome].inc(count)
        durations = [took_s for _, took_s in answers if took_s is not None]
        if durations:
            buckets = Counter(bisect_left(LATENCY_BUCKETS_S, took_s) for took_s in durations)
            _observe(self._metrics.duration, buckets, sum(durations))

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
