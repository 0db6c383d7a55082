"""How often pages may ask again: the more of them are open, the less often each, so that all together cost little.

What must stay true: a process answers about `most_per_s` polls a second at most, however many pages wait for one.
"""

import time
from collections.abc import Callable

HEADER = "Poll-After"
LEAST_S, MOST_S = 2, 60
WINDOW_S = 2.0


class Pace:
    """Counts polls, and says after how many seconds the next is welcome."""

    def __init__(self, most_per_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._most_per_s = most_per_s
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._polls = 0
        self._after_s = float(LEAST_S)

    def after_s(self) -> int:
        """This poll counts; when its page should ask again. The interval follows the polls of the last moments."""
        now_s = self._clock_s()
        passed_s = now_s - self._began_s
        if passed_s >= WINDOW_S:
            wanted_s = self._after_s * self._polls / passed_s / self._most_per_s
            # It falls slowly, since pages that were told a longer one are still waiting; and at most doubles, since
            # many pages that are opened at once ask once each, whatever they are told.
            wanted_s = min(wanted_s, 2 * self._after_s)
            self._after_s = min(MOST_S, max(LEAST_S, wanted_s, self._after_s * 0.8 ** (passed_s / WINDOW_S)))
            self._began_s, self._polls = now_s, 0
        self._polls += 1
        return round(self._after_s)
