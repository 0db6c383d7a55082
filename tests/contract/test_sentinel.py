"""The store behind sentinels, on real servers: it is found, and found anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.groups import SentinelGroup, a_group
from tests.sales import SECRET, Sale, a_request, account
from tests.servers import HOST, ID_SECRET, ValkeyServer, free_port, wait_until
from ticketing.config import Settings
from ticketing.doctor.finding import Level
from ticketing.doctor.server import confirms
from ticketing.errors import StoreError, StoreRefused
from ticketing.store import durability, opening
from ticketing.store.connection import Store
from ticketing.store.decisions import DecisionStore


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    with a_group(tmp_path_factory.mktemp("group")) as made:
        yield made


def settings_for(url: str, **changes: object) -> Settings:
    given = {"redis_url": url, "id_secret": ID_SECRET, "replicas_to_confirm": 1, "store_timeout_s": 2.0, **changes}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


@pytest.fixture
def store(group: SentinelGroup) -> Iterator[Store]:
    group.wait_until_complete()
    made = opening.store_of(settings_for(group.url), connections=4)
    made.one("FLUSHALL")
    yield made
    made.close()


def test_it_is_sold_from_the_primary_and_confirmed_by_the_replica(group: SentinelGroup, store: Store) -> None:
    sale = Sale(store)
    sale.open(10)
    assert sale.tags(a_request(2)) == ["sold"]
    assert account(store).check().tickets_sold == 2
    assert store.one("ROLE")[0] == "master"


def test_the_new_primary_is_found_after_the_old_one_failed(group: SentinelGroup, store: Store) -> None:
    sale = Sale(store)
    sale.open(10)
    asked = a_request(2)
    assert sale.tags(asked) == ["sold"]
    old = group.kill_primary()
    assert set(sale.tags(a_request(1))) <= {"unknown", "refused"}
    new = group.wait_until_failed_over(old)
    # Its replica is gone, so nothing is confirmed. What was confirmed before is there.
    wait_until(lambda: role_of(store) == "master", 10, "the new primary is found")
    assert store.one("HLEN", "event:{1}:purchases") == 1
    with pytest.raises(StoreRefused, match="not confirmed"):
        sale.sales.greet(SECRET)
    group.restart(old)
    group.wait_until_complete()
    wait_until(lambda: greets(sale), 10, "the old primary confirms")
    assert sale.tags(asked) == ["replayed"]
    assert new.is_primary()


def role_of(store: Store) -> str:
    try:
        return str(store.one("ROLE")[0])
    except StoreError as error:
        return str(error)


def greets(sale: Sale) -> bool:
    try:
        sale.sales.greet(SECRET)
    except StoreRefused:
        return False
    return True


def test_a_connection_to_a_primary_that_became_a_replica_is_given_up(group: SentinelGroup, store: Store) -> None:
    """An operator's failover, in which the old primary lives on and cuts nobody's connection."""
    sale = Sale(store)
    sale.open(10)
    assert sale.tags(a_request(1)) == ["sold"]
    old = group.primary()
    for sentinel in group.sentinels[:1]:
        sentinel.ask("FAILOVER", "sale")
    group.wait_until_failed_over(old)
    group.wait_until_complete()
    wait_until(lambda: "sold" in sale.tags(a_request(1)), 15, "it is sold from the new primary")
    assert store.one("ROLE")[0] == "master"


def test_nothing_is_sold_by_a_primary_that_the_keeper_has_not_met(group: SentinelGroup) -> None:
    """So that its clock is known, and whether it has all that was sold."""
    group.wait_until_complete()
    selling, keeping = (opening.store_of(settings_for(group.url), connections=4) for _ in range(2))
    selling.sell_behind(keeping)
    assert "has not met" in role_of(selling)
    assert (role_of(keeping), role_of(selling)) == ("master", "master")
    old = group.primary()
    group.sentinels[0].ask("FAILOVER", "sale")
    new = group.wait_until_failed_over(old)
    group.wait_until_complete()
    wait_until(lambda: f"has not met this primary yet: {HOST}:{new.port}" in role_of(selling), 15, "refused")
    told: list[str] = []

    def is_met() -> bool:
        told.append(role_of(keeping))
        return told[-1] == "master"

    wait_until(is_met, 15, "the keeper has met it")
    assert sum("another server is the primary now" in one for one in told) == 1
    assert role_of(selling) == "master"
    selling.close()
    keeping.close()


def test_readonly_is_a_refusal_after_which_the_sentinels_are_asked_again(group: SentinelGroup, store: Store) -> None:
    primary = group.primary()
    before = store.one("CLIENT", "ID")
    assert store.one("CLIENT", "ID") == before
    port = free_port()
    primary.ask("REPLICAOF", HOST, port)
    with pytest.raises(StoreRefused, match="can't write against a read only replica"):
        store.write(("SET", "a", 1))
    with pytest.raises(StoreRefused, match="is no primary"):
        store.one("GET", "a")
    primary.ask("REPLICAOF", "NO", "ONE")
    wait_until(lambda: role_of(store) == "master", 15, "it is a primary again")
    assert store.one("CLIENT", "ID") > before


def test_a_failover_is_unsafe_where_fewer_confirm_than_the_sentinels_list(group: SentinelGroup, store: Store) -> None:
    """Those that are down too: they come back, perhaps when nobody else can take over."""
    [replica] = group.replicas
    unconfirmed = opening.store_of(settings_for(group.url, replicas_to_confirm=0), connections=1)
    replica.suspend()
    found = [durability.failover(one) for one in (store, unconfirmed)]
    replica.resume()
    unconfirmed.close()
    assert found == [durability.Failover.SAFE, durability.Failover.UNSAFE]


def test_a_replica_that_is_down_could_take_over_and_confirms_nothing(group: SentinelGroup, store: Store) -> None:
    [replica] = group.replicas
    assert (store.followers(), DecisionStore(store).why_unconfirmed(), list(confirms(store))) == (1, "", [])
    replica.kill()
    wait_until(lambda: store.followers() == 0, 10, "the primary has noticed")
    assert store.replicas() == 1
    assert DecisionStore(store).why_unconfirmed() == "0 of 1 replicas that must confirm follow it"
    (found,) = confirms(store)
    assert (found.level, found.found) == (Level.FAIL, "0 follow, 1 are to confirm")
    group.restart(replica)
    group.wait_until_complete()


def test_a_replica_that_must_not_take_over_need_not_confirm(group: SentinelGroup, store: Store) -> None:
    [replica] = group.replicas
    unconfirmed = opening.store_of(settings_for(group.url, replicas_to_confirm=0), connections=1)
    replica.ask("CONFIG", "SET", "replica-priority", 0)
    wait_until(
        lambda: durability.failover(unconfirmed) is durability.Failover.NONE, 30, "the sentinels have heard of it"
    )
    replica.ask("CONFIG", "SET", "replica-priority", 100)
    wait_until(lambda: durability.failover(unconfirmed) is durability.Failover.UNSAFE, 30, "and again")
    unconfirmed.close()


def test_nobody_can_say_what_a_failover_does_without_sentinels() -> None:
    nobody = opening.store_of(settings_for(f"redis+sentinel://{HOST}:{free_port()}/sale"), connections=1)
    assert durability.failover(nobody) is durability.Failover.UNKNOWN
    nobody.close()


def test_without_a_sentinel_nothing_was_sent() -> None:
    nobody = opening.store_of(settings_for(f"redis+sentinel://{HOST}:{free_port()}/sale"), connections=1)
    with pytest.raises(StoreRefused, match="no sentinel names a primary"):
        nobody.exchange([("PING",)])
    nobody.close()


def test_a_service_that_no_sentinel_knows(group: SentinelGroup) -> None:
    nobody = opening.store_of(settings_for(f"redis+sentinel://{group.sentinel_addresses()}/other"), connections=1)
    for _ in range(5):
        with pytest.raises(StoreRefused, match="no sentinel names a primary of 'other'"):
            nobody.exchange([("PING",)])
    nobody.close()


def test_a_sentinel_that_does_not_answer_is_asked_last(group: SentinelGroup, store: Store) -> None:
    first = group.sentinels[0]
    first.suspend()
    try:
        for _ in range(3):
            fresh = opening.store_of(settings_for(group.url), connections=1)
            fresh.ping()
            fresh.close()
    finally:
        first.resume()


def test_the_queue_is_found_as_the_store_is(group: SentinelGroup) -> None:
    group.wait_until_complete()
    client = opening.queue_client_of(settings_for(group.url))
    assert client.ping()
    primary = group.primary()
    primary.ask("REPLICAOF", HOST, free_port())
    with pytest.raises(redis.ConnectionError, match="no primary any more"):  # RQ waits, and asks again
        client.set("a", 1)
    primary.ask("REPLICAOF", "NO", "ONE")
    group.wait_until_complete()
    client.set("a", 1)
    client.close()


@pytest.fixture
def guarded(tmp_path: Path, group: SentinelGroup) -> Iterator[str]:
    """The address of a server that wants a password, behind a sentinel that wants another; without the latter."""
    server, sentinel = ValkeyServer(tmp_path / "guarded"), group.sentinels[0]
    server.start()
    with redis.Redis(host=HOST, port=server.port) as client:
        client.config_set("requirepass", "a word@")
    sentinel.ask("MONITOR", "guarded", HOST, server.port, 1)
    sentinel.ask("SET", "guarded", "auth-pass", "a word@")
    with redis.Redis(host=HOST, port=sentinel.port) as client:
        client.execute_command("ACL", "SETUSER", "default", ">sesame")
    yield f"redis+sentinel://:a%20word%40@{HOST}:{sentinel.port}/guarded"
    with redis.Redis(host=HOST, port=sentinel.port, password="sesame") as client:
        client.execute_command("SENTINEL", "REMOVE", "guarded")
        client.execute_command("ACL", "SETUSER", "default", "nopass")
    server.stop()


def test_the_sentinels_password_is_not_that_of_the_servers(guarded: str) -> None:
    store = opening.store_of(settings_for(f"{guarded}?sentinel_password=sesame"), connections=1)
    wait_until(lambda: role_of(store) == "master", 10, "signed in at both")
    store.close()


def test_a_user_of_its_own_needs_few_rights(group: SentinelGroup) -> None:
    """Those that ops/sentinel/README.md names."""
    group.wait_until_complete()
    scripts = ("+@read", "+@write", "+@scripting", "+@connection", "+time", "+script", "~*", "&ticketing:confirm")
    rights = ("reset", "on", ">word", "+role", "+wait", "+publish")
    for node in group.nodes:
        node.ask("ACL", "SETUSER", "shop", *rights, *scripts)
    for sentinel in group.sentinels:
        with redis.Redis(host=HOST, port=sentinel.port) as client:
            of_sentinel = ("reset", "on", ">sesame", "+auth", "+sentinel|master", "+sentinel|slaves")
            client.execute_command("ACL", "SETUSER", "asks", *of_sentinel)
    url = group.url.replace("//", "//shop:word@") + "?sentinel_username=asks&sentinel_password=sesame"
    store = opening.store_of(settings_for(url), connections=1)
    Sale(store).open(10, event_id="7")
    assert Sale(store).tags(a_request(1, event_id="7")) == ["sold"]
    assert durability.failover(store) is durability.Failover.SAFE
    store.close()


@pytest.mark.parametrize(("query", "why"), [("", "uthentication"), ("?sentinel_password=wrong", "username-password")])
def test_a_sentinel_that_does_not_know_us_tells_nothing(guarded: str, query: str, why: str) -> None:
    stranger = opening.store_of(settings_for(guarded + query), connections=1)
    with pytest.raises(StoreRefused, match=f"no sentinel names a primary.*{why}") as raised:
        stranger.ping()
    assert not {"sesame", "wrong", "word@"} & set(str(raised.value).split())
    stranger.close()
