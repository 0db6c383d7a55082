"""When Redis counts as away. A few clear lines: one failure opens it, one answered greeting closes it.

What must stay true: while it is open nobody asks the store but the one greenlet that greets it; it knows nothing of
what a failure meant for a purchase (refused and unknown differ there, not here). A store that fails again soon after it
came back is believed later each time, so that one which drops every fourth command does not cost a timeout each.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loguru import logger

SALES_FROM_THE_JOURNAL = "sales now come from a journal on this host's disk, and are not in Redis"
BELIEVED_AT_ONCE_S = 0.0
BELIEVED_LATEST_S = 5.0
SOON_S = 10.0  # a failure this soon after the last outage is of the same trouble


@dataclass(slots=True)
class OutageCounts:
    """What happened in one outage, for the line that ends it."""

    sold: int = 0
    refused: int = 0
    settled: int = 0
    handed_back: int = 0  # tickets


class Breaker:
    """Whether the store counts as reachable."""

    def __init__(
        self, on_outage: Callable[[], None] = lambda: None, nodes_away: Callable[[], Sequence[str]] = tuple
    ) -> None:
        """`nodes_away` are servers of a cluster whose events are not sold by the store, while others are."""
        self._on_outage = on_outage
        self.nodes_away = nodes_away
        self._since_s: float | None = None
        self._ended_s = -SOON_S
        self._patience_s = BELIEVED_AT_ONCE_S
        self.counts = OutageCounts()

    @property
    def is_open(self) -> bool:
        """Whether this process is in an outage."""
        return self._since_s is not None

    @property
    def lasted_s(self) -> float:
        """How long the outage under way has lasted; 0 where there is none."""
        return 0.0 if self._since_s is None else time.monotonic() - self._since_s

    @property
    def is_felt(self) -> bool:
        """Whether some event is not sold by the store: in an outage, or while a node of a cluster is away."""
        return self.is_open or bool(self.nodes_away())

    def trip(self, reason: str, means: str = SALES_FROM_THE_JOURNAL) -> None:
        """The store failed. Says so once an outage, and what it means for the sale."""
        if self._since_s is not None:
            return
        now_s = time.monotonic()
        again = now_s - self._ended_s < SOON_S
        self._patience_s = min(BELIEVED_LATEST_S, max(0.25, 2 * self._patience_s)) if again else BELIEVED_AT_ONCE_S
        self._since_s = now_s
        logger.warning("outage: {}; {}", reason, means)
        self._on_outage()

    def may_close(self) -> bool:
        """Whether an answered greeting is to be believed yet."""
        return self._since_s is not None and time.monotonic() - self._since_s >= self._patience_s

    def close(self) -> None:
        """The store answers again. What was sold is still to be settled; `counts` goes on counting."""
        if self._since_s is not None:
            now_s = time.monotonic()
            logger.info("Redis answers again after {:.1f} s; settling what was sold", now_s - self._since_s)
            self._since_s, self._ended_s = None, now_s

    def say_settled(self) -> None:
        """The line that ends an outage: how much of what was sold is in Redis now. Then counting begins anew."""
        counts, self.counts = self.counts, OutageCounts()
        logger.warning(
            "the outage is over: {} purchases sold from the reserve, {} settled, {} refused, {} tickets handed back",
            counts.sold,
            counts.settled,
            counts.refused,
            counts.handed_back,
        )
