"""The keeper: finds out when Redis is away and when it is back, and keeps this process's holder in order meanwhile.

What must stay true: one greenlet and one greeting at a time probe the store, however many people wait; what was
promised is settled before anything else; a journal that cannot be used turns the reserve off, loudly, and never the sale.
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
from ticketing.outage.journal import Journal, JournalDamaged, JournalError
from ticketing.outage.journal_writer import JournalWriter, Offload
from ticketing.outage.reserve import ReserveSize
from ticketing.outage.settlement import OnSettled, Settlement
from ticketing.outage.slots import Slot
from ticketing.store.leases import LeaseStore
from ticketing.store.sale import SaleStore, Versions

ROUND_S = 0.25
HEIRS_EVERY_S = 5.0
MANY_ROUNDS = 1_000  # of SETTLE_AT_ONCE purchases each
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
    on_settled: OnSettled
    offload: Offload


class Keeper:
    """One process's reserve, from its start to its end."""

    def __init__(self, parts: KeeperParts, folder: Path, size: ReserveSize, *, fsync: bool) -> None:
        self.breaker = parts.breaker
        self._parts = parts
        self._folder = folder
        self._size = size
        self._fsync = fsync
        self._nonce = secrets.token_hex(8)
        self._holder: Holder | None = None
        self._settlement: Settlement | None = None
        self._heirs_looked_s = 0.0
        self._to_report = False  # an outage ended, and its last line is still to be said
        self._stopping = False
        self._wake = Signal()
        self._worker: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Take a slot, adopt what its journal says, and go on from there."""
        try:
            self._take_slot()
        except JournalError as error:
            logger.critical("no reserve, and void intents are kept in memory only: {}", error)
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
        if self._holder is None:
            raise Unavailable("this process has no reserve")
        try:
            return self._holder.sell(seed, request, now_ms())
        except Unavailable:
            self.breaker.counts.refused += 1
            if in_doubt and not request.keyed:
                self._holder.void_later(request.event_id, seed, request.purchase_id)
            raise

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
            return

    def _open(self, slot: Slot) -> tuple[Holder, Settlement]:
        journal = Journal(slot.journal_path, fsync=self._fsync)
        content = journal.read()
        writer = JournalWriter(journal, self._parts.offload)
        writer.start()
        holder = Holder(slot.holder, self._nonce, writer, self._parts.versions, self.breaker)
        holder.adopt(content)
        parts = self._parts
        return holder, Settlement(holder, parts.leases, parts.sales, self._size, parts.on_settled)

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
        if self._settlement is None:
            return
        self._settlement.round(self._parts.states(), now_ms())
        self._settle_heirs()
        if self._to_report and self.tally().unsettled == 0:
            self._to_report = False
            self.breaker.say_settled()

    def _settle_heirs(self) -> None:
        """Journals of this host that nobody holds are settled and emptied, and their leases given back."""
        if time.monotonic() - self._heirs_looked_s < HEIRS_EVERY_S:
            return
        self._heirs_looked_s = time.monotonic()
        for slot in slots.abandoned(self._folder):
            try:
                self._settle_heir(slot)
            except JournalError as error:
                logger.critical("{} is parked: {}", slot.journal_path, error)
            finally:
                slot.release()

    def _settle_heir(self, slot: Slot) -> None:
        holder, settlement = self._open(slot)
        if not holder.events and holder.owes_nothing:
            holder.close(empty=False)
            return
        logger.warning("settling what a process that ended left in {}: {}", slot.journal_path.name, holder.tally())
        for _ in range(MANY_ROUNDS):
            if settlement.give_back(now_ms()):
                holder.close(empty=True)
                return
        holder.close(empty=False)
        logger.critical("{} could not be settled whole: {}", slot.journal_path, holder.tally())


def now_ms() -> int:
    """This host's clock, which is all there is in an outage."""
    return time.time_ns() // 1_000_000
