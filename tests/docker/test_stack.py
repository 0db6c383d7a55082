"""The whole stack in containers: it sells, survives what happens to containers, and loses nothing by it.

Tests share the stack, each leaves it up, and after each the store is audited in the app's container.
"""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.stack import Buyers, Stack, require_engine
from tests.monitoring.catalogue import alerts, dashboards
from tests.servers import wait_until
from ticketing.receipts.files import ReceiptFiles

pytestmark = pytest.mark.timeout(900)

DEADLINE_S = 60
RECEIPTS = ReceiptFiles(Path("/data/receipts"))
STOP_S = 15  # what docker-compose.yml grants the app


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_engine()
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.build()
        stack.up()
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def stack(running: Stack) -> Iterator[Stack]:
    yield running
    running.in_app("python", "-m", "ticketing", "audit")


def outage_of(stack: Stack) -> None:
    """Redis is stopped, and the app has noticed."""
    stack.compose("stop", "redis")
    wait_until(lambda: stack.health()["status"] == "outage", DEADLINE_S, "an outage")


def end_of_outage(stack: Stack) -> None:
    """Redis is up again, and all that was sold without it is settled."""
    stack.compose("start", "redis")

    def is_over() -> bool:
        health = stack.health()
        reserve = health["checks"]["reserve"]
        return bool(health["status"] == "ok" and not reserve["unsettled"] and not reserve["parked"])

    wait_until(is_over, DEADLINE_S, "settled")


def each_key_bought_once(stack: Stack, buyers: Buyers, before: int) -> None:
    """What they were told holds; a key that was told nothing buys now, or is found. Nobody has another's ticket."""
    told = {body["purchase_id"] for body in buyers.bought()}
    found = [stack.buy(buyers.event_id, key) for key in buyers.told]
    assert {reply.status for reply in found} <= {200, 201}
    purchases = [reply.json() for reply in found]
    assert {purchase["status"] for purchase in purchases} == {"sold"}
    assert told <= {purchase["purchase_id"] for purchase in purchases}
    assert len({purchase["tickets"][0] for purchase in purchases}) == len(buyers.told)
    assert stack.sold(buyers.event_id) - before == len(buyers.told)
    for purchase_id in list(told)[:5]:
        assert stack.receipt(purchase_id).startswith(b"%PDF-")


def test_a_purchase_gives_a_receipt_whose_code_is_genuine(stack: Stack) -> None:
    bought = stack.request("POST", "/buy/1")
    assert (bought.status, bought.json()["status"]) == (201, "sold")
    purchase_id = bought.json()["purchase_id"]
    assert stack.receipt(purchase_id).startswith(b"%PDF-")
    shown = stack.in_app("python", "-m", "ticketing", "verify", str(RECEIPTS.path(purchase_id)))
    assert bought.json()["tickets"][0] in shown
    assert "genuine" in shown


def test_the_parts_are_nobodys_root_on_a_file_system_that_they_cannot_write(stack: Stack) -> None:
    for service in ("app", "worker", "scheduler"):
        assert stack.compose("exec", "--no-TTY", service, "id", "-u").strip() == "10001"
        touched = stack.try_compose("exec", "--no-TTY", service, "touch", "/app/new")
        assert "Read-only file system" in touched.stderr
    bindings = [port for one in stack.inspect("app") for port in one["HostConfig"]["PortBindings"]["3049/tcp"]]
    assert [port["HostIp"] for port in bindings] == ["127.0.0.1"]


def test_the_log_is_one_json_object_a_line_and_holds_no_purchase_id(stack: Stack) -> None:
    purchase_id = stack.request("POST", "/buy/1").json()["purchase_id"]
    stack.receipt(purchase_id)
    lines = stack.compose("logs", "--no-log-prefix", "app", "worker").splitlines()
    assert lines
    assert [line for line in lines if not line.startswith('{"time": ')] == []
    assert purchase_id not in "".join(lines)


def test_seeds_does_nothing_the_second_time(stack: Stack) -> None:
    def events() -> list[tuple[str, int]]:
        listed = stack.request("GET", "/events?limit=500").json()["events"]
        return [(event["event_id"], event["issued"]) for event in listed]

    before, runs = events(), len(stack.compose("logs", "--no-log-prefix", "seeds").splitlines())
    assert len(before) == 5
    stack.up()
    wait_until(lambda: stack.inspect("seeds")[0]["State"]["Status"] == "exited", DEADLINE_S, "seeds has ended")
    assert stack.inspect("seeds")[0]["State"]["ExitCode"] == 0
    said = stack.compose("logs", "--no-log-prefix", "seeds").splitlines()[runs:]
    assert said[-1] == "5 events, 50,000 tickets, 0 new"
    assert events() == before


def test_three_workers_share_the_receipts_and_count_each_once(stack: Stack) -> None:
    before = stack.metric("ticketing_receipt_render_seconds_count")
    stack.up("--scale", "worker=3", "--no-recreate")
    wait_until(lambda: stack.health()["checks"]["queue"]["workers"] >= 3, DEADLINE_S, "three workers")
    with Buyers(stack, "2") as buyers:
        wait_until(lambda: buyers.count("sold") >= 60, DEADLINE_S, "60 purchases")
    sold = len(buyers.told)
    wait_until(lambda: stack.health()["checks"]["receipts"]["pending"] == 0, DEADLINE_S, "every receipt is stored")

    def drawn() -> float:
        return stack.metric("ticketing_receipt_render_seconds_count") - before

    wait_until(lambda: drawn() >= sold, DEADLINE_S, "each is counted")
    assert drawn() == sold
    stack.up("--scale", "worker=1", "--force-recreate", "--no-deps", "worker")
    time.sleep(1.1)  # /metrics is at most a second old
    assert drawn() == sold, "a counter fell, or was counted twice"
    folders = stack.in_app("ls", "/metrics/workers").split()
    assert sorted(folders) == ["0", "0.lock", "1", "1.lock", "2", "2.lock"]
    stack.in_app("python", "-m", "ticketing", "audit", "--receipts")


def test_the_sale_goes_on_while_redis_is_stopped_and_is_settled_afterwards(stack: Stack) -> None:
    before = stack.sold("3")
    with Buyers(stack, "3") as buyers:
        wait_until(lambda: buyers.count("sold") >= 5, DEADLINE_S, "sold")
        outage_of(stack)
        provisional = buyers.count("provisional")
        wait_until(lambda: buyers.count("provisional") >= provisional + 5, DEADLINE_S, "sold without Redis")
        end_of_outage(stack)
        sold = buyers.count("sold")
        wait_until(lambda: buyers.count("sold") >= sold + 5, DEADLINE_S, "sold again")
    end_of_outage(stack)
    each_key_bought_once(stack, buyers, before)


def test_what_was_sold_without_redis_outlives_the_container_that_sold_it(stack: Stack) -> None:
    before = stack.sold("4")
    with Buyers(stack, "4") as buyers:
        outage_of(stack)
        wait_until(lambda: buyers.count("provisional") >= 5, DEADLINE_S, "sold without Redis")
    stack.compose("kill", "app")
    stack.compose("rm", "--force", "app")
    stack.compose("up", "--detach", "--no-deps", "app")
    wait_until(lambda: _answers(stack), DEADLINE_S, "another container is up")
    end_of_outage(stack)
    wait_until(lambda: stack.sold("4") - before >= buyers.count("provisional"), DEADLINE_S, "settled by an heir")
    each_key_bought_once(stack, buyers, before)


def test_containers_of_one_host_respect_each_others_journals(stack: Stack) -> None:
    host_id = stack.in_app("cat", "/data/journal/host-id")
    shown = stack.aside("python", "-m", "ticketing", "outage", "show")
    assert "slot-0 lives" in shown
    assert "slot-1 lives" in shown
    settled = stack.aside("python", "-m", "ticketing", "outage", "settle")
    assert "nothing to settle" in " ".join(settled.split())
    stack.up("--force-recreate", "--no-deps", "app")
    assert stack.in_app("cat", "/data/journal/host-id") == host_id


def test_a_stop_of_the_app_loses_nothing_and_leaves_no_lease(stack: Stack) -> None:
    before = stack.sold("5")
    with Buyers(stack, "5") as buyers:
        wait_until(lambda: buyers.count("sold") >= 5, DEADLINE_S, "sold")
        begun_s = time.monotonic()
        stack.compose("stop", "app")
        took_s = time.monotonic() - begun_s
    [container] = stack.inspect("app")
    assert container["State"]["ExitCode"] == 0, "it was killed"
    assert took_s < STOP_S
    shown = stack.aside("python", "-m", "ticketing", "outage", "show")
    assert shown.rstrip().endswith("Nothing is left to decide.")
    assert shown.partition("Leases:\n")[2].startswith("none")
    stack.up("--no-deps", "app")
    each_key_bought_once(stack, buyers, before)


def test_down_and_up_keep_what_was_sold(stack: Stack) -> None:
    key = str(uuid.uuid4())
    purchase = stack.buy("1", key).json()
    pdf = stack.receipt(purchase["purchase_id"])
    sold = stack.sold("1")
    stack.compose("down")
    stack.up()
    assert stack.sold("1") == sold
    assert stack.receipt(purchase["purchase_id"]) == pdf
    again = stack.buy("1", key)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["tickets"] == purchase["tickets"]


def test_prometheus_reaches_every_target_and_grafana_reaches_prometheus(stack: Stack) -> None:
    stack.compose("--profile", "monitoring", "up", "--detach", "--wait", "prometheus", "grafana", "jaeger")

    def targets() -> dict[str, str]:
        shown = stack.request("GET", "/api/v1/targets", "PROMETHEUS_PORT").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in shown}

    wait_until(lambda: set(targets().values()) == {"up"}, DEADLINE_S, "every target is up")
    assert set(targets()) == {"app", "workers", "queue", "prometheus"}
    rules = stack.request("GET", "/api/v1/rules", "PROMETHEUS_PORT").json()["data"]["groups"]
    assert {rule["name"] for group in rules for rule in group["rules"]} == set(alerts())
    query = "/api/v1/query?query=sum(ticketing_tickets_sold)"

    def scraped() -> bool:
        return bool(stack.request("GET", query, "PROMETHEUS_PORT").json()["data"]["result"])

    wait_until(scraped, DEADLINE_S, "scraped")
    assert stack.grafana("/api/health")["database"] == "ok"
    assert {source["uid"] for source in stack.grafana("/api/datasources")} == {"prometheus", "jaeger"}
    assert {found["uid"] for found in stack.grafana("/api/search")} == {one["uid"] for one in dashboards().values()}
    proxied = stack.grafana("/api/datasources/proxy/uid/prometheus" + query)
    assert float(proxied["data"]["result"][0]["value"][1]) > 0
    assert stack.request("GET", "/api/services", "JAEGER_PORT").status == 200


def _answers(stack: Stack) -> bool:
    try:
        return stack.request("GET", "/health/live").status == 200
    except OSError:
        return False
