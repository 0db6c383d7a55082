"""Target 7: receipts by one worker, popped from RQ, signed, drawn, stored and taken from the outbox."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from tests.bench.contestants import STORE_OPTIONS
from tests.bench.figures import NotMeasured, ratio
from tests.bench.machine import cpu_us
from tests.bench.sitting import Run, Series, Sitting, middle
from tests.receipts import GALA
from tests.seeded import SEED
from tests.servers import ID_SECRET, ROOT, ValkeyServer, environment, wait_until
from ticketing.model import Outcome, PurchaseRequest
from ticketing.receipts.files import ReceiptFiles
from ticketing.sale.identity import Identity
from ticketing.store import keys
from ticketing.store.connection import Store, StoreClock
from ticketing.store.events import EventStore, create
from ticketing.store.queue import ReceiptQueue, open_client
from ticketing.store.sale import EventBatch, SaleStore, Versions

RECEIPTS = 20_000
PLAIN = 100
JOB_SIZE = 64  # RECEIPT_JOB_SIZE's default
CONTACT = '{"name":"Zoë Müller"}'
FINGERPRINT = "0123456789abcdef"
DRAIN_S = 120.0
WARM_S = 30.0
DAY_MS = 86_400_000

_jobs = count(1)


def measure(sitting: Sitting) -> None:
    """7a and 7b."""
    folder = sitting.new_folder()
    server = ValkeyServer(folder / "store")
    server.start(*STORE_OPTIONS)
    try:
        with _bench(folder, server) as bench:
            turns = {
                "ours": partial(bench.ours, sitting.plan.scaled(RECEIPTS)),
                "plain fpdf2, a job each": partial(bench.plain, sitting.plan.scaled(PLAIN), "simple"),
                "the same, forking": partial(bench.plain, sitting.plan.scaled(PLAIN), "forking"),
            }
            runs = sitting.in_turn("receipts", turns)
    finally:
        server.stop()
    _record(sitting, runs)


def _record(sitting: Sitting, runs: dict[str, Series]) -> None:
    try:
        ours, plain, forking = runs.values()
        a_second = 1e6 / middle(ours, _app_us)
        detail = (
            f"{middle(ours, _app_us):.0f} us each, store {middle(ours, lambda run: run.store_us):.0f} us more;"
            f" one worker {middle(ours, lambda run: run.per_s):,.0f}/s by the clock"
        )
        sitting.record("7a", a_second, detail)
        times = ratio(middle(plain, _app_us), middle(ours, _app_us))
        forked = ratio(middle(forking, _app_us), middle(ours, _app_us))
        detail = f"plain {middle(plain, _app_us) / 1000:.1f} ms in RQ's SimpleWorker; {forked:.0f} x its forking one"
        sitting.record("7b", times, detail)
    except NotMeasured as why:
        sitting.lacks(("7a", "7b"), why)


class _Bench:
    """A store with sold tickets, a queue, and our worker.

    What was stored is kept until the sitting ends: for five minutes ext4 looks at each deleted file's inode again
    before it makes a new one, and a round after 20,000 deletions took twice the CPU, all of it in the kernel.
    """

    def __init__(self, folder: Path, server: ValkeyServer, store: Store, worker: int) -> None:
        self._folder, self._server, self._store, self._worker = folder, server, store, worker
        self._identity = Identity(ID_SECRET)
        versions = Versions()
        self._events = EventStore(store, versions)
        self._sales = SaleStore(store, versions, StoreClock(), timeout_ms=DAY_MS, due_ms=DAY_MS)
        self._sales.greet(self._identity.secret_fingerprint)
        self._files = ReceiptFiles(folder / "data" / "receipts")
        self._seed = create(store, GALA, seed=SEED, planned=1).seed
        self._queue = ReceiptQueue(open_client(server.url, timeout_s=60, connect_timeout_s=5), job_timeout_s=60)

    def ours(self, receipts: int) -> Run:
        """So many purchases of one ticket; the receipts of all are stored."""
        sold = self._sell(receipts)
        before = cpu_us(self._worker), cpu_us(self._server.pid)
        began_s = time.monotonic()
        self._queue.enqueue((GALA.event_id, ids) for ids in _batches(sold, JOB_SIZE))
        wait_until(self._drained, DRAIN_S, "the outbox is empty")
        seconds = time.monotonic() - began_s
        app_us, store_us = cpu_us(self._worker) - before[0], cpu_us(self._server.pid) - before[1]
        whole = sum(map(self._files.has, sold))
        refused = "" if whole == receipts else f"{whole} of {receipts} receipts are stored"
        return Run("ours", receipts, app_us / receipts, store_us / receipts, receipts / seconds, refused=refused)

    def plain(self, receipts: int, kind: str) -> Run:
        """The same by one RQ job each."""
        folder = self._folder / f"plain-{next(_jobs)}"
        folder.mkdir()
        words = [sys.executable, "-m", "tests.bench.peers.plain_receipt", self._server.url, str(folder), str(receipts)]
        began_s = time.monotonic()
        done = subprocess.run([*words, kind], cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began_s
        if done.returncode:
            raise NotMeasured(f"the plain worker failed: {done.stderr[-300:]}")
        stored = len(list(folder.glob("*.pdf")))
        refused = "" if stored == receipts else f"{stored} of {receipts} receipts are stored"
        app_us = float(done.stdout.split()[-1]) * 1e6
        return Run(kind, receipts, app_us / receipts, 0.0, receipts / seconds, refused=refused)

    def _sell(self, receipts: int) -> list[str]:
        issued = self._events.read([GALA.event_id])[0].issued
        self._events.add_more(GALA.event_id, self._seed, issued, receipts)
        ids = [self._identity.new_purchase_id(GALA.event_id) for _ in range(receipts)]
        for some in _batches(ids, 1000):
            asked = [PurchaseRequest(one, GALA.event_id, 1, FINGERPRINT, "", CONTACT) for one in some]
            replies = self._sales.purchase([EventBatch(GALA.event_id, self._seed, asked)])[0]
            assert {reply.outcome for reply in replies} == {Outcome.SOLD}
        return ids

    def _drained(self) -> bool:
        return int(self._store.one("ZCARD", keys.of_event(GALA.event_id).receipts)) == 0


@contextmanager
def _bench(folder: Path, server: ValkeyServer) -> Iterator[_Bench]:
    data_dir = folder / "data"
    data_dir.mkdir()
    env = environment(data_dir, REDIS_URL=server.url, METRICS_DIR=folder / "metrics", LOG_LEVEL="WARNING")
    store = server.store(timeout_s=60.0, connections=4)
    with (folder / "worker.log").open("ab") as log:
        worker = subprocess.Popen([sys.executable, "-m", "workers"], cwd=data_dir, env=env, stdout=log, stderr=log)
    try:
        made = _Bench(folder, server, store, worker.pid)
        wait_until(lambda: store.one("SCARD", "rq:workers"), WARM_S, "the receipt worker is born")
        yield made
    finally:
        worker.terminate()
        worker.wait(DRAIN_S)
        store.close()


def _batches(ids: list[str], size: int) -> list[list[str]]:
    return [ids[first : first + size] for first in range(0, len(ids), size)]


def _app_us(run: Run) -> float:
    return run.app_us
