"""The store on a cluster whose nodes fail, hand slots on and confirm nothing: what a caller is told of each command."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import clocks
from tests.clusters import ClusterNode, ValkeyCluster, event_ids_on
from tests.sales import SECRET, SEED, Sale, a_request
from tests.servers import HOST, ID_SECRET, ValkeyServer, free_port, wait_until
from ticketing import addresses
from ticketing.config import Settings
from ticketing.doctor import command as doctor
from ticketing.doctor.finding import Level
from ticketing.errors import NodeAway, NodeFailed, StoreError, StoreRefused
from ticketing.model import Outcome, SaleReply
from ticketing.store import cluster as cluster_module
from ticketing.store import condition, durability, keys, scripts
from ticketing.store.cluster import ClusterStore, open_cluster
from ticketing.store.connection import Confirmation
from ticketing.store.hosts import HostStore, Telling
from ticketing.store.sale import EventBatch
from ticketing.store.slots import slot_of

TICKETS = 100


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """Three primaries, each with a replica. A test leaves every node running and every slot served."""
    cluster = ValkeyCluster(tmp_path_factory.mktemp("nodes"), replicas=1)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(shared: ValkeyCluster) -> ValkeyCluster:
    store = shared.store()
    store.read(("FLUSHALL",), ("SCRIPT", "FLUSH"))
    store.close()
    return shared


@pytest.fixture
def store(cluster: ValkeyCluster) -> Iterator[ClusterStore]:
    made = cluster.store(timeout_s=2.0, confirm=1)
    yield made
    made.close()


def info_of(event_id: str) -> str:
    return keys.of_event(event_id).info


def a_sale(cluster: ValkeyCluster, store: ClusterStore) -> tuple[Sale, list[str]]:
    """One event on each node, the first node's first."""
    sale, ids = Sale(store), event_ids_on(cluster, 1)
    for event_id in ids:
        sale.open(TICKETS, event_id)
    return sale, ids


def buy_each(sale: Sale, ids: list[str]) -> list[SaleReply]:
    """One ticket of each event, in one round trip."""
    return [reply for (reply,) in sale.sales.purchase([batch_of(event_id) for event_id in ids])]


def batch_of(event_id: str) -> EventBatch:
    return EventBatch(event_id, SEED, [a_request(event_id=event_id)])


def outcomes(replies: list[SaleReply]) -> list[Outcome]:
    return [reply.outcome for reply in replies]


def sold(cluster: ValkeyCluster, event_id: str) -> int:
    """What the primary itself says."""
    return int(cluster.owner(info_of(event_id)).ask("HGET", info_of(event_id), "sold"))


def another(cluster: ValkeyCluster, node: ClusterNode) -> ClusterNode:
    return next(primary for primary in cluster.primaries() if primary is not node)


def fill_absent_keys(store: ClusterStore, event_id: str) -> None:
    """No key of the event is absent, as an operator does before a MIGRATE: with what nothing looks at."""
    k = keys.of_event(event_id)
    for key in (k.purchases, k.buyers, k.contacts, k.leases, k.tries, k.failed):
        store.one("HSET", key, "placeholder", "-0" if key == k.purchases else "0|")
    store.one("ZADD", k.receipts, "+inf", "placeholder")


def test_one_call_sells_on_every_node(cluster: ValkeyCluster, store: ClusterStore) -> None:
    sale, ids = a_sale(cluster, store)
    assert len({cluster.owner(info_of(event_id)).port for event_id in ids}) == 3
    assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3
    assert [state.pool for state in sale.events.read(sale.events.ids())] == [TICKETS - 1] * 3


def test_a_command_without_a_key_goes_to_every_primary(cluster: ValkeyCluster, store: ClusterStore) -> None:
    assert condition.refused_scripts(store) == {}
    sha = scripts.load("state", True).sha
    assert [node.ask("SCRIPT", "EXISTS", sha) for node in cluster.primaries()] == [[1]] * 3
    assert [server.one("PING") for server in store.servers()] == ["PONG"] * 3


def test_nobody_who_tells_the_slots_is_a_refusal() -> None:
    address = addresses.parse(f"redis+cluster://{HOST}:{free_port()}")
    nowhere = open_cluster(address, timeout_s=0.5, connect_timeout_s=0.5, connections=1, confirmation=Confirmation())
    with pytest.raises(StoreRefused, match="no node"):
        nowhere.exchange([("GET", "a")])


def test_a_server_that_is_no_cluster_is_a_refusal(valkey_server: ValkeyServer) -> None:
    address = addresses.parse(f"redis+cluster://{HOST}:{valkey_server.port}")
    alone = open_cluster(address, timeout_s=2, connect_timeout_s=2, connections=1, confirmation=Confirmation())
    with pytest.raises(StoreRefused, match="no node"):
        alone.exchange([("GET", "a")])
    alone.close()


def test_a_slot_that_went_to_another_node_is_followed_there_and_remembered(
    cluster: ValkeyCluster, store: ClusterStore
) -> None:
    sale, ids = a_sale(cluster, store)
    buy_each(sale, ids)
    source = cluster.owner(info_of(ids[0]))
    cluster.move(info_of(ids[0]), another(cluster, source))
    assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3
    asked = _scripts_run(source)
    assert outcomes(buy_each(sale, [ids[0]])) == [Outcome.SOLD]
    assert _scripts_run(source) == asked
    assert [sold(cluster, event_id) for event_id in ids] == [3, 2, 2]


def _scripts_run(node: ClusterNode) -> tuple[int, int]:
    """How often a script was asked for, and how often in vain."""
    stats = node.ask("INFO", "commandstats")["cmdstat_evalsha"]
    return stats["calls"], stats["rejected_calls"]


def test_a_slot_on_its_way_refuses_what_it_has_in_part_and_loses_nothing(
    cluster: ValkeyCluster, store: ClusterStore
) -> None:
    """Keys that are absent (no buyer was counted yet) have a script wait until the slot has arrived."""
    sale, ids = a_sale(cluster, store)
    event_id = ids[0]
    buy_each(sale, ids)
    source = cluster.owner(info_of(event_id))
    target = another(cluster, source)
    cluster.begin_move(info_of(event_id), target)
    assert outcomes(buy_each(sale, ids)) == [Outcome.NODE_AWAY, Outcome.SOLD, Outcome.SOLD]
    assert cluster.move_keys(info_of(event_id), source, target) > 0
    assert outcomes(buy_each(sale, ids)) == [Outcome.NODE_AWAY, Outcome.SOLD, Outcome.SOLD]
    cluster.end_move(info_of(event_id), source, target)
    assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3
    assert [sold(cluster, each) for each in ids] == [2, 4, 4]


@pytest.mark.parametrize("replica_lives", [True, False], ids=["confirmed", "not confirmed"])
def test_what_is_redirected_is_confirmed_where_it_was_done(
    cluster: ValkeyCluster, store: ClusterStore, replica_lives: bool
) -> None:
    """Behind an ASK: the target's replicas are asked, and not those of the node that was asked first."""
    sale, ids = a_sale(cluster, store)
    event_id = ids[0]
    fill_absent_keys(store, event_id)
    source = cluster.owner(info_of(event_id))
    target = another(cluster, source)
    replica = cluster.replica_of(target)
    cluster.begin_move(info_of(event_id), target)
    cluster.move_keys(info_of(event_id), source, target)
    sale.buy(a_request(event_id=event_id))  # the target knows the script from now on
    if not replica_lives:
        replica.suspend()
    try:
        (reply,) = buy_each(sale, [event_id])
    finally:
        if not replica_lives:
            replica.resume()
    assert reply.outcome is (Outcome.SOLD if replica_lives else Outcome.NODE_FAILED), reply
    cluster.end_move(info_of(event_id), source, target)
    assert sold(cluster, event_id) == 2


def test_behind_a_moved_slot_nothing_counts_that_the_new_replicas_do_not_have(
    cluster: ValkeyCluster, store: ClusterStore
) -> None:
    sale, ids = a_sale(cluster, store)
    buy_each(sale, ids)
    source = cluster.owner(info_of(ids[0]))
    target = another(cluster, source)
    cluster.move(info_of(ids[0]), target)
    replica = cluster.replica_of(target)
    replica.suspend()
    try:
        (reply,) = buy_each(sale, [ids[0]])
    finally:
        replica.resume()
    assert reply.outcome is Outcome.NODE_FAILED
    assert "not confirmed by 1" in reply.detail


def test_the_events_beside_one_that_moved_are_confirmed_all_the_same(
    cluster: ValkeyCluster, store: ClusterStore
) -> None:
    """What is written for WAIT goes into the first event's slot, and that one has left."""
    sale = Sale(store)
    first, second = [one for one in event_ids_on(cluster, 2) if _is_on_first(cluster, one)]
    for event_id in (first, second):
        sale.open(TICKETS, event_id)
    node = cluster.owner(info_of(first))
    cluster.move(info_of(first), another(cluster, node))
    replica = cluster.replica_of(node)
    assert outcomes(buy_each(sale, [first, second])) == [Outcome.SOLD] * 2
    store._is_stale = True  # the map is asked for again ...
    buy_each(sale, [first, second])
    store._slots.move(slot_of(info_of(first)), (HOST, node.port))  # ... and is wrong once more
    replica.suspend()
    try:
        assert outcomes(buy_each(sale, [first, second])) == [Outcome.SOLD, Outcome.NODE_FAILED]
    finally:
        replica.resume()


def _is_on_first(cluster: ValkeyCluster, event_id: str) -> bool:
    return cluster.owner(info_of(event_id)) is cluster.primaries()[0]


def test_a_replay_is_confirmed_by_what_is_written_now(cluster: ValkeyCluster, store: ClusterStore) -> None:
    """It writes nothing, and the last write of its connection was confirmed long ago."""
    sale, ids = a_sale(cluster, store)
    again = a_request(event_id=ids[0])
    assert sale.tags(again) == ["sold"]
    assert sale.tags(again) == ["replayed"]
    replica = cluster.replica_of(cluster.owner(info_of(ids[0])))
    replica.suspend()
    try:
        assert sale.tags(again) == ["node_failed"]
        assert outcomes(buy_each(sale, ids[1:])) == [Outcome.SOLD] * 2
    finally:
        replica.resume()
    wait_until(lambda: sale.tags(again) == ["replayed"], 10)


@pytest.mark.parametrize("its_own", [True, False], ids=["its own", "another's"])
def test_a_greeting_is_answered_where_the_node_of_the_secret_confirms(
    cluster: ValkeyCluster, store: ClusterStore, its_own: bool
) -> None:
    sale = Sale(store)
    node = cluster.owner(keys.ID_SECRET)
    replica = cluster.replica_of(node if its_own else another(cluster, node))
    replica.suspend()
    try:
        if its_own:
            with pytest.raises(StoreRefused, match="not confirmed"):
                sale.sales.greet(SECRET)
        else:
            sale.sales.greet(SECRET)
        assert len(store.nodes_away()) == 1
    finally:
        replica.resume()
    wait_until(lambda: not _still_away(store), 10, "it is tried again")
    sale.sales.greet(SECRET)


def _still_away(store: ClusterStore) -> bool:
    """Asking for anything is what finds out."""
    store.exchange([("GET", keys.ID_SECRET)])
    return bool(store.nodes_away())


def test_a_node_that_fails_fails_its_own_commands_and_its_replica_takes_them_over(tmp_path: Path) -> None:
    cluster = ValkeyCluster(tmp_path, replicas=1)
    cluster.start()
    store = cluster.store(timeout_s=2.0, confirm=1)
    try:
        sale, ids = a_sale(cluster, store)
        assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3
        node = cluster.owner(info_of(ids[1]))
        node.kill()
        first, second, third = buy_each(sale, ids)
        assert (first.outcome, third.outcome) == (Outcome.SOLD, Outcome.SOLD)
        assert second.outcome in (Outcome.NODE_FAILED, Outcome.NODE_AWAY)
        (refused,) = store.exchange([("HGET", info_of(ids[1]), "sold")])
        assert isinstance(refused, NodeAway)
        assert store.nodes_away() == (f"{HOST}:{node.port}",)
        with pytest.raises(StoreError):
            store.one("HGET", info_of(ids[1]), "sold")
        node.start()  # the replica needs one of its own before it confirms anything
        wait_until(lambda: outcomes(buy_each(sale, [ids[1]])) == [Outcome.SOLD], 20, "the node is served again")
    finally:
        store.close()
        cluster.stop()


def test_each_node_is_told_a_deadline_in_its_own_time(cluster: ValkeyCluster, store: ClusterStore) -> None:
    """As if one node's clock had been set back by an hour, and another's forward, since it was asked last."""
    sale, ids = a_sale(cluster, store)
    buy_each(sale, ids)  # each node has the script now, and is asked once for what follows
    now_ms = store.clock_ms()
    for event_id, off_ms in zip(ids, (-3_600_000, 0, 3_600_000), strict=True):
        node = store._pools.nodes[HOST, cluster.owner(info_of(event_id)).port]
        node.clock.saw(now_ms + off_ms)
    # What is believed to be behind is told too early a deadline: the purchase is too late, and nothing was done.
    assert outcomes(buy_each(sale, ids)) == [Outcome.EXPIRED, Outcome.SOLD, Outcome.SOLD]
    assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3


def test_a_script_that_a_node_lost_is_sent_whole_to_that_node(cluster: ValkeyCluster, store: ClusterStore) -> None:
    sale, ids = a_sale(cluster, store)
    buy_each(sale, ids)
    cluster.owner(info_of(ids[2])).ask("SCRIPT", "FLUSH")
    assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3
    assert [sold(cluster, event_id) for event_id in ids] == [2] * 3


def test_unread_replies_are_never_taken_for_those_to_the_next_commands(
    cluster: ValkeyCluster, store: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that is killed between two nodes leaves replies on their way from both."""

    class Killed(BaseException):
        """As gevent kills a greenlet."""

    def die(_connection: object) -> None:
        raise Killed

    sale, ids = a_sale(cluster, store)
    with monkeypatch.context() as patch:
        patch.setattr("ticketing.store.pipeline.reply_of", die)
        with pytest.raises(Killed):
            store.exchange([("HGET", info_of(event_id), "seed") for event_id in ids])
    assert store.exchange([("HGET", info_of(event_id), "sold") for event_id in ids]) == ["0"] * 3
    assert sale.events.read(ids)


def test_an_unconfirmed_pipeline_is_unknown_as_a_whole(cluster: ValkeyCluster, store: ClusterStore) -> None:
    replica = cluster.replica_of(cluster.owner("a"))
    replica.suspend()
    try:
        (reply,) = store.exchange_confirmed([("SET", "a", "1")])
    finally:
        replica.resume()
    assert isinstance(reply, NodeFailed)
    assert not isinstance(reply, NodeAway)


def test_the_doctor_looks_at_every_node(cluster: ValkeyCluster, tmp_path: Path) -> None:
    first, second, third = cluster.primaries()
    second.ask("CONFIG", "SET", "appendfsync", "everysec")
    third.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        redis_url=cluster.url,
        queue_url=f"redis://{HOST}:{free_port()}",
        id_secret=ID_SECRET,
        replicas_to_confirm=2,
    )
    try:
        found = {finding.check: finding for finding in doctor.look(settings)}
    finally:
        second.ask("CONFIG", "SET", "appendfsync", "always")
        third.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    levels = {
        word: [found[f"store's {word} ({HOST}:{node.port})"].level for node in (first, second, third)]
        for word in ("fsync", "coverage", "replicas")
    }
    assert levels == {
        "fsync": [Level.OK, Level.FAIL, Level.OK],
        "coverage": [Level.OK, Level.OK, Level.WARN],
        "replicas": [Level.FAIL] * 3,
    }


def test_of_several_servers_the_worst_counts(cluster: ValkeyCluster, store: ClusterStore) -> None:
    assert durability.fsync_policy(store) == "always"
    node = cluster.primaries()[1]
    node.ask("CONFIG", "SET", "appendfsync", "everysec")
    try:
        state = durability.server_state(store)
    finally:
        node.ask("CONFIG", "SET", "appendfsync", "always")
    assert state.fsync_policy == "everysec"
    assert state.memory_bytes > 3 * 1_000_000


def test_replicas_that_could_take_over_are_counted_also_while_they_are_away(
    cluster: ValkeyCluster, store: ClusterStore
) -> None:
    assert store.replicas_of_each() == [1, 1, 1]
    assert store.replicas() == 1
    assert [server.replicas() for server in store.servers()] == [1, 1, 1]


@pytest.mark.scale
def test_a_store_fails_as_a_whole_where_every_node_does(tmp_path: Path) -> None:
    cluster = ValkeyCluster(tmp_path)
    cluster.start()
    store = cluster.store(timeout_s=1.0)
    try:
        sale, ids = a_sale(cluster, store)
        for node in cluster.nodes:
            node.suspend()
        assert set(outcomes(buy_each(sale, ids))) == {Outcome.UNKNOWN}
        with pytest.raises(StoreRefused):
            sale.sales.greet(SECRET)
        with pytest.raises(StoreRefused):
            store.one("HGET", info_of(ids[0]), "seed")
        for node in cluster.nodes:
            node.resume()
        wait_until(lambda: set(outcomes(buy_each(sale, ids))) == {Outcome.SOLD}, 20, "it sells again")
        assert store.nodes_away() == ()
    finally:
        store.close()
        cluster.stop()


@pytest.mark.timeout(40)
def test_nobody_waits_for_a_node_that_hangs_while_it_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for its word on who serves what: the sale of the other nodes' events stood still for a second in two."""
    monkeypatch.setattr(cluster_module, "TRY_S", 3600)
    cluster = ValkeyCluster(tmp_path)
    cluster.start()
    store = cluster.store(timeout_s=3600)
    try:
        of_the_hung, of_the_well, _ = event_ids_on(cluster, 1)
        hung = cluster.owner(info_of(of_the_hung))
        assert store.exchange([("HLEN", info_of(event_id)) for event_id in (of_the_hung, of_the_well)]) == [0, 0]
        hung.kill()
        assert isinstance(store.exchange([("HLEN", info_of(of_the_hung))])[0], NodeFailed)
        with socket.create_server((HOST, hung.port)):  # it takes connections again, and answers none
            for _ in range(40):
                time.sleep(0.05)
                assert store.exchange([("HLEN", info_of(of_the_well))]) == [0]
            assert store.nodes_away() == (f"{HOST}:{hung.port}",)
    finally:
        store.close()
        cluster.stop()


@pytest.mark.timeout(60)
def test_a_node_that_died_before_its_first_slot_had_come_keeps_nobody(tmp_path: Path) -> None:
    """Nor where nobody tells any more who serves what: a slot of it was searched for ever, and the process hung."""
    cluster, spare = ValkeyCluster(tmp_path, primaries=1), ClusterNode(tmp_path / "spare", ())
    [node] = cluster.nodes
    cluster.start()
    spare.start()
    store = cluster.store(timeout_s=1.0)
    try:
        spare.ask("CLUSTER", "MEET", HOST, node.port, node.bus_port)
        wait_until(lambda: spare.is_ok, 20, "it has met the other")
        assert store.exchange([("GET", "a")]) == [None]
        cluster.begin_move("a", spare)
        assert store.exchange([("GET", "a")]) == [None]  # the other was asked
        spare.kill()
        assert isinstance(store.exchange([("GET", "a")])[0], NodeAway)
        node.kill()
        for _ in range(10):
            time.sleep(0.1)
            with pytest.raises(StoreError):
                store.exchange([("GET", "a")])
    finally:
        store.close()
        spare.kill()
        cluster.stop()


def test_a_node_that_is_back_and_does_nothing_yet_stays_away(cluster: ValkeyCluster, store: ClusterStore) -> None:
    """It answers, and refuses to write."""
    sale, ids = a_sale(cluster, store)
    buy_each(sale, ids)
    node = cluster.owner(info_of(ids[0]))
    node.ask("CONFIG", "SET", "min-replicas-to-write", 5)
    try:
        for _ in range(3):
            assert outcomes(buy_each(sale, ids)) == [Outcome.NODE_AWAY, Outcome.SOLD, Outcome.SOLD]
        assert store.nodes_away() == (f"{HOST}:{node.port}",)
    finally:
        node.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    wait_until(lambda: outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3, 10, "it sells again")


LIBRARIES = ("usr/lib/*/faketime/libfaketime.so.1", "usr/lib/faketime/libfaketime.so.1")
FAKETIME = [path for place in LIBRARIES for path in Path("/").glob(place)]


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is missing: apt-get install faketime")
def test_nodes_whose_clocks_are_minutes_apart_sell_and_hand_slots_on(tmp_path: Path) -> None:
    cluster = ValkeyCluster(tmp_path)
    for node, offset in zip(cluster.nodes, ("-10m", "+0m", "+10m"), strict=True):
        node.environment = {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    cluster.start()
    store = cluster.store(timeout_s=2.0)
    try:
        slow, right, quick = cluster.nodes
        assert _seconds(quick) - _seconds(slow) > 1_100
        sale, ids = a_sale(cluster, store)
        sale.sales._timeout_ms = 2_000
        for _ in range(3):
            assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3
        key = info_of(ids[0])
        for target in (quick, slow, right):
            cluster.move(key, target)
            assert outcomes(buy_each(sale, ids)) == [Outcome.SOLD] * 3, "told in the time of the node it was moved from"
        assert [sold(cluster, event_id) for event_id in ids] == [6] * 3
        # A deadline that is over is over by every node's clock.
        sale.sales._timeout_ms = -10
        assert outcomes(buy_each(sale, ids)) == [Outcome.EXPIRED] * 3
    finally:
        store.close()
        cluster.stop()


@pytest.mark.skipif(not clocks.can_shift(), reason=clocks.MISSING)
def test_who_lives_is_told_by_the_clock_of_the_node_that_heard_it(tmp_path: Path) -> None:
    """Another node is ten minutes ahead: a living host was taken for lost, and could be released."""
    cluster = ValkeyCluster(tmp_path)
    cluster.nodes.sort(key=lambda node: node.port)
    ahead, *_ = cluster.nodes  # the first of those that are asked for their time
    ahead.environment = {name: str(value) for name, value in clocks.shifted(tmp_path, 600).items()}
    cluster.start()
    store = cluster.store(timeout_s=2.0)
    try:
        assert cluster.owner(keys.HOST_CONTACTS) is not ahead
        assert _seconds(ahead) - _seconds(cluster.owner(keys.HOST_CONTACTS)) > 590
        hosts = HostStore(store)
        for holder in ("a-0", "b-0"):
            hosts.beat(holder, "nonce", 0, Telling())
        assert [one.holder for one in hosts.contacts().living()] == ["a-0", "b-0"]
        assert [one.holder for one in hosts.contact("b-0").living()] == ["b-0"]
    finally:
        store.close()
        cluster.stop()


def _seconds(node: ClusterNode) -> int:
    return int(node.ask("TIME")[0])


def test_receipts_of_the_other_nodes_are_swept(cluster: ValkeyCluster, store: ClusterStore) -> None:
    sale, ids = a_sale(cluster, store)
    buy_each(sale, ids)
    node = cluster.owner(info_of(ids[0]))
    node.ask("CONFIG", "SET", "min-replicas-to-write", 5)
    try:
        assert sale.outbox.sweep(ids, 10) == []
        for event_id in ids[1:]:
            sale.due_now(event_id)
        assert [event_id for event_id, _ in sale.outbox.sweep(ids, 10)] == ids[1:]
    finally:
        node.ask("CONFIG", "SET", "min-replicas-to-write", 0)
