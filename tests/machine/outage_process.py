"""One process as the outage machine has it: the product's till, keeper and journal, without a life of its own.

What must stay true: it does nothing that it was not told to, and what it tells buyers is what the counter would tell.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import gevent

from tests.machine.outage.machinery import READING, SCRIPT_NAMES, expired
from tests.machine.outage.process import REFUSED, may_refuse
from tests.machine.parts import Line
from tests.sales import LATER_MS, SECRET, TIMEOUT_MS
from ticketing.errors import PurchaseUnavailable, StoreError, StoreRefused
from ticketing.model import Outcome, PurchaseRequest, SaleReply
from ticketing.outage.breaker import Breaker
from ticketing.outage.heirs import HeirParts
from ticketing.outage.journal import Journal
from ticketing.outage.keeper import Keeper, KeeperParts
from ticketing.outage.lookback import Answered
from ticketing.outage.reserve import ReserveSize
from ticketing.outage.ring import REMEMBERED_MOST, Ring
from ticketing.sale.till import BOUGHT, Till
from ticketing.store import scripts
from ticketing.store.connection import Command, Store, StoreClock
from ticketing.store.events import EventStore
from ticketing.store.leases import LeaseStore, Settled
from ticketing.store.put_back import PutBackStore
from ticketing.store.sale import EventBatch, SaleStore, Versions

NEVER_S = 1e18
GIVING_BACK_ROUNDS = 5


class OutageLine(Line):
    """A line that can be cut, whose fault strikes the next call of one script only, and that counts what was done."""

    def __init__(self, store: Store, met: Counter[str]) -> None:
        super().__init__(store)
        self.cut = False
        self.strikes = ""  # the script
        self.amid: Callable[[], None] | None = None  # happens once, before the next call of that script is sent
        self._met = met

    def exchange(self, commands: Sequence[Command]) -> list[object]:
        if self.cut:
            raise StoreRefused("cut off")
        names = {script_of(command, self.shebang) for command in commands}
        if self.amid is not None and self.strikes in names:
            happening, self.amid = self.amid, None
            happening()
        if not self.fault or self.strikes not in names:
            return self._counted(commands, self._real.exchange(commands))
        self._met[f"{self.fault} {self.strikes}"] += 1
        return super().exchange(commands)

    def _counted(self, commands: Sequence[Command], replies: list[object]) -> list[object]:
        for command, reply in zip(commands, replies, strict=True):
            name = script_of(command, self.shebang)
            if name not in READING and isinstance(reply, list):
                self._met[f"{name} {reply[0]}"] += 1
        return replies


def script_of(command: Command, shebang: bool) -> str:
    """The name of the script that a command runs; "" where it runs none."""
    if command[0] not in ("EVALSHA", "EVAL"):
        return ""
    return next((name for name in SCRIPT_NAMES if command[1] in scripts.load(name, shebang)), "")


class Desk:
    """In the place of the group commit: one purchase is one call."""

    too_late_s = 0.0  # a late call that must not sell any more is delivered too late

    def __init__(self, sales: SaleStore, on_failure: Callable[[str], None]) -> None:
        self._sales, self._on_failure = sales, on_failure

    def ask(self, seed: str, request: PurchaseRequest) -> SaleReply:
        [[reply]] = self._sales.purchase([EventBatch(request.event_id, seed, [request])])
        if reply.outcome in (Outcome.UNKNOWN, Outcome.REFUSED):
            self._on_failure("a purchase failed")
        return reply


class Process:
    """From its start to its death."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        event_ids: Sequence[str],
        met: Counter[str],
        on_settled: Callable[[list[Settled]], None],
        *,
        cut: bool = False,
    ) -> None:
        self.line = OutageLine(store, met)
        self.line.cut = cut
        self.versions, clock, self.answered = Versions(), StoreClock(), Answered(Ring(REMEMBERED_MOST))
        self.sales = SaleStore(self.line, self.versions, clock, timeout_ms=TIMEOUT_MS, due_ms=LATER_MS)
        events = EventStore(self.line, self.versions)
        parts = HeirParts(
            leases=LeaseStore(self.line, self.versions, due_ms=LATER_MS),
            sales=self.sales,
            versions=self.versions,
            states=lambda: events.read(event_ids),
            on_settled=lambda _, __, outcomes: on_settled(outcomes),
            on_voided=lambda _: None,
            offload=lambda work: work(),
            open_journal=lambda path: Journal(path, fsync=False),
            ring=self.answered.ring,
        )
        put_back = PutBackStore(self.line, self.versions, due_ms=LATER_MS)
        keeping = KeeperParts(
            parts, Breaker(), lambda: self.sales.greet(SECRET), SECRET, self.answered, put_back=put_back
        )
        self.keeper = Keeper(keeping, folder, ReserveSize(tickets=6, share_per_mille=400, low_water=0))
        self.keeper._worker = gevent.Greenlet()  # so that it starts none of its own
        self.keeper._heirs_looked_s = NEVER_S
        self.keeper.start()
        self.till = Till(Desk(self.sales, self.keeper.failed), self.keeper, self.answered)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        return self.keeper._holder.name

    @property
    def asks_the_store(self) -> bool:
        return not self.keeper.breaker.is_open

    def has_won(self, event_id: str, seed: str) -> bool:
        """Whether its count is of its own lease; else a journal has named it."""
        reserve = self.keeper._holder.events.get((event_id, seed))
        return reserve is not None and reserve.won

    def resize(self, tickets: int) -> None:
        """From now on it leases so many."""
        self.keeper._settlement._size = ReserveSize(tickets, share_per_mille=400, low_water=0)

    def round(self) -> bool:
        """One round; whether the store was looked at, and answered all."""
        return self._try(self.keeper._round)

    def give_back(self) -> bool:
        """Whether nothing is left to settle, and nothing is leased."""

        def rounds() -> None:
            for _ in range(GIVING_BACK_ROUNDS):
                if done := self.keeper._settlement.give_back(self.sales.clock.best_ms()):
                    given_back.append(done)
                    return

        given_back: list[bool] = []
        return self.asks_the_store and self._try(rounds) and bool(given_back)

    def settle_heirs(self) -> bool:
        """Journals that nobody holds are settled; whether the store answered."""
        return self.asks_the_store and self._try(self.keeper._settle_heirs)

    def buy(self, seed: str, request: PurchaseRequest) -> tuple[str, str]:
        """What the buyer is told: sold, provisional, 409 or 503; and the record, or when it was sold."""
        try:
            reply = self.till.ask(seed, request)
        except PurchaseUnavailable:
            return "503", ""
        if reply.outcome in BOUGHT:
            return "sold", reply.detail
        if reply.outcome is Outcome.PROVISIONAL:
            return "provisional", reply.detail
        if reply.outcome in REFUSED:
            assert reply.level is not None
            return ("409" if may_refuse(request, reply.level.leased) else "503"), ""
        return ("409" if reply.outcome in (Outcome.KEY_REUSED, Outcome.VOIDED) else "503"), ""

    def die(self) -> None:
        """As by kill -9: what was journalled is on disk, and its slot is free."""
        self.keeper._holder._writer.stop()
        if self.keeper._slot is not None:
            self.keeper._slot.release()

    def _try(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except StoreError as error:
            self.keeper.failed(str(error))
            return False
        return self.asks_the_store


def too_late(command: Command, shebang: bool) -> Command:
    """The command as it is when the server takes it up after its deadline."""
    return expired(command, script_of(command, shebang))
