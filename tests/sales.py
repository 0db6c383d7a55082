"""What tests of the sale share: an event, requests, one process's way to the store, and the exact account.

What must stay true: the account is read with plain commands and judged here, not by the code under test.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ticketing.model import Event, PurchaseRequest, SaleReply
from ticketing.store import keys
from ticketing.store.cluster import ClusterStore
from ticketing.store.connection import Store, StoreClock
from ticketing.store.events import EventStore, create
from ticketing.store.outbox import OutboxStore
from ticketing.store.sale import EventBatch, SaleStore, Versions

SEED = "seed-1"
SECRET = "fingerprint-of-the-id-secret"
TIMEOUT_MS = 60_000  # nothing expires, unless a test wants it to
RECEIPT_TRIES = 3
# Receipts are due a day after the sale, so that no test depends on how fast it runs; `Sale.due_now` moves them.
LATER_MS = 86_400_000

_numbers = count(1)


def an_event(event_id: str = "1", **changes: Any) -> Event:
    """An event that is on sale without limits, apart from the changes."""
    described = {
        "name": "Nachtmusik",
        "venue": "Halle 5",
        "starts_at_ms": 1_900_000_000_000,
        "timezone": "Europe/Berlin",
        "price_amount": "49.00",
        "price_currency": "EUR",
    }
    return Event(event_id, **{**described, **changes})


def a_request(quantity: int = 1, purchase_id: str = "", event_id: str = "1", **changes: Any) -> PurchaseRequest:
    """A purchase that nobody asked for before, of the shape that the product makes."""
    new_id = f"{event_id}.{next(_numbers):028d}"
    return PurchaseRequest(
        purchase_id or new_id, event_id, quantity, **{"fingerprint": f"{quantity!s:0>16}", **changes}
    )


class Sale:
    """One process's way to a store: its versions, its clock, and what is spoken over it."""

    def __init__(self, store: Store, *, timeout_ms: int = TIMEOUT_MS, greeted: bool = True) -> None:
        self.store = store
        self.versions, self.clock = Versions(), StoreClock()
        self.sales = SaleStore(store, self.versions, self.clock, timeout_ms=timeout_ms, due_ms=LATER_MS)
        self.events = EventStore(store, self.versions)
        self.outbox = OutboxStore(store, tries=RECEIPT_TRIES, retry_base_ms=LATER_MS)
        if greeted:
            self.sales.greet(SECRET)

    @property
    def clocks(self) -> list[StoreClock]:
        """What this process believes of the time of each server."""
        if isinstance(self.store, ClusterStore):
            return [node.clock for node in self.store._pools.nodes.values()]
        return [self.clock]

    def open(self, tickets: int, event_id: str = "1", seed: str = SEED, **changes: Any) -> None:
        """An event of this id with so many tickets is on sale."""
        create(self.store, an_event(event_id, **changes), seed=seed, planned=tickets)
        self.events.add_more(event_id, seed, 0, tickets)

    def buy(self, *requests: PurchaseRequest, seed: str = SEED) -> list[SaleReply]:
        """The replies to purchases of one event, sold in one call."""
        return self.sales.purchase([EventBatch(requests[0].event_id, seed, requests)])[0]

    def tags(self, *requests: PurchaseRequest, seed: str = SEED) -> list[str]:
        """Only the outcomes."""
        return [str(reply.outcome) for reply in self.buy(*requests, seed=seed)]

    def due_now(self, event_id: str = "1") -> None:
        """Every receipt in the outbox is overdue."""
        key = keys.of_event(event_id).receipts
        for purchase_id in self.store.one("ZRANGE", key, 0, -1):
            self.store.one("ZADD", key, "XX", 1, purchase_id)

    def overdue(self, event_id: str = "1", most: int = 1000) -> list[tuple[str, int]]:
        """What a sweep hands out now: purchase ids and tries."""
        swept = dict(self.outbox.sweep([event_id], most))
        return [(one.purchase_id, one.tries) for one in swept.get(event_id, [])]


@dataclass
class Account:
    """Everything that a store holds of one event."""

    event_id: str
    info: dict[str, str]
    pool: list[str]
    leased: list[str]
    sold: dict[str, list[str]] = field(default_factory=dict)  # purchase id -> tickets
    buyers: Counter[str] = field(default_factory=Counter)  # counted over the purchases
    tombstones: set[str] = field(default_factory=set)
    outbox: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    tries: set[str] = field(default_factory=set)
    contacts: set[str] = field(default_factory=set)
    held: dict[str, int] = field(default_factory=dict)  # the store's own count

    @property
    def tickets_sold(self) -> int:
        return sum(map(len, self.sold.values()))

    @property
    def issued(self) -> int:
        return int(self.info["issued"])

    def check(self) -> "Account":
        """The invariants 1 and 2 of sale.md to the last ticket, and that nothing is left of voided purchases."""
        everywhere = sorted(
            [*self.pool, *self.leased, *(ticket for tickets in self.sold.values() for ticket in tickets)]
        )
        assert everywhere == [f"E{self.event_id}-{number:06d}" for number in range(1, self.issued + 1)]
        assert int(self.info["sold"]) == self.tickets_sold
        assert int(self.info["voided"]) == len(self.tombstones)
        assert self.outbox | self.failed | self.contacts <= self.sold.keys()
        assert not self.outbox & self.failed
        assert self.tries <= self.outbox
        if int(self.info.get("buyer_max", 0)):
            assert {buyer: held for buyer, held in self.held.items() if held} == dict(self.buyers)
        return self


def account(store: Store, event_id: str = "1") -> Account:
    """What the store holds now, unjudged."""
    k = keys.of_event(event_id)
    info, pool, leases, purchases, outbox, failed, tries, contacts, held = store.read(
        ("HGETALL", k.info),
        ("LRANGE", k.tickets, 0, -1),
        ("HVALS", k.leases),
        ("HGETALL", k.purchases),
        ("ZRANGE", k.receipts, 0, -1),
        ("HKEYS", k.failed),
        ("HKEYS", k.tries),
        ("HKEYS", k.contacts),
        ("HGETALL", k.buyers),
    )
    leased = [ticket for lease in leases for ticket in lease.partition("|")[2].split(",") if ticket]
    made = Account(event_id, _pairs(info), pool, leased)
    for purchase_id, record in _pairs(purchases).items():
        if record.startswith("-"):
            made.tombstones.add(purchase_id)
            continue
        _, _, tickets, buyer = record.split("|")
        made.sold[purchase_id] = tickets.split(",")
        if buyer:
            made.buyers[buyer] += len(made.sold[purchase_id])
    made.outbox, made.failed, made.tries, made.contacts = set(outbox), set(failed), set(tries), set(contacts)
    made.held = {buyer: int(count_) for buyer, count_ in _pairs(held).items()}
    return made


def everything(store: Store) -> dict[str, Any]:
    """Every key with its content, to show that nothing was changed."""
    readers: dict[str, tuple[str | int, ...]] = {
        "string": ("GET", "{}"),
        "list": ("LRANGE", "{}", 0, -1),
        "hash": ("HGETALL", "{}"),
        "set": ("SMEMBERS", "{}"),
        "zset": ("ZRANGE", "{}", 0, -1, "WITHSCORES"),
    }
    found: dict[str, Any] = {}
    for key in sorted(store.one("KEYS", "*")):
        value = store.one(*(key if word == "{}" else word for word in readers[store.one("TYPE", key)]))
        kind = store.one("TYPE", key)
        found[key] = _pairs(value) if kind == "hash" else sorted(value) if kind == "set" else value
    return found


def _pairs(flat: Sequence[str] | dict[str, str]) -> dict[str, str]:
    return dict(flat) if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
