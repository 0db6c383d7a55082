"""Settlement: each journalled purchase into Redis once, each void, and each lease to what it should be.

What must stay true: one round at a time, and only while the store answers; before anything else is asked of it, it is
looked at: a store that went back, or knows another sale, is halted, settles nothing, and its entries are parked in the
journal, loudly, until an operator decides. A decision that this process has not met yet goes before what it knew, so
that nobody halts again what was decided. A change whose reply was lost is sent again as it was, before the next one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from loguru import logger

from ticketing.errors import NodeFailed, ScriptFailed, StoreError, StoreRefused
from ticketing.model import EventState, Outcome
from ticketing.outage.holder import Holder, Sale
from ticketing.outage.lookback import Answered
from ticketing.outage.putting_back import PuttingBack
from ticketing.outage.reserve import EventReserve, ReserveSize, UnexplainedToken, is_closed
from ticketing.store.leases import (
    Glance,
    GlanceAsk,
    JournalledPurchase,
    LeaseChange,
    LeaseReply,
    LeaseStore,
    SettleChange,
    Settled,
    decided_at,
)
from ticketing.store.sale import SaleStore

VOID_AT_ONCE = 200
LOOK_AT_ALL = 50  # events: of so many none is left out of a round
TURNS = 4
GOOD = (Settled.SETTLED, Settled.KNOWN)

OnSettled = Callable[[str, list[str], list[Settled]], None]  # event id, newly written purchase ids, every outcome
OnVoided = Callable[[list[str]], None]  # ids that were sold and hold nothing now: what else there is of them must go
Glances = dict[Sale, Glance]


class Settlement:
    """What a holder does with the store."""

    def __init__(
        self,
        holder: Holder,
        leases: LeaseStore,
        sales: SaleStore,
        answered: Answered,
        size: ReserveSize,
        on_settled: OnSettled,
        on_voided: OnVoided,
        putting_back: PuttingBack | None = None,
        afresh: Callable[[], None] = lambda: None,
    ) -> None:
        """`putting_back` is the process's; an heir has nothing of its own to put back.

        After `afresh` every command goes over a connection that was not there before.
        """
        self._holder = holder
        self._leases = leases
        self._sales = sales
        self._answered = answered
        self._size = size
        self._on_settled = on_settled
        self._on_voided = on_voided
        self._putting_back = putting_back
        self._afresh = afresh
        self._failed: set[Sale] = set()  # events whose script failed, said once
        self._rounds = 0
        self._seen_at_look: dict[Sale, int] = {}  # versions

    def look(self) -> None:
        """Every event is compared with what is known of it, and halted where the store went back. Raises StoreError."""
        self._look(list(self._holder.events.values()))

    def round(self, states: Iterable[EventState], now_ms: int, *, at_once: bool = True) -> None:
        """Look, void, settle, then bring each lease to what it should be. Raises StoreError; then nothing is lost.

        `at_once`: the round was asked for, and did not come by the clock.
        """
        self._holder.learn(states)
        self._work(now_ms, self._size, self._due(at_once=at_once))
        if self._rounds % TURNS == 0:
            self._holder.note_versions()

    def give_back(self, now_ms: int) -> bool:
        """Settle everything and empty every lease; whether that is done. Raises StoreError."""
        self._work(now_ms, replace(self._size, tickets=0), list(self._holder.events.values()))
        self._holder.note_versions()
        given_back = all(reserve.is_given_back for reserve in self._holder.events.values())
        return given_back and self._holder.owes_nothing and not self._holder.poisoned

    def _work(self, now_ms: int, size: ReserveSize, due: Sequence[EventReserve]) -> None:
        glances = self._look(due)
        if self._putting_back is not None:
            self._putting_back.round([sale for sale, one in self._holder.events.items() if _is_to_be_restored(one)])
        self._carry_out_voids()
        looked_at = [reserve for sale, reserve in self._holder.events.items() if sale in glances]
        self._send([reserve for reserve in looked_at if reserve.halted_at is None])  # under way, before anything new
        self._settle(looked_at)
        if self._holder.poisoned:
            self._holder.heal()
            return
        self._change_leases(glances, now_ms, size)
        # A failure after an answer (the store's or the disk's) may have left a count below what its lease covers.
        self._holder.raise_counts([reserve for reserve in looked_at if reserve.sellable < reserve.most_sellable()])
        self._holder.empty_journal()

    def _due(self, *, at_once: bool = True) -> list[EventReserve]:
        """Those to be looked at in this round: of many events a quarter, and those that owe something; those that are
        sold from too, where the round was asked for.

        So each is looked at once a second. Looking at 500 in each round cost a tenth of a core, also while all of them
        were sold from: their scripts find an older store themselves, before they write.
        """
        reserves = list(self._holder.events.values())
        self._rounds += 1
        if len(reserves) <= LOOK_AT_ALL:
            return reserves
        turn = self._rounds % TURNS
        return [
            reserve
            for at, reserve in enumerate(reserves)
            if at % TURNS == turn or not reserve.owes_nothing or (at_once and self._is_sold_from(reserve))
        ]

    def _is_sold_from(self, reserve: EventReserve) -> bool:
        """Whether this process has heard anything new of the event since it looked."""
        sale = (reserve.event_id, reserve.seed)
        return self._seen_at_look.get(sale) != self._holder.version_of(sale)

    def _look(self, reserves: Sequence[EventReserve]) -> Glances:
        """How the events stand; who went back is halted, and halted ones go on where an operator decided."""
        looked: Glances = {}
        suspects = []
        for reserve, glance, why in self._glances(reserves):
            looked[reserve.event_id, reserve.seed] = glance
            if not self._see(reserve, glance, why):
                suspects.append(reserve)
        return looked | self._look_again(suspects) if suspects else looked

    def _look_again(self, suspects: Sequence[EventReserve]) -> Glances:
        """The verdict is for the connection first: it may have led to a replica, or to a primary that was deposed.

        Each connection of this process is closed; only what a fresh one leads to is halted.
        """
        self._afresh()
        looked: Glances = {}
        for reserve, glance, why in self._glances(suspects):
            looked[reserve.event_id, reserve.seed] = glance
            if why is not None and not self._see(reserve, glance, why):
                self._halt(reserve, why)
            elif why is None and self._see(reserve, glance, why):
                logger.warning("event {}: a connection led to an older store, a fresh one does not", reserve.event_id)
        return looked

    def _glances(self, reserves: Sequence[EventReserve]) -> Iterator[tuple[EventReserve, Glance, str | None]]:
        """How each stands, and why the store can't be the one that it was, or None."""
        # As they were when the store was asked: more may be answered while its reply is on its way.
        newest = [self._answered.newest(reserve.event_id, reserve.seed) for reserve in reserves]
        seen = [self._holder.version_of((reserve.event_id, reserve.seed)) for reserve in reserves]
        asks = [
            GlanceAsk(reserve.event_id, self._holder.name, purchase_id)
            for reserve, (purchase_id, _) in zip(reserves, newest, strict=True)
        ]
        glances = self._leases.glance(asks)
        if self._is_copied(reserves, glances):
            self._holder.disown()
            yield from self._glances(reserves)  # under another name
            return
        for reserve, (_, record), version, glance in zip(reserves, newest, seen, glances, strict=True):
            if isinstance(glance, ScriptFailed):
                self._say_failed(reserve, glance)
                continue
            sale = (reserve.event_id, reserve.seed)
            self._seen_at_look[sale] = self._holder.version_of(sale)
            yield reserve, glance, _went_back(reserve, record, version, glance)

    def _is_copied(self, reserves: Sequence[EventReserve], glances: Sequence[Glance | ScriptFailed]) -> bool:
        """Whether another process lives under our name. Raises StoreError."""
        if self._holder.presence is None or self._holder.is_disowned:
            return False
        return self._holder.presence.is_copied or any(
            glance.seed == reserve.seed and self._is_of_another(reserve, glance.token)
            for reserve, glance in zip(reserves, glances, strict=True)
            if not isinstance(glance, ScriptFailed)
        )

    def _is_of_another(self, reserve: EventReserve, token: str) -> bool:
        """Whether our lease carries a token of a process that sells under our name elsewhere. Raises StoreError."""
        presence = self._holder.presence
        if presence is None or decided_at(token) or reserve.explains(token):
            return False
        return reserve.is_behind(token) or presence.is_of_another(token)

    def _see(self, reserve: EventReserve, glance: Glance, why: str | None) -> bool:
        """Take over how it stands; whether nothing is wrong that was not known."""
        if glance.decided > reserve.decided:
            self._take_decision(reserve, glance)
        elif glance.halted and reserve.halted_at is None:
            self._take_halt(reserve, glance)
        elif reserve.halted_at is None or not (glance.halted or _is_gone(reserve, glance)):
            if why is not None:
                return False
            self._go_on(reserve, glance)
        return True

    def _go_on(self, reserve: EventReserve, glance: Glance) -> None:
        """Also where the mark is gone: the store was put right."""
        if glance.seed == reserve.seed:
            if reserve.halted_at is not None:
                reserve.go_on()
                logger.warning("event {}: the store is as it was before the halt, the sale goes on", reserve.event_id)
            reserve.met(glance.token)
        else:
            self._holder.forget((reserve.event_id, reserve.seed))

    def _hold(self, reserve: EventReserve, version: int) -> None:
        self._answered.ring.hold((reserve.event_id, reserve.seed))
        self._holder.halt(reserve, version)

    def _take_halt(self, reserve: EventReserve, glance: Glance) -> None:
        """Somebody else found out that the store went back."""
        promised = reserve.promised
        self._hold(reserve, glance.version)
        logger.critical("event {} is halted; {} tickets are parked", reserve.event_id, promised)

    def _take_decision(self, reserve: EventReserve, glance: Glance) -> None:
        """The store is the truth, whatever was known. A sale that it does not know is gone: what is open is parked."""
        self._answered.forget(reserve.event_id, reserve.seed)
        if self._putting_back is not None:
            self._putting_back.decided((reserve.event_id, reserve.seed))
        reserve.go_on(glance.decided)
        self._holder.journal_no_count(reserve)
        if glance.seed == reserve.seed:
            reserve.met(glance.token)
        elif reserve.open or reserve.promised:
            self._holder.halt(reserve, glance.decided)
            logger.critical("event {}: its sale is gone, {} tickets are parked", reserve.event_id, reserve.promised)
        else:
            self._holder.forget((reserve.event_id, reserve.seed))

    def _halt(self, reserve: EventReserve, why: str) -> None:
        """Nothing is sold of the event, by anybody, until an operator decides or the store is put right."""
        promised = reserve.promised
        try:
            version = self._leases.halt(reserve.event_id, why, reserve.decided)
        except ScriptFailed as error:  # what of it is damaged keeps every script from selling, too
            self._say_failed(reserve, error)
            return
        if version is None:
            return  # an operator decided meanwhile: the next look takes that over
        self._hold(reserve, version)
        logger.critical(
            "event {} is halted: the store went back in time ({}); {} tickets are parked",
            reserve.event_id,
            why,
            promised,
        )

    def _settle(self, looked_at: Sequence[EventReserve]) -> None:
        """Every open purchase, a chunk an event."""
        poisoned = self._holder.poisoned
        begun = [reserve for reserve in looked_at if reserve.next_settle(keep_token=poisoned) is not None]
        self._send(begun if poisoned else self._holder.journal_changes(begun))

    def _change_leases(self, glances: Glances, now_ms: int, size: ReserveSize) -> None:
        begun = [
            reserve
            for reserve in self._holder.events.values()
            if (glance := glances.get((reserve.event_id, reserve.seed))) is not None
            and reserve.next_lease(self._as_shared(glance), size, now_ms) is not None
        ]
        self._send(self._holder.journal_changes(begun))

    def _as_shared(self, glance: Glance) -> Glance:
        """The pool is shared by who lives: records of hosts that are gone for good make no reserve smaller."""
        living = self._holder.presence.living if self._holder.presence is not None else 0
        return replace(glance, records=min(glance.records, living)) if living else glance

    def _send(self, reserves: Sequence[EventReserve]) -> None:
        """Send what is under way, and take the answers. Raises StoreError where there were none."""
        changes = [reserve.pending for reserve in reserves if reserve.pending is not None]
        leases = [change for change in changes if isinstance(change, LeaseChange)]
        settles = [change for change in changes if isinstance(change, SettleChange)]
        if leases:
            self._take_all(leases, self._leases.lease(leases))
        if settles:
            self._take_all(settles, self._leases.settle(settles))

    def _take_all(
        self, changes: Sequence[LeaseChange | SettleChange], replies: Sequence[LeaseReply | Outcome | StoreError]
    ) -> None:
        answered: list[EventReserve] = []
        for change, reply in zip(changes, replies, strict=True):
            reserve = self._holder.events[change.event_id, change.seed]
            if reserve.pending is not change:  # dropped with the name that it was sent under
                continue
            if isinstance(reply, LeaseReply):
                self._take(reserve, change, reply)
                answered.append(reserve)
            elif isinstance(reply, StoreError):
                self._say_failed(reserve, reply)
            elif reply is not Outcome.NO_EVENT:  # of that the next look judges: it may have been replaced meanwhile
                self._look_again([reserve])
        self._holder.raise_counts(answered)
        for reply in replies:
            if isinstance(reply, StoreRefused):  # the whole server, as it seems: read-only, loading, out of memory
                raise reply

    def _say_failed(self, reserve: EventReserve, error: StoreError) -> None:
        """One event's script fails: its change stays under way, and the other events go on."""
        sale = (reserve.event_id, reserve.seed)
        if isinstance(error, NodeFailed):  # the store itself says which node is away
            return
        if isinstance(error, ScriptFailed) and sale not in self._failed:
            self._failed.add(sale)
            logger.error("event {}: nothing can be settled or leased: {}", reserve.event_id, error)

    def _take(self, reserve: EventReserve, change: LeaseChange | SettleChange, reply: LeaseReply) -> None:
        before = reserve.leased if reserve.won else 0
        try:
            settled = reserve.answered(reply)
        except UnexplainedToken:
            if not self._holder.is_disowned and self._is_of_another(reserve, reply.token):
                self._holder.disown()
            else:
                self._look_again([reserve])
            return
        self._failed.discard((reserve.event_id, reserve.seed))
        if isinstance(change, LeaseChange):
            self._holder.breaker.counts.handed_back += max(0, before - reply.leased)
        if settled:
            self._report(reserve, settled, reply.records)

    def _report(
        self,
        reserve: EventReserve,
        settled: Sequence[tuple[JournalledPurchase, Settled]],
        records: Sequence[str],
    ) -> None:
        outcomes = [outcome for _, outcome in settled]
        self._holder.breaker.counts.settled += sum(outcome in GOOD for outcome in outcomes)
        parked = Counter(outcome for entry, outcome in settled if not is_closed(entry, outcome))
        for outcome, count in parked.items():
            logger.critical("event {}: {} journalled purchases are {}: parked", reserve.event_id, count, outcome)
        sale = (reserve.event_id, reserve.seed)
        for (entry, outcome), record in zip(settled, records, strict=True):
            if record:  # its buyer may have seen its tickets by now
                told = (entry.request.purchase_id, record, entry.request.contact, outcome is Settled.SETTLED)
                self._answered.ring.add(sale, told)
        written = [entry.request.purchase_id for entry, outcome in settled if outcome is Settled.SETTLED]
        self._on_settled(reserve.event_id, written, outcomes)

    def _carry_out_voids(self) -> None:
        """As far as their events are not halted; an event whose script fails keeps no other waiting."""
        voids = self._holder.voids
        sales = dict.fromkeys((intent.event_id, intent.seed) for intent in voids.values())
        halted = {sale for sale, reserve in self._holder.events.items() if reserve.halted_at is not None}
        for sale in [sale for sale in sales if sale not in halted]:
            ids = [key for key, intent in voids.items() if (intent.event_id, intent.seed) == sale]
            for first in range(0, len(ids), VOID_AT_ONCE):
                self._void(sale, ids[first : first + VOID_AT_ONCE])

    def _void(self, sale: Sale, purchase_ids: Sequence[str]) -> None:
        """An intent is kept also where there is no such event: a store that came back empty may be put right."""
        try:
            reply = self._sales.void(*sale, purchase_ids)
        except ScriptFailed as error:
            self._say_failed(self._holder.reserve(*sale), error)
            return
        if isinstance(reply, list):
            for purchase_id in purchase_ids:
                self._holder.voids.pop(purchase_id, None)
            logger.info("event {}: {} voided, {} barred", sale[0], reply.count("voided"), reply.count("barred"))
            # "already": the reply that said "voided" was lost, perhaps.
            tags = zip(purchase_ids, reply, strict=True)
            self._forget_voided([purchase_id for purchase_id, tag in tags if tag in ("voided", "already")])
        elif reply is not Outcome.NO_EVENT:
            self._look_again([self._holder.reserve(*sale)])

    def _forget_voided(self, purchase_ids: list[str]) -> None:
        try:
            self._on_voided(purchase_ids)
        except OSError as error:  # a full or lost disk of receipts ends no round
            logger.error("receipts of voided purchases are left behind: {}", error)


def _is_to_be_restored(reserve: EventReserve) -> bool:
    return reserve.halted_at is not None and reserve.halted_at != reserve.decided


def _is_gone(reserve: EventReserve, glance: Glance) -> bool:
    """Whether the store does not know the sale because an operator took it so."""
    return glance.seed != reserve.seed and 0 < glance.decided == reserve.decided


def _went_back(reserve: EventReserve, record: str, version: int, glance: Glance) -> str | None:
    """Why the store can't be the one that it was; None where nothing speaks against it.

    `record` is what it answered last, `version` the highest that it told. A sale that was replaced goes on under a
    higher one; an event that was made anew does not.
    """
    if glance.seed != reserve.seed:
        by_right = glance.seed is not None and glance.version > max(version, reserve.version)
        replaced = by_right and not record and not reserve.holds_something
        return None if replaced else f"it knows another sale of this event: {glance.seed}"
    if glance.version < version:
        return f"its version is {glance.version}, and was {version}"
    if record and glance.record != record:
        return "a purchase that it answered is not as it was"
    return None if reserve.explains(glance.token) else f"its lease carries the token {glance.token!r}"
