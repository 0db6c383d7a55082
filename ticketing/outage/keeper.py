"""The keeper: finds out when Redis is away and when it is back, and keeps this process's holder in order meanwhile.

What must stay true: one greenlet and one greeting at a time probe the store, however many people wait; what was
promised is settled before anything else; a journal that can't be used turns off the reserve, loudly, never the sale.
"""

import contextlib
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gevent
from gevent.event import Event as Signal
from loguru import logger

from ticketing.errors import NodeFailed, StoreError, Unavailable, WrongIdSecret
from ticketing.model import PurchaseRequest, SaleReply
from ticketing.outage import heirs, machine, slots
from ticketing.outage.breaker import SALES_FROM_THE_JOURNAL, Breaker
from ticketing.outage.heirs import NOTHING_TO_DO, HeirParts, Inheritance
from ticketing.outage.holder import Holder, Tally
from ticketing.outage.journal import JournalDamaged, JournalError
from ticketing.outage.journal_writer import JournalWriter, NoJournal
from ticketing.outage.lookback import Answered
from ticketing.outage.presence import Presence
from ticketing.outage.putting_back import PuttingBack
from ticketing.outage.reserve import ReserveSize
from ticketing.outage.settlement import Settlement
from ticketing.outage.slots import Slot
from ticketing.store.put_back import PutBackStore

ROUND_S = 0.25
HEIRS_EVERY_S = 5.0
PAUSE_S = 0.01  # at least, between two rounds, however often it is woken
STOP_PAUSE_S = 0.05
ANOTHER_HOST = "another host sells under this host's id: its journal folder was copied"
ONLY_503 = "there is no reserve to sell from, so every purchase is answered 503"


@dataclass(frozen=True, slots=True)
class KeeperParts:
    """What the keeper works with."""

    heirs: HeirParts  # what settles any journal, its own too
    breaker: Breaker
    greet: Callable[[], None]  # raises StoreError; asks the store also while the breaker is open
    secret_fingerprint: str
    answered: Answered
    fingerprints: str = ""  # of what every host should have in common, to be told
    put_back: PutBackStore | None = None


class Keeper:
    """One process's reserve, from its start to its end."""

    def __init__(
        self, parts: KeeperParts, folder: Path, size: ReserveSize, on_round: Callable[[Tally], None] = lambda _: None
    ) -> None:
        self.breaker = parts.breaker
        self._parts = parts
        self._folder = folder
        self._size = size
        self._on_round = on_round
        self._slot: Slot | None = None
        self._nonce = secrets.token_hex(8)
        self._putting_back = self._make_putting_back()
        self._holder, self._settlement = self._work_with(NoJournal(), "")
        self._why_no_slot = ""
        self._another_secret: str | None = None  # why nothing may be sold, where the store is another shop's
        self._heirs_looked_s = time.monotonic()
        self._left_alone: dict[Path, tuple[int, int]] = {}  # journals that were looked after, as they were then
        self._troubles: dict[Path, str] = {}  # of journals that are tried again
        self._decisions = self._holder.decisions  # when those were left alone
        self._nodes_away: Sequence[str] = ()  # at the last round
        self._to_report = False  # an outage ended, and its last line is still to be said
        self._stopping = False
        self._doubted = False  # whether a connection may lead to an older store
        self._wake = Signal()
        self._was_woken = True  # whether this round was asked for
        self._worker: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Take a slot, adopt what its journal says, find out whether the store answers, and go on from there."""
        self._try_slot()
        try:
            self._greet()
            self._settlement.look()  # before anybody is sold to: it may be older than what this host has seen
        except StoreError as error:
            self._trip(str(error))
        if self._worker is None:
            self._worker = gevent.spawn(self._run)

    def stop(self, deadline_s: float) -> None:
        """Settle what is open and give leases back, as far as the store answers until then."""
        self._stopping = True
        self._wake.set()
        until_s = time.monotonic() + deadline_s
        if self._worker is not None:
            self._worker.join(deadline_s)  # one round at a time
        try:
            while not self.breaker.is_open and time.monotonic() < until_s and not self._give_back():
                gevent.sleep(STOP_PAUSE_S)
        except StoreError as error:
            logger.warning("stopped while Redis is away: {}", error)
        else:
            self._leave()
        if (left := self.tally()) != NOTHING_TO_DO:
            where = "in the journal" if self._slot is not None else "in memory, and so lost"
            logger.warning("stopped with {} left {}", left, where)

    def _leave(self) -> None:
        """Who looks for lost hosts is told that this one is none. Raises nothing."""
        if self._holder.presence is not None and not self.breaker.is_open and self.tally() == NOTHING_TO_DO:
            with contextlib.suppress(StoreError):
                self._holder.presence.leave()

    def _give_back(self) -> bool:
        """Whether nothing is left to do. Without a slot nothing was leased. Raises StoreError."""
        if self._putting_back is not None:
            self._putting_back.leave()
        return self._settlement.give_back(self._now_ms()) or (self._slot is None and self._holder.owes_nothing)

    def tally(self) -> Tally:
        """How much may be sold without Redis, and how much is still to be done."""
        return self._holder.tally()

    @property
    def halted_events(self) -> set[str]:
        """Events that are halted, those included that the store has lost and so does not list."""
        return self._holder.halted_events

    @property
    def why_no_reserve(self) -> str:
        """Why nothing can be sold while Redis is away, where that is a fault; "" where it is none."""
        if self._holder.is_disowned:
            return ANOTHER_HOST
        return self._why_no_slot if self._slot is None else ""

    @property
    def is_copied(self) -> bool:
        """Whether another process sells under this host's id."""
        return self._holder.is_disowned

    @property
    def is_full(self) -> bool:
        """Whether no purchase may be sent that could have to be voided."""
        return self._holder.is_full

    @property
    def why_nothing_is_sold(self) -> str | None:
        """Why this process may neither sell from the store nor from its reserve; None where it may."""
        return self._another_secret

    def terms(self, event_id: str) -> tuple[str, int] | None:
        """The seed and the limit a purchase under which the reserve could sell an event; None where it knows none."""
        seed = self._holder.seed_of(event_id)
        return None if seed is None else (seed, self._holder.reserve(event_id, seed).quantity_max)

    def sell(self, seed: str, request: PurchaseRequest, *, in_doubt: bool) -> SaleReply:
        """Sell from the reserve. `in_doubt`: a script for this id may have run, or may run yet.

        Raises Unavailable; then an unkeyed purchase in doubt will hold no ticket.
        """
        try:
            return self._sell(seed, request)
        except Unavailable:
            self.breaker.counts.refused += 1
            if in_doubt:
                self.void_unkeyed(seed, request)
            raise

    def _sell(self, seed: str, request: PurchaseRequest) -> SaleReply:
        if self._another_secret is not None:
            raise Unavailable(self._another_secret)
        return self._holder.sell(seed, request, self._now_ms())

    def _now_ms(self) -> int:
        """The store's time, also while it is away: hosts whose clocks are apart sell and close as one."""
        return self._parts.heirs.sales.clock.best_ms()

    def void_unkeyed(self, seed: str, request: PurchaseRequest) -> None:
        """A purchase that nobody can ask for again will hold no ticket, whatever late scripts do."""
        if not request.keyed:
            self._holder.void_later(request.event_id, seed, request.purchase_id)
            self._wake.set()

    def failed(self, reason: str) -> None:
        """The store failed a purchase: from now on nobody asks it but the keeper."""
        self._trip(reason)
        self._wake.set()

    def doubt(self) -> None:
        """A script found the store older than it was: the next round looks over fresh connections."""
        self._doubted = True
        self.look_now()

    def look_now(self) -> None:
        """The next round comes at once: leases are to be given back, or the store seems to have gone back."""
        self._wake.set()

    def _trip(self, reason: str) -> None:
        means = SALES_FROM_THE_JOURNAL if self.tally().reserve_tickets else ONLY_503
        self.breaker.trip(f"Redis can't be used ({reason})", means)
        if self._putting_back is not None:
            self._putting_back.interrupted()

    def _make_putting_back(self) -> PuttingBack | None:
        store = self._parts.put_back
        name = f"{socket.gethostname()}:{os.getpid()}:{self._nonce[:8]}"
        return None if store is None else PuttingBack(self._parts.answered.ring, store, name)

    def _greet(self) -> None:
        """Raises StoreError."""
        try:
            self._parts.greet()
        except WrongIdSecret as error:
            if self._another_secret is None:
                logger.critical("{}", error)
            self._another_secret = str(error)
            raise
        self._another_secret = None

    def _try_slot(self) -> None:
        """There is a journal to sell from, or it is said once why not. Without one, voids are kept in memory."""
        try:
            self._take_slot()
        except JournalError as error:
            if str(error) != self._why_no_slot:
                self._why_no_slot = str(error)
                logger.critical("no reserve, and void intents are kept in memory only: {}", error)

    def _take_slot(self) -> None:
        machine.keep_apart(self._folder)
        heirs.see_versions(self._folder, self._parts.heirs.versions)
        slots.check_secret(self._folder, self._parts.secret_fingerprint)
        first = 0
        while True:
            slot = slots.take_lowest(self._folder, first)
            try:
                holder, settlement = self._open(slot)
            except JournalDamaged as error:
                slot.release()
                # It stays as it is until a human has looked at it; another slot serves as well.
                logger.critical("{} is parked: {}", slot.journal_path, error)
                first = slot.number + 1
                continue
            except BaseException:
                slot.release()
                raise
            before, self._slot, self._holder, self._settlement = self._holder, slot, holder, settlement
            holder.take_voids(before.voids)
            return

    def _open(self, slot: Slot) -> tuple[Holder, Settlement]:
        journal = self._parts.heirs.open_journal(slot.journal_path)
        try:
            content = journal.read()
        except JournalError:
            journal.close()
            raise
        writer = JournalWriter(journal, self._parts.heirs.offload)
        writer.start()
        holder, settlement = self._work_with(writer, slot.holder)
        holder.adopt(content)
        return holder, settlement

    def _work_with(self, writer: JournalWriter | NoJournal, name: str) -> tuple[Holder, Settlement]:
        parts, answered = self._parts.heirs, self._parts.answered
        presence = None
        if parts.hosts is not None and name:
            presence = Presence(parts.hosts, name, self._nonce, self._parts.fingerprints)
        holder = Holder(name, self._nonce, writer, parts.versions, self.breaker, presence)
        reports = (parts.on_settled, parts.on_voided, self._putting_back, parts.afresh)
        return holder, Settlement(holder, parts.leases, parts.sales, answered, self._size, *reports)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._try_round()
            except Exception:  # whatever it was, the next round must come: debts are paid there
                logger.exception("a round of the reserve failed")
            gevent.sleep(PAUSE_S)
            self._was_woken = self._wake.wait(ROUND_S)
            self._wake.clear()

    def _try_round(self) -> None:
        try:
            self._round()
        except NodeFailed as error:  # of one node: the rest of this round comes again with the next
            logger.debug("a round of the reserve was cut short: {}", error)
        except StoreError as error:
            self._trip(str(error))
        finally:
            self._on_round(self.tally())

    def _round(self) -> None:
        if self._doubted:
            self._doubted = False
            self._parts.heirs.afresh()
        if self.breaker.is_open:
            self._greet()
            if not self.breaker.may_close():
                return
            self._settlement.look()  # before anybody is sold to: it may have come back older than it was
            self._tell_outage()
            self.breaker.close()
            self._to_report = True
        self._note_nodes()
        self._give_sign_of_life()  # before a lease is changed: another process under our name must know whose it is
        self._settlement.round(self._parts.heirs.states(), self._now_ms(), at_once=self._was_woken)
        if self._putting_back is not None and not self._nodes_away:  # theirs may come back older yet
            self._putting_back.turn(time.monotonic())
        if time.monotonic() - self._heirs_looked_s >= HEIRS_EVERY_S:
            self._heirs_looked_s = time.monotonic()
            if self._slot is None:
                self._try_slot()
            if self._slot is not None:  # else its folder can't be used, or is another shop's
                self._settle_heirs()
        if self._to_report and self.tally().unsettled == 0:
            self._to_report = False
            self.breaker.say_settled()

    def _note_nodes(self) -> None:
        """When a node of a cluster comes back, what waited for it can be done, and it may have come back older."""
        if (away := self.breaker.nodes_away()) != self._nodes_away:
            self._nodes_away = away
            self._left_alone.clear()
            if self._putting_back is not None:
                self._putting_back.interrupted()

    def _tell_outage(self) -> None:
        if (presence := self._holder.presence) is not None:
            now_ms = self._now_ms()
            presence.had_outage(now_ms - round(self.breaker.lasted_s * 1000), now_ms)

    def _give_sign_of_life(self) -> None:
        """Where it can't be given nothing else suffers: it comes again, and whose sign is missing is known by that."""
        presence = self._holder.presence
        if presence is None or not presence.is_due():
            return
        try:
            presence.beat()
        except StoreError as error:
            logger.debug("no sign of life: {}", error)

    def _settle_heirs(self) -> None:
        """Journals of this host that nobody holds are settled and emptied, and their leases given back.

        An empty journal too: where a crash came between its truncation and its counts, only the store knows more.
        """
        if self._decisions != self._holder.decisions:  # what waited for them can be settled
            self._decisions = self._holder.decisions
            self._left_alone.clear()
        for path in slots.journals(self._folder):
            if self._left_alone.get(path) == _stamp(path):
                continue
            try:
                inherited = heirs.settle_if_left(path, self._parts.heirs)
            except JournalError as error:
                self._say_once(path, str(error))
                continue
            if inherited is None:
                continue
            if inherited.emptied or not inherited.is_settled:
                self._left_alone[path] = _stamp(path)
                _tell(inherited)
            else:  # it is settled, and its disk takes nothing: tried again
                self._say_once(path, "it can't be emptied")

    def _say_once(self, path: Path, why: str) -> None:
        if self._troubles.get(path) != why:
            self._troubles[path] = why
            logger.critical("{}: {}; it is tried again", path, why)


def _tell(inherited: Inheritance) -> None:
    """What became of a journal that a process left; nothing where it held nothing."""
    if inherited.before.unsettled or inherited.before.voids or inherited.handed_back:
        counts = Counter[str]()
        for (_, outcome), count in inherited.outcomes.items():
            counts[outcome] += count
        logger.warning(
            "{} of a process that ended: {} purchases and {} void intents left, {}, {} tickets handed back",
            inherited.name,
            inherited.before.unsettled,
            inherited.before.voids,
            ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "none settled",
            inherited.handed_back,
        )
    if not inherited.is_settled:
        logger.critical(
            "{} could not be settled whole; python -m ticketing outage show says what is left", inherited.name
        )


def _stamp(path: Path) -> tuple[int, int]:
    now = path.stat()
    return now.st_size, now.st_mtime_ns
