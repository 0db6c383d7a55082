"""Holder and settlement with a real journal against both backends: what a round does, and what it must not."""

import errno
import os
from pathlib import Path

import gevent
import pytest

from tests.leases import HOST, K, glances
from tests.sales import LATER_MS, SEED, Sale, a_request, account, everything
from ticketing.errors import StoreRefused, Unavailable
from ticketing.model import Outcome, PurchaseRequest
from ticketing.outage import journal as journal_module
from ticketing.outage import settlement as settlement_module
from ticketing.outage.breaker import Breaker
from ticketing.outage.holder import Holder
from ticketing.outage.journal import Journal
from ticketing.outage.journal_writer import JournalWriter
from ticketing.outage.lookback import Answered
from ticketing.outage.reserve import ReserveSize
from ticketing.outage.settlement import Settlement
from ticketing.sale.audit import audit
from ticketing.store.connection import Store
from ticketing.store.leases import LeaseStore, Settled

pytestmark = pytest.mark.on_cluster

SIZE = ReserveSize(tickets=10, share_per_mille=100)
NOW_MS = 1_700_000_000_000


class Host:
    """One process with a reserve, and what becomes of it."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store, self.path = store, path
        self.sale = Sale(store)
        self.answered = Answered()
        journal = Journal(path)
        content = journal.read()
        self.writer = JournalWriter(journal, lambda work: work())
        self.writer.start()
        self.holder = Holder(f"{HOST}-0", f"nonce{id(self)}", self.writer, self.sale.versions, Breaker())
        self.holder.adopt(content)
        self.written: list[str] = []
        self.outcomes: list[Settled] = []
        self.voided: list[str] = []
        leases = LeaseStore(store, self.sale.versions, due_ms=LATER_MS)
        self.settlement = Settlement(
            self.holder, leases, self.sale.sales, self.answered, SIZE, self._on_settled, self.voided.extend
        )

    def _on_settled(self, event_id: str, written: list[str], outcomes: list[Settled]) -> None:
        self.written += written
        self.outcomes += outcomes

    def round(self) -> None:
        self.settlement.round(self.sale.events.read(["1"]), NOW_MS)

    def sell(self, quantity: int = 1, *, keyed: bool = True) -> PurchaseRequest:
        request = a_request(quantity, keyed=keyed)
        assert self.holder.sell(SEED, request, NOW_MS).outcome is Outcome.PROVISIONAL
        return request

    @property
    def sellable(self) -> int:
        return self.holder.reserve("1", SEED).sellable

    def die(self) -> "Host":
        """Killed; the same slot is taken by the next process."""
        self.writer.stop()
        return Host(self.store, self.path)


@pytest.fixture
def host(store: Store, tmp_path: Path) -> Host:
    Sale(store).open(1_000)
    made = Host(store, tmp_path / "slot-0.journal")
    made.round()
    assert made.sellable == 10
    return made


def sound(store: Store) -> None:
    account(store).check()
    assert audit(store).violations == []


def test_what_was_sold_in_an_outage_is_settled_and_the_lease_filled_again(host: Host, store: Store) -> None:
    first, second = host.sell(2), host.sell(3)
    host.round()
    held = account(store).check()
    assert host.written == list(held.sold) == [first.purchase_id, second.purchase_id]
    assert (len(held.leased), host.sellable) == (10, 10)
    assert host.holder.owes_nothing
    sound(store)


def test_a_killed_process_is_followed_by_one_that_sells_its_count_and_settles_its_sales(
    host: Host, store: Store
) -> None:
    sold = host.sell(4)
    heir = host.die()
    assert heir.sellable == 6
    also = heir.sell(6)
    with pytest.raises(Unavailable):
        heir.sell(1)
    heir.round()
    assert account(store).check().sold.keys() == {sold.purchase_id, also.purchase_id}
    heir.round()
    assert heir.sellable == 10
    sound(store)


def test_a_retry_of_a_journalled_purchase_is_provisional_and_with_other_content_key_reused(host: Host) -> None:
    sold = host.sell(2)
    again = host.holder.sell(SEED, sold, NOW_MS)
    assert (again.outcome, again.replayed, host.sellable) == (Outcome.PROVISIONAL, True, 8)
    other = a_request(3, sold.purchase_id, keyed=True)
    assert host.holder.sell(SEED, other, NOW_MS).outcome is Outcome.KEY_REUSED


def test_everything_is_given_back_and_the_journal_says_so(host: Host, store: Store) -> None:
    host.sell(2)
    while not host.settlement.give_back(NOW_MS):
        pass
    assert account(store).check().leased == []
    assert host.die().sellable == 0


def test_h9_an_heir_sells_no_count_that_it_read_when_a_late_give_back_lands(host: Host, store: Store) -> None:
    """The dead process was giving back all; its command comes after the heir looked at the lease."""
    reserve = host.holder.reserve("1", SEED)
    [glance] = glances(host.settlement._leases, _ask(host))
    late = reserve.next_lease(glance, ReserveSize(0, 100), NOW_MS)
    assert late is not None
    host.holder.journal_changes([reserve])
    heir = host.die()
    assert heir.sellable == 0
    heir.settlement._look(heir.settlement._due())
    assert heir.sellable == 0
    heir.settlement._leases.lease([late])
    heir.round()
    heir.round()
    assert (heir.sellable, len(account(store).check().leased)) == (10, 10)
    heir.settlement._leases.lease([late])
    assert len(account(store).check().leased) == 10
    sound(store)


def test_an_emptied_journal_whose_counts_were_lost_finds_its_lease_again(host: Host, store: Store) -> None:
    host.writer.truncate()
    heir = host.die()
    assert heir.sellable == 0
    heir.round()
    heir.round()
    assert (heir.sellable, len(account(store).check().leased)) == (10, 10)


def test_the_journal_is_emptied_only_when_nothing_is_open(host: Host) -> None:
    host.sell(1)
    host.holder.empty_journal()
    assert len(host.die().holder.reserve("1", SEED).open) == 1


def test_what_the_store_voided_is_parked_stays_in_the_journal_and_stops_nothing(host: Host, store: Store) -> None:
    gone, kept = host.sell(1), host.sell(2)
    host.sale.sales.void("1", SEED, [gone.purchase_id])
    host.round()
    assert host.outcomes == [Settled.VOIDED, Settled.SETTLED]
    assert host.holder.tally().parked == 1
    with pytest.raises(Unavailable, match="operator"):
        host.holder.sell(SEED, gone, NOW_MS)
    while not host.settlement.give_back(NOW_MS):
        pass
    assert account(store).check().leased == []
    heir = host.die()
    assert heir.holder.reserve("1", SEED).open.keys() == {gone.purchase_id, kept.purchase_id}


def test_an_intent_is_carried_out_once_and_survives_a_crash(host: Host, store: Store) -> None:
    asked = a_request(2)
    host.sale.buy(asked)
    host.holder.void_later("1", SEED, asked.purchase_id)
    heir = host.die()
    heir.round()
    assert account(store).check().tombstones == {asked.purchase_id}
    assert heir.holder.voids == {}
    assert heir.die().holder.voids == {}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_poisoned_journal_voids_keeps_settles_and_is_healed(
    host: Host, store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = host.sell(2)
    keyed, unkeyed = a_request(1, keyed=True), a_request(1)
    with monkeypatch.context() as patch:

        def failing(_: int) -> None:
            raise OSError(number, os.strerror(number))

        patch.setattr(journal_module.os, "fsync", failing)
        told = [gevent.spawn(host.holder.sell, SEED, request, NOW_MS) for request in (keyed, unkeyed)]
        gevent.joinall(told)
        assert [type(one.exception) for one in told] == [Unavailable, Unavailable]
        with pytest.raises(Unavailable, match="failed"):
            host.holder.sell(SEED, keyed, NOW_MS)
        host.round()
        held = account(store).check()
        assert (held.tombstones, list(held.sold)) == ({unkeyed.purchase_id}, [before.purchase_id])
        assert (host.holder.poisoned, host.sellable, len(held.leased)) == (True, 0, 8)
    host.sale.buy(keyed)  # H11: the key asks elsewhere, and keeps what it gets
    host.round()
    host.round()
    assert (host.holder.poisoned, host.sellable) == (False, 8)  # the kept key no longer counts
    assert account(store).check().sold.keys() == {before.purchase_id, keyed.purchase_id}
    assert host.die().holder.reserve("1", SEED).open == {}


def older(store: Store, host: Host, damage: str) -> None:
    """The store as an older file, a failover or an empty server would leave it."""
    if damage == "empty":
        store.one("FLUSHALL")
    elif damage == "purchase":
        store.one("DEL", K.purchases)
    elif damage == "token":
        store.one("HSET", K.leases, host.holder.name, "older|")
    elif damage == "version":
        store.one("HSET", K.info, "version", 1)
    else:
        store.one("HSET", K.info, "seed", "another")


@pytest.mark.parametrize("damage", ["empty", "purchase", "token", "version", "seed"])
def test_a_store_that_went_back_is_halted_and_nothing_is_settled_or_dropped(
    host: Host, store: Store, damage: str
) -> None:
    """H7, H12: found by the newest answered purchase, the token, the version, another seed, or none."""
    bought, sold = a_request(1), host.sell(2)
    [reply] = host.sale.buy(bought)
    host.answered.saw("1", SEED, bought.purchase_id, reply.detail, sold_now=True)
    older(store, host, damage)
    states = [] if damage == "empty" else host.sale.events.read(["1"])
    for _ in range(3):
        host.settlement.round(states, NOW_MS)
    assert store.one("HGET", K.info, "halted") == "1"
    assert (host.sellable, host.written) == (0, [])
    held = everything(store)
    with pytest.raises(Unavailable):
        host.sell(1)
    assert host.sale.tags(a_request()) in (["halted"], ["no_event"], ["went_back"])
    assert everything(store) == held
    heir = host.die()
    assert (heir.sellable, heir.holder.reserve("1", SEED).open.keys()) == (0, {sold.purchase_id})


def test_after_an_operators_decision_what_is_open_is_settled(host: Host, store: Store) -> None:
    sold = host.sell(2)
    store.one("HSET", K.info, "halted", "1")
    for _ in range(2):
        host.round()
    assert (host.written, host.sellable) == ([], 0)
    store.read(("HDEL", K.info, "halted"), ("HINCRBY", K.info, "version", 5))
    for _ in range(3):
        host.round()
    assert (host.written, host.sellable) == ([sold.purchase_id], 8)  # more than half: not filled up yet
    sound(store)


def test_an_event_that_was_replaced_by_right_is_forgotten_and_not_halted(host: Host, store: Store) -> None:
    while not host.settlement.give_back(NOW_MS):
        pass
    state = host.sale.events.read(["1"])[0]
    host.holder.void_later("1", SEED, "1.unknown")
    host.sale.events.replace(state.event, old_seed=SEED, new_seed="seed-2", planned=500)
    host.sale.events.add_more("1", "seed-2", 0, 500)
    for _ in range(2):
        host.round()
    assert store.one("HGET", K.info, "halted") is None
    assert (list(host.holder.events), host.holder.voids) == ([("1", "seed-2")], {})
    assert host.holder.reserve("1", "seed-2").sellable == 10


def test_of_many_events_each_is_looked_at_in_four_rounds_and_one_that_owes_something_in_each(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement_module, "LOOK_AT_ALL", 3)
    event_ids = [str(number) for number in range(1, 9)]
    for event_id in event_ids[1:]:
        host.sale.open(1_000, event_id=event_id)
    host.settlement.give_back(NOW_MS)
    host.settlement.round(host.sale.events.read(event_ids), NOW_MS)
    while not host.settlement.give_back(NOW_MS):
        pass
    host.settlement.give_back(NOW_MS)  # nothing was left to do in this one: all of them rest
    looked = [[reserve.event_id for reserve in host.settlement._due()] for _ in range(4)]
    assert sorted(event_id for turn in looked for event_id in turn) == event_ids
    host.holder.reserve("5", SEED).in_flight["5.a"] = 1
    assert all("5" in [reserve.event_id for reserve in host.settlement._due()] for _ in range(4))
    assert all("5" in [reserve.event_id for reserve in host.settlement._due(at_once=False)] for _ in range(4))
    host.holder.reserve("5", SEED).in_flight.clear()
    host.sale.buy(a_request(event_id="6"))
    assert all("6" in [reserve.event_id for reserve in host.settlement._due()] for _ in range(4))
    by_the_clock = [[reserve.event_id for reserve in host.settlement._due(at_once=False)] for _ in range(4)]
    assert sorted(event_id for turn in by_the_clock for event_id in turn) == event_ids


@pytest.mark.parametrize("key", [K.tickets, K.leases, K.info, K.purchases])
def test_an_event_whose_keys_are_damaged_keeps_no_other_from_being_looked_at(
    host: Host, store: Store, key: str
) -> None:
    host.sale.open(1_000, event_id="2")
    store.one("DEL", key)
    store.one("SET", key, "not what should be here")
    host.settlement.round(host.sale.events.read(["2"]), NOW_MS)
    assert host.holder.reserve("2", SEED).sellable == 10


def test_one_event_that_fails_keeps_no_other_from_being_settled(host: Host, store: Store) -> None:
    host.sale.open(1_000, event_id="2")
    host.settlement.round(host.sale.events.read(["1", "2"]), NOW_MS)
    sold = host.sell(2)
    other = a_request(1, event_id="2", keyed=True)
    host.holder.sell(SEED, other, NOW_MS)
    store.one("DEL", "event:{2}:buyers")
    store.one("SET", "event:{2}:buyers", "not what should be here")
    for _ in range(2):
        host.settlement.round([], NOW_MS)
    assert host.written == [sold.purchase_id]
    store.one("DEL", "event:{2}:buyers")
    host.settlement.round([], NOW_MS)
    assert host.written == [sold.purchase_id, other.purchase_id]


def test_a_store_that_refuses_ends_the_round_and_loses_nothing(
    host: Host, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.sell(2)

    def refusing(*_: object) -> list[object]:
        raise StoreRefused("READONLY")

    with monkeypatch.context() as patch:
        patch.setattr(LeaseStore, "settle", refusing)
        with pytest.raises(StoreRefused):
            host.round()
    host.round()
    assert host.outcomes == [Settled.SETTLED]


def _ask(host: Host) -> object:
    from ticketing.store.leases import GlanceAsk

    return GlanceAsk("1", host.holder.name, "")
