"""The sale in plain Python: what each call must answer, and what the store must hold after it.

What must stay true: nothing of the product is used here. It is written from sale.md, not from the scripts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

TRIES = 3


@dataclass(frozen=True)
class Wish:
    """One purchase that is asked for."""

    purchase_id: str
    quantity: int
    fingerprint: str
    buyer: str = ""
    contact: str = ""


@dataclass
class Bought:
    """One purchase that was made."""

    fingerprint: str
    tickets: list[str]
    buyer: str
    contact: str


@dataclass
class EventModel:
    """One event and everything that is held of it."""

    event_id: str
    seed: str
    planned: int
    quantity_max: int = 4
    buyer_max: int = 0
    issued: int = 0
    paused: bool = False
    closed: bool = False
    version: int = 1
    epoch: int = 1
    pool: list[str] = field(default_factory=list)
    sold: dict[str, Bought] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    outbox: dict[str, int] = field(default_factory=dict)  # purchase id -> tries
    asked_again: set[str] = field(default_factory=set)  # stored once, and in the outbox since somebody asked
    failed: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)

    def add(self, seed: str, expected: int, more: int) -> str:
        if seed != self.seed:
            return "no_event"
        if expected != self.issued:
            return "moved_on"
        self.pool += [f"E{self.event_id}-{number:06d}" for number in range(expected + 1, expected + more + 1)]
        self.issued += more
        self._changed(raises_epoch=True)
        return "added"

    def purchase(self, seed: str, wishes: Sequence[Wish], *, too_late: bool) -> list[str]:
        """An outcome a wish; what is sold is held afterwards."""
        if seed != self.seed:
            return ["no_event"] * len(wishes)
        version, told, made = self.version, [], set()
        for wish in wishes:
            told.append(self._one(wish, too_late=too_late, twin=wish.purchase_id in made))
            if told[-1] == "sold":
                made.add(wish.purchase_id)
        self.version = version + bool(made)
        return told

    def _one(self, wish: Wish, *, too_late: bool, twin: bool) -> str:
        known = self.sold.get(wish.purchase_id)
        if known is not None or twin:
            assert known is not None
            return "replayed" if known.fingerprint == wish.fingerprint else "key_reused"
        if wish.purchase_id in self.tombstones:
            return "voided"
        if too_late:
            return "expired"
        if self.closed or self.paused or self.issued < self.planned:
            return "not_on_sale"
        return self._sell(wish)

    def _sell(self, wish: Wish) -> str:
        if not 1 <= wish.quantity <= self.quantity_max:
            return "bad_quantity"
        if self.buyer_max and not wish.buyer:
            return "buyer_required"
        if self.buyer_max and self.held()[wish.buyer] + wish.quantity > self.buyer_max:
            return "buyer_limit"
        if wish.quantity > len(self.pool):
            return "sold_out"
        tickets, self.pool = self.pool[: wish.quantity], self.pool[wish.quantity :]
        self.sold[wish.purchase_id] = Bought(wish.fingerprint, tickets, wish.buyer, wish.contact)
        self.outbox[wish.purchase_id] = 0
        return "sold"

    def void(self, seed: str, purchase_ids: Sequence[str]) -> list[str] | str:
        if seed != self.seed:
            return "no_event"
        told, returned = [], False
        for purchase_id in purchase_ids:
            bought = self.sold.pop(purchase_id, None)
            if bought is not None:
                self.pool += bought.tickets
                self.outbox.pop(purchase_id, None)
                self.failed.discard(purchase_id)
                self.stored.discard(purchase_id)
                returned = True
                told.append("voided")
            else:
                told.append("already" if purchase_id in self.tombstones else "barred")
            self.tombstones.add(purchase_id)
        if set(told) - {"already"}:
            self._changed(raises_epoch=returned)
        return told

    def pause(self, seed: str, paused: bool) -> str:
        if seed != self.seed:
            return "no_event"
        if paused != self.paused:
            self.paused = paused
            self._changed(raises_epoch=True)
        return "ok"

    def describe(self, *, quantity_max: int, closed: bool) -> bool:
        changed = (quantity_max, closed) != (self.quantity_max, self.closed)
        self.quantity_max, self.closed = quantity_max, closed
        if changed:
            self._changed(raises_epoch=True)
        return changed

    def replaced(self, old_seed: str, new_seed: str, planned: int) -> "EventModel | str":
        """The event that takes the place of this one, or why there is none."""
        if old_seed != self.seed:
            return "no_event"
        if self.sold:
            return "sold"
        return EventModel(
            self.event_id, new_seed, planned, buyer_max=self.buyer_max, version=self.version + 1, epoch=self.epoch + 1
        )

    def begin(self, purchase_ids: Sequence[str]) -> list[str]:
        handed = []
        for purchase_id in purchase_ids:
            if purchase_id not in self.outbox:
                continue
            self.outbox[purchase_id] += 1
            if self.outbox[purchase_id] > TRIES:
                del self.outbox[purchase_id]
                self.asked_again.discard(purchase_id)
                self.failed.add(purchase_id)
            else:
                handed.append(purchase_id)
        return handed

    def finish(self, purchase_ids: Sequence[str]) -> list[str]:
        """Those that hold no purchase any more."""
        for purchase_id in purchase_ids:
            self.outbox.pop(purchase_id, None)
            self.asked_again.discard(purchase_id)
            self.failed.discard(purchase_id)
        self.stored |= set(purchase_ids) & self.sold.keys()
        return [purchase_id for purchase_id in purchase_ids if purchase_id not in self.sold]

    def request(self, purchase_id: str) -> str:
        if purchase_id not in self.sold:
            return "none"
        if purchase_id in self.failed:
            return "failed"
        if purchase_id in self.outbox:
            return "pending"
        self.outbox[purchase_id] = 0
        self.asked_again.add(purchase_id)
        return "requested"

    def retry(self) -> int:
        again, self.failed = self.failed, set()
        self.outbox |= dict.fromkeys(again, 0)
        return len(again)

    def held(self) -> Counter[str]:
        """Tickets a buyer."""
        counted: Counter[str] = Counter()
        for bought in self.sold.values():
            counted[bought.buyer] += len(bought.tickets)
        return counted

    def _changed(self, *, raises_epoch: bool) -> None:
        self.version += 1
        self.epoch += raises_epoch
