"""A store that comes back older than it was, or empty: nothing is sold from it until an operator has decided."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sales import account
from tests.servers import ValkeyServer, run_module, wait_until
from tests.service import Reply, Service
from ticketing.store.connection import Store

FOUND_S = 30.0
KEY = "a key that is long enough"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    made = ValkeyServer(tmp_path / "valkey")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[Store]:
    made = server.store()
    yield made
    made.close()


@pytest.fixture
def service(tmp_path: Path, server: ValkeyServer) -> Iterator[Service]:
    made = Service(tmp_path, REDIS_URL=server.url, RESERVE_TICKETS=20)
    made.start()
    made.seed({"rock": 10_000})
    yield made
    made.stop()


def buy(service: Service, key: str | None = None) -> Reply:
    return service.request("POST", "/buy/rock", **({"Idempotency_Key": key} if key else {}))


def refuses(service: Service) -> bool:
    """Whether several purchases in a row are 503, so that every process has noticed."""
    answers = [buy(service, key) for key in (None, KEY) * 5]
    assert all("Retry-After" in answer.headers for answer in answers if answer.status == 503)
    return {answer.status for answer in answers} == {503}


def halted(service: Service) -> list[list[str]]:
    """What each of several looks at the health says of halted events."""
    return [service.request("GET", "/health").json()["checks"]["store"]["halted"] for _ in range(10)]


def statuses(service: Service) -> set[str]:
    """What several looks at the health say; ten in a row may all be answered by one process."""
    return {service.request("GET", "/health").json()["status"] for _ in range(20)}


def decide(service: Service) -> None:
    words = ("outage", "accept", "event", "rock", "--yes")
    done = run_module("ticketing", *words, data_dir=service.data_dir, **service.settings)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_store_that_came_back_older_sells_nothing_until_an_operator_decides(
    service: Service, server: ValkeyServer, store: Store
) -> None:
    assert {buy(service).status for _ in range(10)} == {201}
    older = server.folder / "older"
    shutil.copytree(server.folder / "appendonlydir", older)
    lost = [buy(service).json() for _ in range(10)]
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    older.rename(server.folder / "appendonlydir")
    server.start()
    wait_until(lambda: halted(service) == [["rock"]] * 10, FOUND_S, "every process says that it is halted")
    wait_until(lambda: refuses(service), FOUND_S, "nothing is sold")
    assert "CRITICAL" in service.log.read_text()
    assert "event rock is halted: the store went back in time" in service.log.read_text()
    held = account(store, "rock").check()
    assert held.sold.keys().isdisjoint(purchase["purchase_id"] for purchase in lost[2:])

    decide(service)
    wait_until(lambda: {buy(service).status for _ in range(10)} == {201}, FOUND_S, "it is sold again")
    wait_until(lambda: halted(service) == [[]] * 10, FOUND_S)
    account(store, "rock").check()
    service.audit()


def test_a_store_that_came_back_empty_sells_nothing_until_an_operator_decides(service: Service, store: Store) -> None:
    assert {buy(service).status for _ in range(10)} == {201}
    store.one("FLUSHALL")
    wait_until(lambda: halted(service) == [["rock"]] * 10, FOUND_S, "every process says that it is halted")
    wait_until(lambda: refuses(service), FOUND_S, "nothing is sold")
    wait_until(lambda: statuses(service) == {"halted"}, FOUND_S, "every process says so")
    assert service.request("GET", "/health").json()["checks"]["store"]["sells"] is False
    wait_until(lambda: {service.request("GET", "/health/ready").status for _ in range(10)} == {503}, FOUND_S)
    assert "event rock is halted: the store went back in time" in service.log.read_text()
    decide(service)
    wait_until(lambda: {buy(service).status for _ in range(10)} == {404}, FOUND_S, "there is no such event")
    wait_until(lambda: halted(service) == [[]] * 10, FOUND_S, "nothing is to be decided")
    service.seed({"rock": 10_000})
    wait_until(lambda: {buy(service).status for _ in range(10)} == {201}, FOUND_S, "it is sold again")
    service.audit()


@pytest.mark.parametrize(("reserve", "kind"), [(20, "limited"), (20, "rock"), (0, "rock")])
def test_an_older_copy_is_noticed_by_a_service_that_was_away_meanwhile(
    tmp_path: Path, server: ValkeyServer, reserve: int, kind: str
) -> None:
    """An event whose tickets are never leased too: one of them was once sold again after a restore."""
    service = Service(tmp_path, REDIS_URL=server.url, RESERVE_TICKETS=reserve)
    service.start()
    try:
        service.seed({"rock": 1_000})
        service.seed({"rock": 1_000, "limited": 1_000}, limits={"per_buyer": 100} if kind == "limited" else {})
        body = {"buyer": {"id": "ada"}}

        def buys() -> list[int]:
            return [service.request("POST", f"/buy/{kind}", body).status for _ in range(6)]

        assert buys() == [201] * 6
        older = server.folder / "older"
        shutil.copytree(server.folder / "appendonlydir", older)
        assert buys() == [201] * 6
        service.stop()
        server.kill()
        shutil.rmtree(server.folder / "appendonlydir")
        older.rename(server.folder / "appendonlydir")
        server.start()
        service.start("/health/live")
        wait_until(lambda: all(kind in named for named in halted(service)), FOUND_S, "every process notices it")
        assert buys() == [503] * 6
        wait_until(lambda: statuses(service) == {"halted"}, FOUND_S, "every process says so")
    finally:
        service.stop()
