"""docker-compose.scale.yml: two hosts behind nginx sell through the death of the primary, and lose nothing by it.

Tests share the stack, each leaves it whole, and after each both hosts' stores and receipts are audited.
"""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.docker.stack import Buyers, Stack, require_engine
from tests.servers import wait_until
from tests.service import Reply

pytestmark = pytest.mark.timeout(1200)

DEADLINE_S = 120
NETWORK = "10.203.149"
NODES = {f"{NETWORK}.11": "redis", f"{NETWORK}.12": "redis-2"}
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
APPS = ("app", "app-2")
# In a container, so that it comes from another address than the test.
ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[2], None, dict(word.split("=") for word in sys.argv[3:]), method=sys.argv[1])
try:
    answer = urllib.request.urlopen(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_engine()
    folder = tmp_path_factory.mktemp("scale")
    secret = uuid.uuid4().hex
    stack = Stack(folder, ["docker-compose.scale.yml"], RECEIPTS_S3_SECRET_KEY=secret, STORE_NETWORK=NETWORK)
    try:
        stack.build("app", "proxy", "s3")
        stack.compose("up", "--detach")
        is_well(stack)
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def stack(running: Stack) -> Iterator[Stack]:
    yield running
    is_well(running)
    for app in APPS:
        running.compose("exec", "--no-TTY", app, "python", "-m", "ticketing", "audit", "--receipts")


def ask(stack: Stack, service: str, method: str, url: str, **headers: str) -> tuple[int, str]:
    """One request from within a container: status and body."""
    words = [f"{name.replace('_', '-')}={value}" for name, value in headers.items()]
    said = stack.compose("exec", "--no-TTY", service, "python", "-c", ASK, method, url, *words)
    status, _, body = said.partition(" ")
    return int(status), body


def is_well(stack: Stack) -> None:
    """Either host sells from the store, has settled what it sold without, and every receipt is stored."""

    def whole(app: str) -> bool:
        done = stack.try_compose("exec", "--no-TTY", app, "python", "-c", ASK, "GET", "http://127.0.0.1:3049/health")
        if not done.stdout.startswith("200"):
            return False
        health = json.loads(done.stdout.partition(" ")[2])
        checks = health["checks"]
        settled = not checks["reserve"]["unsettled"] and not checks["reserve"]["parked"]
        return bool(health["status"] == "ok" and settled and not checks["receipts"]["pending"])

    for app in APPS:
        wait_until(lambda app=app: whole(app), DEADLINE_S, f"{app} is well")  # type: ignore[misc]
    wait_until(lambda: _answers(stack), DEADLINE_S, "the proxy answers")


def _answers(stack: Stack) -> bool:
    try:
        return stack.request("GET", "/health/ready").status == 200
    except OSError:
        return False


def each_key_bought_once(stack: Stack, buyers: Buyers, before: int) -> list[str]:
    """What they were told holds, and each key has one purchase in the store, with tickets of its own. Their ids.

    A slow moment of replica or disk makes an outage, so a key is asked for until it is sold and not provisional.
    """

    def standing(key: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def is_sold() -> bool:
            reply = stack.buy(buyers.event_id, key)
            assert reply.status in {200, 201, 503}, reply
            found[:] = [reply.json()]
            return bool(found[0]["status"] == "sold")

        wait_until(is_sold, DEADLINE_S, f"{key} is sold")
        return found[0]

    purchases = {key: standing(key) for key in buyers.told}
    tickets = {purchase["purchase_id"]: purchase["tickets"] for purchase in purchases.values()}
    for told in buyers.bought():
        assert tickets[told["purchase_id"]] == told.get("tickets", tickets[told["purchase_id"]])
    assert len({purchase["tickets"][0] for purchase in purchases.values()}) == len(buyers.told)
    assert stack.sold(buyers.event_id) - before == len(buyers.told)
    return [purchase["purchase_id"] for purchase in purchases.values()]


def primary(stack: Stack) -> str:
    """The service that most sentinels name."""
    named = [_named(stack, sentinel) for sentinel in SENTINELS]
    most = max(set(named), key=named.count)
    return NODES[most] if named.count(most) > 1 else ""


def _named(stack: Stack, sentinel: str) -> str:
    asked = ("valkey-cli", "-p", "26379", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "sale")
    return stack.compose("exec", "--no-TTY", sentinel, *asked).split()[0]


def role(stack: Stack, node: str) -> str:
    """What a server says that it is, and a replica whether it is in step."""
    shown = stack.try_compose("exec", "--no-TTY", node, "valkey-cli", "INFO", "replication").stdout
    said = dict(line.strip().partition(":")[::2] for line in shown.splitlines())
    return f"{said.get('role')} {said.get('master_link_status', '')}".strip()


@pytest.mark.parametrize("event_id", ["1", "2"], ids=["the first primary", "the one that took over"])
def test_two_hosts_sell_through_the_death_of_the_primary(stack: Stack, event_id: str) -> None:
    before, old = stack.sold(event_id), primary(stack)
    with Buyers(stack, event_id) as buyers:
        wait_until(lambda: buyers.count("sold") >= 10, DEADLINE_S, "sold")
        stack.compose("kill", old)
        wait_until(lambda: buyers.count("provisional") >= 10, DEADLINE_S, "sold without a primary")
        wait_until(lambda: primary(stack) not in {"", old}, DEADLINE_S, "another primary")
        stack.compose("start", old)
        wait_until(lambda: role(stack, old) == "slave up", DEADLINE_S, "the old primary follows the new one")
        sold = buyers.count("sold")
        wait_until(lambda: buyers.count("sold") >= sold + 10, DEADLINE_S, "sold by the new primary")
    is_well(stack)
    assert role(stack, primary(stack)) == "master"
    purchase_ids = each_key_bought_once(stack, buyers, before)
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(stack.receipt, purchase_ids))
    assert len(receipts) >= 30
    assert all(pdf.startswith(b"%PDF-") for pdf in receipts)


def test_receipts_are_in_the_bucket_and_nowhere_else(stack: Stack) -> None:
    purchase_id = stack.buy("3", str(uuid.uuid4())).json()["purchase_id"]
    pdf = stack.receipt(purchase_id)
    assert [stack.receipt(purchase_id) for _ in range(4)] == [pdf] * 4  # whichever host is asked
    for app in APPS:
        assert stack.compose("exec", "--no-TTY", app, "ls", "/data/receipts").split() == []


def test_the_apps_are_two_hosts_of_one_service(stack: Stack) -> None:
    ids = {stack.compose("exec", "--no-TTY", app, "cat", "/data/journal/host-id") for app in APPS}
    assert len(ids) == 2
    key = str(uuid.uuid4())
    [first, *others] = [ask(stack, app, "POST", f"http://{app}:3049/buy/3", Idempotency_Key=key) for app in APPS]
    assert first[0] == 201
    assert [(status, json.loads(body)["tickets"]) for status, body in others] == [
        (200, json.loads(first[1])["tickets"])
    ]


def test_a_host_that_is_stopped_takes_no_sale_along(stack: Stack) -> None:
    before = stack.sold("4")
    with Buyers(stack, "4") as buyers:
        wait_until(lambda: buyers.count("sold") >= 5, DEADLINE_S, "sold")
        stack.compose("stop", "app-2")
        sold = buyers.count("sold")
        wait_until(lambda: buyers.count("sold") >= sold + 10, DEADLINE_S, "sold by the host that is left")
        stack.compose("start", "app-2")
    assert [reply for reply in buyers.told.values() if not isinstance(reply, Reply)] == []
    is_well(stack)
    each_key_bought_once(stack, buyers, before)


def test_nothing_but_the_proxy_is_published_and_it_hides_what_is_each_host_s(stack: Stack) -> None:
    published = stack.compose("ps", "--format", "json")
    ports = {
        one["Service"]: [port["PublishedPort"] for port in one["Publishers"] or [] if port["PublishedPort"]]
        for one in map(json.loads, published.splitlines())
    }
    assert {service for service, found in ports.items() if found} == {"proxy"}
    assert stack.request("GET", "/metrics").status == 404
    assert ask(stack, "app-2", "GET", "http://app:3049/metrics")[0] == 200


def test_down_and_up_find_the_primary_again(stack: Stack) -> None:
    sold, old = stack.sold("1"), primary(stack)
    stack.compose("down")
    stack.compose("up", "--detach")
    is_well(stack)
    assert primary(stack) == old
    assert {role(stack, node) for node in NODES.values()} == {"master", "slave up"}
    assert stack.sold("1") == sold


def test_prometheus_reaches_both_hosts(stack: Stack) -> None:
    stack.compose("--profile", "monitoring", "up", "--detach", "--no-recreate", "prometheus")

    def apps() -> list[tuple[str, str]]:
        try:
            reply = stack.request("GET", "/api/v1/targets", "PROMETHEUS_PORT")
        except OSError:
            return []
        found = reply.json()["data"]["activeTargets"] if reply.status == 200 else []  # while it starts it says 503
        return sorted((one["labels"]["instance"], one["health"]) for one in found if one["labels"]["job"] == "app")

    wait_until(lambda: apps() == [("app-2:3049", "up"), ("app:3049", "up")], DEADLINE_S, "both hosts are scraped")


def test_a_client_is_known_by_its_own_address_and_not_by_the_proxy_s(stack: Stack) -> None:
    """The last test: from here on a client may buy once in a while."""
    stack.set(RATE_LIMIT_PER_S="0.01", RATE_LIMIT_BURST="1")
    stack.compose("up", "--detach", "--no-deps", *APPS)
    stack.compose("restart", "proxy")
    wait_until(lambda: _answers(stack), DEADLINE_S, "the proxy answers")
    is_well(stack)
    mine = [stack.request("POST", "/buy/5").status for _ in range(6)]
    assert mine.count(429) >= 2
    assert mine[-1] == 429
    theirs = [
        ask(stack, "worker", "POST", "http://proxy:8080/buy/5", X_Forwarded_For=f"8.8.8.{last}") for last in range(6)
    ]
    statuses = [status for status, _ in theirs]
    assert statuses[0] == 201
    assert statuses.count(429) >= 2, "a client chose who it is taken for"
