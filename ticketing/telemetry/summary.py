"""One line every ten seconds that sums up the sale of this host, from whichever of its processes holds the lock.

What must stay true: one process speaks at a time, and another takes over when it dies; nothing is said while nothing
happens.
"""

import fcntl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from loguru import logger

from ticketing.errors import StoreError
from ticketing.model import EventState
from ticketing.telemetry.metrics import LATENCY_BUCKETS_S, Exposition, quantile, receipt_counts

INTERVAL_S = 10.0
BOUGHT = ("sold", "provisional")


class Summary:
    """Says how the sale goes."""

    def __init__(self, exposition: Exposition, states: Callable[[], Sequence[EventState]], lock_file: Path) -> None:
        self._exposition = exposition
        self._states = states
        self._lock_file = lock_file
        self._lock: TextIO | None = None
        self._ended = threading.Event()
        self._counts: dict[str, float] = {}
        self._buckets: dict[str, float] = {}
        self._was_busy = False

    def start(self) -> None:
        """From now on the lines appear. In a gevent worker the thread is a greenlet."""
        threading.Thread(target=self._run, name="summary", daemon=True).start()

    def stop(self) -> None:
        """No more lines."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            try:
                spoke_before = self._lock is not None
                if self._holds_lock():
                    self.say() if spoke_before else self._begin()
            except Exception:  # a counters' file that a process has just begun, say: the next line comes all the same
                logger.exception("the sale could not be summed up")

    def _holds_lock(self) -> bool:
        if self._lock is None:
            file = self._lock_file.open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return False
            self._lock = file
        return True

    def _begin(self) -> None:
        """What was counted before is not of the time that the first line is about."""
        self._counts = self._exposition.values("ticketing_purchases_total", "outcome")
        self._buckets = self._exposition.values("ticketing_purchase_duration_seconds_bucket", "le")

    def say(self) -> None:
        """One line about the time since the last call, unless nothing happened in it and in the one before."""
        counts = self._exposition.values("ticketing_purchases_total", "outcome")
        buckets = self._exposition.values("ticketing_purchase_duration_seconds_bucket", "le")
        new = _difference(counts, self._counts)
        slowest = _slowest(_difference(buckets, self._buckets))
        self._counts, self._buckets = counts, buckets
        try:
            states = self._states()
        except StoreError:
            states = []
        pending = receipt_counts(states)["pending"]
        busy = bool(sum(new.values()) or pending)
        if busy or self._was_busy:
            logger.info(_line(new, slowest, pending, sum(state.remaining for state in states)))
        self._was_busy = busy


def _line(new: dict[str, float], slowest: str, pending: int, remaining: int) -> str:
    bought = sum(new.get(outcome, 0) for outcome in BOUGHT)
    refused = {outcome: int(n) for outcome, n in sorted(new.items()) if n and outcome not in BOUGHT}
    others = ", ".join(f"{n} {outcome}" for outcome, n in refused.items()) or "nothing else"
    return (
        f"{bought:.0f} purchases ({bought / INTERVAL_S:.1f}/s), {others}, p99 {slowest}; "
        f"{remaining} tickets remain, {pending} receipts pending"
    )


def _slowest(buckets: dict[str, float]) -> str:
    if not any(buckets.values()):
        return "-"
    p99_s = quantile(buckets, 0.99)
    return f"> {LATENCY_BUCKETS_S[-1] * 1000:g} ms" if p99_s is None else f"<= {p99_s * 1000:g} ms"


def _difference(now: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {key: max(0.0, value - before.get(key, 0.0)) for key, value in now.items()}
