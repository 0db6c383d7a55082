"""The keeper from its start to its end: what it takes, what it gives back, and what must not stop it."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event as Signal
from loguru import logger

from tests.sales import LATER_MS, SECRET, SEED, Sale, a_request, account
from ticketing.errors import NodeAway, StoreRefused, Unavailable, WrongIdSecret
from ticketing.model import EventState, Outcome, PurchaseRequest
from ticketing.outage import keeper as subject
from ticketing.outage import slots
from ticketing.outage.breaker import Breaker
from ticketing.outage.heirs import HeirParts
from ticketing.outage.journal import Content, Journal, parse
from ticketing.outage.keeper import Keeper, KeeperParts
from ticketing.outage.lookback import Answered
from ticketing.outage.reserve import ReserveSize
from ticketing.sale.audit import audit
from ticketing.store.connection import GuardedStore, Store
from ticketing.store.leases import LeaseStore

SIZE = ReserveSize(tickets=10, share_per_mille=100)
WELL_S = 20.0

Make = Callable[..., "Process"]


class Disk:
    """Writes at once, or when a test lets it."""

    def __init__(self) -> None:
        self.free = Signal()
        self.free.set()
        self.waits = 0

    def __call__(self, work: Callable[[], Any]) -> Any:
        self.waits += 1
        self.free.wait()
        self.waits -= 1
        return work()


class Process:
    """One process with a keeper: its store, its disk, and what of them fails."""

    def __init__(self, store: Store, folder: Path, secret: str = SECRET) -> None:
        self.folder = folder
        self.is_away = False
        self.is_dead = self.report_fails = False
        self.bug: Exception | None = None
        self.rounds = 0
        self.disk = Disk()
        self.breaker = Breaker()
        self.sale = Sale(GuardedStore(store, lambda: self.is_away), greeted=False)
        leases = LeaseStore(self.sale.store, self.sale.versions, due_ms=LATER_MS)
        parts = HeirParts(
            leases=leases,
            sales=self.sale.sales,
            versions=self.sale.versions,
            states=self._states,
            on_settled=lambda *_: None,
            on_voided=lambda _: None,
            offload=self.disk,
            open_journal=Journal,
        )
        greet = lambda: self.sale.sales.greet(secret)  # noqa: E731 - it is a part
        self.keeper = Keeper(
            KeeperParts(parts, self.breaker, greet, secret, Answered()), folder, SIZE, lambda _: self._count()
        )

    def _states(self) -> list[EventState]:
        if self.bug is not None:
            raise self.bug
        return self.sale.events.read(["1"])

    def _count(self) -> None:
        self.rounds += 1
        if self.report_fails:
            raise OSError("the disk is full of metrics")

    def start(self) -> "Process":
        self.keeper.start()
        return self

    def await_rounds(self, more: int = 2) -> None:
        wanted = self.rounds + more
        until(lambda: self.rounds >= wanted, "rounds go on")

    def await_reserve(self, tickets: int = 10) -> None:
        until(lambda: self.keeper.tally().reserve_tickets == tickets, "the reserve is full")

    def go_away(self) -> None:
        self.is_away = True
        self.keeper.failed("a test wants it")

    def come_back(self) -> None:
        self.is_away = False
        until(lambda: not self.breaker.is_open, "the outage is over")

    def sell(self, quantity: int = 1, *, keyed: bool = False, in_doubt: bool = False) -> PurchaseRequest:
        request = a_request(quantity, keyed=keyed)
        assert self.keeper.sell(SEED, request, in_doubt=in_doubt).outcome is Outcome.PROVISIONAL
        return request

    def journal(self, slot: int = 0) -> Content:
        return parse((self.folder / f"slot-{slot}.journal").read_bytes())[1]

    def die(self) -> None:
        """Its greenlets end where they are, and its slot is free."""
        if self.is_dead:
            return
        self.is_dead, keeper = True, self.keeper
        if keeper._worker is not None:
            keeper._worker.kill()
        keeper._holder._writer.stop()
        if keeper._slot is not None:
            keeper._slot.release()


def until(condition: Callable[[], object], what: str) -> None:
    """Greenlets run until it is true."""
    with gevent.Timeout(WELL_S, AssertionError(what)):
        while not condition():
            gevent.sleep(0.005)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "ROUND_S", 0.01)
    monkeypatch.setattr(subject, "HEIRS_EVERY_S", 0.05)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Every line of the log with its level."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def make(real_store: Store, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Processes of one host, with 1,000 tickets on sale; each is gone after the test."""
    Sale(real_store).open(1_000)
    made: list[Process] = []

    def make_one(folder: Path = tmp_path / "journal", **more: Any) -> Process:
        made.append(Process(real_store, folder, **more))
        return made[-1]

    yield make_one
    for process in made:
        process.disk.free.set()
        process.die()


def criticals(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith("CRITICAL")]


def test_a_stop_settles_everything_and_gives_every_lease_back(make: Make, real_store: Store) -> None:
    process = make().start()
    process.await_reserve()
    process.go_away()
    sold = [process.sell(2), process.sell(1, keyed=True)]
    process.come_back()
    process.keeper.stop(10)
    held = account(real_store).check()
    assert held.sold.keys() == {request.purchase_id for request in sold}
    assert (held.leased, len(held.pool)) == ([], 1_000 - 3)
    assert (process.journal().purchases, list(process.journal().sellable.values())) == ({}, [0])
    assert audit(real_store).violations == []


@pytest.mark.parametrize("off_ms", [-600_000, 600_000])
def test_a_sale_in_an_outage_is_dated_by_the_store_s_time_whatever_this_host_s_clock_says(
    make: Make, monkeypatch: pytest.MonkeyPatch, off_ms: int
) -> None:
    process = make().start()
    process.await_reserve()
    process.go_away()
    store_ms = process.sale.clock.now_ms()
    assert store_ms is not None
    monkeypatch.setattr("time.time_ns", lambda: (store_ms + off_ms) * 1_000_000)
    sold = process.sell(2)
    entry = process.journal().purchases[sold.purchase_id]
    assert 0 <= entry.sold_at_ms - store_ms < 60_000


def test_a_stop_in_an_outage_leaves_the_journal_to_its_heir(make: Make, real_store: Store, said: list[str]) -> None:
    process = make().start()
    process.await_reserve()
    process.go_away()
    sold = process.sell(2)
    process.keeper.stop(0.2)
    assert process.journal().purchases.keys() == {sold.purchase_id}
    assert "left in the journal" in said[-1]
    process.die()
    heir = make().start()
    until(lambda: sold.purchase_id in account(real_store).sold, "its heir settles")
    heir.keeper.stop(10)
    assert account(real_store).check().leased == []


def test_a_bug_in_a_round_does_not_end_the_rounds(make: Make, said: list[str]) -> None:
    process = make().start()
    process.await_reserve()
    process.bug = ValueError("a bug")
    process.await_rounds()
    assert any("a round of the reserve failed" in line for line in said)
    assert not process.breaker.is_open
    process.bug = None
    process.go_away()
    process.sell(2)
    process.come_back()
    until(lambda: process.keeper.tally().unsettled == 0, "it is settled")


def test_a_round_that_can_not_be_reported_does_not_end_the_rounds_either(make: Make) -> None:
    process = make().start()
    process.report_fails = True
    process.await_rounds()
    process.go_away()
    process.await_rounds()
    process.come_back()
    process.await_reserve()


def test_a_damaged_journal_that_is_met_at_the_start_is_parked_and_the_next_slot_taken(
    make: Make, tmp_path: Path, said: list[str]
) -> None:
    slots.take_lowest(tmp_path / "journal").release()
    damaged = tmp_path / "journal" / "slot-0.journal"
    damaged.write_bytes(b"this is\nno journal\n")
    process = make().start()
    process.await_reserve()
    process.await_rounds(20)
    assert list(process.journal(1).sellable.values()) == [10]
    assert damaged.read_bytes() == b"this is\nno journal\n"
    assert len(criticals(said)) == 2  # at the start, and when it was found to have no process


def test_a_folder_of_another_id_secret_gives_no_reserve_and_is_left_alone(
    make: Make, tmp_path: Path, said: list[str]
) -> None:
    slots.check_secret(tmp_path / "journal", "the fingerprint of another secret")
    process = make().start()
    process.await_rounds(20)
    assert process.keeper.tally().reserve_tickets == 0
    assert not list((tmp_path / "journal").glob("slot-*"))
    assert len(criticals(said)) == 1
    assert "another ID_SECRET" in said[0]
    assert not process.breaker.is_open


def test_a_store_of_another_id_secret_is_not_sold_from_and_the_reserve_is_not_either(
    make: Make, real_store: Store, said: list[str]
) -> None:
    process = make().start()
    process.await_reserve()
    process.go_away()
    real_store.one("SET", "ticketing:id-secret", "the fingerprint of another secret")
    process.is_away = False
    until(lambda: process.keeper.why_nothing_is_sold is not None, "it is found out")
    with pytest.raises(Unavailable, match="another ID_SECRET"):
        process.sell(1)
    process.await_rounds()
    assert process.breaker.is_open
    assert len(criticals(said)) == 1
    real_store.one("SET", "ticketing:id-secret", SECRET)
    process.come_back()
    assert process.keeper.why_nothing_is_sold is None


def test_void_intents_that_were_kept_in_memory_are_journalled_once_a_slot_is_found(
    make: Make, tmp_path: Path, real_store: Store
) -> None:
    (tmp_path / "journal").touch()
    process = make().start()
    process.is_away = True
    kept = [a_request() for _ in range(3)]
    for request in kept:
        process.keeper.void_unkeyed(SEED, request)
    (tmp_path / "journal").unlink()
    process.disk.free.clear()
    finding = gevent.spawn(process.keeper._try_slot)
    until(lambda: process.disk.waits, "they are on their way to the disk")
    arriving = gevent.spawn(process.keeper.void_unkeyed, SEED, late := a_request())
    gevent.sleep(0)
    process.disk.free.set()
    gevent.joinall([finding, arriving], timeout=WELL_S, raise_error=True)
    wanted = {request.purchase_id for request in (*kept, late)}
    assert process.journal().voids.keys() == wanted
    assert process.keeper.tally().voids == 4
    process.is_away = False
    until(lambda: account(real_store).tombstones == wanted, "all are voided")
    until(lambda: not process.journal().voids, "the journal is emptied")


@pytest.mark.parametrize("keyed", [True, False])
def test_a_caller_who_is_killed_while_its_sale_is_written_leaves_a_sale_and_no_more(
    make: Make, real_store: Store, keyed: bool
) -> None:
    process = make().start()
    process.await_reserve()
    process.go_away()
    process.disk.free.clear()
    request = a_request(2, keyed=keyed)
    caller = gevent.spawn(process.keeper.sell, SEED, request, in_doubt=False)
    until(lambda: process.disk.waits, "it is being written")
    caller.kill()
    assert process.keeper.tally().reserve_tickets == 8
    process.disk.free.set()
    process.come_back()
    until(lambda: request.purchase_id in account(real_store).sold, "it is settled")
    until(lambda: process.journal().purchases == {}, "the journal is emptied")
    process.await_reserve(8)  # the rest of the lease: filling up would be a change a purchase
    account(real_store).check()


def test_without_any_journal_a_full_memory_of_voids_stops_the_sale(make: Make, tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    process = make().start()
    assert not process.keeper.is_full
    process.keeper._holder.voids = dict.fromkeys(map(str, range(100_000)))  # type: ignore[arg-type]
    assert process.keeper.is_full
    process.keeper._holder.voids = {}


@pytest.mark.timeout(60)
def test_a_stop_without_a_journal_carries_out_the_voids_and_waits_for_nothing_more(
    make: Make, tmp_path: Path, real_store: Store
) -> None:
    (tmp_path / "journal").touch()
    process = make().start()
    process.await_rounds()
    process.keeper.void_unkeyed(SEED, request := a_request())
    process.keeper.stop(deadline_s=600)
    assert account(real_store).check().tombstones == {request.purchase_id}


def test_a_start_while_the_store_is_away_adopts_the_journal_and_sells_from_it(make: Make, said: list[str]) -> None:
    first = make().start()
    first.await_reserve()
    first.die()
    second = make()
    second.is_away = True
    second.start()
    assert (second.breaker.is_open, second.keeper.tally().reserve_tickets) == (True, 10)
    second.sell(3)
    assert second.keeper.terms("1") == (SEED, 10)
    with pytest.raises((StoreRefused, WrongIdSecret)):
        second.keeper._greet()
    second.come_back()
    second.await_reserve(7)


def test_a_journal_that_cant_be_read_turns_off_the_reserve_not_the_sale(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    first.start()
    first.await_reserve()
    first.die()
    real = Path.read_bytes

    def unreadable(path: Path) -> bytes:
        if path.suffix == ".journal":
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    make().start()


def test_the_store_is_looked_at_before_it_is_sold_from_again(make: Make) -> None:
    process = make()
    process.start()
    process.await_reserve()
    process.go_away()
    real, open_at_look = process.keeper._settlement._leases.glance, []

    def glance(asks: Any) -> Any:
        open_at_look.append(process.breaker.is_open)
        return real(asks)

    process.keeper._settlement._leases.glance = glance
    process.come_back()
    until(lambda: open_at_look, "it looks")
    assert open_at_look[0], "buyers are sold to before the first look"


def test_a_left_journal_is_settled_once_its_disk_has_room_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, real_store: Store
) -> None:
    first, second = make(), make()
    first.start()
    first.await_reserve()
    second.start()
    second.await_reserve()
    real = Journal._append
    full = True

    def append(journal: Journal, lines: bytes) -> None:
        if full and journal.path.name == "slot-0.journal":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(journal, lines)

    monkeypatch.setattr(Journal, "_append", append)
    first.die()
    gevent.sleep(0.5)
    full = False
    until(lambda: len(account(real_store).leased) == 10, "the dead process's lease is given back")


def test_a_start_looks_before_it_lets_buyers_in(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make()
    first.start()
    first.await_reserve()
    first.die()
    looked, real = [], LeaseStore.glance
    monkeypatch.setattr(LeaseStore, "glance", lambda store, asks: looked.append(len(asks)) or real(store, asks))
    make().start()  # what Service.start does before the worker accepts connections
    assert looked == [1]


def test_a_node_that_is_away_is_no_outage_and_nothing_is_forgotten_meanwhile(make: Make) -> None:
    """What its events' buyers were answered may have to be put back yet."""
    process = make().start()
    process.await_reserve()
    turns: list[float] = []
    process.keeper._putting_back = StubOfPuttingBack(turns)  # type: ignore[assignment]
    away: list[str] = ["a-node:1"]
    process.breaker.nodes_away = lambda: tuple(away)
    process.bug = NodeAway("it can't be reached")
    process.await_rounds(4)
    process.bug = None
    process.await_rounds(4)
    assert not process.breaker.is_open
    assert process.breaker.is_felt
    assert turns == []
    away.clear()
    process.await_rounds(4)
    assert turns
    assert not process.breaker.is_felt


class StubOfPuttingBack:
    """Counts its turns."""

    def __init__(self, turns: list[float]) -> None:
        self._turns = turns

    def turn(self, now_s: float) -> None:
        self._turns.append(now_s)

    def interrupted(self) -> None:
        pass

    def leave(self) -> None:
        pass
