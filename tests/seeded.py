"""One event in a store, sold and voided by the store's own scripts: where tests of the audit and seeds start."""

import secrets

from ticketing.model import Event, EventState, Outcome, PurchaseRequest, SaleReply
from ticketing.store.connection import Store, StoreClock
from ticketing.store.events import EventStore, create
from ticketing.store.sale import EventBatch, SaleStore, Versions

SEED = "seed-of-this-test"


def event_of(event_id: str = "1", *, buyer_max: int = 0, name: str = "Gala") -> Event:
    return Event(event_id, name, "Hall", 1_900_000_000_000, "Europe/London", "45.00", "GBP", buyer_max=buyer_max)


class SeededEvent:
    """An event with its tickets, open for sale; one that exists already is taken as it is."""

    def __init__(self, store: Store, tickets: int, event_id: str = "1", *, buyer_max: int = 0) -> None:
        self.store = store
        self.event_id = event_id
        versions, clock = Versions(), StoreClock()
        self.events = EventStore(store, versions)
        self.sale = SaleStore(store, versions, clock, timeout_ms=60_000, due_ms=0)
        self.sale.greet("the fingerprint of a test")
        self.seed = create(store, event_of(event_id, buyer_max=buyer_max), seed=SEED, planned=tickets).seed
        self.add(tickets)

    def add(self, tickets: int) -> None:
        """So many more are issued."""
        issued = self.state().issued
        target = issued + tickets
        while issued < target:
            issued = self.events.add_chunk(self.event_id, self.seed, issued, target - issued)

    def ask(self, *quantities: int, buyer: str = "") -> list[tuple[str, SaleReply]]:
        """A batch of purchases, new ids: each id and its reply."""
        requests = [
            PurchaseRequest(
                new_purchase_id(self.event_id), self.event_id, quantity, "0123456789abcdef", buyer, '{"name":"A"}'
            )
            for quantity in quantities
        ]
        replies = self.sale.purchase([EventBatch(self.event_id, self.seed, requests)])[0]
        return [(request.purchase_id, reply) for request, reply in zip(requests, replies, strict=True)]

    def sell(self, *quantities: int, buyer: str = "") -> list[str]:
        """The ids of these purchases, all of them sold."""
        answered = self.ask(*quantities, buyer=buyer)
        assert {reply.outcome for _, reply in answered} == {Outcome.SOLD}
        return [purchase_id for purchase_id, _ in answered]

    def void(self, *purchase_ids: str) -> None:
        self.sale.void(self.event_id, self.seed, purchase_ids)

    def state(self) -> EventState:
        return self.events.read([self.event_id])[0]


def new_purchase_id(event_id: str) -> str:
    return f"{event_id}.{secrets.token_urlsafe(21)}"
