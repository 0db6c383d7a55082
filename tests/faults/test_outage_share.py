"""How many purchases succeed when Redis is killed: all that reach a process whose reserve covers them."""

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.sales import account
from tests.servers import HOST, ValkeyServer, wait_until
from tests.service import Service
from ticketing.outage.journal import parse

TICKETS, RESERVE = 50_000, 1_000
CONNECTIONS, PURCHASES_EACH = 50, 30
BEFORE = 200  # purchases, until the store is killed
WELL_S = 60.0


@dataclass
class Buyers:
    """Who buy one ticket after the other, each over a connection of its own."""

    port: int
    answers: list[tuple[int, dict[str, str], dict[str, object]]] = field(default_factory=list)

    def start(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._buy, daemon=True) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        return threads

    def _buy(self) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            for _ in range(PURCHASES_EACH):
                connection.request("POST", "/buy/rock")
                answer = connection.getresponse()
                self.answers.append((answer.status, dict(answer.headers), json.loads(answer.read())))
        finally:
            connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    made = ValkeyServer(tmp_path / "valkey")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def service(tmp_path: Path, server: ValkeyServer) -> Iterator[Service]:
    made = Service(tmp_path, REDIS_URL=server.url, RESERVE_TICKETS=RESERVE, RESERVE_PER_MILLE=100, WEB_WORKERS=2)
    made.start()
    made.seed({"rock": TICKETS})
    wait_until(lambda: sellable(made) == [RESERVE] * 2, WELL_S, "both processes have a reserve")
    yield made
    made.stop()


def sellable(service: Service) -> list[int]:
    """What each process may sell without Redis, by its journal."""
    paths = sorted((service.data_dir / "journal").glob("slot-*.journal"))
    return [count for path in paths for count in parse(path.read_bytes())[1].sellable.values()]


def test_no_purchase_that_a_reserve_covers_is_refused_when_redis_is_killed(
    service: Service, server: ValkeyServer
) -> None:
    buyers = Buyers(service.port)
    threads = buyers.start()
    wait_until(lambda: len(buyers.answers) >= BEFORE, WELL_S, "people buy")
    server.kill()
    for thread in threads:
        thread.join(WELL_S)
    left = sellable(service)
    assert len(buyers.answers) == CONNECTIONS * PURCHASES_EACH
    refused = [headers for status, headers, _ in buyers.answers if status != 201]
    # Connections are shared out by chance: a process that got too many of them has sold all that it had.
    assert refused == [] or 0 in left
    assert all("Retry-After" in headers for headers in refused)
    provisional = {body["purchase_id"] for _, _, body in buyers.answers if body.get("status") == "provisional"}
    assert len(provisional) == 2 * RESERVE - sum(left) > RESERVE

    health = service.request("GET", "/health").json()
    assert (health["status"], health["store"]) == ("outage", "reserve")
    server.start()
    store = server.store()
    try:
        wait_until(lambda: provisional <= account(store, "rock").sold.keys(), WELL_S, "all is settled")
        held = account(store, "rock").check()
    finally:
        store.close()
    assert held.sold.keys() == {body["purchase_id"] for status, _, body in buyers.answers if status == 201}
