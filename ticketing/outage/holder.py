"""The holder: what one process may sell without Redis, owes and has promised. It journals, and takes answers.

Rules, before the code (reserve.py has those of one event, journal.py those of the file):

1. The journal comes first: a change's token and the count that it leaves are on disk before it is sent, a raised count
   before it is sold from, a purchase before it is answered, a void intent before its 503.
2. The journal is emptied only when nothing is open, in flight, to be voided, or under way; what is parked is open.
3. A poisoned journal sells nothing and changes no lease. Ids that it may hold are voided (unkeyed) or kept (keyed),
   what was on disk before is settled, and only then a truncation that works heals it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import gevent
from loguru import logger

from ticketing.errors import Unavailable
from ticketing.model import EventState, Outcome, PurchaseRequest, SaleReply
from ticketing.outage.breaker import Breaker
from ticketing.outage.journal import Content, Entry, JournalError, VoidIntent
from ticketing.outage.journal_writer import JournalWriter, NoJournal
from ticketing.outage.presence import Presence
from ticketing.outage.reserve import EventReserve
from ticketing.store.leases import JournalledPurchase
from ticketing.store.sale import Versions

COMPACT_BYTES = 1 << 20  # a journal that holds nothing but counts is written anew when it is longer than this

VOIDS_MAX = 100_000

Sale = tuple[str, str]  # event id, seed


@dataclass(frozen=True, slots=True)
class Tally:
    """What the metrics want to know of a holder."""

    reserve_tickets: int
    unsettled: int  # journalled purchases
    voids: int
    parked: int = 0  # purchases that only an operator can decide about


class Holder:
    """One slot of this host, at work."""

    def __init__(
        self,
        name: str,
        nonce: str,
        writer: JournalWriter | NoJournal,
        versions: Versions,
        breaker: Breaker,
        presence: Presence | None = None,
    ) -> None:
        """`presence` is its name's in the store; None where no other process can live under it."""
        self.name = name
        self.presence = presence
        self.is_disowned = False
        self.breaker = breaker
        self.events: dict[Sale, EventReserve] = {}
        self.voids: dict[str, VoidIntent] = {}
        self._nonce = nonce
        self._writer = writer
        self._versions = versions
        self._emptied = True  # whether the journal holds nothing but its format and counts
        self._emptied_bytes = 0  # its length when it was emptied last: the counts of very many events are long
        self._said_poisoned = writer.poisoned  # where there is no journal, the keeper says why

    @property
    def poisoned(self) -> bool:
        """Whether the journal failed, and nothing may be sold from it."""
        return self._writer.poisoned

    @property
    def is_full(self) -> bool:
        """Whether no more void intents can be kept: then no purchase may be sent that could need one."""
        return len(self.voids) >= VOIDS_MAX

    @property
    def owes_nothing(self) -> bool:
        """Whether every promise that can be kept is kept. What is parked is an operator's."""
        return not self.voids and all(reserve.owes_nothing for reserve in self.events.values())

    def tally(self) -> Tally:
        """How much may be sold, and how much is still to be done."""
        reserves = self.events.values()
        sellable = sum(reserve.sellable for reserve in reserves)
        parked = sum(len(reserve.parked) for reserve in reserves)
        unsettled = sum(len(reserve.open) for reserve in reserves) - parked
        return Tally(sellable, unsettled, len(self.voids), parked)

    @property
    def halted_events(self) -> set[str]:
        """Events about which an operator must decide, as far as this process has found out.

        Not those whose sale is gone by a decision. A store that was lost halts at a lower version than was ever known.
        """
        reserves = self.events.values()
        return {one.event_id for one in reserves if one.halted_at is not None and one.halted_at != one.decided}

    @property
    def decisions(self) -> tuple[int, frozenset[str]]:
        """Changes whenever an operator decided about an event, or one was halted or goes on."""
        return sum(reserve.decided for reserve in self.events.values()), frozenset(self.halted_events)

    def seed_of(self, event_id: str) -> str | None:
        """The seed under which this holder could sell the event; None where it knows nothing of it."""
        return next((seed for known, seed in reversed(self.events) if known == event_id), None)

    def reserve(self, event_id: str, seed: str) -> EventReserve:
        """The reserve of a sale, made where there was none."""
        sale = (event_id, seed)
        if sale not in self.events:
            self.events[sale] = EventReserve(event_id, seed, self.name, self._nonce, disowned=self.is_disowned)
        return self.events[sale]

    def disown(self) -> None:
        """Another host sells under our name: no lease any more, and what is open is settled under a name beside it.

        Who adopts the journal later sells nothing of it, and takes over what the store holds by then.
        """
        assert self.presence is not None
        self.presence.is_copied = self.is_disowned = True
        self.name = self.presence.name
        for reserve in self.events.values():
            reserve.disown(self.name)
        logger.critical(
            "another host sells under this host's id ({}): no reserve any more, the sale from Redis goes on. A journal "
            "folder was copied: stop one of the two, see the runbook, A host id is used twice",
            self.presence.host_id,
        )
        if not self.poisoned:
            self.try_to_journal([self._snapshot(reserve, 0) for reserve in self.events.values()])

    def version_of(self, sale: Sale) -> int:
        """The highest that this process has seen of a sale."""
        return self._versions.seen(*sale)

    def sell(self, seed: str, request: PurchaseRequest, now_ms: int) -> SaleReply:
        """Sell from the reserve: PROVISIONAL (detail: sold_at_ms) once it is on disk.

        KEY_REUSED where this journal holds the id with other content. Raises Unavailable where it can't be sold.
        """
        reserve = self.events.get((request.event_id, seed))
        if reserve is None:
            raise Unavailable("no reserve of this event")
        if (known := _journalled_before(reserve, request)) is not None:
            return known
        if not reserve.is_on_sale(now_ms) or reserve.limited or not 1 <= request.quantity <= reserve.quantity_max:
            raise Unavailable("not sold from the reserve")
        if self.poisoned or not reserve.take(request):
            raise Unavailable("the reserve is empty")
        return self._journal_sale(reserve, JournalledPurchase(request, seed, now_ms))

    def void_later(self, event_id: str, seed: str, purchase_id: str) -> None:
        """The id will hold no ticket; on disk before this returns, where the disk can be written."""
        self.take_voids({purchase_id: VoidIntent(event_id, seed, purchase_id)})

    def take_voids(self, intents: Mapping[str, VoidIntent]) -> None:
        """The same for many ids at once, which share one fsync."""
        self.voids |= intents
        for intent in intents.values():  # so that the next look judges its sale, and forgets one that was replaced
            self.reserve(intent.event_id, intent.seed)
        self._emptied = self._emptied and not intents
        self.try_to_journal(list(intents.values()))

    def adopt(self, content: Content) -> None:
        """Take over what a journal says: what is open is owed; what is sellable may be sold while Redis is away."""
        if self.presence is not None:
            self.presence.knows(token for snapshot in content.snapshots.values() for token in snapshot.tokens)
        self._emptied = not (content.purchases or content.voids)
        for sale, snapshot in content.snapshots.items():
            self.reserve(*sale).inherit(snapshot, content.sellable[sale])
            self._versions.saw(*sale, snapshot.version)
        for purchase_id, entry in content.purchases.items():
            self.reserve(entry.request.event_id, entry.seed).open[purchase_id] = entry
        for intent in content.voids.values():
            self.reserve(intent.event_id, intent.seed)
        self.voids |= content.voids

    def learn(self, states: Iterable[EventState]) -> None:
        """Take over limits and sale times. Whether another sale was replaced by right, the look judges."""
        known = [(self.reserve(state.event.event_id, state.seed), state) for state in states]
        changed = [reserve for reserve, state in known if reserve.describe(state) and reserve.sellable]
        if not self.poisoned:  # an heir without Redis keeps to what was said last
            self.try_to_journal([self._snapshot(reserve, reserve.sellable) for reserve in changed])

    def forget(self, sale: Sale) -> None:
        """It was replaced: no script that carries its seed does anything any more, so nothing of it is to be voided."""
        del self.events[sale]
        for key in [key for key, intent in self.voids.items() if (intent.event_id, intent.seed) == sale]:
            del self.voids[key]

    def journal_changes(self, reserves: Iterable[EventReserve]) -> list[EventReserve]:
        """Those whose change under way is on disk, with the count that it leaves, and so may be sent now."""
        changed = [reserve for reserve in reserves if reserve.pending is not None]
        if self.try_to_journal([self._snapshot(reserve, reserve.sellable) for reserve in changed]):
            return changed
        for reserve in changed:
            reserve.never_sent()
        return []

    def raise_counts(self, reserves: Iterable[EventReserve]) -> None:
        """What the leases cover may be sold, once that is on disk."""
        raised = [reserve for reserve in reserves if reserve.pending is None and reserve.won]
        if self.poisoned or not self.try_to_journal([self._snapshot(r, r.most_sellable()) for r in raised]):
            return
        for reserve in raised:
            reserve.sellable = reserve.most_sellable()

    def note_versions(self) -> None:
        """The journal says how far each sale has come, also one that is never leased: who starts later must notice a
        store that is older.
        """
        behind = [
            reserve
            for sale, reserve in self.events.items()
            if reserve.halted_at is None and self.version_of(sale) > reserve.version
        ]
        if not self.poisoned:
            self.try_to_journal([self._snapshot(reserve, reserve.sellable) for reserve in behind])

    def halt(self, reserve: EventReserve, version: int) -> None:
        """Nothing of the sale is sold, settled or leased, also by who adopts the journal."""
        reserve.halt(version)
        self.journal_no_count(reserve)

    def journal_no_count(self, reserve: EventReserve) -> None:
        """Who adopts the journal while Redis is away sells nothing of the sale."""
        if not self.poisoned:
            self.try_to_journal([self._snapshot(reserve, 0)])

    def try_to_journal(self, entries: list[Entry]) -> bool:
        """Whether the entries are on disk."""
        if not entries:
            return True
        try:
            self._writer.append(*entries)
        except JournalError as error:
            self._say_poisoned(error)
            return False
        return True

    def empty_journal(self) -> None:
        """Rule 2. The counts are written again in the same step: without them nothing could be sold."""
        short = self._writer.size_bytes < max(COMPACT_BYTES, 2 * self._emptied_bytes)
        if not (self._emptied and short) and self._may_empty() and not self.poisoned:
            self._truncate()

    def close(self, *, empty: bool) -> None:
        """The journal is closed; with `empty` there is nothing in it, not even counts. Raises JournalError."""
        try:
            if empty and self._may_empty():
                self._writer.truncate()
        finally:
            self._writer.stop()

    def heal(self) -> None:
        """Rule 3: empty a poisoned journal, once everything that it may hold is dealt with."""
        reserves = self.events.values()
        settled = not any(reserve.open or reserve.in_flight or reserve.pending is not None for reserve in reserves)
        if self.poisoned and settled and not self.voids and self._truncate():
            self._said_poisoned = False
            for reserve in reserves:
                reserve.kept.clear()
            logger.warning("the journal was emptied and works again")

    def _may_empty(self) -> bool:
        return self.owes_nothing and not any(reserve.parked for reserve in self.events.values())

    def _truncate(self) -> bool:
        self._emptied = True  # before the wait: what is journalled meanwhile says otherwise
        lines = [self._snapshot(reserve, reserve.most_sellable()) for reserve in self.events.values()]
        try:
            self._writer.truncate(*lines)
        except JournalError as error:
            self._say_poisoned(error)
            return False
        self._emptied_bytes = self._writer.size_bytes
        for reserve in self.events.values():  # what a failure had lowered is what those lines say again
            reserve.sellable = reserve.most_sellable()
        return True

    def _snapshot(self, reserve: EventReserve, sellable: int) -> Entry:
        reserve.version = max(reserve.version, self._versions.seen(reserve.event_id, reserve.seed))
        return reserve.snapshot(sellable)

    def _journal_sale(self, reserve: EventReserve, purchase: JournalledPurchase) -> SaleReply:
        """In a greenlet of its own: one whose caller is killed meanwhile, at a stop say, is made or lost all the same.

        Raises Unavailable.
        """
        self._emptied = False
        error: JournalError | None = gevent.spawn(self._append_sale, reserve, purchase).get()
        if error is not None:
            raise Unavailable("the journal failed") from error
        return SaleReply(Outcome.PROVISIONAL, str(purchase.sold_at_ms))

    def _append_sale(self, reserve: EventReserve, purchase: JournalledPurchase) -> JournalError | None:
        request = purchase.request
        try:
            self._writer.append(purchase)
        except JournalError as error:
            self._say_poisoned(error)
            reserve.lost_in_the_journal(request)
            if not request.keyed:
                self.voids[request.purchase_id] = VoidIntent(reserve.event_id, reserve.seed, request.purchase_id)
            return error
        reserve.journalled(purchase)
        self.breaker.counts.sold += 1
        return None

    def _say_poisoned(self, error: JournalError) -> None:
        if not self._said_poisoned:
            self._said_poisoned = True
            logger.critical("the journal failed ({}): nothing is sold from it until it could be emptied", error)
        for reserve in self.events.values():
            reserve.sellable = 0


def _journalled_before(reserve: EventReserve, request: PurchaseRequest) -> SaleReply | None:
    """The answer to an id that this journal holds; None for a new one. Raises Unavailable while that is not known."""
    if request.purchase_id in reserve.in_flight or request.purchase_id in reserve.kept:
        raise Unavailable("its journal entry is under way, or in a journal that failed")
    entry = reserve.open.get(request.purchase_id)
    if entry is None:
        return None
    if request.purchase_id in reserve.parked:
        raise Unavailable("its journal entry could not be settled: an operator must decide")
    same = entry.request.fingerprint == request.fingerprint
    return SaleReply(Outcome.PROVISIONAL if same else Outcome.KEY_REUSED, str(entry.sold_at_ms), replayed=True)
