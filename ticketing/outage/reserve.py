"""The reserve: how many tickets this holder may sell while Redis is away, event by event. A count, never ids.

Rules, before the code:

1. What may be sold is journalled before it is lowered by a change, and raised only after the change was answered. So
   neither this process nor its heir ever sells a ticket that a lost reply gave away.
2. While a change (lease or settle) has no answer, only what both of its outcomes leave may be sold.
3. One change at a time an event. After a lost reply the very same command is sent again, until it is answered.
4. `wanted` of a change counts every journalled ticket that is not settled, those whose fsync is under way included.
5. A count that was merely read is never sold: the token must be this process's own, won by a compare-and-set.

No clock ends a lease. Pure: it decides, and neither sends nor writes; settlement.py and holder.py do.
"""

import secrets
from dataclasses import dataclass, field

from ticketing.model import EventState, PurchaseRequest
from ticketing.outage.journal import Snapshot
from ticketing.store.leases import JournalledPurchase, LeaseChange, LeaseReply, PoolGlance, SettleChange, Settled

SETTLE_AT_ONCE = 200
LOW_WATER = 5
CLOSED_FOR_GOOD = frozenset({Settled.SETTLED, Settled.KNOWN})


@dataclass(frozen=True, slots=True)
class ReserveSize:
    """How much a holder leases of an event."""

    tickets: int  # at most
    share_per_mille: int  # of the pool
    low_water: int = LOW_WATER  # below this many times what all may hold, leases are given back


@dataclass(slots=True)
class EventReserve:
    """What this holder may do with one sale (event and seed)."""

    event_id: str
    seed: str
    holder: str
    nonce: str  # of this process: a token that carries another one is not ours
    quantity_max: int = 0
    opens_ms: int | None = None
    closes_ms: int | None = None
    paused: bool = False
    version: int = 0
    token: str = ""
    leased: int = 0  # tickets in the lease, by the last answer
    sellable: int = 0  # tickets that may be sold now; never more than what the journal says
    pending: LeaseChange | SettleChange | None = None
    open: dict[str, JournalledPurchase] = field(default_factory=dict)  # on disk, not settled
    in_flight: dict[str, int] = field(default_factory=dict)  # purchase id -> quantity, fsync under way
    kept: dict[str, int] = field(default_factory=dict)  # keyed ids of a poisoned journal: counted, never settled
    parked: dict[str, Settled] = field(default_factory=dict)  # settled to nothing; for the operator
    inherited: bool = False  # read from a journal; not won by a compare-and-set yet
    troubled: bool = False  # the store went back, or knows another sale

    @property
    def promised(self) -> int:
        """Journalled tickets that are not settled (rule 4)."""
        settled_later = sum(entry.request.quantity for entry in self.open.values())
        return settled_later + sum(self.in_flight.values()) + sum(self.kept.values())

    def snapshot(self, sellable: int) -> Snapshot:
        """The line that says how the reserve stands, with this count."""
        return Snapshot(
            event_id=self.event_id,
            seed=self.seed,
            token=self.token,
            pending_token=self.pending.token if self.pending else "",
            sellable=sellable,
            version=self.version,
            quantity_max=self.quantity_max,
            opens_ms=self.opens_ms,
            closes_ms=self.closes_ms,
            paused=self.paused,
        )

    def new_token(self) -> str:
        """A token that nobody else sets."""
        return f"{self.nonce}-{secrets.token_hex(8)}"

    def inherit(self, snapshot: Snapshot, sellable: int) -> None:
        """Take over a journal's last word on this sale."""
        self.token, self.version, self.sellable, self.inherited = snapshot.token, snapshot.version, sellable, True
        self.quantity_max, self.paused = snapshot.quantity_max, snapshot.paused
        self.opens_ms, self.closes_ms = snapshot.opens_ms, snapshot.closes_ms

    def describe(self, state: EventState, version: int) -> None:
        """Take over limits and sale times, as the store had them."""
        self.quantity_max = state.event.quantity_max
        self.opens_ms, self.closes_ms = state.event.opens_ms, state.event.closes_ms
        self.paused = state.paused or state.halted
        self.version = max(self.version, version)

    def is_on_sale(self, now_ms: int) -> bool:
        """By the last known sale times, and this host's clock."""
        opened = self.opens_ms is None or now_ms >= self.opens_ms
        return opened and not self.paused and (self.closes_ms is None or now_ms < self.closes_ms)

    def take(self, request: PurchaseRequest) -> bool:
        """Count the tickets as sold, if the reserve covers them; the journal comes next."""
        if self.sellable < request.quantity:
            return False
        self.sellable -= request.quantity
        self.in_flight[request.purchase_id] = request.quantity
        return True

    def journalled(self, purchase: JournalledPurchase) -> None:
        """Its line is on disk: it was sold."""
        del self.in_flight[purchase.request.purchase_id]
        self.open[purchase.request.purchase_id] = purchase

    def lost_in_the_journal(self, request: PurchaseRequest) -> None:
        """Its write failed: the journal may hold it. Keyed, nobody settles or voids it; unkeyed, it will be voided."""
        quantity = self.in_flight.pop(request.purchase_id)
        if request.keyed:
            self.kept[request.purchase_id] = quantity

    def next_settle(self) -> SettleChange | None:
        """The change that settles what is open, if there is any and nothing is under way."""
        waiting = [entry for key, entry in self.open.items() if key not in self.parked]
        if self.pending is not None or not waiting:
            return None
        self.pending = SettleChange(
            self.event_id, self.seed, self.holder, self.token, self.new_token(), tuple(waiting[:SETTLE_AT_ONCE])
        )
        return self.pending

    def next_lease(self, glance: PoolGlance, size: ReserveSize, now_ms: int) -> LeaseChange | None:
        """The change that brings the lease to what it should be, if it is worth one and nothing is under way."""
        if self.pending is not None or glance.seed != self.seed:
            return None
        target = self._target(glance, size, now_ms)
        spare = self.leased - self.promised
        # Filling up by a few tickets at a time would be a change a purchase; giving back happens at once.
        if not (target < spare or (target > spare and (spare <= target // 2))):
            return None
        return self.begin_lease(target, size.share_per_mille)

    def begin_lease(self, target: int, share_per_mille: int) -> LeaseChange:
        """The change that leaves `target` tickets to sell. Until it is answered less may be sold, never more."""
        wanted = target + self.promised
        self.sellable = max(0, min(self.sellable, wanted - self.promised))
        self.pending = LeaseChange(
            self.event_id, self.seed, self.holder, self.token, self.new_token(), wanted, share_per_mille
        )
        return self.pending

    def answered(self, reply: LeaseReply) -> list[tuple[JournalledPurchase, Settled]]:
        """The pending change has its answer; what it settled. `sellable` is raised by `raise_sellable`, later.

        Raises TokenStolen where neither our token nor our pending one stands: somebody sells under our name.
        """
        change, self.pending = self.pending, None
        assert change is not None
        if reply.moved_on and reply.token != change.token:
            self.sellable = 0
            self.token, self.leased = reply.token, reply.leased
            raise TokenStolen(self.event_id, reply.token)
        self.token, self.leased = reply.token, reply.leased
        if not isinstance(change, SettleChange) or reply.moved_on:  # moved on: the outcomes are lost, settle again
            return []
        return [self._settled(entry, outcome) for entry, outcome in zip(change.purchases, reply.outcomes, strict=True)]

    def most_sellable(self) -> int:
        """What may be sold now that nothing is under way: the lease less what is promised from it."""
        return max(0, self.leased - self.promised) if self.pending is None else self.sellable

    def _settled(self, entry: JournalledPurchase, outcome: Settled) -> tuple[JournalledPurchase, Settled]:
        if outcome in CLOSED_FOR_GOOD:
            self.open.pop(entry.request.purchase_id, None)
        else:
            self.parked[entry.request.purchase_id] = outcome
        return entry, outcome

    def _target(self, glance: PoolGlance, size: ReserveSize, now_ms: int) -> int:
        wanted = min(size.tickets, glance.pool * size.share_per_mille // 1000)
        low = glance.pool < size.low_water * size.tickets * max(1, glance.holders)
        closed = glance.paused or (glance.closes_ms is not None and now_ms >= glance.closes_ms)
        upcoming = glance.opens_ms is not None and now_ms < glance.opens_ms
        return 0 if low or closed or upcoming else wanted


class TokenStolen(Exception):
    """A lease of ours carries a token that we did not set: a cloned host id, or an heir that took us for dead."""

    def __init__(self, event_id: str, token: str) -> None:
        super().__init__(f"event {event_id}: its lease carries a foreign token")
        self.event_id = event_id
        self.token = token
