"""The simulated world: hosts, processes, buyers and what they were told, and the account at the end.

What must stay true: invariants 1 to 5 of sale.md, judged here with plain commands after everything was healed.
"""

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.machine.outage.machinery import Gates, Network, run_until_all_wait
from tests.machine.outage.process import Process
from tests.machine.outage.profiles import USUAL, of_seed
from tests.sales import SEED, Sale, a_request, account
from ticketing.model import Outcome, PurchaseRequest
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.events import EventConflict
from ticketing.store.leases import Settled

EVENTS = {"1": 40, "2": 30}  # tickets; the second has a limit a buyer
BUYER_MAX = 3
TICKETS_MAX, RESTOCK_MAX = 1_500, 24
SCARCE = 5  # tickets in the pool from which on no more are added: what is given away by mistake must soon be sold
HEALING_ROUNDS = 60


@dataclass
class Told:
    """Everything that was told of one purchase id."""

    request: PurchaseRequest
    records: set[str] = field(default_factory=set)
    acknowledged_at: int | None = None
    asked: dict[int, tuple[int, int | None, str]] = field(default_factory=dict)  # number -> begun, ended, what


class World:
    """One run."""

    def __init__(self, store: Store, folder: Path, seed: int, *, back: bool = False) -> None:
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.store, self.folder = store, folder
        self.event_ids = tuple(EVENTS)
        store.one("FLUSHALL")
        self.sale = sale = Sale(store)
        self.issued = EVENTS["1"]
        sale.open(EVENTS["1"], event_id="1", quantity_max=3)
        sale.open(EVENTS["2"], event_id="2", quantity_max=3, buyer_max=BUYER_MAX)
        self.profile = of_seed(seed)
        self.network = Network(store, self.chance, self.counts, self.profile)
        self.gates = Gates()
        self.low_water = self.chance.choice(self.profile.low_water)
        self.disk_luck = self.chance.choice(self.profile.disk_luck)
        self.dark_until = 0
        self.back = back
        self.restored_at: int | None = None
        self.saved: dict[str, bytes] | None = None
        self.hosts = (folder / "host-0", folder / "host-1")
        self.processes: list[Process] = []
        self.told_of: dict[str, Told] = {}
        self.keys: list[PurchaseRequest] = []
        self.exempt: set[str] = set()  # the stated exception to invariant 5
        self.faults: list[str] = []
        self.happenings = [getattr(self, name) for name in USUAL]
        self.weights = [self.profile.weight_of(name) for name in USUAL]
        self._numbers = 0

    # What processes ask of it.

    def disk_fails(self) -> bool:
        failed = self.chance.random() < self.disk_luck
        self.counts["disk failures"] += failed
        return failed

    def settled(self, outcomes: list[Settled]) -> None:
        for outcome in outcomes:
            self.counts[f"settle {outcome}"] += 1
            # A key that is asked for again buys the same, so these can't come up.
            if outcome is Settled.KEY_REUSED:
                self.faults.append("a journalled purchase is key_reused")
            if outcome is Settled.UNFUNDED and self.restored_at is None:
                self.faults.append("a journalled purchase is unfunded: its ticket was sold elsewhere")

    def next_request(self) -> tuple[PurchaseRequest, int]:
        if self.keys and self.chance.random() < self.profile.retried:
            request = self.chance.choice(self.keys[-self.profile.recent :])
        else:
            request = self._new_request()
        self._numbers += 1
        told = self.told_of.setdefault(request.purchase_id, Told(request))
        told.asked[self._numbers] = (self.network.now, None, "")
        return request, self._numbers

    def _new_request(self) -> PurchaseRequest:
        event_id = self.chance.choice("1111112")
        buyer = self.chance.choice("abcdefgh") * 11 if event_id == "2" else ""
        keyed = self.chance.random() < self.profile.keyed
        request = a_request(self.chance.choice([1, 1, 2, 3]), event_id=event_id, buyer_tag=buyer, keyed=keyed)
        if keyed:
            self.keys.append(request)
        return request

    def told(self, request: PurchaseRequest, number: int, what: str, record: str) -> None:
        told, now = self.told_of[request.purchase_id], self.network.now
        begun = told.asked[number][0]
        told.asked[number] = (begun, now, what)
        self.counts[f"told {what}"] += 1
        if what == "409" and told.acknowledged_at is not None and told.acknowledged_at < begun:
            self.faults.append(f"409 after an acknowledged purchase: {request.purchase_id}")
        if what in ("sold", "provisional"):
            told.acknowledged_at = now if told.acknowledged_at is None else told.acknowledged_at
        if record:
            told.records.add(record)
            if len(told.records) > 1 and self.restored_at is None:
                self.faults.append(f"two answers: {told.records}")

    def broke(self, greenlet: Any) -> None:
        """A process did what nobody foresaw."""
        self.faults.append(f"a process broke: {greenlet.exception!r}")

    # What happens to it.

    def run(self, steps: int) -> list[str]:
        """Faults and sales; then everything is healed; the violations of the invariants."""
        try:
            for number in range(self.profile.processes):
                self.start(self.hosts[number % 2])
            for _ in range(steps):
                self.step()
            self.check_books()
            self.heal()
        finally:
            while self.processes:
                self.kill(self.processes[0])
        if self.restored_at is None:
            self.check_promises()
        self.check_books()
        return self.faults

    def step(self) -> None:
        """Mostly somebody goes on; sometimes something happens."""
        self.network.now += 1
        self.network.up = self.network.now >= self.dark_until
        luck = self.chance.random()
        if luck >= self.profile.happening:
            self.gates.let_one_go(self.chance, self.profile.hurry)
        elif self.back and self.chance.random() < 0.04:
            self.step_back()
        else:
            self.chance.choices(self.happenings, self.weights)[0]()

    def deliver(self) -> None:
        """Also in an outage: what a stopped server was sent it runs when it goes on."""
        late = self.network.late_ones(leasing=self.chance.random() < 0.6)
        if late:
            self.network.deliver_late(self.chance.choice(late))

    def kill_one(self) -> None:
        if self.processes:
            self.kill(self.chance.choice(self.processes))

    def start_one(self) -> None:
        if len(self.processes) < self.profile.processes:
            self.start(self.chance.choice(self.hosts))

    def cut_one(self) -> None:
        if self.processes:
            self.chance.choice(self.processes).connected = self.chance.random() < 0.7

    def kill_amid_change(self) -> None:
        """One whose lease is changing or whose journal failed; its heir starts at once, and mostly without Redis."""
        if amid := [process for process in self.processes if process.is_amid_change()]:
            process = self.chance.choice(amid)
            self.kill(process)
            self.counts["kills amid a change"] += 1
            self.start(process.host)
            self.processes[-1].connected = self.chance.random() < 0.3

    def disks(self) -> None:
        """They are well for a while, or ill."""
        self.disk_luck = self.chance.choice(self.profile.disk_luck)

    def outage(self) -> None:
        self.dark_until = self.network.now + self.chance.randint(*self.profile.dark_steps)

    def restock(self) -> None:
        left = int(self.store.one("LLEN", keys.of_event("1").tickets))
        if self.issued < TICKETS_MAX and left < SCARCE:
            with contextlib.suppress(EventConflict):  # it is halted
                self.issued = self.sale.events.add_more("1", SEED, self.issued, self.chance.randint(1, RESTOCK_MAX))

    def pause(self) -> None:
        key = keys.of_event("1").info
        self.store.read(("HSET", key, "paused", self.chance.choice("00001")), ("HINCRBY", key, "version", 1))

    def step_back(self) -> None:
        """An older file: what was written since the copy is gone."""
        redis = _raw(self.store)
        if self.saved is None or self.restored_at is not None:
            self.saved = {key: redis.dump(key) for key in redis.keys("*")}
        elif self.network.now > 250:
            redis.flushall()
            for key, dumped in self.saved.items():
                redis.restore(key, 0, dumped)
            self.restored_at, self.issued = self.network.now, TICKETS_MAX
            self.network.late.clear()
            self.counts["steps back"] += 1
        redis.close()

    def rush(self) -> None:
        """A process that nothing ever happens to sells what is in the pool: what was given away is sold at once."""
        left = int(self.store.one("LLEN", keys.of_event("1").tickets))
        requests = [a_request(1) for _ in range(left)]
        for request, reply in zip(requests, self.sale.buy(*requests) if requests else (), strict=True):
            if reply.outcome is Outcome.SOLD:
                self.told_of[request.purchase_id] = Told(request, {reply.detail}, self.network.now)

    def start(self, host: Path) -> None:
        self.processes.append(Process(self, host))
        run_until_all_wait()

    def kill(self, process: Process) -> None:
        self.processes.remove(process)
        process.die(self.chance)
        self.counts["kills"] += 1

    def heal(self) -> None:
        """Every process dies; one a host settles what is left, on a perfect network. Then late scripts come, and again.

        The last of those find processes that live on: what a late script does then, no start of a process puts right.
        """
        self.network.up, self.network.faulty, self.disk_luck, self.gates.open = True, False, 0.0, True
        for _ in range(2):
            while self.processes:
                self.kill(self.processes[0])
            self._deliver(len(self.network.late) // 2)
            self.processes = [Process(self, host, alone=True) for host in self.hosts]
            for process in self.processes:
                process.take_over()
            self._clear_up()
        self._deliver(len(self.network.late))
        self._clear_up()

    def _deliver(self, late: int) -> None:
        for _ in range(late):
            self.network.deliver_late(self.chance.randrange(len(self.network.late)))

    def _clear_up(self) -> None:
        for process in self.processes:
            left = process.clear_up(HEALING_ROUNDS)
            if left and self.restored_at is None:
                self.faults.append(f"after healing, {process.host.name} has left: {left}")

    # What must be true of it.

    def check_books(self) -> None:
        """Invariants 1 and 2, the counters, the outbox, and the limit a buyer."""
        for event_id, tickets in EVENTS.items():
            try:
                held = account(self.store, event_id).check()
                assert held.issued >= tickets
                assert held.outbox == held.sold.keys()
                if event_id == "2":
                    assert all(count <= BUYER_MAX for count in held.buyers.values())
            except AssertionError as error:
                self.faults.append(f"event {event_id}: the books don't balance: {str(error)[:300]}")

    def check_promises(self) -> None:
        """Invariants 3 to 5, after everything was healed."""
        for event_id in EVENTS:
            if why := self.store.one("HGET", keys.of_event(event_id).info, "halted_why"):
                self.faults.append(f"event {event_id} was halted, and nothing went back: {why}")
            held = account(self.store, event_id)
            if held.leased:
                self.faults.append(f"event {event_id}: {len(held.leased)} tickets are still leased")
            for purchase_id, told in self.told_of.items():
                if told.request.event_id == event_id:
                    self._judge(told, held.sold.get(purchase_id))

    def _judge(self, told: Told, tickets: list[str] | None) -> None:
        request = told.request
        name = f"{'keyed' if request.keyed else 'unkeyed'} purchase {request.purchase_id}"
        whats = {what for _, _, what in told.asked.values()}
        if told.acknowledged_at is not None:
            if tickets is None or len(tickets) != request.quantity:
                self.faults.append(f"acknowledged, and not as it was bought: {name}, {whats}, {tickets}")
        elif tickets is not None and not request.keyed and "503" in whats and request.purchase_id not in self.exempt:
            self.faults.append(f"503 was told, and it holds a ticket: {name}")
        elif tickets is not None and self._finally_refused(told):
            self.faults.append(f"409 was told last, and it holds a ticket: {name}")

    @staticmethod
    def _finally_refused(told: Told) -> bool:
        """Whether a 409 was told in an attempt that began when every other one had ended, and none came after."""
        for number, (begun, ended, what) in told.asked.items():
            others = [other for at, other in told.asked.items() if at != number]
            if what == "409" and ended is not None and all(end is not None and end < begun for _, end, _ in others):
                return True
        return False


def _raw(store: Store) -> Any:
    """A client that changes no byte."""
    import redis

    pool: Any = store._pool
    arguments = pool.connection_kwargs
    return redis.Redis(host=arguments["host"], port=arguments["port"], protocol=2)
