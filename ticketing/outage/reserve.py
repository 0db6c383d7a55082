"""The reserve: how many tickets this holder may sell while Redis is away, event by event. A count, never ids.

Rules, before the code:

1. What may be sold is journalled before it is lowered by a change, and raised only after the change was answered. So
   neither this process nor its heir ever sells a ticket that a lost reply gave away.
2. While a change (lease or settle) has no answer, only what both of its outcomes leave may be sold.
3. One change at a time an event. After a lost reply the very same command is sent again, until it is answered.
4. `wanted` of a change counts every journalled ticket that is not settled, those whose fsync is under way included.
5. A count that was merely read is never sold: the lease must be won by a compare-and-set of this process first.
6. Tokens of one process are numbered: a journal that is older than the store is told from a store that went back.
7. The token of the lease in the store is one that this reserve can explain: its own, that of its change under way, or,
   until it is won, one that the journal names. Any other token means that the store went back, or that somebody else
   sells under our name, unless an operator decided since this reserve last looked: then it is taken as it is.

No clock ends a lease. Pure: it decides, and neither sends nor writes; settlement.py and holder.py do.
"""

import secrets
from dataclasses import dataclass, field

from ticketing.model import EventState, PurchaseRequest
from ticketing.outage.journal import Snapshot
from ticketing.store.leases import (
    Glance,
    JournalledPurchase,
    LeaseChange,
    LeaseReply,
    SettleChange,
    Settled,
    decided_at,
)

SETTLE_AT_ONCE = 200
LOW_WATER = 5


@dataclass(frozen=True, slots=True)
class ReserveSize:
    """How much a holder leases of an event."""

    tickets: int  # at most
    share_per_mille: int  # of the pool
    low_water: int = LOW_WATER  # the pool stays this many times what all may hold, or leases shrink


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
    limited: bool = False  # to so many tickets a buyer, which can't be kept without Redis
    version: int = 0  # the highest seen
    token: str = ""  # that the next change expects
    possible: frozenset[str] | None = None  # tokens that the store may hold (rule 7); None: nothing is known yet
    won: bool = False  # by a compare-and-set of this process
    leased: int = 0  # tickets in the lease, by the last answer; means nothing before it is won
    sellable: int = 0  # tickets that may be sold now; never more than what the journal says
    pending: LeaseChange | SettleChange | None = None
    open: dict[str, JournalledPurchase] = field(default_factory=dict)  # on disk, not settled
    in_flight: dict[str, int] = field(default_factory=dict)  # purchase id -> quantity, fsync under way
    kept: dict[str, int] = field(default_factory=dict)  # keyed ids of a poisoned journal: counted, never settled
    parked: dict[str, Settled] = field(default_factory=dict)  # ids that could not be settled; for an operator
    halted_at: int | None = None  # the version at which the event was halted, as far as this process knows
    decided: int = 0  # the version of the last decision of an operator that is taken into account
    trusts: bool = False  # whatever token the store holds next: an operator decided
    disowned: bool = False  # another host sells under our name: nothing is leased, what is open comes from the pool
    changes: int = 0  # begun by this process

    @property
    def promised(self) -> int:
        """Journalled tickets that are not settled (rule 4)."""
        settled_later = sum(entry.request.quantity for key, entry in self.open.items() if key not in self.parked)
        return settled_later + sum(self.in_flight.values()) + sum(self.kept.values())

    @property
    def owes_nothing(self) -> bool:
        """Whether nothing is to be settled, in flight or under way. What is parked is an operator's."""
        unsettled = self.open.keys() - self.parked.keys()
        return not (unsettled or self.in_flight or self.kept or self.pending is not None)

    @property
    def holds_something(self) -> bool:
        """Whether the sale can't have been replaced by right: it has a lease or purchases of ours."""
        return self.leased > 0 or self.sellable > 0 or self.promised > 0 or bool(self.open)

    @property
    def is_given_back(self) -> bool:
        """Whether the store leases nothing to this holder."""
        return self.leased == 0 if self.won else self.token == ""

    def snapshot(self, sellable: int) -> Snapshot:
        """The line that says how the reserve stands, with this count."""
        return Snapshot(
            event_id=self.event_id,
            seed=self.seed,
            tokens=() if self.disowned else tuple(sorted(self._explained())),
            sellable=sellable,
            version=self.version,
            quantity_max=self.quantity_max,
            opens_ms=self.opens_ms,
            closes_ms=self.closes_ms,
            paused=self.paused,
        )

    def inherit(self, snapshot: Snapshot, sellable: int) -> None:
        """Take over a journal's last word on this sale."""
        self.possible = frozenset(snapshot.tokens) or None
        self.token = next(iter(snapshot.tokens), "")
        self.version, self.sellable, self.won = snapshot.version, sellable, False
        self.decided = snapshot.version  # what was decided before the journal's last word is known
        self.quantity_max, self.paused = snapshot.quantity_max, snapshot.paused
        self.opens_ms, self.closes_ms = snapshot.opens_ms, snapshot.closes_ms

    def describe(self, state: EventState) -> bool:
        """Take over limits and sale times, as the store had them; whether that changed anything."""
        before = (self.quantity_max, self.limited, self.opens_ms, self.closes_ms, self.paused)
        self.quantity_max, self.limited = state.event.quantity_max, state.event.buyer_max > 0
        self.opens_ms, self.closes_ms = state.event.opens_ms, state.event.closes_ms
        self.paused = state.paused or state.halted or state.issued < state.planned
        return before != (self.quantity_max, self.limited, self.opens_ms, self.closes_ms, self.paused)

    def halt(self, version: int) -> None:
        """Nothing is sold, settled or leased until the event goes on under a higher version."""
        self.halted_at, self.sellable = version, 0

    def go_on(self, decided: int = 0) -> None:
        """An operator decided, at this version: the lease is as the store has it, and what is open is owed.

        What is under way stays so, and is sent again (rule 3): where the store knew no lease of ours, it could yet run.
        """
        self.decided = max(self.decided, decided)
        self.halted_at, self.won, self.trusts = None, False, True
        self.leased = self.sellable = 0
        self.parked.clear()

    def is_behind(self, token: str) -> bool:
        """Whether the journal is older than this token, which a process set that it knows: it is a copy, or was lost.

        A process journals each token before it sends it. A store that went back holds an older one.
        """
        nonce, number = _numbered(token)
        known = [known for setter, known in map(_numbered, self._explained()) if setter == nonce]
        return bool(known) and number > max(known)

    def disown(self, holder: str) -> None:
        """The lease and its name are another's. What was sold is settled under this name, from the pool.

        What is under way is not sent again: where it runs yet, settling finds its purchases known.
        """
        self.holder, self.disowned, self.pending = holder, True, None
        self.token, self.possible, self.won, self.trusts = "", None, False, False
        self.leased = self.sellable = 0

    def is_on_sale(self, now_ms: int) -> bool:
        """By the last known sale times."""
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

    def explains(self, token: str) -> bool:
        """Rule 7. What the store holds without our knowledge is taken over where nothing was known."""
        return self.possible is None or self.trusts or token in self._explained()

    def met(self, token: str) -> None:
        """The store holds this token, which is explained: the next change expects it."""
        if self.possible is None or self.trusts:
            # Those of before stay: a late change of a dead process may still set one of them.
            self.possible, self.trusts = (self.possible or frozenset()) | {token}, False
        if self.pending is None:
            self.token = token

    def next_settle(self, *, keep_token: bool = False) -> SettleChange | None:
        """The change that settles what is open, if there is any and nothing is under way.

        `keep_token` where the journal can't say that another one comes. That is safe as well: a settle that runs twice
        finds every purchase known.
        """
        waiting = [entry for key, entry in self.open.items() if key not in self.parked]
        if self.pending is not None or self.halted_at is not None or not waiting:
            return None
        token = self.token if keep_token else self._new_token()
        chunk = tuple(waiting[:SETTLE_AT_ONCE])
        self.pending = SettleChange(self.event_id, self.seed, self.holder, self.token, token, chunk)
        return self.pending

    def next_lease(self, glance: Glance, size: ReserveSize, now_ms: int) -> LeaseChange | None:
        """The change that brings the lease to what it should be, if it is worth one and nothing is under way.

        A lease that is not won is won by giving back what nothing was sold from.
        """
        if self.pending is not None or self.halted_at is not None or glance.seed != self.seed or self.disowned:
            return None
        if not self.won:
            # A holder that leases nothing needs no record of its own in the store.
            return self._begin_lease(0, size) if glance.token else self._first_lease(glance, size, now_ms)
        target = self._target(glance, size, now_ms)
        spare = self.leased - self.promised
        # A few tickets at a time would be a change in each round of a sale; the last ones are given back at once.
        too_much = target < spare and 4 * target <= 3 * spare
        too_little = target > spare and spare <= target // 2
        if not (too_much or too_little):
            return None
        return self._begin_lease(target, size)

    def answered(self, reply: LeaseReply) -> list[tuple[JournalledPurchase, Settled]]:
        """The pending change has its answer; what it settled. What may be sold is raised later.

        Raises UnexplainedToken (rule 7).
        """
        change = self.pending
        assert change is not None
        if reply.moved_on and reply.token != change.token:
            self.sellable = 0
            if decided_at(reply.token) > self.decided:  # between the last look and this change
                self.go_on(decided_at(reply.token))
            if self.won or not self.explains(reply.token):
                raise UnexplainedToken(f"its lease carries the token {reply.token!r}")
            self.pending, self.token = None, reply.token  # a change of a dead process came late
            return []
        self.pending, self.token, self.leased = None, reply.token, reply.leased
        # With the same token again nothing is won: a late change of a dead process could still expect it.
        self.won = self.won or change.token != change.expected
        if self.won:
            self.possible, self.trusts = frozenset({reply.token}), False
        if not isinstance(change, SettleChange) or reply.moved_on:  # moved on: the outcomes are lost, settle again
            return []
        return [self._settled(entry, outcome) for entry, outcome in zip(change.purchases, reply.outcomes, strict=True)]

    def never_sent(self) -> None:
        """The change under way was not sent, and never will be."""
        self.pending = None

    def most_sellable(self) -> int:
        """What may be sold at most, by what was answered (rules 2 and 5)."""
        if self.pending is not None or not self.won or self.halted_at is not None or self.disowned:
            return self.sellable
        return max(0, self.leased - self.promised)

    def _first_lease(self, glance: Glance, size: ReserveSize, now_ms: int) -> LeaseChange | None:
        target = self._target(glance, size, now_ms)
        return self._begin_lease(target, size) if target > 0 else None

    def _begin_lease(self, target: int, size: ReserveSize) -> LeaseChange:
        """The change that leaves `target` tickets to sell. Until it is answered less may be sold, never more."""
        wanted = target + self.promised
        self.sellable = min(self.sellable, target)
        self.pending = LeaseChange(
            self.event_id, self.seed, self.holder, self.token, self._new_token(), wanted, size.share_per_mille
        )
        return self.pending

    def _explained(self) -> frozenset[str]:
        under_way = frozenset({self.pending.token}) if self.pending is not None else frozenset()
        return (self.possible or frozenset()) | under_way

    def _new_token(self) -> str:
        """One that nobody else sets."""
        self.changes += 1
        return f"{self.nonce}-{self.changes}-{secrets.token_hex(8)}"

    def _settled(self, entry: JournalledPurchase, outcome: Settled) -> tuple[JournalledPurchase, Settled]:
        if is_closed(entry, outcome):
            self.open.pop(entry.request.purchase_id, None)
        else:
            self.parked[entry.request.purchase_id] = outcome
        return entry, outcome

    def _target(self, glance: Glance, size: ReserveSize, now_ms: int) -> int:
        wanted = min(size.tickets, glance.pool * size.share_per_mille // 1000)
        if size.low_water:  # less as the pool runs low, so that it is always so many times what all would lease
            wanted = min(wanted, glance.pool // (size.low_water * max(1, glance.records)))
        closed = self.paused or glance.paused or (glance.closes_ms is not None and now_ms >= glance.closes_ms)
        upcoming = glance.opens_ms is not None and now_ms < glance.opens_ms
        return 0 if closed or upcoming or self.limited else wanted


def is_closed(entry: JournalledPurchase, outcome: Settled) -> bool:
    """Whether nothing is left to do about a purchase; else it is parked, for an operator.

    An id without a key is barred only by an intent to void it, of a journal that failed: its buyer was told 503.
    """
    return outcome in (Settled.SETTLED, Settled.KNOWN) or (outcome is Settled.VOIDED and not entry.request.keyed)


def _numbered(token: str) -> tuple[str, int]:
    """Who set a token, and at which of its changes; 0 where it does not say."""
    nonce, _, rest = token.partition("-")
    number, dash, _ = rest.partition("-")
    return nonce, int(number) if dash and number.isdecimal() else 0


class UnexplainedToken(Exception):
    """A lease of ours carries a token that nobody of this host set: the store went back, or our host id was copied."""
