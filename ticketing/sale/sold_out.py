"""The short memory that keeps the crowd after the last ticket off Redis.

What must stay true: it answers only purchases without a key that want more than it remembers as left, for a fraction of
a second, and not after the sale's epoch changed. A key always reaches the script: it may repeat a purchase that exists.
"""

import time
from dataclasses import dataclass

from ticketing.model import PoolLevel


@dataclass(frozen=True, slots=True)
class _Remembered:
    epoch: int
    left: int
    until_s: float


class SoldOutMemory:
    """What this process was last told of pools that could not cover a purchase."""

    def __init__(self, memory_ms: int) -> None:
        self._memory_s = memory_ms / 1000
        self._events: dict[str, _Remembered] = {}

    def saw(self, event_id: str, level: PoolLevel, *, refused: bool) -> None:
        """Take over how an event stood a moment ago; `refused` where it could not cover a purchase."""
        known = self._events.get(event_id)
        if refused:
            self._events[event_id] = _Remembered(level.epoch, level.left, time.monotonic() + self._memory_s)
        elif known is not None and known.epoch != level.epoch:
            del self._events[event_id]

    def left(self, event_id: str, quantity: int, *, keyed: bool) -> int | None:
        """How many tickets are left, if that is known to be too few for this purchase; else None: ask the store."""
        known = self._events.get(event_id)
        if known is None or keyed or quantity <= known.left or time.monotonic() >= known.until_s:
            return None
        return known.left
