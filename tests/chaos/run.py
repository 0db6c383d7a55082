"""A run from its start to its verdict: start, seed, buy while everything fails, heal, compare, stop, compare again.

What must stay true: whatever fails, everything that was started is stopped, and then told; a run that met too little to
prove anything fails as well.
"""

import threading
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from tests.chaos.account import Books, Problem, judge, provisional_then_sold, read_books
from tests.chaos.clients import Clients, Shop
from tests.chaos.faults import Failing, Faults
from tests.chaos.history import BOUGHT, History, Told, Try, Wish
from tests.chaos.hosts import HOSTS, WEB_WORKERS, World
from tests.chaos.receipts import check_receipts, wait_for_receipts
from tests.chaos.schedule import plan
from tests.chaos.table import Row, explain, rows, table
from tests.servers import wait_until

LARGE = {"rock": 200_000, "jazz": 100_000}
LOW = {"folk": 22_000}  # its leases are given back as soon as it has sold a little
SMALL = "club"  # sells out
SMALL_A_SECOND = 6  # tickets it has, so that it sells out in about half of the run
LIMITED = "fans"
LIMITED_POOL, LIMIT = 50_000, 6
SHOPS = [Shop("rock", 4), Shop("jazz", 3), Shop("folk", 2), Shop(SMALL, 2), Shop(LIMITED, 5, limited=True)]
EVENT_IDS = [shop.event_id for shop in SHOPS]
THREADS = 40
SELLS_S = 60.0
CALM_S = 120.0
RECEIPTS_S = 300.0
HEIRS_S = 60.0
CALM_REPEATS = 30
ALARMS_SHOWN = 5
ADOPTED = "settling what a process that ended left in"


@dataclass
class Verdict:
    """What a run found."""

    problems: list[Problem] = field(default_factory=list)
    too_little: list[str] = field(default_factory=list)
    text: str = ""

    @property
    def is_good(self) -> bool:
        return not self.problems and not self.too_little


class Run:
    """One run in a folder of its own."""

    def __init__(self, seed: int, seconds: float, world: World, *, misuse: bool = False) -> None:
        self._seed = seed
        self._seconds = seconds
        self._misuse = misuse
        self._world = world
        self._problems: list[Problem] = []
        self.receipts_ready = 0  # purchases whose receipt was fetched at the end

    def carry_out(self) -> Verdict:
        """The verdict; nothing runs any more."""
        try:
            self._world.start()
            self._seed_events()
            return self._carry_out()
        finally:
            self._world.stop()

    def _seed_events(self) -> None:
        seeding = self._world.hosts[0].service
        seeding.seed({**LARGE, **LOW, SMALL: int(self._seconds * SMALL_A_SECOND)})
        seeding.seed({LIMITED: LIMITED_POOL}, limits={"per_buyer": LIMIT})

    def _carry_out(self) -> Verdict:
        history = History(HOSTS)
        ports = [host.service.port for host in self._world.hosts]
        clients = Clients(ports, SHOPS, history, seed=self._seed, threads=THREADS, misuse=self._misuse)
        faults = self._failing(clients, history)
        meter = Meter(self._world)
        say(f"seed {self._seed}: {self._seconds:.0f} s of faults begin")
        clients.start()
        meter.start()
        try:
            faults.carry_out()
        finally:
            faults.give_up()
            self._world.heal()
        say("healed")
        self._attempt(lambda: self._world.wait_until_it_sells(SELLS_S))
        say("every process sells from the store while people buy")
        clients.stop()
        return self._judge(history, clients, faults, meter)

    def _failing(self, clients: Clients, history: History) -> Failing:
        """What fails, and when."""
        return Faults(self._world, clients, history, plan(self._seed, self._seconds, self._world.catalogue))

    def _judge(self, history: History, clients: Clients, faults: Failing, meter: "Meter") -> Verdict:
        self._note(*faults.failed, *clients.lost_sight)
        self._problems += [Problem("never got an answer that counts", wish) for wish in clients.unanswered]
        self._attempt(lambda: self._world.wait_until_calm(history.misled(), CALM_S))
        self._attempt(self._wait_for_heirs)
        say("calm")
        self._use_keys_again(history, clients)
        meter.stop()
        books = self._check_before_the_end(history)
        self._attempt(self._world.stop_hosts)
        say("stopped")
        self._check_after_the_end(books, history.misled())
        return self._verdict(history, faults, books, meter)

    def _check_before_the_end(self, history: History) -> Books:
        self._attempt(lambda: wait_for_receipts(self._world, EVENT_IDS, RECEIPTS_S))
        say("receipts")
        books = self._books()
        self._problems += judge(history.by_wish(), books)
        if books.outbox or books.failed:
            self._note(f"{books.outbox} receipts are still due, {books.failed} failed")
        wrong = check_receipts(self._world, books.purchases)
        self.receipts_ready = len(books.purchases) - len(wrong)
        self._note(*wrong)
        self._attempt(self._world.hosts[0].service.audit)
        return books

    def _check_after_the_end(self, before: Books, parked: Set[str]) -> None:
        """A clean stop gave back every lease, left nothing in a journal, and changed no purchase."""
        after = self._books()
        self._problems += after.problems
        held = {holder: tickets for holder, tickets in after.leased.items() if tickets}
        if held:
            self._note(f"leases are left after a clean stop: {held}")
        if after.purchases != before.purchases:
            changed = after.purchases.items() ^ before.purchases.items()
            self._note(f"the stop changed purchases: {sorted(map(str, changed))[:5]}")
        for host in self._world.hosts:
            for name, content in host.journals().items():
                sellable = {sale: count for sale, count in content.sellable.items() if count}
                if not parked.isdisjoint(content.purchases):
                    continue
                if content.purchases or content.voids or sellable:
                    self._note(
                        f"host {host.number}: {name} holds {len(content.purchases)} purchases, "
                        f"{len(content.voids)} voids, sellable {sellable} after a clean stop"
                    )
            if (alarms := host.alarms()) and not parked:
                self._note(f"host {host.number} raised {len(alarms)} alarms:\n" + "\n".join(alarms[:ALARMS_SHOWN]))

    def _verdict(self, history: History, faults: Failing, books: Books, meter: "Meter") -> Verdict:
        tries = history.by_wish()
        found = rows(faults.struck, history, self._world.catalogue.kinds)
        settled = provisional_then_sold(tries, books)
        late = sum(host.proxy.delivered_late for host in self._world.hosts)
        adopted = sum(host.logged(ADOPTED) for host in self._world.hosts)
        lines = [
            table(found),
            "",
            f"answers: {dict(history.counts())}",
            f"wishes: {len(tries):,}, purchases: {len(books.purchases):,}, settled: {settled:,}",
            f"late scripts: {late}, tombstones: {len(books.tombstones)}, adoptions: {adopted}",
            f"events (issued, sold, pool, leased): {books.standing}",
            f"metrics, as far as seen: {meter.shown()}",
        ]
        if self._problems:
            lines += ["", explain(self._problems, tries, faults.struck)]
        too_little = self._too_little(found, tries, settled, late + len(books.tombstones) + adopted)
        return Verdict(self._problems, too_little, "\n".join([*lines, *too_little]))

    def _too_little(self, found: list[Row], tries: dict[Wish, list[Try]], settled: int, unclear: int) -> list[str]:
        least = {row.kind: self._world.catalogue.least_times(row.kind, self._seconds) for row in found}
        settled_least = int(self._seconds * self._world.catalogue.settled_a_second)
        unclear_least = int(self._seconds * self._world.catalogue.unclear_a_second)
        said = [
            f"too little: `{row.kind}` met purchases {row.met} times, {least[row.kind]} are needed"
            for row in found
            if row.met < least[row.kind]
        ]
        if settled < settled_least:
            said.append(f"too little: {settled} provisional purchases were settled, {settled_least} are needed")
        if unclear < unclear_least:
            said.append(f"too little: {unclear} late scripts, voids and adoptions, {unclear_least} are needed")
        answers = {one.told for tried in tries.values() for one in tried}
        needed = {Told.SOLD, Told.REPLAYED, Told.REFUSED, Told.UNAVAILABLE}
        return said + [f"too little: nobody was ever told `{told}`" for told in sorted(needed - answers)]

    def _wait_for_heirs(self) -> None:
        """Who died has given back its leases, by its heir: nobody leases but those who live."""
        holders = HOSTS * WEB_WORKERS

        def only_the_living() -> bool:
            return sum(tickets > 0 for tickets in self._books().leased.values()) <= holders

        wait_until(only_the_living, HEIRS_S, f"at most {holders} holders lease tickets")

    def _use_keys_again(self, history: History, clients: Clients) -> None:
        """In calm every key says what it bought, at either host, and refuses other content."""
        tries = history.by_wish()
        bought = [wish for wish, tried in tries.items() if wish.key and any(one.told in BOUGHT for one in tried)]
        for wish in bought[:: max(1, len(bought) // CALM_REPEATS)]:
            for host in range(HOSTS):
                same, other = clients.ask(wish, host), clients.ask(wish, host, quantity=wish.quantity + 1)
                if (same.told, other.told) != (Told.REPLAYED, Told.KEY_REUSED):
                    self._problems.append(Problem(f"in calm its key was told {same.told}, {other.told}", wish))

    def _books(self) -> Books:
        store = self._world.open_store(timeout_s=30)
        try:
            return read_books(store, EVENT_IDS)
        finally:
            store.close()

    def _attempt(self, work: Callable[[], None]) -> None:
        """What fails is a problem, and the rest is checked all the same."""
        try:
            work()
        except Exception as error:
            self._note(str(error)[:4000])

    def _note(self, *whats: str) -> None:
        self._problems += [Problem(what) for what in whats]


class Meter:
    """Looks at the hosts' counters each second: a master that begins anew forgets them."""

    NAMES = ("ticketing_settled_total", "ticketing_outages_total", "ticketing_purchases_total")

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, float] = dict.fromkeys(self.NAMES, 0.0)
        self._last: dict[tuple[int, str], float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(60)

    def shown(self) -> dict[str, int]:
        return {name: int(value) for name, value in self._sums.items()}

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            for host in self._world.hosts:
                try:
                    seen = host.metrics()
                except (OSError, ValueError):
                    continue
                for name in self.NAMES:
                    now, before = seen.get(name, 0.0), self._last.get((host.number, name), 0.0)
                    self._sums[name] += now - before if now >= before else now
                    self._last[host.number, name] = now


def say(what: str) -> None:
    """A line for whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} chaos: {what}", flush=True)
