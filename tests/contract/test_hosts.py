"""Signs of life in both backends, and what a holder makes of them: another host under its name, or an older store."""

from pathlib import Path

import pytest

from tests.contract.test_settlement import NOW_MS, Host
from tests.leases import HOST, K
from tests.sales import LATER_MS, SEED, Sale, a_request, account
from ticketing.outage.decision import Decision, Refused
from ticketing.outage.presence import Presence
from ticketing.outage.release import about_host
from ticketing.sale.audit import audit
from ticketing.store import keys, scripts
from ticketing.store.connection import Store
from ticketing.store.decisions import DecisionStore
from ticketing.store.hosts import LIVES_MS, HostStore, State, Telling, host_of
from ticketing.store.leases import LeaseChange, LeaseStore

HOLDER = f"{HOST}-0"
OTHER = "fedcba9876543210fedcba9876543210"


@pytest.fixture
def hosts(store: Store) -> HostStore:
    return HostStore(store)


def let_pass(store: Store, holder: str, ms: int) -> None:
    """Its last sign of life was so much earlier."""
    store.one("ZINCRBY", keys.HOST_CONTACTS, -ms, holder)


def copied(host: Host, path: Path) -> Host:
    """Another process of the same name, whose journal is as this one's is now. Both look after their names."""
    twin_path = path / "copy.journal"
    twin_path.write_bytes(host.path.read_bytes())
    twin = Host(host.store, twin_path)
    named(twin)
    return twin


def named(host: Host) -> Presence:
    host.holder.presence = Presence(HostStore(host.store), HOLDER, host.holder._nonce)
    snapshots = host.holder.events.values()
    host.holder.presence.knows(token for reserve in snapshots for token in reserve.possible or ())
    return host.holder.presence


@pytest.fixture
def host(store: Store, tmp_path: Path) -> Host:
    Sale(store).open(1_000)
    made = Host(store, tmp_path / "slot-0.journal")
    named(made).beat()
    made.round()
    assert made.sellable == 10
    return made


def sound(store: Store) -> None:
    account(store).check()
    assert audit(store).violations == []


# --- signs of life


def test_a_sign_of_life_says_when_and_who_lives(hosts: HostStore, store: Store) -> None:
    first = hosts.beat(HOLDER, "a", 0, Telling(1, 2, "x.y"))
    assert (first.another, first.living) == (False, 1)
    second = hosts.beat(f"{OTHER}-0", "b", 0, Telling())
    assert (second.another, second.living) == (False, 2)
    contacts = hosts.contacts()
    assert [(one.holder, one.nonce, one.host_id) for one in contacts.living()] == [
        (HOLDER, "a", HOST),
        (f"{OTHER}-0", "b", OTHER),
    ]
    assert contacts.all[0].telling == Telling(1, 2, "x.y")
    assert 0 <= contacts.now_ms - contacts.all[0].contact_ms < LIVES_MS
    let_pass(store, HOLDER, LIVES_MS + 1_000)
    assert [one.holder for one in hosts.contacts().living()] == [f"{OTHER}-0"]
    hosts.forget([HOLDER])
    assert [one.holder for one in hosts.contacts().all] == [f"{OTHER}-0"]


def test_of_two_under_one_name_the_first_hears_of_it_and_writes_nothing(hosts: HostStore) -> None:
    first = hosts.beat(HOLDER, "a", 0, Telling())
    hosts.beat(HOLDER, "b", 0, Telling())
    assert hosts.beat(HOLDER, "a", first.now_ms, Telling()).another
    [contact] = hosts.contact(HOLDER).all
    assert contact.nonce == "b"
    assert not hosts.beat(HOLDER, "b", contact.contact_ms, Telling()).another


def test_a_first_sign_of_life_that_comes_late_takes_nothing_from_who_came_after_it(
    hosts: HostStore, store: Store
) -> None:
    """A process that gives its first one, is killed, and has a successor before the command arrives."""
    hosts.beat(HOLDER, "before", 0, Telling())
    touched = (keys.HOST_CONTACTS, keys.HOST_TELLINGS)
    on_its_way = (HOLDER, "killed", 0, LIVES_MS, "0|0||", "before")
    successor = hosts.beat(HOLDER, "successor", 0, Telling())
    assert scripts.run(store, "beat", touched, on_its_way)[0] == "moved"
    assert not hosts.beat(HOLDER, "successor", successor.now_ms, Telling()).another
    [contact] = hosts.contact(HOLDER).all
    assert contact.nonce == "successor"


def test_a_store_that_went_back_to_an_older_sign_of_life_is_no_other_host(hosts: HostStore, store: Store) -> None:
    before = hosts.beat(HOLDER, "a", 0, Telling())
    store.one("HSET", keys.HOST_TELLINGS, HOLDER, "predecessor|0|0||")
    let_pass(store, HOLDER, 5)
    assert not hosts.beat(HOLDER, "a", before.now_ms, Telling()).another
    store.one("DEL", keys.HOST_CONTACTS, keys.HOST_TELLINGS)
    assert not hosts.beat(HOLDER, "a", before.now_ms, Telling()).another


def test_who_leaves_says_so_and_what_is_damaged_tells_nothing(hosts: HostStore, store: Store) -> None:
    presence = Presence(hosts, HOLDER, "a")
    presence.beat()
    presence.leave()
    contacts = hosts.contacts()
    assert (contacts.living(), contacts.all[0].telling.state) == ([], State.LEFT)
    store.one("HSET", keys.HOST_TELLINGS, HOLDER, "a|no|number")
    assert hosts.contacts().all[0].telling == Telling()
    store.one("HSET", keys.HOST_TELLINGS, HOLDER, "a|1|2|x|copied|of a later version")
    assert hosts.contacts().all[0].telling == Telling(1, 2, "x", "copied")
    assert host_of(f"{HOLDER}+abc") == HOST


# --- another host under the name


def test_the_first_goes_on_beside_its_name_and_settles_from_the_pool(host: Host, store: Store, tmp_path: Path) -> None:
    sold = host.sell(3)
    twin = copied(host, tmp_path)
    twin.holder.presence.beat()
    twin.round()  # it wins the lease, and settles what both journals hold
    also = host.sell(2)
    host.round()
    assert (host.holder.is_disowned, host.sellable, twin.sellable) == (True, 0, 7)
    assert account(store).sold.keys() == {sold.purchase_id, also.purchase_id}
    assert (host.written, twin.written) == ([also.purchase_id], [sold.purchase_id])
    for one in (host, twin, host, twin):
        one.holder.presence.beat()
        one.round()
    assert (host.sellable, twin.sellable, twin.holder.is_disowned) == (0, 7, False)
    assert store.one("HGET", K.info, "halted") is None
    sound(store)
    again = host.die()  # started anew it takes the name over, and what was left of its count is not sold
    assert again.sellable == 0


def test_a_journal_that_is_older_than_the_store_is_a_copy_whoever_lives(
    host: Host, store: Store, tmp_path: Path
) -> None:
    twin = copied(host, tmp_path)
    host.sell(10)
    host.round()
    assert host.sellable == 10
    sold = twin.sell(4)  # from the count that it has, in an outage
    twin.round()
    assert (twin.holder.is_disowned, twin.sellable, twin.written) == (True, 0, [sold.purchase_id])
    host.holder.presence.beat()
    host.round()
    assert (host.holder.is_disowned, host.sellable) == (False, 10)
    sound(store)


@pytest.mark.parametrize("token", ["stranger-9-x", "", "older"])
def test_a_token_that_nobody_proves_to_be_alive_still_halts_the_event(host: Host, store: Store, token: str) -> None:
    nonce = host.holder._nonce
    store.one("HSET", K.leases, HOLDER, f"{f'{nonce}-0-x' if token == 'older' else token}|")
    store.one("HSET", keys.HOST_TELLINGS, HOLDER, "stranger|0|0||")
    let_pass(store, HOLDER, 10)
    host.round()
    assert (host.holder.is_disowned, store.one("HGET", K.info, "halted")) == (False, "1")


def test_the_pool_is_shared_by_who_lives(host: Host, store: Store, hosts: HostStore) -> None:
    for number in range(30):  # hosts that are gone for good, and left their records
        store.one("HSET", K.leases, f"{OTHER}-{number}", f"token-{number}|")
    host.holder.presence.beat()
    for _ in range(3):
        host.round()
    assert host.sellable == 10  # 1,000 in the pool, five times 31 records: six each
    host.holder.presence.living = 0  # nobody said
    host.round()
    assert host.sellable == 6


# --- a host that is gone


def decide(store: Store, folder: Path, name: str = HOST) -> Decision | Refused:
    return about_host(name, DecisionStore(store), HostStore(store), folder)


def test_a_host_is_named_by_its_id_or_how_it_begins(host: Host, store: Store, tmp_path: Path) -> None:
    let_pass(store, HOLDER, LIVES_MS + 1_000)
    for name in ("", HOST[:5], "nobody", HOST[:6] + "x"):
        assert isinstance(decide(store, tmp_path, name), Refused)
    assert isinstance(decide(store, tmp_path, HOST[:6]), Decision)


def test_empty_leases_get_another_token_too_and_a_late_command_does_nothing(
    host: Host, store: Store, tmp_path: Path
) -> None:
    Sale(store).open(100, "2")
    empty = LeaseChange("2", SEED, HOLDER, "", "nonce-1-x", 0, 1000)
    leases = LeaseStore(store, Sale(store).versions, due_ms=LATER_MS)
    leases.lease([empty])
    late = LeaseChange("2", SEED, HOLDER, "nonce-1-x", "nonce-2-x", 5, 1000)
    let_pass(store, HOLDER, LIVES_MS + 1_000)
    decided = decide(store, tmp_path)
    assert isinstance(decided, Decision)
    assert decided.carry_out().ok
    [reply] = leases.lease([late])
    assert (reply.moved_on, reply.leased) == (True, 0)
    assert HostStore(store).contacts().all == []
    assert host.holder.sell(SEED, a_request(2), NOW_MS)  # cut off, it goes on with its count
    host.round()
    assert (len(host.written), host.holder.is_disowned) == (1, False)
    sound(store)


def test_the_outages_since_are_told(host: Host, store: Store, hosts: HostStore, tmp_path: Path) -> None:
    let_pass(store, HOLDER, 7_200_000)
    now_ms = hosts.contacts().now_ms
    hosts.beat(f"{OTHER}-0", "b", 0, Telling(now_ms - 3_600_000, now_ms - 3_000_000))
    decided = decide(store, tmp_path)
    assert isinstance(decided, Decision)
    said = " ".join(one.text for one in decided.would)
    assert "2 hours ago" in said
    assert "Redis was away from" in said
    assert f"as {OTHER}-0 tells" in said
