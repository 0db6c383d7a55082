"""What the simulated processes run on: gates that stop them, a network that loses and delays, disks that tear.

What must stay true: everything random comes from the seed; a dead process has no further effect.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import gevent
from gevent.event import Event as Signal

from tests.machine.outage.profiles import Profile
from ticketing.errors import OutcomeUnknown, StoreRefused
from ticketing.outage.journal import Journal, JournalPoisoned
from ticketing.store import scripts
from ticketing.store.connection import Command, Pool, Store

HOPS = 8  # turns of the hub after which whoever was let go has come to its next gate
PURCHASE_DEADLINE_AT = 12  # place of the deadline in an EVALSHA of purchase.lua
READING = frozenset({"", "state"})
LEASING = frozenset({"lease", "settle"})
SCRIPT_NAMES = ("purchase", "lease", "settle", "void", "halt", "add", "state", "replace", "put_back")


def mutated(name: str, changes: dict[str, str]) -> scripts.Script:
    """A script with some of its lines changed."""
    text = scripts.load(name, True).text
    for old, new in changes.items():
        assert old in text, f"{name}.lua has no such line any more: {old}"
        text = text.replace(old, new)
    return scripts.Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Gates:
    """Where simulated processes wait to go on."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, bool, Signal]] = []  # a process, whether it is its keeper, and the gate
        self.open = False  # nobody waits any more: the world is being healed

    def stop_here(self, process: Any, *, keeper: bool) -> None:
        """The process goes on when the seed says so."""
        if self.open:
            return
        gate = Signal()
        self.waiting.append((process, keeper, gate))
        gate.wait()

    def let_one_go(self, chance: random.Random, hurry: float) -> None:
        """A keeper in `hurry` of the cases, since its round has many gates; anybody in the others."""
        keepers = [number for number, (_, keeper, _) in enumerate(self.waiting) if keeper]
        if keepers and chance.random() < hurry:
            chosen = chance.choice(keepers)
        elif self.waiting:
            chosen = chance.randrange(len(self.waiting))
        else:
            return
        *_, gate = self.waiting.pop(chosen)
        gate.set()
        run_until_all_wait()

    def forget(self, process: Any) -> None:
        self.waiting = [waiting for waiting in self.waiting if waiting[0] is not process]


def run_until_all_wait() -> None:
    for _ in range(HOPS):
        gevent.sleep(0)


class Network:
    """Between all processes and one store."""

    def __init__(self, store: Store, chance: random.Random, counts: Counter[str], profile: Profile) -> None:
        self.store = store
        self.profile = profile
        self.chance = chance
        self.counts = counts
        self.up = True
        self.faulty = True
        self.now = 0  # logical time, for deadlines
        self.late: list[tuple[int, list[Command]]] = []  # too late to sell from, commands
        self.names: dict[str, str] = {}
        self.mutated: dict[str, str] = {}
        for name in SCRIPT_NAMES:
            self.names[store.one("SCRIPT", "LOAD", scripts.load(name, True).text)] = name

    def mutate(self, name: str, old: str, new: str) -> None:
        """A script runs without one of its rules from now on."""
        sha = self.store.one("SCRIPT", "LOAD", mutated(name, {old: new}).text)
        self.mutated[scripts.load(name, True).sha] = sha
        self.names[sha] = name

    def run(self, commands: Sequence[Command]) -> list[Any]:
        return self.store.exchange([self._as_mutated(command) for command in commands])

    def carry(self, commands: Sequence[Command], too_late_at: int) -> list[Any]:
        """Take commands to the store, or not. Raises OutcomeUnknown."""
        names = {self.name_of(command) for command in commands}
        if not self.faulty or names <= READING:
            return self.run(commands)
        losses = self.profile.lease_losses if names & LEASING else self.profile.losses
        luck = self.chance.random() - losses.answered
        if luck < 0:
            return self.run(commands)
        if luck < losses.unanswered:
            self.run(commands)
        elif luck < losses.unanswered + losses.late:
            self.late.append((too_late_at, list(commands)))
        raise OutcomeUnknown("the reply was lost")

    def late_ones(self, *, leasing: bool) -> list[int]:
        """Which commands are on their way: those that change leases, or the others."""
        names = [{self.name_of(command) for command in commands} for _, commands in self.late]
        return [number for number, said in enumerate(names) if bool(said & LEASING) is leasing]

    def deliver_late(self, chosen: int) -> None:
        """Commands of somebody who has long given up, or died, reach the store."""
        too_late_at, commands = self.late.pop(chosen)
        for command in commands:
            self._deliver(command if self.now < too_late_at else expired(command, self.name_of(command)))

    def name_of(self, command: Command) -> str:
        return self.names.get(str(command[1]), "") if command[0] == "EVALSHA" else ""

    def _deliver(self, command: Command) -> None:
        [reply] = self.run([command])
        name = self.name_of(command)
        if name != "state" and name:
            self.counts[f"late {name} {reply[0] if isinstance(reply, list) else 'error'}"] += 1

    def _as_mutated(self, command: Command) -> Command:
        return (
            (command[0], self.mutated.get(str(command[1]), command[1]), *command[2:]) if len(command) > 1 else command
        )


def expired(command: Command, name: str) -> Command:
    """The command as it is when the server takes it up too late to sell."""
    if name != "purchase":
        return command
    return (*command[:PURCHASE_DEADLINE_AT], 0, *command[PURCHASE_DEADLINE_AT + 1 :])


class SimulatedStore(Store):
    """One process's way to the store."""

    def __init__(self, network: Network, process: Any, stop_here: Callable[[], None]) -> None:
        super().__init__(cast(Pool, None))
        self._network = network
        self._process = process
        self._stop_here = stop_here

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        self._stop_here()
        if not (self._network.up and self._process.connected):
            raise StoreRefused("cut off")
        replies = self._network.carry(commands, self._process.too_late_at)
        self._stop_here()
        return replies


class TornJournal(Journal):
    """A journal on a disk that can fail, and that holds after a crash any part of what was not synced."""

    def __init__(self, path: Path, process: Any) -> None:
        self._process = process
        super().__init__(path, fsync=False)
        self.synced = path.read_bytes()
        self.perhaps = [self.synced]  # what the disk holds if the process dies now
        process.journals.append(self)

    def _guarded(self, work: Callable[[], None]) -> None:
        if self._process.dead:
            raise gevent.GreenletExit
        super()._guarded(work)
        if self._process.disk_fails():
            self.perhaps = [*dict.fromkeys([*self.perhaps, self.path.read_bytes()])]
            self.poisoned = True
            raise JournalPoisoned("the disk failed")
        self.synced = self.path.read_bytes()
        self.perhaps = [self.synced]

    def close(self) -> None:
        if not self._process.dead:
            super().close()
            self._process.journals.remove(self)

    def crash(self, chance: random.Random, unwritten: Callable[[], None] | None) -> None:
        """The process died: what was synced is there, and any part of what was not."""
        if unwritten is not None and chance.random() < 0.5:
            self._process.dead = False
            try:
                unwritten()
            except JournalPoisoned:
                pass
            finally:
                self._process.dead = True
        written = chance.choice([*dict.fromkeys([*self.perhaps_before, self.path.read_bytes()])])
        if written.startswith(self.before_crash):
            torn = chance.randint(len(self.before_crash), len(written))
            written = written[: chance.choice([torn, len(written)])]
        self.path.write_bytes(written)
        Journal.close(self)

    def remember(self) -> None:
        """What is synced now is what no crash takes away."""
        self.before_crash, self.perhaps_before = self.synced, list(self.perhaps)
