"""The whole service behind sentinels: `make run` with their address, and a primary that dies during the sale."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.groups import SentinelGroup, a_group
from tests.servers import run_module, wait_until
from tests.service import Service

RESERVE = 20
TICKETS = 3_000
FAILOVER_S = 60.0


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    with a_group(tmp_path / "group") as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, group: SentinelGroup) -> Iterator[Service]:
    made = Service(
        tmp_path,
        REDIS_URL=group.url,
        REPLICAS_TO_CONFIRM=1,
        RESERVE_TICKETS=RESERVE,
        WEB_WORKERS=1,
        RECEIPT_WORKERS=1,
    )
    yield made
    made.stop()


def failover(service: Service) -> object:
    return service.request("GET", "/health").json()["checks"]["store"]["failover"]


def buy(service: Service, key: str) -> tuple[int, dict[str, object]]:
    reply = service.request("POST", "/buy/1", {"quantity": 1}, Idempotency_Key=f"a key of sixteen {key}")
    return reply.status, reply.json()


def test_a_sale_goes_on_while_the_primary_fails_over_and_loses_nothing(service: Service, group: SentinelGroup) -> None:
    service.start("/health/live")
    service.seed({"1": TICKETS})
    told = {}
    for number in range(20):
        status, body = buy(service, str(number))
        assert status == 201, body
        told[str(number)] = body
    service.wait_for_receipts([str(body["purchase_id"]) for body in told.values()], 60)
    assert service.admin("GET", "/admin/rq/").status == 200
    assert service.admin("GET", "/admin/rq/0/data/queues.json").json()["queues"]
    assert failover(service) == "safe"

    old = group.kill_primary()
    provisional = {}
    while len(provisional) < 5:
        key = f"in the outage {len(provisional)}"
        status, body = buy(service, key)
        assert (status, body["status"]) == (201, "provisional"), body
        provisional[key] = body
    group.wait_until_failed_over(old)
    group.restart(old)
    wait_until(lambda: buy(service, "afterwards")[1].get("status") == "sold", FAILOVER_S, "sold from the new primary")
    told |= provisional
    for key, body in told.items():
        status, again = buy(service, key)
        assert status in (200, 201), again
        assert again["purchase_id"] == body["purchase_id"]
        assert "tickets" not in body or again["tickets"] == body["tickets"]
    service.wait_for_receipts([str(body["purchase_id"]) for body in told.values()], 60)
    service.audit()
    done = run_module("ticketing", "doctor", "--json", data_dir=service.data_dir, **service.settings)
    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["store's failover"]["level"] == "ok", found
    for check in ("store", "store's fsync", "store's scripts", "receipt workers", "sweeper"):
        assert found[check]["level"] == "ok", found[check]
