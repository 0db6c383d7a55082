"""The ring: what this process answered lately, sale by sale, so that a store that went back can be given it again.

What must stay true: remembering a purchase costs an append; how much is remembered is bounded, in time by `turn`, which
is called only while the store answers, and in number by `most`; of a sale that is held nothing is forgotten.
"""

from collections.abc import Container
from dataclasses import dataclass, field

from ticketing.store.put_back import Told

REMEMBERED_MOST = 50_000  # purchases a process, some 15 MB; sold faster than 800 a second, it is less than a minute
TURN_S = 30.0  # so a purchase is remembered for half a minute to a minute of selling

Sale = tuple[str, str]  # event id, seed


@dataclass(slots=True)
class _Kept:
    """Of one sale, oldest first: one that was let go, then two halves, of which the older is let go next."""

    anchor: Told | None = None  # sold by this process
    older: list[Told] = field(default_factory=list)
    fresh: list[Told] = field(default_factory=list)

    def turn(self) -> None:
        self.anchor = next((told for told in reversed(self.older) if told[3]), self.anchor)
        self.older, self.fresh = self.fresh, []


class Ring:
    """What may have to be put back."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._kept: dict[Sale, _Kept] = {}
        self._fresh = 0
        self._turned_s = 0.0
        self.held: set[Sale] = set()

    def add(self, sale: Sale, told: Told) -> None:
        """Remember an answer."""
        if not self._half:
            return
        kept = self._kept.get(sale)
        if kept is None:
            kept = self._kept[sale] = _Kept()
        kept.fresh.append(told)
        self._fresh += 1
        if self._fresh >= self._half:
            self._turn()

    def turn(self, now_s: float) -> None:
        """Time passed in which the store answered, and was looked at."""
        if now_s - self._turned_s >= TURN_S:
            self._turned_s = now_s
            self._turn()

    def _turn(self) -> None:
        self._fresh = 0
        for sale, kept in self._kept.items():
            if sale not in self.held:
                kept.turn()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was answered lately."""
        return not any(kept.fresh or kept.older for kept in self._kept.values())

    def hold(self, sale: Sale) -> None:
        """From now on nothing of it is forgotten."""
        self.held.add(sale)

    def let_go(self, sale: Sale) -> None:
        """It is sold again; what was put back may be lost once more, and so is forgotten as slowly as what is new."""
        self.held.discard(sale)

    def keep_only(self, sale: Sale, purchase_ids: Container[str]) -> None:
        """An operator decided: of what was answered before, only these count."""
        kept = self._kept.get(sale)
        if kept is not None:
            kept.older = [told for told in kept.older if told[0] in purchase_ids]
            kept.fresh = [told for told in kept.fresh if told[0] in purchase_ids]
            kept.anchor = kept.anchor if kept.anchor is not None and kept.anchor[0] in purchase_ids else None

    def count(self, sale: Sale) -> int:
        """How many purchases of it are remembered, without the one before."""
        kept = self._kept.get(sale)
        return 0 if kept is None else len(kept.older) + len(kept.fresh)

    def told(self, sale: Sale) -> list[Told]:
        """What is to be put back of it, oldest first; the one before too."""
        kept = self._kept.get(sale, _Kept())
        return [*([kept.anchor] if kept.anchor is not None else ()), *kept.older, *kept.fresh]

    def witness(self, sale: Sale) -> Told | None:
        """The oldest that this process sold itself and still knows of.

        A store that holds it holds all that this process sold before.
        """
        return next((told for told in self.told(sale) if told[3]), None)
