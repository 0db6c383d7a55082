"""Each part is killed while people buy. Afterwards every answered purchase exists once, and every receipt comes."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rq import Worker

from tests.buyers import Buyers, compare, records, untold
from tests.servers import wait_until
from tests.service import Service
from ticketing.store.queue import SERIALIZER, open_client

POOLS = {"rock": 20_000, "jazz": 20_000}
QUICK = {"RECEIPT_DUE_MS": 1_000, "RECEIPT_RETRY_BASE_MS": 1_000, "RECEIPT_JOB_SIZE": 16}
MORE_PURCHASES = 150


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, **QUICK)
    service.start()
    service.seed(POOLS)
    yield service
    service.stop()


@pytest.fixture
def buyers(service: Service) -> Buyers:
    buyers = Buyers(service.port, list(POOLS), threads=8)
    buyers.start()
    wait_until(lambda: buyers.bought >= MORE_PURCHASES, 30, "people buy")
    return buyers


def buy_on(buyers: Buyers) -> None:
    """The sale goes on after what was done to it."""
    before = buyers.bought
    wait_until(lambda: buyers.bought >= before + MORE_PURCHASES, 60, "people buy again")


def check(service: Service, buyers: Buyers) -> None:
    """The store holds what buyers were told, and every purchase in it gets its receipt."""
    buyers.stop()
    store = service.store()
    try:
        # A purchase that was answered 503 without a key is voided in the end, a provisional one settled, not at once.
        wait_until(lambda: not untold(buyers.told, records(store, list(POOLS))), 20, "what nobody was told is voided")
        wait_until(lambda: buyers.told.purchases.keys() <= records(store, list(POOLS)).keys(), 20, "all is settled")
        found = records(store, list(POOLS))
    finally:
        store.close()
    compare(buyers.told, found)
    assert len(buyers.told.purchases) >= 2 * MORE_PURCHASES
    service.wait_for_receipts(found, deadline_s=90)
    service.audit()


@pytest.mark.timeout(240)
def test_a_killed_web_process_loses_no_purchase(service: Service, buyers: Buyers) -> None:
    master, *web = service.find("gunicorn")
    for process in web:
        process.kill()
        wait_until(lambda: len(service.find("gunicorn")) == len(web) + 1, 30, "it is replaced")
    buy_on(buyers)
    master.kill()
    buy_on(buyers)
    check(service, buyers)


@pytest.mark.timeout(240)
def test_a_receipt_worker_killed_in_the_middle_of_a_job_costs_no_receipt(service: Service, buyers: Buyers) -> None:
    killed = [_kill_in_the_middle_of_a_job(service) for _ in range(3)]
    assert len(set(killed)) == 3
    buy_on(buyers)
    check(service, buyers)


@pytest.mark.timeout(240)
def test_a_killed_store_comes_back_with_every_answered_purchase(service: Service, buyers: Buyers) -> None:
    for _ in range(2):
        (server,) = [process for process in service.find("-server") if "python" not in process.name()]
        server.kill()
        buy_on(buyers)
    assert buyers.told.provisional > 0, "nobody noticed that the store was killed"
    check(service, buyers)


def _kill_in_the_middle_of_a_job(service: Service) -> int:
    """The id of a worker process that was stopped, found busy with a job, and killed."""
    url = (service.data_dir / "run" / "store.url").read_text().strip()
    client = open_client(url, timeout_s=5, connect_timeout_s=2)
    until_s = time.monotonic() + 60
    try:
        while time.monotonic() < until_s:
            for process in service.find("-m", "workers"):
                process.suspend()
                if _is_busy(client, process):
                    process.kill()
                    process.wait(10)
                    return process.pid
                process.resume()
        raise AssertionError("no worker was ever found in the middle of a job")
    finally:
        client.close()


def _is_busy(client: object, process: psutil.Process) -> bool:
    workers = Worker.all(connection=client, serializer=SERIALIZER)
    return any(worker.pid == process.pid and worker.get_current_job_id() is not None for worker in workers)
