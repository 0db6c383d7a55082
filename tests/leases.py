"""What tests of leases share: one holder's commands, made by hand, and the account after each.

What must stay true: each helper leaves an audit without findings, so that no test forgets to look.
"""

from itertools import count
from typing import cast

from tests.sales import LATER_MS, SEED, Account, Sale, account
from ticketing.model import PurchaseRequest
from ticketing.sale.audit import audit
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.leases import (
    Glance,
    GlanceAsk,
    JournalledPurchase,
    LeaseChange,
    LeaseReply,
    LeaseStore,
    SettleChange,
)

K = keys.of_event("1")
HOST = "0123456789abcdef0123456789abcdef"
SOLD_AT_MS = 1_700_000_000_000
_tokens = count(1)


class Leasing:
    """One holder against a store on which an event is on sale."""

    def __init__(self, store: Store, tickets: int = 100, holder: str = f"{HOST}-0", **changes: object) -> None:
        self.sale = Sale(store)
        self.store = store
        self.holder = holder
        self.token = ""
        if tickets:
            self.sale.open(tickets, **changes)
        self.leases = LeaseStore(store, self.sale.versions, due_ms=LATER_MS)

    def new_token(self) -> str:
        return f"nonce-{next(_tokens)}"

    def change(self, wanted: int, *, share: int = 1000, seed: str = SEED, token: str | None = None) -> LeaseChange:
        expected = self.token if token is None else token
        return LeaseChange("1", seed, self.holder, expected, self.new_token(), wanted, share)

    def settling(self, *entries: JournalledPurchase, seed: str = SEED, token: str | None = None) -> SettleChange:
        expected = self.token if token is None else token
        return SettleChange("1", seed, self.holder, expected, self.new_token(), entries)

    def send(self, change: LeaseChange | SettleChange) -> object:
        """The reply; the store is sound afterwards."""
        [reply] = self.leases.lease([change]) if isinstance(change, LeaseChange) else self.leases.settle([change])
        if isinstance(reply, LeaseReply):
            self.token = reply.token
            self.sound()
        return reply

    def lease(self, wanted: int, *, share: int = 1000) -> LeaseReply:
        reply = self.send(self.change(wanted, share=share))
        assert isinstance(reply, LeaseReply)
        assert not reply.moved_on
        return reply

    def settle(self, *entries: JournalledPurchase) -> tuple[str, ...]:
        reply = self.send(self.settling(*entries))
        assert isinstance(reply, LeaseReply)
        assert not reply.moved_on
        return reply.outcomes

    def sound(self) -> Account:
        assert audit(self.store).violations == []
        return account(self.store).check()

    def version(self) -> int:
        return int(self.store.one("HGET", K.info, "version"))


def journalled(request: PurchaseRequest, sold_at_ms: int = SOLD_AT_MS) -> JournalledPurchase:
    """The entry of a purchase that was sold from the reserve."""
    return JournalledPurchase(request, SEED, sold_at_ms)


def glances(leases: LeaseStore, *asks: GlanceAsk) -> list[Glance]:
    """How events stand that nothing is wrong with."""
    found = leases.glance(asks)
    assert all(isinstance(glance, Glance) for glance in found)
    return cast(list[Glance], found)
