"""A real receipt worker at a real queue: what it does when the server goes away, and where it keeps its counters."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rq.job import Job

from tests.receipts import SIGNING_KEY
from tests.sales import Sale, a_request
from tests.servers import ValkeyServer, environment, wait_until
from ticketing.receipts.files import ReceiptFiles
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.queue import QUEUE, SERIALIZER, ReceiptQueue, open_client
from ticketing.telemetry.metrics import Exposition

START_DEADLINE_S = 30
AWAY_S = 16  # RQ by itself looks after 1, 3, 7, 15 and 31 s
DEADLINE_S = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def queue(server: ValkeyServer) -> Iterator[ReceiptQueue]:
    client = open_client(server.url, timeout_s=5, connect_timeout_s=2)
    yield ReceiptQueue(client, job_timeout_s=60)
    client.close()


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[Store]:
    made = server.store()
    yield made
    made.close()


@pytest.fixture
def worker(server: ValkeyServer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running worker; its log is in worker.log."""
    settings = environment(tmp_path, REDIS_URL=server.url, SIGNING_KEY=SIGNING_KEY)
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-m", "workers"], cwd=tmp_path, env=settings, stderr=log)
    yield worker
    worker.kill()
    worker.wait(10)


def sell_and_enqueue(store: Store, queue: ReceiptQueue) -> str:
    request = a_request()
    assert Sale(store).tags(request) == ["sold"]
    queue.enqueue([("1", [request.purchase_id])])
    return request.purchase_id


def test_a_worker_is_back_at_work_soon_after_the_queue_is(
    server: ValkeyServer, queue: ReceiptQueue, store: Store, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    files = ReceiptFiles(tmp_path / "receipts")
    Sale(store).open(10)
    first = sell_and_enqueue(store, queue)
    wait_until(lambda: files.has(first), START_DEADLINE_S, "the worker works")
    # In the middle of a job it would end instead, and its supervisor would start another.
    wait_until(lambda: queue.client.info("clients")["blocked_clients"], DEADLINE_S, "the worker waits for a job")
    server.kill()
    back_s = time.monotonic() + AWAY_S
    wait_until(lambda: time.monotonic() > back_s, AWAY_S + 1)
    server.start()
    second = sell_and_enqueue(store, queue)
    wait_until(lambda: files.has(second), DEADLINE_S, "the worker works again")
    assert worker.poll() is None


def test_a_worker_waits_for_a_queue_that_is_away_when_it_starts(
    server: ValkeyServer, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    server.stop()
    wait_until(lambda: "waits" in log.read_text() or worker.poll() is not None, START_DEADLINE_S, "it says so")
    server.start()
    client = open_client(server.url, timeout_s=5, connect_timeout_s=2)
    wait_until(lambda: client.info("clients")["blocked_clients"], DEADLINE_S, "the worker waits for a job")
    client.close()
    assert worker.poll() is None
    assert "Traceback" not in log.read_text()


def test_a_worker_counts_in_a_folder_of_its_own(
    queue: ReceiptQueue,
    store: Store,
    worker: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Sale(store).open(10)
    sell_and_enqueue(store, queue)
    folder = tmp_path / "run" / "metrics" / "workers"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    name = "ticketing_receipt_render_seconds_count"
    counted = Exposition(None, [folder])  # type: ignore[arg-type]
    wait_until(lambda: sum(counted.values(name, "").values()) == 1, START_DEADLINE_S, "one receipt is counted")
    assert sorted(path.name for path in folder.iterdir()) == ["0", "0.lock"]
    assert {path.name for path in (folder / "0").iterdir()} == {"counter_0.db", "histogram_0.db"}


def test_a_worker_without_tracing_draws_what_a_traced_purchase_enqueued(
    queue: ReceiptQueue, store: Store, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """As while a setting is changed, part by part."""
    files = ReceiptFiles(tmp_path / "receipts")
    Sale(store).open(10)
    queue.carried = lambda ids: [{"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"} for _ in ids]
    purchase_id = sell_and_enqueue(store, queue)
    wait_until(lambda: files.has(purchase_id), START_DEADLINE_S, "it is drawn")


def test_a_job_carries_traces_only_where_there_are_some(queue: ReceiptQueue) -> None:
    carrier = {"traceparent": "one"}
    queue.enqueue([("1", ["1.a"])])
    queue.carried = lambda ids: None if ids == ["1.b"] else [carrier, None]
    queue.enqueue([("1", ["1.b"]), ("1", ["1.c", "1.d"])])
    ids = queue.client.lrange(f"rq:queue:{QUEUE}", 0, -1)
    jobs = [Job.fetch(job_id.decode(), connection=queue.client, serializer=SERIALIZER) for job_id in ids]
    assert [job.kwargs for job in jobs] == [{}, {}, {"traces": [carrier, None]}]


def test_a_receipt_that_is_given_up_is_counted(
    queue: ReceiptQueue,
    store: Store,
    worker: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sale, request = Sale(store), a_request()
    sale.open(10)
    assert sale.tags(request) == ["sold"]
    store.one("HSET", keys.of_event("1").tries, request.purchase_id, 1000)
    queue.enqueue([("1", [request.purchase_id])])
    folder = tmp_path / "run" / "metrics" / "workers"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    counted = Exposition(None, [folder])  # type: ignore[arg-type]
    name = "ticketing_receipts_failed_total"
    wait_until(lambda: sum(counted.values(name, "").values()) == 1, START_DEADLINE_S, "it is counted")


def test_rq_tries_no_job_again_by_itself(queue: ReceiptQueue) -> None:
    """It would at once, and each time count a try of every receipt in it."""
    queue.enqueue([("1", ["1.a"])])
    [job_id] = queue.client.lrange(f"rq:queue:{QUEUE}", 0, -1)
    job = Job.fetch(job_id.decode(), connection=queue.client, serializer=SERIALIZER)
    assert not job.retries_left
