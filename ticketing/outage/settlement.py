"""Settlement: each journalled purchase into Redis once, each void, and each lease to what it should be.

What must stay true: one round at a time, and only while the store answers; a change whose reply was lost is sent again
as it was, before anything else is asked of that lease. A store that went back, or knows another sale, settles nothing:
its entries are parked in the journal, loudly, until an operator decides.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from loguru import logger

from ticketing.errors import StoreError
from ticketing.model import EventState, Outcome
from ticketing.outage.holder import Holder
from ticketing.outage.reserve import EventReserve, ReserveSize, TokenStolen
from ticketing.store.leases import LeaseChange, LeaseReply, LeaseStore, SettleChange, Settled
from ticketing.store.sale import SaleStore

VOID_AT_ONCE = 200
LOUD = (Settled.UNFUNDED, Settled.VOIDED, Settled.KEY_REUSED)

OnSettled = Callable[[str, list[str], list[Settled]], None]  # event id, newly written purchase ids, every outcome


class Settlement:
    """What a holder does with the store."""

    def __init__(
        self, holder: Holder, leases: LeaseStore, sales: SaleStore, size: ReserveSize, on_settled: OnSettled
    ) -> None:
        self._holder = holder
        self._leases = leases
        self._sales = sales
        self._size = size
        self._on_settled = on_settled

    def round(self, states: Iterable[EventState], now_ms: int) -> None:
        """Void, settle, then bring each lease to what it should be. Raises StoreError; then nothing is lost."""
        self.pay_debts()
        if self._holder.poisoned:
            self._holder.heal()
            return
        self._holder.learn(states)
        self._change_leases(now_ms, self._size)
        self._holder.empty_journal()

    def give_back(self, now_ms: int) -> bool:
        """Settle everything and empty every lease; whether that is done. Raises StoreError."""
        self.pay_debts()
        if self._holder.poisoned:
            self._holder.heal()
            return False
        self._change_leases(now_ms, replace(self._size, tickets=0))
        self._holder.empty_journal()
        empty = not any(reserve.leased for reserve in self._holder.events.values())
        return empty and self._holder.owes_nothing

    def pay_debts(self) -> None:
        """What was promised before: voids, inherited leases, changes without an answer, open purchases."""
        self._carry_out_voids()
        reserves = self._holder.events.values()
        if not self._holder.poisoned:
            self._send(self._win_inherited())
        self._send([reserve.pending for reserve in reserves if reserve.pending is not None])
        self._send([change for reserve in reserves if (change := reserve.next_settle()) is not None])

    def _win_inherited(self) -> list[LeaseChange]:
        """A lease that was merely read is ours only after a compare-and-set; it then holds what is promised from it."""
        inherited = [r for r in self._holder.events.values() if r.inherited and r.pending is None and not r.troubled]
        for reserve in inherited:
            reserve.sellable = 0
        if not self._holder.journal_counts(inherited):
            return []
        return [reserve.begin_lease(0, self._size.share_per_mille) for reserve in inherited]

    def _change_leases(self, now_ms: int, size: ReserveSize) -> None:
        idle = [r for r in self._holder.events.values() if r.pending is None and not r.inherited and not r.troubled]
        glances = self._leases.glance([reserve.event_id for reserve in idle])
        pairs = zip(idle, glances, strict=True)
        changed = [(r, change) for r, glance in pairs if (change := r.next_lease(glance, size, now_ms)) is not None]
        if self._holder.journal_counts([reserve for reserve, _ in changed]):
            self._send([change for _, change in changed])
        else:
            for reserve, _ in changed:
                reserve.pending = None  # it was never sent

    def _send(self, changes: Sequence[LeaseChange | SettleChange]) -> None:
        leases = [change for change in changes if isinstance(change, LeaseChange)]
        settles = [change for change in changes if isinstance(change, SettleChange)]
        replies = (self._leases.lease(leases) if leases else []) + (self._leases.settle(settles) if settles else [])
        answered = []
        failure: StoreError | None = None
        sent: list[LeaseChange | SettleChange] = [*leases, *settles]
        for change, reply in zip(sent, replies, strict=True):
            reserve = self._holder.events[change.event_id, change.seed]
            if isinstance(reply, StoreError):
                failure = reply
            elif isinstance(reply, Outcome):
                self._park(reserve, reply)
            elif self._take(reserve, change, reply):
                answered.append(reserve)
        if not self._holder.poisoned:
            self._holder.raise_counts(answered)
        if failure is not None:
            raise failure

    def _take(self, reserve: EventReserve, change: LeaseChange | SettleChange, reply: LeaseReply) -> bool:
        """Whether the lease is ours, and stands as the reply says."""
        before = reserve.leased
        try:
            settled = reserve.answered(reply)
        except TokenStolen as stolen:
            # Inherited: its holder is dead, we hold its lock, and now know the token to win it by.
            if not reserve.inherited:
                logger.critical("{}: its reserve is off. Was the journal's folder copied from another host?", stolen)
                self._holder.events.pop((reserve.event_id, reserve.seed))
            return False
        reserve.inherited = False
        if isinstance(change, LeaseChange) and reply.leased < before:
            self._holder.breaker.counts.handed_back += before - reply.leased
        if settled:
            self._report(reserve, settled)
        return True

    def _report(self, reserve: EventReserve, settled: Sequence[tuple[JournalledPurchase, Settled]]) -> None:
        outcomes = [outcome for _, outcome in settled]
        self._holder.breaker.counts.settled += sum(outcome not in LOUD for outcome in outcomes)
        for loud in LOUD:
            if count := outcomes.count(loud):
                logger.critical("event {}: {} journalled purchases are {}: parked", reserve.event_id, count, loud)
        written = [entry.request.purchase_id for entry, outcome in settled if outcome is Settled.SETTLED]
        self._on_settled(reserve.event_id, written, outcomes)

    def _park(self, reserve: EventReserve, outcome: Outcome) -> None:
        reserve.sellable = 0
        if not reserve.troubled:
            reserve.troubled = True
            promised = reserve.promised
            logger.critical("event {}: the store says {}; {} tickets are parked", reserve.event_id, outcome, promised)

    def _carry_out_voids(self) -> None:
        voids = self._holder.voids
        for sale in {(intent.event_id, intent.seed) for intent in voids.values()}:
            ids = [key for key, intent in voids.items() if (intent.event_id, intent.seed) == sale]
            for first in range(0, len(ids), VOID_AT_ONCE):
                chunk = ids[first : first + VOID_AT_ONCE]
                reply = self._sales.void(*sale, chunk)
                if isinstance(reply, list) or reply is Outcome.NO_EVENT:
                    for purchase_id in chunk:
                        voids.pop(purchase_id, None)
