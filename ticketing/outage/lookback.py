"""What this process answered: the newest purchase of each sale, which the store must hold byte for byte, and a ring.

What must stay true: an answered purchase is never voided, so that a difference always means an older store.
"""

from collections.abc import Sequence

from ticketing.outage.ring import Ring, Sale


class Answered:
    """What the store told this process last, and must still hold."""

    def __init__(self, ring: Ring | None = None) -> None:
        self.ring = ring or Ring(0)
        self._newest: dict[Sale, tuple[str, str]] = {}  # purchase id, record

    def saw(
        self, event_id: str, seed: str, purchase_id: str, record: str, contact: str = "", *, sold_now: bool
    ) -> None:
        """The store answered this record. One that it repeats is older than what was sold now, whatever its time says:

        that of a settled purchase was told by a host's clock.
        """
        sale = (event_id, seed)
        if sold_now or sale not in self._newest:
            self._newest[sale] = (purchase_id, record)
        self.ring.add(sale, (purchase_id, record, contact, sold_now))

    def newest(self, event_id: str, seed: str) -> tuple[str, str]:
        """Purchase id and record; two empty texts where nothing was answered yet."""
        return self._newest.get((event_id, seed), ("", ""))

    def at_stake(self) -> Sequence[tuple[str, str, str]]:
        """Event id, purchase id and record of each sale's newest; of halted ones none: nothing is sold of them."""
        newest = self._newest.items()
        return [(sale[0], *told) for sale, told in newest if sale not in self.ring.held]

    def forget(self, event_id: str, seed: str) -> None:
        """An operator decided: the store as it is now is the truth."""
        self._newest.pop((event_id, seed), None)
