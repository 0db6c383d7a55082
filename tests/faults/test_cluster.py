"""The whole service on a cluster, while people buy of events on every node: slots move, primaries fail."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.buyers import Buyers, compare, records, untold
from tests.clusters import ClusterNode, ValkeyCluster, event_ids_on
from tests.servers import ValkeyServer, run_module, wait_until
from tests.service import Service
from ticketing.store import keys

TICKETS = 5_000
SETTLED_S = 40.0
QUICK = {"RECEIPT_DUE_MS": 1_000, "RECEIPT_RETRY_BASE_MS": 1_000, "RESERVE_TICKETS": 50, "STORE_TIMEOUT_S": 1.5}


@dataclass
class Town:
    """A cluster, a queue of its own, and a service that sells two events of each primary."""

    folder: Path
    replicas: int

    def __post_init__(self) -> None:
        self.cluster = ValkeyCluster(self.folder / "cluster", replicas=self.replicas)
        self.queue = ValkeyServer(self.folder / "queue")
        self.store = self.cluster.store()
        self.service = Service(self.folder)
        self.crowds: list[Buyers] = []

    def start(self) -> None:
        self.cluster.start()
        self.queue.start()
        addresses = {"REDIS_URL": self.cluster.url, "QUEUE_URL": self.queue.url}
        confirm = {"REPLICAS_TO_CONFIRM": self.replicas, "CONFIRM_TIMEOUT_MS": 500}
        self.service = Service(self.folder, **addresses, **confirm, **QUICK)
        self.service.start("/health/live")
        self.event_ids = event_ids_on(self.cluster, 2)
        self.service.seed(dict.fromkeys(self.event_ids, TICKETS))
        # A crowd a node, since buyers with keys don't give up.
        for node in self.cluster.primaries():
            self.crowds.append(Buyers(self.service.port, self.events_of(node), threads=3))
            self.crowds[-1].start()
        self.buy_on()

    def stop(self) -> None:
        with ExitStack() as all_of_them:  # whatever one of them says
            for part in (self.cluster, self.queue, self.service):
                all_of_them.callback(part.stop)
            self.store.close()

    def events_of(self, node: ClusterNode) -> list[str]:
        return [event_id for event_id in self.event_ids if self.cluster.owner(info_of(event_id)) is node]

    def bought_of(self, event_ids: list[str]) -> int:
        """Purchases that the store sold: a provisional one has no tickets yet."""
        return sum(p["event_id"] in event_ids and p["status"] == "sold" for p in self.purchases())

    def purchases(self) -> list[dict[str, Any]]:
        return [purchase for crowd in self.crowds for purchase in crowd.purchases()]

    def buy_on(self, event_ids: list[str] | None = None, more: int = 60) -> None:
        """The store sells more of each of these events."""
        for event_id in self.event_ids if event_ids is None else event_ids:
            before = self.bought_of([event_id])
            wait_until(lambda e=event_id, b=before: self.bought_of([e]) >= b + more // 6, 60, f"{event_id} is sold")

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service.request("GET", "/health").json()
        return found

    def check(self) -> dict[str, list[str]]:
        """What buyers were told is what the store holds, every purchase has its receipt, and the books balance."""
        for crowd in self.crowds:
            crowd.stop()
        for crowd in self.crowds:
            wait_until(lambda c=crowd: self._agrees(c), SETTLED_S, "all is settled, and what nobody was told is voided")
            compare(crowd.told, self._records(crowd))
        found = {key: tickets for crowd in self.crowds for key, tickets in self._records(crowd).items()}
        self.service.wait_for_receipts(found, deadline_s=90)
        self.service.audit()
        return found

    def _agrees(self, crowd: Buyers) -> bool:
        found = self._records(crowd)
        return crowd.told.purchases.keys() <= found.keys() and not untold(crowd.told, found)

    def _records(self, crowd: Buyers) -> dict[str, list[str]]:
        return records(self.store, crowd.event_ids)


def info_of(event_id: str) -> str:
    return keys.of_event(event_id).info


@pytest.fixture
def town(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Town]:
    made = Town(tmp_path, getattr(request, "param", 1))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.timeout(480)
def test_slots_that_move_and_a_primary_that_is_killed_lose_no_purchase(town: Town) -> None:
    first, second, third = town.cluster.primaries()
    for event_id in town.events_of(first):
        town.cluster.move(info_of(event_id), second)
    town.buy_on()
    third.kill()
    wait_until(lambda: town.cluster.owner(info_of(town.event_ids[-1])) is not third, 20, "its replica takes over")
    third.start()
    town.buy_on()
    found = town.check()
    assert len(found) > 200


@pytest.mark.scale
@pytest.mark.timeout(480)
def test_a_primary_that_hangs_and_goes_on_loses_no_purchase(town: Town) -> None:
    node = town.cluster.primaries()[0]
    key = info_of(town.events_of(node)[0])
    node.suspend()
    wait_until(lambda: town.cluster.owner(key) is not node, 30, "its replica takes over")
    node.resume()
    wait_until(lambda: node.role == "slave", 30, "it follows")
    town.buy_on()
    town.check()


@pytest.mark.scale
@pytest.mark.timeout(480)
def test_slots_that_move_as_redis_7_moves_them_lose_no_purchase(town: Town) -> None:
    source, target, _ = town.cluster.primaries()
    for event_id in town.events_of(source):
        town.cluster.begin_move(info_of(event_id), target)
        town.cluster.move_keys(info_of(event_id), source, target)
        town.cluster.end_move(info_of(event_id), source, target)
        town.buy_on()
    town.check()


@pytest.mark.scale
@pytest.mark.timeout(480)
def test_every_primary_is_killed_in_turn_and_no_purchase_is_lost(town: Town) -> None:
    for node in list(town.cluster.primaries()):
        key = info_of(town.events_of(node)[0])
        node.kill()
        wait_until(lambda k=key, n=node: town.cluster.owner(k) is not n, 30, "its replica takes over")
        node.start()
        town.buy_on()
    town.check()


@pytest.mark.scale
@pytest.mark.parametrize("town", [0], indirect=True)
@pytest.mark.timeout(480)
def test_a_node_without_a_replica_that_is_away_takes_no_other_along(town: Town) -> None:
    """Its events are sold from the reserve, then 503; those of the others by the store, without an outage."""
    away, second, third = town.cluster.primaries()
    its_own, of_the_others = town.events_of(away), town.events_of(second) + town.events_of(third)
    crowd = town.crowds[0]
    away.kill()
    wait_until(lambda: town.health()["status"] == "outage", 20, "it is noticed")
    unavailable = crowd.told.unavailable
    town.buy_on(of_the_others)
    wait_until(lambda: crowd.told.unavailable > unavailable + 50, 60, "its reserve is sold")
    sold = town.bought_of(its_own)
    town.buy_on(of_the_others)
    assert town.bought_of(its_own) == sold
    assert town.health()["checks"]["store"]["reason"] == "1 of its nodes can't be reached"
    away.start()
    wait_until(lambda: town.health()["status"] == "ok", 30, "it is back")
    town.buy_on()
    town.check()
    assert crowd.told.provisional > 0
    assert [each.told.provisional + each.told.unavailable for each in town.crowds[1:]] == [0, 0]


def test_a_queue_on_the_cluster_is_refused_at_the_start(tmp_path: Path) -> None:
    done = run_module("ticketing", "audit", data_dir=tmp_path, REDIS_URL="redis+cluster://127.0.0.1:1")
    assert done.returncode != 0
    assert "QUEUE_URL: must be a Redis of its own" in done.stdout + done.stderr
