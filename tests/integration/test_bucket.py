"""A whole service whose receipts are in a bucket: bought, fetched, cleaned up, and a bucket that dies meanwhile."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.buckets import BucketServer
from tests.service import Service
from ticketing.receipts.scan import codes_in
from ticketing.store import keys

READY_S = 60
TRIES = 2
AWAY_S = 4  # two tries of a receipt, half a second and a second apart, would be used up by then
DOWNLOADS_BEFORE, DOWNLOADS_MORE = 100, 300
QUICK = {
    "RECEIPT_DUE_MS": 500,
    "RECEIPT_RETRY_BASE_MS": 500,
    "RECEIPT_TRIES": TRIES,
    "SWEEP_INTERVAL_S": 0.2,
    "RECEIPTS_S3_TIMEOUT_S": 2,
    "RECEIPTS_REDIRECT_S": 60,
    "RECEIPT_WORKERS": 1,
}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    """A server of this module's own, to be killed."""
    server = BucketServer(tmp_path_factory.mktemp("bucket"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def service(bucket: BucketServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("service"), **bucket.settings(**QUICK))
    service.start()
    service.seed({"gala": 5_000}, limits={"per_purchase": 100})
    yield service
    service.stop()


def buy(service: Service, quantity: int = 1) -> str:
    reply = service.request("POST", "/buy/gala", {"quantity": quantity})
    assert reply.status == 201, reply
    return reply.json()["purchase_id"]


def from_here(service: Service, purchase_id: str, **headers: str) -> Any:
    return service.request("GET", f"/tickets/{purchase_id}?here=1", **headers)


def left_in_outbox(service: Service) -> tuple[int, int]:
    """How many receipts are pending, and how many have failed."""
    store = service.store()
    try:
        k = keys.of_event("gala")
        return store.one("ZCARD", k.receipts), store.one("HLEN", k.failed)
    finally:
        store.close()


def test_a_receipt_comes_by_way_of_the_bucket_and_lies_on_no_disk_of_the_service(service: Service) -> None:
    purchase_id = buy(service, 2)
    service.wait_for_receipts([purchase_id], READY_S)  # by the redirect, as every client that follows one
    answer = from_here(service, purchase_id)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/pdf")
    assert len(codes_in(answer.body)) == 2
    assert service.request("GET", f"/tickets/{purchase_id}").body == answer.body
    assert from_here(service, purchase_id, If_None_Match=answer.headers["ETag"]).status == 304
    head = service.request("HEAD", f"/tickets/{purchase_id}?here=1")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(answer.body)))
    assert not (service.data_dir / "receipts").exists()
    service.audit()


def test_a_bucket_that_is_killed_costs_no_sale_and_no_receipt(service: Service, bucket: BucketServer) -> None:
    ready = [buy(service) for _ in range(5)]
    service.wait_for_receipts(ready, READY_S)
    sold = [buy(service) for _ in range(20)]
    bucket.kill()
    sold += [buy(service) for _ in range(20)]
    back_s = time.monotonic() + AWAY_S
    while time.monotonic() < back_s:
        sold.append(buy(service))
        told = service.request("GET", f"/tickets/{ready[0]}")
        assert (told.status, told.json()["receipt"]["status"]) == (202, "pending")
        assert service.request("GET", f"/tickets/{sold[-1]}").status == 202
        assert service.request("GET", f"/tickets/{ready[0]}", Accept="application/json").json()["status"] == "sold"
        time.sleep(0.2)
    pending, failed = left_in_outbox(service)
    assert pending >= len(sold) - 20
    assert failed == 0
    bucket.start()
    service.wait_for_receipts([*ready, *sold], READY_S)
    assert left_in_outbox(service) == (0, 0)
    service.audit()
    assert "Traceback" not in service.log.read_text()


def test_a_bucket_that_hangs_keeps_nobody_else_waiting(service: Service, bucket: BucketServer) -> None:
    ready = buy(service)
    service.wait_for_receipts([ready], READY_S)
    bucket.suspend()
    try:
        with ThreadPoolExecutor(64) as crowd:
            asked = [crowd.submit(service.request, "GET", f"/tickets/{ready}") for _ in range(300)]
            bought = [buy(service) for _ in range(20)]
            assert service.request("GET", "/health/ready").status == 200
            assert {one.result().status for one in asked} == {202}
    finally:
        bucket.resume()
    service.wait_for_receipts([ready, *bought], READY_S)
    assert left_in_outbox(service) == (0, 0)


def test_what_was_cleaned_up_is_drawn_again_and_has_the_same_bytes(service: Service) -> None:
    ids = [buy(service) for _ in range(3)]
    service.wait_for_receipts(ids, READY_S)
    before = [from_here(service, purchase_id).headers["ETag"] for purchase_id in ids]
    stored = service.admin("GET", "/admin/pdf-stats").json()["storage"]
    assert service.admin("POST", "/admin/cleanup-tickets", {"older_than_s": 0}).json() == {
        "deleted": stored["files"],
        "bytes_freed": stored["bytes"],
        "more": False,
    }
    assert from_here(service, ids[0]).status == 202
    service.wait_for_receipts(ids, READY_S)
    assert [from_here(service, purchase_id).headers["ETag"] for purchase_id in ids] == before


def test_many_downloads_leave_nothing_in_memory(service: Service) -> None:
    purchase_id = buy(service, 100)
    service.wait_for_receipts([purchase_id], READY_S)
    size = len(from_here(service, purchase_id).body)

    def download(times: int) -> int:
        with ThreadPoolExecutor(8) as crowd:
            answers = list(crowd.map(lambda _: from_here(service, purchase_id).status, range(times)))
        assert answers == [200] * times
        return sum(process.memory_info().rss for process in web_processes(service))

    before = download(DOWNLOADS_BEFORE)
    grown = download(DOWNLOADS_MORE) - before
    assert grown < DOWNLOADS_MORE * size / 4


def web_processes(service: Service) -> list[psutil.Process]:
    found = service.find("gunicorn")
    assert len(found) >= 3  # the master and two
    return found


def test_the_log_holds_neither_key_nor_purchase(service: Service, bucket: BucketServer) -> None:
    log = Path(service.log).read_text()
    assert "receipts in receipts can't be reached" in log
    assert "receipts in receipts can be reached again" in log
    for secret in ("secret-key-of-tests", "access-key-of-tests", "X-Amz-"):
        assert secret not in log
