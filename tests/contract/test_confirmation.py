"""Purchases that replicas confirm, on a real primary and a real replica: what nobody confirmed is never reported."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis

from tests.sales import SECRET, SEED, Sale, a_request, account, an_event
from tests.servers import HOST, ValkeyServer, wait_until
from ticketing.doctor import server
from ticketing.doctor.finding import Level
from ticketing.errors import OutcomeUnknown, StoreRefused
from ticketing.model import Outcome
from ticketing.store import durability, keys, scripts
from ticketing.store.connection import Confirmation, Store, open_store
from ticketing.store.events import create
from ticketing.store.sale import standing

CONFIRM_MS = 200
K = keys.of_event("1")


@dataclass
class Pair:
    """A primary and its replica, and ways to the primary: one that has everything confirmed, and one that has not."""

    primary: ValkeyServer
    replica: ValkeyServer
    confirmed: Store
    plain: Store


def link(replica: Store) -> str:
    told = str(replica.one("INFO", "replication"))
    return next(line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("master_link_status"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    folder = tmp_path_factory.mktemp("pair")
    primary, replica = ValkeyServer(folder / "primary"), ValkeyServer(folder / "replica")
    primary.start("--repl-diskless-sync-delay", "0")
    replica.start("--replicaof", f"{HOST} {primary.port}")
    yield primary, replica
    replica.stop()
    primary.stop()


@pytest.fixture
def pair(servers: tuple[ValkeyServer, ValkeyServer]) -> Iterator[Pair]:
    primary, replica = servers
    wanted = Confirmation(1, CONFIRM_MS)
    confirmed = open_store(primary.url, timeout_s=5, connect_timeout_s=2, connections=4, confirmation=wanted)
    made = Pair(primary, replica, confirmed, primary.store())
    of_replica = replica.store()
    wait_until(lambda: link(of_replica) == "up", 15, "the replica follows")
    of_replica.close()
    made.plain.one("FLUSHALL")
    yield made
    replica.resume()
    confirmed.close()
    made.plain.close()


@pytest.fixture
def sale(pair: Pair) -> Sale:
    made = Sale(pair.confirmed)
    made.open(10)
    return made


def test_what_is_confirmed_is_on_the_replica(pair: Pair, sale: Sale) -> None:
    asked = a_request(2)
    assert sale.tags(asked) == ["sold"]
    of_replica = pair.replica.store()
    assert account(of_replica).check().sold.keys() == {asked.purchase_id}
    of_replica.close()


def test_a_purchase_that_no_replica_confirmed_is_unknown_and_is_confirmed_later_under_its_id(
    pair: Pair, sale: Sale
) -> None:
    asked = a_request(2)
    pair.replica.suspend()
    [reply] = sale.buy(asked)
    assert (reply.outcome, reply.level) == (Outcome.UNKNOWN, None)
    assert "not confirmed by 1" in reply.detail
    assert sale.tags(asked) == ["unknown"]  # asked again it is a replay, which is worth no more
    assert account(pair.plain).sold.keys() == {asked.purchase_id}
    pair.replica.resume()
    assert sale.tags(asked) == ["replayed"]
    account(pair.plain).check()


def test_a_refusal_that_no_replica_confirmed_is_unknown_too(pair: Pair, sale: Sale) -> None:
    pair.replica.suspend()
    assert sale.tags(a_request(10), a_request(10)) == ["unknown", "unknown"]
    pair.replica.resume()
    assert sale.tags(a_request(10)) == ["sold_out"]


def test_the_version_of_a_reply_that_was_not_confirmed_is_not_remembered(pair: Pair, sale: Sale) -> None:
    """The next primary may never have seen it, and must not be taken for one that went back."""
    seen = sale.versions.seen("1", SEED)
    pair.replica.suspend()
    sale.buy(a_request(1))
    assert sale.versions.seen("1", SEED) == seen
    pair.plain.one("HSET", K.info, "version", seen)
    pair.replica.resume()
    assert sale.tags(a_request(1)) == ["sold"]


def test_waiting_behind_a_replay_confirms_nothing_without_a_write_of_its_own(pair: Pair, sale: Sale) -> None:
    """Why Store.exchange_confirmed publishes a message: without it the replay would pass for confirmed."""
    asked = a_request(1)
    script = scripts.load("state", True)
    pair.replica.suspend()
    assert sale.tags(asked) == ["unknown"]
    reads = [("EVAL", script.text, 7, *(K.tickets, K.info, K.purchases, K.receipts, K.failed, K.leases, K.tries))]
    pair.plain.one("PING")
    *_, without = pair.plain.exchange([*reads, ("HGET", K.purchases, asked.purchase_id), ("WAIT", 1, CONFIRM_MS)])
    assert without == 1  # though the only replica stands still
    *_, with_one = pair.plain.exchange([*reads, ("PUBLISH", keys.CONFIRM, ""), ("WAIT", 1, CONFIRM_MS)])
    assert with_one == 0


def test_every_change_is_confirmed(pair: Pair, sale: Sale) -> None:
    asked = a_request(1)
    assert sale.tags(asked) == ["sold"]
    pair.replica.suspend()
    for change in (
        lambda: sale.sales.void("1", SEED, [asked.purchase_id]),
        lambda: sale.events.set_paused("1", SEED, True),
        lambda: create(pair.confirmed, an_event("2"), seed=SEED, planned=0),
        lambda: sale.outbox.begin("1", [asked.purchase_id]),
        lambda: standing(pair.confirmed, "1", asked.purchase_id),
    ):
        with pytest.raises(OutcomeUnknown):
            change()


def test_what_is_harmless_to_lose_waits_for_nobody(pair: Pair, sale: Sale) -> None:
    asked = a_request(1)
    assert sale.tags(asked) == ["sold"]
    pair.replica.suspend()
    assert len(sale.events.read(["1"])) == 1
    assert sale.outbox.finish("1", [asked.purchase_id]) == []


def test_nothing_is_swept_that_could_not_begin(pair: Pair, sale: Sale) -> None:
    """Or each sweep would burn a try of a receipt while the replica is away, until it is given up."""
    asked = a_request(1)
    assert sale.tags(asked) == ["sold"]
    sale.due_now()
    pair.replica.suspend()
    with pytest.raises(OutcomeUnknown):
        sale.overdue()
    pair.replica.resume()
    sale.due_now()
    assert sale.overdue() == [(asked.purchase_id, 0)]


def test_a_store_whose_replica_is_away_is_not_greeted(pair: Pair, sale: Sale) -> None:
    """Or else an outage would end, and begin again with the next purchase."""
    pair.replica.suspend()
    with pytest.raises(StoreRefused, match="not confirmed"):
        sale.sales.greet(SECRET)
    pair.replica.resume()
    sale.sales.greet(SECRET)


def test_idle_connections_are_closed_after_a_reply_that_was_not_confirmed(pair: Pair, sale: Sale) -> None:
    store = pair.confirmed
    before = store.one("CLIENT", "ID")
    assert store.one("CLIENT", "ID") == before
    pair.replica.suspend()
    sale.buy(a_request(1))
    assert store.one("CLIENT", "ID") > before


def test_a_primary_that_refuses_to_write_without_its_replica_refuses_and_leaves_nothing_unknown(
    pair: Pair, sale: Sale
) -> None:
    pair.plain.one("CONFIG", "SET", "min-replicas-to-write", 2)
    assert sale.tags(a_request(1)) == ["refused"]
    pair.replica.suspend()
    [reply] = sale.buy(a_request(1))
    assert reply.outcome is Outcome.REFUSED
    pair.plain.one("CONFIG", "SET", "min-replicas-to-write", 0)
    assert account(pair.plain).check().sold == {}


def test_a_replica_refuses_for_certain(pair: Pair, sale: Sale) -> None:
    wanted = Confirmation(1, CONFIRM_MS)
    store = open_store(pair.replica.url, timeout_s=5, connect_timeout_s=2, connections=2, confirmation=wanted)
    deposed = Sale(store, greeted=False)
    deposed.clock.saw(pair.plain.clock_ms())
    [reply] = deposed.buy(a_request(1))
    assert reply.outcome is Outcome.REFUSED
    with pytest.raises(StoreRefused):
        deposed.sales.greet(SECRET)
    store.close()


def test_a_failover_is_unsafe_where_fewer_confirm_than_could_take_over(pair: Pair) -> None:
    pair.confirmed.ping()
    assert durability.failover(pair.plain) is durability.Failover.UNSAFE
    assert durability.failover(pair.confirmed) is durability.Failover.SAFE
    [found] = server.fails_over(pair.plain)
    assert (found.level, found.found) == (
        Level.FAIL,
        "unsafe: 1 could take over from the primary, 0 must confirm each purchase",
    )
    assert [found.level for found in server.fails_over(pair.confirmed)] == [Level.OK]


def test_nothing_more_is_sent_where_nobody_is_to_confirm(pair: Pair) -> None:
    sent: list[tuple[str | int | bytes, ...]] = []

    class Listening(Store):
        def exchange(self, commands):  # type: ignore[no-untyped-def]
            sent.extend(commands)
            return super().exchange(commands)

    store = Listening(pair.plain._pool)
    assert store.write(("SADD", keys.EVENTS, "1")) == [1]
    assert sent == [("SADD", keys.EVENTS, "1")]
    assert isinstance(store.exchange([("NO SUCH COMMAND",)])[0], redis.ResponseError)
