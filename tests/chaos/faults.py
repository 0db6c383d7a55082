"""How each fault is done, and undone.

What must stay true: a fault strikes while purchases are in flight at whom it strikes, if buyers can be made to ask. It
undoes what it did and nothing else, so that several may overlap, and does so whatever happens in between.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import psutil

from tests.chaos.clients import Clients
from tests.chaos.history import History
from tests.chaos.hosts import ChaosHost, OneGroup, World
from tests.chaos.schedule import HOSTS, OF_A_GROUP, Fault, Kind
from tests.servers import POLL_S

SELLS_DEADLINE_S = 6.0
IN_FLIGHT_DEADLINE_S = 8.0
IN_FLIGHT_LEAST = 2
FOUND_DEADLINE_S = 10.0
DELAY_MOST_S = 0.4
LATER_S = 2.5  # at most, after the clients have gone
LOSES_SHARE = 0.25
ENDS_S = 60.0

Doing = Callable[[], AbstractContextManager[None]]  # entered: the fault strikes; left: it is undone


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it happened."""

    fault: Fault
    began_s: float
    ended_s: float
    done: bool  # whether there was anything to strike
    note: str = ""

    def __str__(self) -> str:
        where = "server" if self.fault.host is None else f"host {self.fault.host}"
        what = self.fault.kind if self.done else f"{self.fault.kind}: nothing to strike"
        return f"{self.began_s:8.3f} - {self.ended_s:8.3f} s {where}: {what} {self.note}"


class Failing(Protocol):
    """What makes things fail while people buy."""

    struck: list[Struck]
    failed: list[str]  # faults of the faults: the run means nothing then

    def carry_out(self) -> None:
        """All that was to fail has failed, and is undone."""

    def give_up(self) -> None:
        """The same, at once."""


class Faults:
    """Carries out a plan, each fault in a thread of its own."""

    def __init__(self, world: World, clients: Clients, history: History, plan: Sequence[Fault]) -> None:
        self._plan = plan
        self.struck: list[Struck] = []
        self.failed: list[str] = []
        self._world = world
        self._clients = clients
        self._history = history
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []
        self._locks: dict[tuple[Kind | None, int | None], threading.Lock] = {}

    def carry_out(self) -> None:
        """Every fault struck at its time, and all of them are undone."""
        for fault in self._plan:
            lock = self._locks.setdefault(_one_at_a_time(fault), threading.Lock())
            if self._done.wait(max(0.0, fault.at_s - self._history.now_s())):
                break
            thread = threading.Thread(target=self._strike, args=(fault, lock), daemon=True)
            thread.start()
            self._threads.append(thread)
        self.end()

    def end(self) -> None:
        """No more faults strike; those under way are undone."""
        for thread in self._threads:
            thread.join(ENDS_S)
        assert not any(thread.is_alive() for thread in self._threads), "a fault never came to an end"

    def give_up(self) -> None:
        """The same, at once."""
        self._done.set()
        self.end()

    def _strike(self, fault: Fault, lock: threading.Lock) -> None:
        try:
            with lock:
                self.struck.append(self._struck(fault))
        except Exception as error:
            self.failed.append(f"{fault}: {error!r}")

    def _struck(self, fault: Fault) -> Struck:
        if fault.kind in OF_COMMANDS and fault.host is not None:
            host = fault.host
            self._clients.rush_until(lambda: self._history.sells_from_the_store(host), SELLS_DEADLINE_S)
        doing, note = self._prepare(fault)
        self._clients.rush_until(lambda: self._history.in_flight(fault.host) >= IN_FLIGHT_LEAST, IN_FLIGHT_DEADLINE_S)
        began_s = self._history.now_s()
        done = doing is not None
        if doing is not None:
            try:
                with doing():
                    self._clients.rush()
                    self._done.wait(fault.lasts_s)
            except psutil.NoSuchProcess:  # it had ended by itself, as receipt workers do without Redis
                done = False
        return Struck(fault, began_s, self._history.now_s(), done, note)

    def _prepare(self, fault: Fault) -> tuple[Doing | None, str]:
        """What is to be done, ready to be done at once, and what to say of it."""
        if fault.host is None:
            return self._of_the_server(fault), ""
        host = self._world.hosts[fault.host]
        if fault.kind in KILLED:
            return self._killing(fault, host)
        return partial(OF_THE_WAY[fault.kind], self, host, fault), ""

    def _killing(self, fault: Fault, host: ChaosHost) -> tuple[Doing | None, str]:
        until_s = self._history.now_s() + FOUND_DEADLINE_S
        while not (living := KILLED[fault.kind](host)):
            if self._history.now_s() > until_s or self._done.wait(POLL_S):
                return None, ""
        process = living[int(fault.luck * len(living))]
        return partial(_is_killed, process), f"(process {process.pid})"

    def _of_the_server(self, fault: Fault) -> Doing:
        world = self._world
        if fault.kind in OF_A_GROUP:
            assert isinstance(world, OneGroup)
            hosts = [int(fault.luck * HOSTS)] if fault.kind is Kind.PART_HOSTS else []
            return partial(world.primary_is_parted, *hosts)
        return world.primary_is_killed if fault.kind is Kind.KILL_SERVER else world.primary_is_stopped

    @contextmanager
    def _cut(self, host: ChaosHost, _: Fault) -> Iterator[None]:
        host.proxy.reset()
        yield

    @contextmanager
    def _delays(self, host: ChaosHost, fault: Fault) -> Iterator[None]:
        host.proxy.delay_s = DELAY_MOST_S * fault.luck
        try:
            yield
        finally:
            host.proxy.delay_s = 0.0

    @contextmanager
    def _delivers_late(self, host: ChaosHost, fault: Fault) -> Iterator[None]:
        """Half of them so soon that a script may still be within its deadline."""
        host.proxy.keeps_commands = True
        try:
            yield
            host.proxy.drop_clients()
        finally:
            host.proxy.keeps_commands = False
            self._done.wait(max(0.0, LATER_S * (2 * fault.luck - 1)))
            host.proxy.deliver()

    @contextmanager
    def _swallows(self, host: ChaosHost, _: Fault) -> Iterator[None]:
        host.proxy.swallows_replies = True
        try:
            yield
        finally:
            host.proxy.swallows_replies = False

    @contextmanager
    def _refuses(self, host: ChaosHost, _: Fault) -> Iterator[None]:
        host.proxy.refuses = True
        host.proxy.reset()
        try:
            yield
        finally:
            host.proxy.refuses = False

    @contextmanager
    def _loses(self, host: ChaosHost, _: Fault) -> Iterator[None]:
        host.proxy.loses_share = LOSES_SHARE
        try:
            yield
        finally:
            host.proxy.loses_share = 0.0


@contextmanager
def _is_killed(process: psutil.Process) -> Iterator[None]:
    """Whoever supervises it starts another one."""
    process.kill()
    yield


def _one_at_a_time(fault: Fault) -> tuple[Kind | None, int | None]:
    """Faults of one such name follow one another: two of the server, two that set the same switch of one proxy."""
    if fault.host is None:
        return None, None
    return (Kind.REFUSE if fault.kind is Kind.ISOLATE else fault.kind), fault.host


# What these do means something only to who asks the store, and is not in an outage already.
OF_COMMANDS = frozenset({Kind.LATE, Kind.SWALLOW, Kind.LOSE, Kind.DELAY})
KILLED: dict[Kind, Callable[[ChaosHost], list[psutil.Process]]] = {
    Kind.KILL_WEB: ChaosHost.web_workers,
    Kind.KILL_MASTER: ChaosHost.masters,
    Kind.KILL_RECEIPTS: ChaosHost.receipt_workers,
}
OF_THE_WAY: dict[Kind, Callable[[Faults, ChaosHost, Fault], AbstractContextManager[None]]] = {
    Kind.CUT: Faults._cut,
    Kind.DELAY: Faults._delays,
    Kind.LATE: Faults._delivers_late,
    Kind.SWALLOW: Faults._swallows,
    Kind.REFUSE: Faults._refuses,
    Kind.LOSE: Faults._loses,
    Kind.ISOLATE: Faults._refuses,
}
