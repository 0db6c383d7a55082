"""Trials: two hosts sell from one group whose primary fails, round after round, and everything is compared at the end.

What must stay true: a round counts only if both hosts sold from the store before it and after it, purchases were in
flight when it struck, and the sentinels named another primary. A trial that met less fails, whatever its zeros say.
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.account import Books
from tests.chaos.clients import Clients
from tests.chaos.faults import IN_FLIGHT_DEADLINE_S, IN_FLIGHT_LEAST, Failing, Struck
from tests.chaos.history import BOUGHT, History, Told, Try, Wish
from tests.chaos.hosts import HOSTS, OneGroup
from tests.chaos.run import EVENT_IDS, SHOPS, THREADS, Meter, Run, Verdict, say
from tests.chaos.schedule import Fault, Kind
from tests.chaos.table import explain
from tests.groups import Node
from tests.proxy import SERVERS
from tests.scale.watch import Watch

ROUND_S = 15.0
SOLD_LEAST = 40  # at each host, from the store, before and after each fault
SELLS_AGAIN_S = 60.0
LAG_S = 0.4  # less than what a sentinel waits before it calls a node down
AGAIN_S = 1.0  # at most; then everything is settled as a rule
LOOKS_LEAST = 5
NAMES = {
    Kind.KILL_SERVER: "kill -9 of the primary",
    Kind.STOP_SERVER: "SIGSTOP, then it goes on",
    Kind.PART: "partition, clients stay",
}


@dataclass(frozen=True, slots=True)
class Round:
    """What one fault met."""

    struck: Struck
    in_flight: int
    sold_before: list[int]  # of each host, from the store
    asked_meanwhile: int

    def too_little(self) -> list[str]:
        said = []
        if min(self.sold_before) < SOLD_LEAST:
            said.append(f"only {self.sold_before} were sold before {self.struck}")
        if self.in_flight < IN_FLIGHT_LEAST:
            said.append(f"only {self.in_flight} were in flight at {self.struck}")
        if self.asked_meanwhile < SOLD_LEAST:
            said.append(f"only {self.asked_meanwhile} were asked for while {self.struck} lasted")
        return said


class Rounds:
    """One fault again and again, each time in another way."""

    def __init__(
        self,
        kind: Kind,
        rounds: int,
        world: OneGroup,
        clients: Clients,
        history: History,
        enough: Callable[[], object] = bool,
    ) -> None:
        """`enough`: whether no more rounds are needed, asked after each."""
        self.struck: list[Struck] = []
        self.failed: list[str] = []
        self.done: list[Round] = []
        self._kind = kind
        self._rounds = rounds
        self._enough = enough
        self._group = world.group
        self._clients = clients
        self._history = history
        self._ended = threading.Event()

    def carry_out(self) -> None:
        for number in range(self._rounds):
            try:
                self.strike(number)
            except (AssertionError, OSError) as error:
                self.failed.append(f"round {number} of `{self._kind}`: {error!r}")
                return
            if self._enough():
                return
        if min(sold := self._sell_first()) < SOLD_LEAST:
            self.failed.append(f"only {sold} were sold after the last round of `{self._kind}`")

    def give_up(self) -> None:
        self._ended.set()

    def strike(self, number: int) -> None:
        """One round: both hosts sell, the fault strikes, another node is the primary, the group is whole again."""
        sold = self._sell_first()
        self._clients.rush_until(lambda: self._history.in_flight(None) >= IN_FLIGHT_LEAST, IN_FLIGHT_DEADLINE_S)
        began_s, in_flight = self._history.now_s(), self._history.in_flight(None)
        way, old = WAYS[self._kind][number % len(WAYS[self._kind])], self._group.primary()
        failed_over_s = self._fails_over(way, old)
        if way.again:
            self._ended.wait(AGAIN_S * number / self._rounds)
            self._fails_over(way, self._group.primary())
        ended_s = self._history.now_s()
        fault = Fault(began_s, self._kind, None, ended_s - began_s, 0.0)
        self.struck.append(Struck(fault, began_s, ended_s, True, way.note))
        asked = sum(began_s <= one.asked_s <= ended_s for one in self._history.tries[:])
        self.done.append(Round(self.struck[-1], in_flight, sold, asked))
        say(f"{self.struck[-1]}, another primary after {failed_over_s - began_s:.1f} s, sold before it: {sold}")

    def _fails_over(self, way: "Way", old: Node) -> float:
        """When another node was the primary. Now the old one is well again, and the group is whole."""
        try:
            self._strike(way, old)
            self._group.wait_until_failed_over(old)
            failed_over_s = self._history.now_s()
            self._ended.wait(way.later_s)
        finally:
            self._undo(way, old)
        self._group.wait_until_complete()
        return failed_over_s

    def _sell_first(self) -> list[int]:
        """What each host sold from the store since the last round ended; enough, if it sells at all."""
        since_s = self.struck[-1].ended_s if self.struck else 0.0
        self._clients.rush_until(lambda: min(self._sold(since_s)) >= SOLD_LEAST, SELLS_AGAIN_S)
        return self._sold(since_s)

    def _strike(self, way: "Way", old: Node) -> None:
        if way.lags:
            old.gate.parted = frozenset({SERVERS})
            self._ended.wait(LAG_S)
        if self._kind is Kind.KILL_SERVER:
            old.kill()
        elif self._kind is Kind.STOP_SERVER:
            old.suspend()
        else:
            self._group.part(old, *self._group.users[: way.hosts])
            return
        if way.lags:
            old.gate.cut()  # what was on its way to the replica is gone
            old.gate.parted = frozenset()

    def _undo(self, way: "Way", old: Node) -> None:
        self._group.mend()
        if old.is_suspended:
            old.resume()
        if not old.is_running:
            old.start() if way.knows_nobody else self._group.restart(old)

    def _sold(self, since_s: float) -> list[int]:
        """How many each host sold from the store, of those that were asked for since then."""
        found = [0] * HOSTS
        for one in self._history.tries[:]:
            found[one.host] += one.told is Told.SOLD and one.asked_s >= since_s
        return found


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which a fault strikes."""

    note: str
    later_s: float = 0.0  # how long it lasts when another primary was named
    lags: bool = False  # its last moments' writes have not reached the replica
    hosts: int = HOSTS  # on the side of the old primary
    again: bool = False  # the next primary fails as well, while what the reserve sold is settled
    knows_nobody: bool = False  # started again it asks no sentinel, and takes itself for the primary


# The first of each is the one in which most is lost where nothing is confirmed.
WAYS = {
    Kind.KILL_SERVER: [
        Way("while the replica lags", lags=True),
        Way("for long, and the next one", later_s=4.0, again=True),  # nothing can be confirmed meanwhile
        Way("and it knows nobody", later_s=1.0, knows_nobody=True),
    ],
    Kind.STOP_SERVER: [
        Way("while the replica lags", lags=True),
        Way("until another is named"),
        Way("for long, and the next one", later_s=2.0, again=True),
    ],
    Kind.PART: [
        Way("with both hosts", later_s=2.0),
        Way("between hosts", later_s=2.0, hosts=1),
        Way("until another is named, and the next one", again=True),
    ],
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a trial found, for the table at the end."""

    fault: str
    confirmed: int
    rounds: int
    acknowledged: int
    provisional: int
    strayed: int  # purchases that a deposed primary took: not confirmed, they must not count
    lost: int
    doubles: int
    receipts: int

    def __str__(self) -> str:
        return (
            f"{self.fault:28}{self.confirmed:8}{self.rounds:8}{self.acknowledged:14,}{self.provisional:13,}"
            f"{self.strayed:9,}{self.lost:8,}{self.doubles:9,}{self.receipts:10,}"
        )


HEAD = (
    f"{'fault':28}{'WAIT':>8}{'rounds':>8}{'acknowledged':>14}{'provisional':>13}"
    f"{'strayed':>9}{'lost':>8}{'doubles':>9}{'receipts':>10}"
)


class Trial(Run):
    """A run whose faults are rounds of one kind, with every purchase confirmed by all replicas."""

    def __init__(self, kind: Kind, rounds: int, world: OneGroup, seed: int = 7) -> None:
        super().__init__(seed, ROUND_S * rounds, world)
        self.row: Row | None = None
        self._kind = kind
        self._wanted = rounds
        self._group_world = world

    def _failing(self, clients: Clients, history: History) -> Failing:
        self._watch = Watch(self._group_world.group, history, EVENT_IDS)
        self._watch.start()
        self._rounds = Rounds(self._kind, self._wanted, self._group_world, clients, history, enough=self._is_enough)
        return self._rounds

    def _is_enough(self) -> bool:
        return False

    def _verdict(self, history: History, faults: Failing, books: Books, meter: Meter) -> Verdict:
        self._watch.stop()
        if self._watch.missing:
            self._note(f"sold, and once not on the node that the sentinels named: {sorted(self._watch.missing)[:5]}")
        tries = history.by_wish()
        self.row = self._row(tries, books, is_settled=True)
        lines = [HEAD, str(self.row), "", f"answers: {dict(history.counts())}", f"metrics: {meter.shown()}"]
        if self._problems:
            lines += ["", explain(self._problems, tries, faults.struck)]
        too_little = [f"too little: {what}" for what in self._too_few(self.row)]
        return Verdict(self._problems, too_little, "\n".join([*lines, *too_little]))

    def _too_few(self, row: Row) -> list[str]:
        """In what this trial met too little to prove anything."""
        said = [what for done in self._rounds.done for what in done.too_little()]
        if row.rounds < self._wanted:
            said.append(f"only {row.rounds} of {self._wanted} rounds were held")
        if self._watch.looks < LOOKS_LEAST * self._wanted:
            said.append(f"the primary was looked at only {self._watch.looks} times")
        if self._kind is Kind.PART and not row.strayed:
            said.append("the parted primary took no purchase")
        if not row.provisional:
            said.append("nothing was sold from a reserve")
        return said

    def _row(self, tries: dict[Wish, list[Try]], books: Books, *, is_settled: bool) -> Row:
        """Lost is what was acknowledged and is not there: at the end, if all is settled, or, sold, at any look."""
        bought = [one for tried in tries.values() for one in tried if one.told in BOUGHT and not one.other_content]
        told = {one.purchase_id for one in bought}
        missing = told - books.purchases.keys() if is_settled else set()
        holders: dict[str, set[str]] = defaultdict(set)
        for one in bought:
            for ticket in one.body.get("tickets", ()):
                holders[ticket].add(one.purchase_id)
        return Row(
            fault=NAMES[self._kind],
            confirmed=self._group_world.confirm,
            rounds=len(self._rounds.done),
            acknowledged=len(told),
            provisional=len({one.purchase_id for one in bought if one.told is Told.PROVISIONAL}),
            strayed=len(self._watch.strayed),
            lost=len(self._watch.missing | missing),
            doubles=sum(len(purchase_ids) > 1 for purchase_ids in holders.values()),
            receipts=self.receipts_ready,
        )


class Control(Trial):
    """The same without confirmation: it is there to lose something, or the trials prove nothing.

    It ends as soon as something was lost; afterwards the sale may well be halted.
    """

    def _is_enough(self) -> bool:
        return bool(self._watch.missing)

    def _carry_out(self) -> Verdict:
        history = History(HOSTS)
        ports = [host.service.port for host in self._group_world.hosts]
        clients = Clients(ports, SHOPS, history, seed=self._seed, threads=THREADS, misuse=False, patience_s=0.0)
        failing = self._failing(clients, history)
        clients.start()
        try:
            failing.carry_out()
        finally:
            clients.stop()
            self._watch.stop()
        self.row = self._row(history.by_wish(), self._books(), is_settled=False)
        too_little = [what for done in self._rounds.done for what in done.too_little()]
        too_little += [] if self.row.lost else ["nothing was lost"]
        return Verdict([], too_little, "\n".join([HEAD, str(self.row), *failing.failed, *too_little]))
