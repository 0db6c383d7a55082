"""`python -m ticketing run` while the Redis of REDIS_URL is away: it comes up, sells its leases, gets well."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.receipts import SIGNING_KEY
from tests.sales import account
from tests.servers import ValkeyServer, wait_until
from tests.service import Service
from ticketing.outage.journal import parse

TICKETS = 5_000
PROCESSES = 2
RESERVE = 100  # of each process
WELL_S = 40.0
SETTINGS = {"RESERVE_TICKETS": RESERVE, "RESERVE_PER_MILLE": 1000, "RECEIPT_DUE_MS": 1_000, "SIGNING_KEY": SIGNING_KEY}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    made = ValkeyServer(tmp_path / "valkey")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def service(tmp_path: Path, server: ValkeyServer) -> Iterator[Service]:
    made = Service(tmp_path, REDIS_URL=server.url, **SETTINGS)
    yield made
    made.stop()


def reserves(service: Service) -> list[int]:
    """What the journals say that may be sold without Redis."""
    paths = sorted((service.data_dir / "journal").glob("slot-*.journal"))
    return [count for path in paths for count in parse(path.read_bytes())[1].sellable.values()]


def test_a_start_without_redis_sells_what_was_leased_before_and_gets_well(
    service: Service, server: ValkeyServer
) -> None:
    service.start()
    service.seed({"rock": TICKETS})
    bought = service.request("POST", "/buy/rock").json()
    service.wait_for_receipts([bought["purchase_id"]], WELL_S)
    wait_until(lambda: reserves(service) == [RESERVE] * PROCESSES, WELL_S, "both processes have a reserve")
    service.kill()
    server.kill()

    service.settings["SEED_EVENTS"] = 1  # nobody knows whether it is empty
    service.start()
    health = service.request("GET", "/health").json()
    assert (health["status"], health["store"]) == ("outage", "reserve")
    assert service.request("GET", "/health/live").status == 200
    assert service.request("GET", "/metrics").status == 200
    assert service.request("GET", f"/tickets/{bought['purchase_id']}").body.startswith(b"%PDF-")
    answers = [service.request("POST", "/buy/rock", {"quantity": 10}) for _ in range(25)]
    sold = [answer.json() for answer in answers if answer.status == 201]
    refused = [answer for answer in answers if answer.status != 201]
    assert {purchase["status"] for purchase in sold} == {"provisional"}
    assert {(answer.status, "Retry-After" in answer.headers) for answer in refused} == {(503, True)}
    assert len(sold) >= RESERVE // 10

    server.start()
    wait_until(
        lambda: service.request("POST", "/buy/rock").json().get("status") == "sold", WELL_S, "it sells from Redis"
    )
    store = server.store()
    try:
        promised = {purchase["purchase_id"] for purchase in sold}
        wait_until(lambda: promised <= account(store, "rock").sold.keys(), WELL_S, "what was promised is settled")
        wait_until(lambda: len(account(store, "rock").leased) == PROCESSES * RESERVE, WELL_S, "leases are filled again")
        account(store, "rock").check()
    finally:
        store.close()
    service.wait_for_receipts(promised, WELL_S)
    assert [event["event_id"] for event in service.events()] == ["rock"]
    service.audit()
    assert "is started again" not in service.log.read_text()


def test_a_first_start_without_redis_gets_well_while_people_ask_all_the_time(
    service: Service, server: ValkeyServer
) -> None:
    """Nothing is known of any event, so each request asks what the store has."""
    store = server.store()
    server.kill()
    service.start("/health/live")
    answers = [service.request("POST", "/buy/rock") for _ in range(5)]
    assert {(answer.status, "Retry-After" in answer.headers) for answer in answers} == {(503, True)}
    server.start()
    store.close()

    def are_well() -> bool:
        service.request("POST", "/buy/rock")
        return all(service.request("GET", "/health").json()["status"] == "ok" for _ in range(10))

    wait_until(are_well, WELL_S, "both processes are well")
    # A process that was slow to start may have found Redis there already.
    assert 1 <= service.log.read_text().count("outage: Redis can't be used") <= PROCESSES
    service.seed({"rock": TICKETS})
    wait_until(lambda: service.request("POST", "/buy/rock").status == 201, WELL_S, "it sells")
