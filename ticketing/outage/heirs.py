"""Settling the journal of a process that ended: what it promised, what it must void, what it leased.

What must stay true: whoever does this holds the slot's lock meanwhile; a journal is emptied only where nothing in it is
open, and is left as it is where something is.
"""

import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ticketing.errors import StoreError
from ticketing.model import EventState
from ticketing.outage import slots
from ticketing.outage.breaker import Breaker
from ticketing.outage.holder import Holder, Tally
from ticketing.outage.journal import Content, Journal, JournalDamaged, JournalError, parse
from ticketing.outage.journal_writer import JournalWriter, Offload
from ticketing.outage.lookback import Answered
from ticketing.outage.presence import Presence
from ticketing.outage.reserve import EventReserve, ReserveSize
from ticketing.outage.ring import Ring
from ticketing.outage.settlement import OnSettled, OnVoided, Settlement
from ticketing.outage.slots import Slot
from ticketing.store.connection import StoreClock
from ticketing.store.hosts import HostStore
from ticketing.store.leases import LeaseStore, Settled
from ticketing.store.sale import SaleStore, Versions

ROUNDS_WITHOUT_PROGRESS = 3
NOTHING_TO_DO = Tally(0, 0, 0)
NOTHING_LEASED = ReserveSize(tickets=0, share_per_mille=0)

# Why a purchase is parked, beside what settle.lua says.
EVENT_HALTED, SALE_GONE, NOT_TAKEN = "halted", "sale_gone", "not_taken"


@dataclass(frozen=True, slots=True)
class HeirParts:
    """What settles a journal that its process left."""

    leases: LeaseStore
    sales: SaleStore
    versions: Versions
    states: Callable[[], list[EventState]]  # raises StoreError
    on_settled: OnSettled
    on_voided: OnVoided
    offload: Offload
    open_journal: Callable[[Path], Journal]
    hosts: HostStore | None = None  # None where no other host sells from the store
    ring: Ring | None = None  # of the process that settles it
    afresh: Callable[[], None] = lambda: None  # every connection of this process is closed


@dataclass(frozen=True, slots=True)
class Parked:
    """Purchases of one event that could not be settled, all for one reason."""

    event_id: str
    why: str
    purchases: int


@dataclass(slots=True)
class Inheritance:
    """What became of one journal."""

    name: str
    before: Tally
    on_settled: OnSettled = lambda *_: None
    outcomes: Counter[tuple[str, Settled]] = field(default_factory=Counter)  # by event: purchases
    handed_back: int = 0  # tickets
    emptied: bool = False
    voids_left: int = 0
    parked: list[Parked] = field(default_factory=list)
    halted: list[str] = field(default_factory=list)  # event ids
    damage: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do or to decide."""
        return not (self.damage or self.parked or self.voids_left or self.halted)

    @property
    def is_parked_for_good(self) -> bool:
        """Whether something is left that no decision about an event can settle."""
        parked = any(parked.why != EVENT_HALTED for parked in self.parked)
        return parked or bool(self.voids_left and not self.halted)

    def note(self, event_id: str, written: list[str], outcomes: list[Settled]) -> None:
        """Take over what a round settled."""
        self.outcomes.update((event_id, outcome) for outcome in outcomes)
        self.on_settled(event_id, written, outcomes)


def see_versions(folder: Path, versions: Versions) -> None:
    """The highest versions in this host's journals, whoever holds them: a store below them went back in time.

    Raises JournalError where their folder can't be read.
    """
    for path in slots.journals(folder):
        for sale, snapshot in _content(path).snapshots.items():
            versions.saw(*sale, snapshot.version)


def settle_all(folder: Path, parts: HeirParts) -> list[Inheritance]:
    """Every journal here that no living process holds is settled as far as can be. Raises JournalError, StoreError."""
    see_versions(folder, parts.versions)
    return [inherited for path in slots.journals(folder) if (inherited := settle_if_left(path, parts)) is not None]


def settle_if_left(path: Path, parts: HeirParts) -> Inheritance | None:
    """What became of the journal; None where a living process holds it. Raises JournalError, StoreError."""
    slot = slots.take(path)
    if slot is None:
        return None
    try:
        return settle(slot, parts)
    except JournalDamaged as error:
        return Inheritance(path.stem, NOTHING_TO_DO, damage=str(error))
    finally:
        slot.release()


def settle(slot: Slot, parts: HeirParts) -> Inheritance:
    """Settle, void and give back, until nothing is left or no round gets further. Raises JournalError, StoreError."""
    holder = _open(slot, parts)
    inherited = Inheritance(slot.journal_path.stem, holder.tally(), parts.on_settled)
    try:
        states = parts.states()
        holder.learn(states)
        settlement = _settlement(holder, parts, inherited.note)
        if holder.presence is not None:  # looked first: a name that another host lives under is left to it
            settlement.look()
            with suppress(StoreError):
                holder.presence.beat()
        inherited.emptied = _settle_whole(holder, settlement, parts.sales.clock)
        if holder.presence is not None and inherited.emptied:
            with suppress(StoreError):
                holder.presence.leave()
    finally:
        holder.close(empty=inherited.emptied)
    inherited.handed_back = holder.breaker.counts.handed_back
    inherited.voids_left = len(holder.voids)
    sales = {(state.event.event_id, state.seed) for state in states}
    inherited.parked = [parked for reserve in holder.events.values() for parked in _parked(reserve, sales)]
    inherited.halted = sorted({event_id for (event_id, _), reserve in holder.events.items() if reserve.halted_at})
    return inherited


def _open(slot: Slot, parts: HeirParts) -> Holder:
    journal = parts.open_journal(slot.journal_path)
    try:
        content = journal.read()
    except JournalError:
        journal.close()
        raise
    writer = JournalWriter(journal, parts.offload)
    writer.start()
    nonce = secrets.token_hex(8)
    presence = None if parts.hosts is None else Presence(parts.hosts, slot.holder, nonce)
    holder = Holder(slot.holder, nonce, writer, parts.versions, Breaker(), presence)
    holder.adopt(content)
    return holder


def _settlement(holder: Holder, parts: HeirParts, on_settled: OnSettled) -> Settlement:
    answered = Answered(parts.ring)
    reports = (on_settled, parts.on_voided)
    return Settlement(holder, parts.leases, parts.sales, answered, NOTHING_LEASED, *reports, afresh=parts.afresh)


def _settle_whole(holder: Holder, settlement: Settlement, clock: StoreClock) -> bool:
    """Whether nothing is left to do, after as many rounds as do something."""
    idle = 0
    while idle < ROUNDS_WITHOUT_PROGRESS:
        before = holder.tally()
        if settlement.give_back(clock.best_ms()):
            return True
        idle = idle + 1 if holder.tally() == before else 0
    return False


def _parked(reserve: EventReserve, sales: set[tuple[str, str]]) -> list[Parked]:
    event_id, waiting = reserve.event_id, len(reserve.open.keys() - reserve.parked.keys())
    found = [Parked(event_id, why, count) for why, count in Counter(map(str, reserve.parked.values())).items()]
    if waiting:
        known = (event_id, reserve.seed) in sales
        why = SALE_GONE if not known else NOT_TAKEN if reserve.halted_at is None else EVENT_HALTED
        found.append(Parked(event_id, why, waiting))
    return found


def _content(path: Path) -> Content:
    """What can be read of a journal that somebody may be writing; its holder judges its damage."""
    try:
        return parse(path.read_bytes())[1]
    except (OSError, JournalDamaged):
        return Content()
