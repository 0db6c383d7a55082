"""What many may ask for and few need to look at: one look a second, however many ask.

What must stay true: while one caller looks, the others get what was found last; they wait only where nothing was yet.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

FRESH_S = 1.0

T = TypeVar("T")


class SharedLook(Generic[T]):
    """The last thing that `look` found, at most FRESH_S old unless somebody is looking again."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._looking = threading.Lock()
        self._found: tuple[T] | None = None
        self._looked_at_s = 0.0

    def get(self) -> T:
        """What was found. Raises what `look` raises, where this caller is the one who looks."""
        found = self._found
        if found is not None and self._is_fresh():
            return found[0]
        if self._looking.acquire(blocking=found is None):
            try:
                if self._found is None or not self._is_fresh():
                    self._found = (self._look(),)
                    self._looked_at_s = time.monotonic()
            finally:
                self._looking.release()
        assert self._found is not None
        return self._found[0]

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._looked_at_s < FRESH_S
