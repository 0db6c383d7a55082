"""The keeper: finds out when Redis is away and when it is back, and keeps this process's holder in order meanwhile.

What must stay true: one greenlet and one greeting at a time probe the store, however many people wait; what was
promised is settled before anything else; a journal that can't be used turns off the reserve, loudly, never the sale.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gevent
from gevent.event import Event as Signal
from loguru import logger

from ticketing.errors import StoreError, Unavailable
from ticketing.model import EventState, PurchaseRequest, SaleReply
from ticketing.outage import slots
from ticketing.outage.breaker import Breaker
from ticketing.outage.holder import Holder, Tally
from ticketing.outage.journal import Content, Journal, JournalDamaged, JournalError, parse
from ticketing.outage.journal_writer import JournalWriter, Offload
from ticketing.outage.lookback import Answered
from ticketing.outage.reserve import ReserveSize
from ticketing.outage.settlement import OnSettled, Settlement
from ticketing.outage.slots import Slot
from ticketing.store.leases import LeaseStore
from ticketing.store.sale import SaleStore, Versions

ROUND_S = 0.25
HEIRS_EVERY_S = 5.0
ROUNDS_WITHOUT_PROGRESS = 3
STOP_PAUSE_S = 0.05
NOTHING_TO_DO = Tally(0, 0, 0)


@dataclass(frozen=True, slots=True)
class KeeperParts:
    """What the keeper works with."""

    leases: LeaseStore
    sales: SaleStore
    versions: Versions
    breaker: Breaker
    greet: Callable[[], None]  # raises StoreError
    states: Callable[[], list[EventState]]  # raises StoreError
    answered: Answered
    on_settled: OnSettled
    void_in_memory: Callable[[str, str, str], None]  # event id, seed, purchase id: where there is no journal
    offload: Offload
    open_journal: Callable[[Path], Journal]


class Keeper:
    """One process's reserve, from its start to its end."""

    def __init__(self, parts: KeeperParts, folder: Path, size: ReserveSize) -> None:
        self.breaker = parts.breaker
        self._parts = parts
        self._folder = folder
        self._size = size
        self._slot: Slot | None = None
        self._nonce = secrets.token_hex(8)
        self._holder: Holder | None = None
        self._settlement: Settlement | None = None
        self._heirs_looked_s = time.monotonic()
        self._left_alone: dict[Path, tuple[int, int]] = {}  # journals that were looked after, as they were then
        self._to_report = False  # an outage ended, and its last line is still to be said
        self._stopping = False
        self._wake = Signal()
        self._worker: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Take a slot, adopt what its journal says, and go on from there."""
        self._see_versions()
        try:
            self._take_slot()
        except JournalError as error:
            logger.critical("no reserve, and void intents are kept in memory only: {}", error)
        if self._worker is None:
            self._worker = gevent.spawn(self._run)

    def stop(self, deadline_s: float) -> None:
        """Settle what is open and give leases back, as far as the store answers until then."""
        self._stopping = True
        self._wake.set()
        if self._worker is not None:
            self._worker.join()
        until_s = time.monotonic() + deadline_s
        while self._settlement is not None and time.monotonic() < until_s:
            try:
                if self._settlement.give_back(now_ms()):
                    return
                gevent.sleep(STOP_PAUSE_S)
            except StoreError as error:
                logger.warning("stopped with {} left to do in the journal: {}", self.tally(), error)
                return

    def tally(self) -> Tally:
        """How much may be sold without Redis, and how much is still to be done."""
        return self._holder.tally() if self._holder is not None else NOTHING_TO_DO

    def seed_of(self, event_id: str) -> str | None:
        """The seed under which the reserve could sell an event."""
        return self._holder.seed_of(event_id) if self._holder is not None else None

    def sell(self, seed: str, request: PurchaseRequest, *, in_doubt: bool) -> SaleReply:
        """Sell from the reserve. `in_doubt`: a script for this id may have run, or may run yet.

        Raises Unavailable; then an unkeyed purchase in doubt will hold no ticket.
        """
        try:
            return self._sell(seed, request)
        except Unavailable:
            self.breaker.counts.refused += 1
            if in_doubt and not request.keyed:
                void = self._parts.void_in_memory if self._holder is None else self._holder.void_later
                void(request.event_id, seed, request.purchase_id)
            raise

    def _sell(self, seed: str, request: PurchaseRequest) -> SaleReply:
        if self._holder is None:
            raise Unavailable("this process has no reserve")
        return self._holder.sell(seed, request, now_ms())

    def failed(self, reason: str) -> None:
        """The store failed a purchase: from now on nobody asks it but the keeper."""
        self.breaker.trip(reason)
        self._wake.set()

    def _take_slot(self) -> None:
        while True:
            slot = slots.take_lowest(self._folder)
            try:
                self._holder, self._settlement = self._open(slot)
            except JournalDamaged as error:
                # It stays locked, so that nobody else stumbles over it, and as it is, until a human has looked at it.
                logger.critical("{} is parked: {}", slot.journal_path, error)
                continue
            except BaseException:
                slot.release()
                raise
            self._slot = slot
            return

    def _see_versions(self) -> None:
        """The highest versions in this host's journals, whoever holds them: a store below them went back in time."""
        for path in slots.journals(self._folder) if self._folder.is_dir() else ():
            for sale, snapshot in _content(path).snapshots.items():
                self._parts.versions.saw(*sale, snapshot.version)

    def _open(self, slot: Slot) -> tuple[Holder, Settlement]:
        journal = self._parts.open_journal(slot.journal_path)
        try:
            content = journal.read()
        except JournalError:
            journal.close()
            raise
        parts = self._parts
        writer = JournalWriter(journal, parts.offload)
        writer.start()
        holder = Holder(slot.holder, self._nonce, writer, parts.versions, self.breaker)
        holder.adopt(content)
        return holder, Settlement(holder, parts.leases, parts.sales, parts.answered, self._size, parts.on_settled)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._round()
            except StoreError as error:
                self.failed(str(error))
            except Exception:  # whatever it was, the next round must come: debts are paid there
                logger.exception("a round of the reserve failed")
            self._wake.clear()
            self._wake.wait(ROUND_S)

    def _round(self) -> None:
        if self.breaker.is_open:
            self._parts.greet()
            if not self.breaker.may_close():
                return
            self.breaker.close()
            self._to_report = True
        if self._settlement is not None:
            self._settlement.round(self._parts.states(), now_ms())
        if time.monotonic() - self._heirs_looked_s >= HEIRS_EVERY_S:
            self._heirs_looked_s = time.monotonic()
            if self._settlement is None:
                self.start()
            self._settle_heirs()
        if self._to_report and self.tally().unsettled == 0:
            self._to_report = False
            self.breaker.say_settled()

    def _settle_heirs(self) -> None:
        """Journals of this host that nobody holds are settled and emptied, and their leases given back."""
        for path in slots.journals(self._folder) if self._folder.is_dir() else ():
            if self._left_alone.get(path) == _stamp(path) or (slot := slots.take(path)) is None:
                continue
            try:
                self._settle_heir(slot)
            except JournalError as error:
                logger.critical("{} is parked: {}", slot.journal_path, error)
                self._left_alone[path] = _stamp(path)
            finally:
                slot.release()

    def _settle_heir(self, slot: Slot) -> None:
        """An empty journal too: where a crash came between its truncation and its counts, only the store knows more."""
        holder, settlement = self._open(slot)
        emptied = False
        try:
            if (left := holder.tally()) != NOTHING_TO_DO:
                logger.warning("settling what a process that ended left in {}: {}", slot.journal_path.name, left)
            holder.learn(self._parts.states())
            emptied = _settle_whole(holder, settlement)
        finally:
            holder.close(empty=emptied)
        self._left_alone[slot.journal_path] = _stamp(slot.journal_path)
        if not emptied or holder.tally().parked:
            logger.critical("{} could not be settled whole: {}", slot.journal_path, holder.tally())


def _settle_whole(holder: Holder, settlement: Settlement) -> bool:
    """Whether nothing is left to do, after as many rounds as do something."""
    idle = 0
    while idle < ROUNDS_WITHOUT_PROGRESS:
        before = holder.tally()
        if settlement.give_back(now_ms()):
            return True
        idle = idle + 1 if holder.tally() == before else 0
    return False


def _content(path: Path) -> Content:
    """What can be read of a journal that somebody may be writing; its holder judges its damage."""
    try:
        return parse(path.read_bytes())[1]
    except (OSError, JournalDamaged):
        return Content()


def _stamp(path: Path) -> tuple[int, int]:
    now = path.stat()
    return now.st_size, now.st_mtime_ns


def now_ms() -> int:
    """This host's clock, which is all there is in an outage."""
    return time.time_ns() // 1_000_000
