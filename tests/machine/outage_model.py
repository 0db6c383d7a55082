"""What an outage may leave of a sale, in counts and sets: what buyers were told, and what the store must hold then.

What must stay true: nothing of the product is used here. It is written from sale.md, not from the scripts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.machine.model import Wish
from tests.sales import Account


@dataclass(frozen=True)
class Standing:
    """What one holder may sell of an event, and owes, by its memory, or by its journal where it is dead."""

    name: str
    sellable: int
    open: dict[str, int]  # purchase id -> tickets, without those that an operator must decide about
    leased: int  # tickets, in the store


@dataclass
class OutageModel:
    """Every promise, and how far a store that went back has made it unsure."""

    issued: dict[str, int] = field(default_factory=dict)
    wishes: dict[str, Wish] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)  # ids that purchase.lua was asked to sell
    sold_at: dict[str, set[str]] = field(default_factory=dict)  # of provisional answers
    sold: dict[str, list[str]] = field(default_factory=dict)  # the store was seen to hold these tickets for it
    owed: set[str] = field(default_factory=set)  # told `provisional`, and not seen in the store yet
    doubtful: set[str] = field(default_factory=set)  # told 503, without a key
    refused: set[str] = field(default_factory=set)  # told 409, and not asked for since
    unsure: set[str] = field(default_factory=set)  # a store that went back lost what was known of it
    went_back: set[str] = field(default_factory=set)  # event ids
    lost: dict[str, list[str]] = field(default_factory=dict)  # tickets that a store which went back held before

    def told(self, wish: Wish, what: str, detail: str, *, keyed: bool, sure: bool) -> None:
        """Take over an answer. It must not take back what was promised. `sure`: the process has met every step back."""
        purchase_id = wish.purchase_id
        self.refused.discard(purchase_id)
        if not sure:
            self.unsure.add(purchase_id)
        if what == "sold":
            tickets = detail.split("|")[2].split(",")
            assert self.sold.setdefault(purchase_id, tickets) == tickets, "another answer to the same purchase"
            self.owed.discard(purchase_id)
        elif what == "provisional":
            self.sold_at.setdefault(purchase_id, set()).add(detail)
            self.owed |= {purchase_id} - self.sold.keys()
        elif what == "409":
            promised = purchase_id in self.sold or purchase_id in self.owed
            assert not promised or purchase_id in self.unsure, "409 after a promise"
            self.refused |= {purchase_id} - self.unsure
        elif not keyed:
            self.doubtful.add(purchase_id)

    def replaced(self, event_id: str) -> None:
        """The event began anew; nobody may have been promised anything of the old one."""
        assert not self._of(event_id, self.sold)
        assert self._of(event_id, self.owed) <= self.unsure

    def stepped_back(self, event_id: str, held: Account) -> None:
        """The store is an older one: what it does not hold as it was known is lost, or comes from a journal again."""
        self.went_back.add(event_id)
        self.issued[event_id] = held.issued
        for purchase_id in self._of(event_id, self.sold):
            if held.sold.get(purchase_id) != self.sold[purchase_id]:
                self.lost[purchase_id] = self.sold.pop(purchase_id)
                self.unsure.add(purchase_id)
        self.unsure |= self._of(event_id, self.owed)  # its lease may be shorter, and the pool sold
        self.unsure |= self._of(event_id, self.doubtful) - held.tombstones  # nobody may mean to void it any more

    def compare(self, held: Account, records: dict[str, str]) -> None:
        """The store holds every promise that it must, and nothing else."""
        held.check()
        event_id = held.event_id
        assert held.issued == self.issued[event_id]
        for purchase_id, tickets in held.sold.items():
            self._compare_one(purchase_id, tickets, records[purchase_id])
        assert self._of(event_id, self.sold) <= held.sold.keys(), "a promise is gone"
        assert held.tombstones <= self.doubtful | self.unsure
        assert not self.refused & held.sold.keys(), "409 was told, and it holds tickets"
        assert held.outbox == held.sold.keys()
        assert held.contacts == {one for one in held.sold if self.wishes[one].contact}

    def compare_holders(self, event_id: str, standings: Iterable[Standing], held: Account) -> None:
        """What may be sold without the store is leased, beside what was sold so and is not settled."""
        for one in standings:
            unsettled = sum(tickets for key, tickets in one.open.items() if key not in held.sold)
            assert one.sellable <= max(0, one.leased - unsettled), f"{one} oversells"
            if event_id not in self.went_back:
                assert unsettled <= one.leased, f"{one} has promised what others can buy"

    def end(self, held: Account, in_journals: set[str]) -> None:
        """After everything was healed: what was promised is there once, what was refused is not."""
        assert held.leased == []
        owed = self._of(held.event_id, self.owed)
        assert owed <= self.unsure & in_journals, "a provisional purchase was never settled"
        assert not (self.doubtful - self.unsure) & held.sold.keys(), "503 was told without a key, and it holds tickets"

    def _compare_one(self, purchase_id: str, tickets: list[str], record: str) -> None:
        wish = self.wishes[purchase_id]
        fingerprint, sold_at, _, buyer = record.split("|")
        assert (len(tickets), fingerprint, buyer) == (wish.quantity, wish.fingerprint, wish.buyer)
        if purchase_id not in self.sent:
            assert sold_at in self.sold_at[purchase_id], "it was settled otherwise than it was journalled"
        if purchase_id in self.doubtful:
            assert purchase_id in self.sent
            return
        assert self.sold.setdefault(purchase_id, tickets) == tickets, "its tickets have changed"
        self.owed.discard(purchase_id)

    @staticmethod
    def _of(event_id: str, purchase_ids: Iterable[str]) -> set[str]:
        return {purchase_id for purchase_id in purchase_ids if purchase_id.partition(".")[0] == event_id}
