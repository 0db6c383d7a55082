"""One simulated process: the product's keeper, holder, settlement and journal, and buyers who talk to it.

What must stay true: what it tells buyers is what sale.md says a process may tell them. (The counter will do the same.)
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent

from tests.machine.outage.machinery import SimulatedStore, TornJournal
from tests.sales import LATER_MS, SECRET, SEED, TIMEOUT_MS
from ticketing.errors import StoreError, Unavailable
from ticketing.model import Outcome, PurchaseRequest, SaleReply
from ticketing.outage import heirs, slots
from ticketing.outage.breaker import Breaker
from ticketing.outage.heirs import HeirParts
from ticketing.outage.journal import FORMAT_LINE, JournalError, parse
from ticketing.outage.keeper import Keeper, KeeperParts
from ticketing.outage.lookback import Answered
from ticketing.outage.reserve import ReserveSize
from ticketing.store import keys
from ticketing.store.connection import StoreClock
from ticketing.store.events import EventStore
from ticketing.store.leases import LeaseStore
from ticketing.store.sale import EventBatch, SaleStore, Versions

if TYPE_CHECKING:
    from tests.machine.outage.world import World

PATIENCE = 8  # logical time after which a purchase that was sent can't sell any more
REFUSED = frozenset(
    {Outcome.SOLD_OUT, Outcome.NOT_ON_SALE, Outcome.BUYER_LIMIT, Outcome.BUYER_REQUIRED, Outcome.BAD_QUANTITY}
)


class Process:
    """From its start to its death."""

    def __init__(self, world: "World", host: Path, *, alone: bool = False) -> None:
        self.world, self.host = world, host
        self.connected = alone or world.chance.random() < world.profile.connected
        self.dead = False
        self.too_late_at = 0
        self.journals: list[TornJournal] = []
        self.undurable: set[str] = set()  # void intents that are in memory only: the stated exception to invariant 5
        self.writing: dict[int, Callable[[], None]] = {}  # greenlet -> what its fsync would do
        self.versions = versions = Versions()
        clock = StoreClock()
        store = SimulatedStore(world.network, self, self.stop_here)
        self.sales = SaleStore(store, versions, clock, timeout_ms=TIMEOUT_MS, due_ms=LATER_MS)
        clock.saw(world.store.clock_ms())
        self.events = EventStore(store, versions)
        self.answered = Answered()
        self.breaker = Breaker()
        parts = HeirParts(
            leases=LeaseStore(store, versions, due_ms=LATER_MS),
            sales=self.sales,
            versions=versions,
            states=lambda: self.events.read(list(world.event_ids)),
            on_settled=self.settled,
            on_voided=lambda _: None,
            offload=self.offload,
            open_journal=lambda path: TornJournal(path, self),
        )
        keeping = KeeperParts(parts, self.breaker, lambda: self.sales.greet(SECRET), SECRET, self.answered)
        self.keeper = Keeper(keeping, host, ReserveSize(tickets=5, share_per_mille=400, low_water=world.low_water))
        self.buyers: list[gevent.Greenlet[..., None]] = []
        self.greenlets = [] if alone else [self.spawn(self.live)]
        self.keeper._worker = next(iter(self.greenlets), None)  # so that it starts no other

    def stop_here(self) -> None:
        self.world.gates.stop_here(self, keeper=gevent.getcurrent() not in self.buyers)
        if self.dead:
            raise gevent.GreenletExit

    def spawn(self, work: Callable[[], None]) -> "gevent.Greenlet[..., None]":
        """What it raises is a violation."""
        greenlet = gevent.spawn(work)
        greenlet.link_exception(self.world.broke)
        return greenlet

    def disk_fails(self) -> bool:
        return self.world.disk_fails()

    def offload(self, work: Callable[[], Any]) -> Any:
        """The real thread in which the journal is written."""
        me = id(gevent.getcurrent())
        if gevent.getcurrent() not in self.greenlets:
            self.greenlets.append(gevent.getcurrent())
        self.writing[me] = work
        self.stop_here()
        del self.writing[me]
        done = work()
        self.stop_here()
        return done

    def live(self) -> None:
        heirs.see_versions(self.host, self.versions)
        self.buyers += [self.spawn(self.serve) for _ in range(self.world.profile.buyers)]
        self.greenlets += self.buyers
        while True:
            self.stop_here()
            if self.keeper._slot is None:
                self.take_slot()
            self.keeper._heirs_looked_s = -1e9 if self.world.chance.random() < 0.3 else 1e9
            self.watch_voids()
            self.resize()
            try:
                self.keeper._round()
            except StoreError as error:
                self.keeper.failed(str(error))

    def resize(self) -> None:
        """Leases grow and shrink more often than they would."""
        if self.keeper._slot is not None:
            tickets = self.world.chance.choice(self.world.profile.sizes)
            self.keeper._settlement._size = ReserveSize(tickets, share_per_mille=600, low_water=self.world.low_water)

    def take_over(self) -> None:
        """A slot, and what its journal says."""
        heirs.see_versions(self.host, self.versions)
        self.take_slot()

    def clear_up(self, rounds: int) -> str:
        """Settle and give back everything of this host; what is left after so many rounds, in words."""
        settlement, holder = self.keeper._settlement, self.keeper._holder
        for _ in range(rounds):
            settlement.round(self.events.read(list(self.world.event_ids)), self.sales.clock.best_ms())
            self.keeper._settle_heirs()
            if settlement.give_back(self.sales.clock.best_ms()) and not self.unsettled_journals():
                return ""
        return f"{holder.tally()}, {self.unsettled_journals()}"

    def unsettled_journals(self) -> list[str]:
        """Those of the host's other slots that hold more than their format."""
        mine = self.keeper._slot
        assert mine is not None
        others = [
            path for path in slots.journals(self.host) if path != mine.journal_path and not self.is_an_operators(path)
        ]
        return [path.name for path in others if path.stat().st_size > len(FORMAT_LINE)]

    def is_an_operators(self, path: Path) -> bool:
        """A failed disk kept the line of a purchase without a key that was told 503 and voided: its heir parks it."""
        purchases = [
            entry.request for entry in parse(path.read_bytes())[1].purchases.values() if not entry.request.keyed
        ]
        held = [self.world.store.one("HGET", keys.of_event(p.event_id).purchases, p.purchase_id) for p in purchases]
        return any(record is not None and record.startswith("-") for record in held)

    def take_slot(self) -> None:
        try:
            self.keeper._take_slot()
        except JournalError:
            self.world.counts["no slot, the disk failed"] += 1

    def watch_voids(self) -> None:
        """What is void by now is known, whichever holder the keeper has."""
        settlement = self.keeper._settlement
        if "_carry_out_voids" not in vars(settlement):
            carry_out = settlement._carry_out_voids
            settlement._carry_out_voids = lambda: self.void(carry_out)  # type: ignore[method-assign]

    def void(self, carry_out: Callable[[], None]) -> None:
        """What was in memory before is void afterwards, whether the journal works or not."""
        undurable = set(self.undurable)
        carry_out()
        self.undurable -= undurable

    def is_amid_change(self) -> bool:
        """Whether a lease of its is changing, or its journal failed: what a rule must hold over its death."""
        holder = self.keeper._holder
        return holder.poisoned or any(reserve.pending is not None for reserve in holder.events.values())

    def settled(self, event_id: str, written: list[str], outcomes: list[Any]) -> None:
        self.world.settled(outcomes)

    def serve(self) -> None:
        while True:
            for _ in range(self.world.chance.choice([1, 3, 6])):
                self.stop_here()
            request, number = self.world.next_request()
            self.world.told(request, number, *self.answer(request))

    def answer(self, request: PurchaseRequest) -> tuple[str, str]:
        """What the buyer is told: sold, provisional, 409 or 503; and the record."""
        reply = SaleReply(Outcome.REFUSED, "in an outage")
        if not self.breaker.is_open:
            reply = self.ask_store(request)
        if reply.outcome in (Outcome.SOLD, Outcome.REPLAYED):
            sold_now = reply.outcome is Outcome.SOLD
            self.answered.saw(request.event_id, SEED, request.purchase_id, reply.detail, sold_now=sold_now)
            return "sold", reply.detail
        if reply.outcome in REFUSED:
            assert reply.level is not None
            return ("409" if may_refuse(request, reply.level.leased) else "503"), ""
        if reply.outcome is Outcome.KEY_REUSED or reply.outcome is Outcome.VOIDED:
            return "409", ""
        if reply.outcome not in (Outcome.UNKNOWN, Outcome.REFUSED):
            return "503", ""
        return self.ask_reserve(request, in_doubt=reply.outcome is Outcome.UNKNOWN)

    def ask_store(self, request: PurchaseRequest) -> SaleReply:
        too_late_at = self.too_late_at = self.world.network.now + PATIENCE
        [[reply]] = self.sales.purchase([EventBatch(request.event_id, SEED, [request])])
        if reply.outcome in (Outcome.UNKNOWN, Outcome.REFUSED):
            self.keeper.failed("a purchase failed")
        while reply.outcome is Outcome.UNKNOWN and request.keyed and self.world.network.now <= too_late_at:
            self.stop_here()
        return reply

    def ask_reserve(self, request: PurchaseRequest, *, in_doubt: bool) -> tuple[str, str]:
        try:
            reply = self.keeper.sell(SEED, request, in_doubt=in_doubt)
        except Unavailable:
            if self.keeper._slot is None or self.keeper._holder.poisoned:
                self.undurable.add(request.purchase_id)
            return "503", ""
        return ("provisional", "") if reply.outcome is Outcome.PROVISIONAL else ("503", "")

    def die(self, chance: random.Random) -> None:
        """As by SIGKILL and a power cut: what was not synced may be lost, and no `finally` has any effect."""
        self.dead = True
        for journal in self.journals:
            journal.remember()
        self.world.exempt |= self.undurable
        writing = list(self.writing.values())
        self.world.gates.forget(self)
        gevent.killall(self.greenlets, block=True)
        for journal in list(self.journals):
            mine = next((work for work in writing if _journal_of(work) is journal), None)
            journal.crash(chance, mine)
        if self.keeper._slot is not None:
            self.keeper._slot.release()


def may_refuse(request: PurchaseRequest, leased: int) -> bool:
    """Whether no journal can hold this purchase."""
    return not request.keyed or leased == 0


def _journal_of(work: Any) -> TornJournal | None:
    """The journal that a piece of offloaded work writes."""
    return getattr(getattr(work.func, "__self__", None), "journal", None)
