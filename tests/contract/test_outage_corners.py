"""Corners of an outage that a second reader found: each was open once."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.contract.test_settlement import NOW_MS, Host
from tests.leases import HOST
from tests.sales import SEED, Sale, a_request, an_event
from tests.servers import fake_store
from ticketing.errors import StoreRefused, Unavailable
from ticketing.model import Outcome
from ticketing.outage import slots
from ticketing.outage.breaker import Breaker
from ticketing.outage.holder import Holder
from ticketing.outage.journal import Journal, JournalError, VoidIntent
from ticketing.outage.journal_writer import JournalWriter
from ticketing.outage.lookback import Answered
from ticketing.outage.reserve import ReserveSize
from ticketing.store import keys
from ticketing.store.events import create
from ticketing.store.sale import Versions


def reseeded(store: Any, path: Path, reserve: int) -> tuple[Host, bool]:
    """A process answered a purchase; then the store is empty, and the event is made anew before anybody looked."""
    Sale(store).open(1_000)
    host = Host(store, path)
    host.settlement._size = ReserveSize(reserve, 100)
    host.round()
    request = a_request(keyed=True)
    [reply] = host.sale.buy(request)
    assert reply.outcome is Outcome.SOLD
    host.answered.saw("1", SEED, request.purchase_id, reply.detail, sold_now=True)
    host.round()
    store.one("FLUSHALL")
    Sale(store, greeted=False).open(1_000, seed="another-seed")
    host.round()
    [again] = Sale(store).buy(request, seed="another-seed")
    assert again.outcome is not Outcome.SOLD, "the key, and ticket E1-000001, are sold a second time"
    return host, True


def test_a_store_that_lost_an_answered_sale_is_halted_with_leases(tmp_path: Path) -> None:
    reseeded(fake_store(), tmp_path / "slot-0.journal", reserve=10)


def test_a_store_that_lost_an_answered_sale_is_halted_without_leases(tmp_path: Path) -> None:
    reseeded(fake_store(), tmp_path / "slot-0.journal", reserve=0)


def test_a_journal_of_very_many_events_is_not_written_anew_in_each_round(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "slot-0.journal")
    journal.read()
    writer = JournalWriter(journal, lambda work: work())
    writer.start()
    holder = Holder(f"{HOST}-0", "0123456789abcdef", writer, Versions(), Breaker())
    for number in range(5_000):
        reserve = holder.reserve(f"event-{number}", "0123456789abcdef")
        reserve.won, reserve.possible, reserve.leased = True, frozenset({"0123456789abcdef-0123456789abcdef"}), 50
    holder._emptied = False
    holder.empty_journal()
    truncations, real = 0, journal.truncate

    def counted(entries: Any) -> None:
        nonlocal truncations
        truncations += 1
        real(entries)

    journal.truncate = counted  # type: ignore[method-assign]
    for _ in range(4):
        holder.empty_journal()
    assert truncations == 0


def test_nothing_is_leased_or_sold_from_the_reserve_before_the_first_seeding_is_complete(tmp_path: Path) -> None:
    store = fake_store()
    create(store, an_event("1"), seed=SEED, planned=2_000)
    sale = Sale(store)
    sale.events.add_more("1", SEED, 0, 1_000)  # half of it
    assert sale.tags(a_request()) == ["not_on_sale"]
    host = Host(store, tmp_path / "slot-0.journal")
    host.round()
    with pytest.raises(Unavailable):
        host.sell()


def test_the_reserve_is_whole_again_after_the_journal_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fake_store()
    Sale(store).open(1_000)
    host = Host(store, tmp_path / "slot-0.journal")
    host.round()

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(Unavailable):
            host.holder.sell(SEED, a_request(6, keyed=True), NOW_MS)
    for _ in range(10):
        host.round()
    assert not host.holder.poisoned
    assert (host.holder.reserve("1", SEED).leased, host.sellable) == (10, 10)


def test_the_reserve_is_full_also_where_another_event_of_the_round_could_not_be_halted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fake_store()
    sale = Sale(store)
    sale.open(1_000, "1")
    sale.open(1_000, "2")
    host = Host(store, tmp_path / "slot-0.journal")
    both = lambda: host.settlement.round(host.sale.events.read(["1", "2"]), NOW_MS)  # noqa: E731
    real = host.settlement._leases.lease

    def halted_meanwhile(changes: Any) -> Any:
        store.one("HSET", keys.of_event("2").info, "halted", "1")
        patched.setattr(host.settlement._leases, "glance", away)
        return real(changes)

    def away(*_: Any) -> Any:
        raise StoreRefused("Redis dies in this moment")

    with monkeypatch.context() as patched:
        patched.setattr(host.settlement._leases, "lease", halted_meanwhile)
        with pytest.raises(StoreRefused):
            both()
    for _ in range(10):
        both()
    assert (host.holder.reserve("1", SEED).leased, host.sellable) == (10, 10)


def test_a_folder_without_locks_is_no_folder_of_held_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(JournalError, match="No locks available"):
        slots.take_lowest(tmp_path)
    assert len(list(tmp_path.glob("*.lock"))) == 1


def test_a_void_of_a_sale_that_was_replaced_is_not_kept_for_ever(tmp_path: Path) -> None:
    store = fake_store()
    Sale(store).open(1_000)
    host = Host(store, tmp_path / "slot-0.journal")
    host.settlement._size = ReserveSize(0, 100)
    host.round()
    host.sale.events.replace(an_event("1"), old_seed=SEED, new_seed="seed-2", planned=10)
    host.sale.events.add_more("1", "seed-2", 0, 10)
    host.round()  # it learns of the new sale
    host.holder.void_later("1", SEED, a_request().purchase_id)  # of a request that was under way with the old seed
    for _ in range(10):
        host.round()
    assert host.holder.voids == {}


def test_one_events_damaged_version_ends_no_round(tmp_path: Path) -> None:
    store = fake_store()
    sale = Sale(store)
    sale.open(1_000, "1")
    sale.open(1_000, "2")
    host = Host(store, tmp_path / "slot-0.journal")
    both = lambda: host.settlement.round(host.sale.events.read(["1"]), NOW_MS)  # noqa: E731
    host.settlement.round(host.sale.events.read(["1", "2"]), NOW_MS)
    store.one("HSET", keys.of_event("2").info, "version", "damaged")
    store.one("DEL", keys.of_event("2").leases)
    both()
    both()


def test_the_look_back_asks_for_what_was_answered_last_whatever_a_hosts_clock_said() -> None:
    answered = Answered()
    answered.saw("1", SEED, "settled", "0|9000|E1-000001|", sold_now=False)  # by a clock that is ahead
    answered.saw("1", SEED, "sold", "0|5000|E1-000002|", sold_now=True)  # sold after it
    assert answered.newest("1", SEED)[0] == "sold"


def test_what_waits_is_written_when_the_writer_stops(tmp_path: Path) -> None:
    free = gevent.event.Event()

    def slow(work: Any) -> Any:
        free.wait()
        return work()

    journal = Journal(tmp_path / "slot-0.journal")
    journal.read()
    writer = JournalWriter(journal, slow)
    writer.start()
    first = gevent.spawn(writer.append, VoidIntent("1", SEED, "a"))
    gevent.sleep(0.01)
    second = gevent.spawn(writer.append, VoidIntent("1", SEED, "b"))
    gevent.sleep(0.01)
    stopping = gevent.spawn(writer.stop)
    gevent.sleep(0.01)
    free.set()
    gevent.joinall([first, second, stopping], timeout=2)
    assert first.ready()
    assert stopping.ready()
    assert second.ready(), "it waits for ever"


def test_an_heir_without_redis_keeps_to_the_sale_times_that_were_set_last(tmp_path: Path) -> None:
    store = fake_store()
    Sale(store).open(1_000)
    host = Host(store, tmp_path / "slot-0.journal")
    host.round()
    host.sale.events.describe(an_event("1", closes_ms=NOW_MS + 60_000, quantity_max=2), SEED)
    for _ in range(5):
        host.round()
    heir = host.die()  # and Redis is away
    with pytest.raises(Unavailable):
        heir.holder.sell(SEED, a_request(5, keyed=True), NOW_MS + 120_000)


def test_a_start_finds_that_the_store_was_emptied_and_seeded_anew(tmp_path: Path) -> None:
    """As launcher._seed and docker-compose's `seeds` do it: before any process that knows the event looks."""
    store = fake_store()
    Sale(store).open(1_000)
    host = Host(store, tmp_path / "slot-0.journal")
    host.round()
    request = a_request(keyed=True)
    for _ in range(50):
        host.sale.buy(a_request())
    assert host.sale.tags(request) == ["sold"]
    while not host.settlement.give_back(NOW_MS):
        pass
    store.one("FLUSHALL")
    Sale(store, greeted=False).open(1_000, seed="another-seed")
    heir = host.die()
    heir.round()
    heir.round()
    assert (
        Sale(store).tags(
            request,
        )[0]
        != "sold"
    )
    assert [str(r.outcome) for r in Sale(store).buy(request, seed="another-seed")] == ["halted"]


def test_an_adopted_void_of_a_replaced_sale_is_not_kept_for_ever(tmp_path: Path) -> None:
    store = fake_store()
    Sale(store).open(1_000, seed="seed-2")
    journal = Journal(tmp_path / "slot-0.journal")
    journal.read()
    journal.write([VoidIntent("1", SEED, a_request().purchase_id)])
    journal.close()
    host = Host(store, tmp_path / "slot-0.journal")
    for _ in range(10):
        host.round()
    assert host.holder.voids == {}
