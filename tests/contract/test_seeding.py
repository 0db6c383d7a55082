"""Seeding, step by step, on both stores: nothing is doubled, nothing sold is sold again, whatever is repeated."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from seeds import seeding
from seeds.plan import Plan
from seeds.seeding import Seeder
from tests.seeded import SeededEvent, event_of
from ticketing.errors import OutcomeUnknown, StoreError
from ticketing.model import EventState, Outcome
from ticketing.sale.audit import audit
from ticketing.store import keys
from ticketing.store.connection import Command, Store
from ticketing.store.events import CHUNK_TICKETS, EventConflict, EventStore, create
from ticketing.store.sale import Versions


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.expected = 0
        self.tickets: dict[str, int] = {}
        self.said: list[str] = []

    def starts(self, tickets: int) -> None:
        self.expected += tickets

    def issued(self, plan: Plan, tickets: int) -> None:
        self.tickets[plan.event.event_id] = self.tickets.get(plan.event.event_id, 0) + tickets

    def says(self, text: str) -> None:
        self.said.append(text)


class LossyStore(Store):
    """A store whose every n-th answer is lost on its way: it was done, and nobody is told."""

    def __init__(self, store: Store, every: int) -> None:
        super().__init__(store._pool, shebang=store.shebang)
        self._store = store
        self._every = every
        self._count = 0

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        replies = self._store.exchange(commands)
        self._count += 1
        if self._count % self._every == 0:
            raise OutcomeUnknown("the answer was lost")
        return replies


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "WAITS_S", (0.0,) * 5)


def plans_of(*tickets: int) -> list[Plan]:
    return [Plan(event_of(str(number)), count) for number, count in enumerate(tickets, start=1)]


def state_of(store: Store, event_id: str = "1") -> EventState:
    return EventStore(store, Versions()).read([event_id])[0]


def pool_of(store: Store, event_id: str = "1") -> list[str]:
    return list(store.one("LRANGE", keys.of_event(event_id).tickets, 0, -1))


def ids_of(event_id: str, first: int, last: int) -> list[str]:
    return [f"E{event_id}-{number:06d}" for number in range(first, last + 1)]


def complete(store: Store, *tickets: int) -> tuple[str, list[str]]:
    notes = Notes()
    return str(Seeder(store, notes).complete(plans_of(*tickets))), notes.said


def apply(store: Store, *plans: Plan) -> tuple[str, list[str]]:
    notes = Notes()
    return str(Seeder(store, notes).apply(plans)), notes.said


def test_events_are_made_whole_and_open(store: Store) -> None:
    notes = Notes()
    summary = Seeder(store, notes).complete(plans_of(CHUNK_TICKETS + 1, 1, 2 * CHUNK_TICKETS))
    assert str(summary) == f"3 events, {3 * CHUNK_TICKETS + 2:,} tickets, {3 * CHUNK_TICKETS + 2:,} new"
    assert notes.expected == sum(notes.tickets.values()) == 3 * CHUNK_TICKETS + 2
    assert notes.said == []
    for number, tickets in (("1", CHUNK_TICKETS + 1), ("2", 1), ("3", 2 * CHUNK_TICKETS)):
        assert pool_of(store, number) == ids_of(number, 1, tickets)
        state = state_of(store, number)
        assert (state.issued, state.planned, state.sold, state.state(state.as_of_ms)) == (tickets, tickets, 0, "open")
    assert len({state_of(store, number).seed for number in "123"}) == 3
    assert audit(store).ok


def test_seeding_again_changes_nothing_and_sells_nothing_twice(store: Store) -> None:
    complete(store, 10)
    shop = SeededEvent(store, 0)
    shop.sell(1, 2)
    before = state_of(store)
    assert complete(store, 10) == ("1 event, 10 tickets, 0 new", [])
    assert apply(store, *plans_of(10)) == ("1 event, 10 tickets, 0 new", [])
    assert replace(state_of(store), as_of_ms=0) == replace(before, as_of_ms=0)
    assert pool_of(store) == ids_of("1", 4, 10)


def test_a_demonstration_leaves_what_an_operator_has_made_of_an_event(store: Store) -> None:
    apply(store, Plan(event_of("1", name="The operator's own"), 10))
    assert complete(store, 20, 20) == (
        "2 events, 30 tickets, 20 new",
        ["left as they are, with the tickets that they have: 1"],
    )
    assert state_of(store).event.name == "The operator's own"
    assert state_of(store).issued == 10


@pytest.mark.parametrize("issued", [0, 1, CHUNK_TICKETS, CHUNK_TICKETS + 7])
def test_a_seeding_that_was_cut_short_is_finished_as_it_was_planned(store: Store, issued: int) -> None:
    planned = 2 * CHUNK_TICKETS
    create(store, event_of(), seed="a-killed-seeding", planned=planned)
    if issued:
        SeededEvent(store, issued)
    assert state_of(store).state(0) == "upcoming"
    assert complete(store, 5) == (f"1 event, {planned:,} tickets, {planned - issued:,} new", [])
    assert pool_of(store) == ids_of("1", 1, planned)
    assert state_of(store).seed == "a-killed-seeding"
    assert state_of(store).state(0) == "open"


def test_a_description_that_differs_is_changed_and_nothing_else(store: Store) -> None:
    complete(store, 10)
    SeededEvent(store, 0).sell(3)
    renamed = replace(event_of(), name="Gala, second night", price_amount="50.00", opens_ms=1)
    assert apply(store, Plan(renamed, 10)) == ("1 event, 10 tickets, 0 new", ["event 1: description changed"])
    state = state_of(store)
    assert state.event == replace(renamed, revision=2)
    assert (state.issued, state.sold, state.pool) == (10, 3, 7)
    assert apply(store, Plan(renamed, 10)) == ("1 event, 10 tickets, 0 new", [])


def test_more_tickets_lift_a_sold_out(store: Store) -> None:
    complete(store, 3)
    shop = SeededEvent(store, 0)
    shop.sell(3)
    assert shop.ask(1)[0][1].outcome is Outcome.SOLD_OUT
    epoch = state_of(store).epoch
    assert apply(store, *plans_of(5)) == ("1 event, 5 tickets, 2 new", [])
    assert state_of(store).epoch > epoch  # which ends every process's memory of the sold-out
    shop.sell(1, 1)
    assert shop.ask(1)[0][1].outcome is Outcome.SOLD_OUT
    assert audit(store).ok


def test_fewer_tickets_are_told_and_change_nothing(store: Store) -> None:
    complete(store, 10)
    said = "event 1: keeps its 10 tickets; 4 are fewer, and what was issued is never taken back"
    assert apply(store, *plans_of(4)) == ("1 event, 10 tickets, 0 new", [said])
    assert pool_of(store) == ids_of("1", 1, 10)


def test_fewer_tickets_than_an_unfinished_seeding_planned_finish_it_all_the_same(store: Store) -> None:
    create(store, event_of(), seed="s", planned=10)
    summary, said = apply(store, *plans_of(4))
    assert summary == "1 event, 10 tickets, 10 new"
    assert said == ["event 1: keeps its 10 tickets; 4 are fewer, and what was issued is never taken back"]
    assert state_of(store).state(0) == "open"


@pytest.mark.parametrize("every", [3, 4, 7])
def test_lost_answers_change_nothing_in_the_end(store: Store, every: int) -> None:
    tickets = 3 * CHUNK_TICKETS + 1
    lossy = LossyStore(store, every)
    summary, said = apply(lossy, *plans_of(tickets, 10))
    assert (summary, said) == (f"2 events, {tickets + 10:,} tickets, {tickets + 10:,} new", [])
    assert pool_of(store) == ids_of("1", 1, tickets)
    summary, said = apply(lossy, Plan(event_of("1", name="Renamed"), tickets), *plans_of(tickets, 10)[1:])
    assert summary == f"2 events, {tickets + 10:,} tickets, 0 new"
    assert state_of(store).event.name == "Renamed"
    assert state_of(store).event.revision == 2
    assert audit(store).ok


def test_a_store_that_never_answers_ends_a_seeding_after_a_few_tries(store: Store) -> None:
    lossy = LossyStore(store, 1)
    with pytest.raises(OutcomeUnknown):
        complete(lossy, 10)
    assert lossy._count == len(seeding.WAITS_S) + 1


def test_a_halted_event_fails_and_the_others_are_seeded(store: Store) -> None:
    create(store, event_of("1"), seed="s", planned=10)
    store.one("HSET", keys.of_event("1").info, "halted", "1")
    said = ["event 1: it is halted until an operator decides"]
    assert complete(store, 10, 10) == ("1 event, 10 tickets, 10 new, 1 failed", said)
    assert apply(store, *plans_of(10, 10)) == ("1 event, 10 tickets, 0 new, 1 failed", said)


def test_an_event_begins_anew_only_when_asked_and_while_nothing_is_sold(store: Store) -> None:
    complete(store, 10)
    old = state_of(store)
    notes = Notes()
    summary = Seeder(store, notes).replace(Plan(event_of("1", name="Other"), 4))
    new = state_of(store)
    assert (str(summary), notes.said) == ("1 event, 4 tickets, 4 new", ["event 1: begun anew"])
    assert (new.event.name, new.issued, new.planned, new.pool) == ("Other", 4, 4, 4)
    assert new.seed != old.seed
    assert new.version > old.version
    assert new.event.revision > old.event.revision
    assert audit(store).ok


def test_an_event_that_sold_or_leased_a_ticket_is_not_begun_anew(store: Store) -> None:
    complete(store, 10, 10)
    SeededEvent(store, 0).sell(1)
    store.read(("HSET", keys.of_event("2").leases, "host-0", "t|E2-000001"), ("LPOP", keys.of_event("2").tickets))
    for event_id, said in (("1", "tickets of it are sold"), ("2", "tickets of it are leased")):
        before = state_of(store, event_id)
        with pytest.raises(EventConflict, match=said):
            Seeder(store, Notes()).replace(Plan(event_of(event_id), 5))
        assert replace(state_of(store, event_id), as_of_ms=before.as_of_ms) == before


def test_an_event_that_does_not_exist_is_not_begun_anew(store: Store) -> None:
    with pytest.raises(EventConflict, match="is not in the store"):
        Seeder(store, Notes()).replace(plans_of(5)[0])
    assert store.one("DBSIZE") == 0


def test_a_lost_answer_to_a_replacement_is_no_conflict(store: Store) -> None:
    complete(store, 10)
    summary = Seeder(LossyStore(store, 3), Notes()).replace(Plan(event_of(), 4))
    assert str(summary) == "1 event, 4 tickets, 4 new"
    assert pool_of(store) == ids_of("1", 1, 4)


@pytest.mark.parametrize(("before", "after"), [(0, 4), (4, 0)])
def test_a_limit_a_buyer_neither_begins_nor_ends_after_the_first_sale(store: Store, before: int, after: int) -> None:
    apply(store, Plan(event_of(buyer_max=before), 10))
    apply(store, Plan(event_of(buyer_max=after), 10))
    apply(store, Plan(event_of(buyer_max=before), 10))
    SeededEvent(store, 0).sell(1, buyer="annaannaann")
    summary, said = apply(store, Plan(event_of(buyer_max=after), 20))
    assert summary == "0 events, 0 tickets, 0 new, 1 failed"
    assert said == ["event 1: a limit a buyer can neither begin nor end after the first sale"]
    assert state_of(store).event.buyer_max == before
    assert audit(store).ok


def test_another_limit_a_buyer_is_taken_after_the_first_sale(store: Store) -> None:
    apply(store, Plan(event_of(buyer_max=4), 10))
    shop = SeededEvent(store, 0)
    shop.sell(1, buyer="annaannaann")
    apply(store, Plan(event_of(buyer_max=2), 10))
    shop.sell(1, buyer="annaannaann")
    assert shop.ask(1, buyer="annaannaann")[0][1].outcome is Outcome.BUYER_LIMIT


def test_a_store_that_is_emptied_meanwhile_is_an_error_and_no_new_sale(store: Store) -> None:
    class Emptied(LossyStore):
        def exchange(self, commands: Sequence[Command]) -> list[Any]:
            replies = super().exchange(commands)
            if commands[0][0] == "SADD":
                self._store.one("FLUSHALL")
            return replies

    with pytest.raises(StoreError, match="no longer in the store: 1"):
        complete(Emptied(store, 10**9), 10)


def test_a_chunk_blocks_the_server_for_less_than_ten_milliseconds(real_store: Store) -> None:
    """Of a hundred chunks the median counts: a busy machine stops the server itself now and then."""
    real_store.read(("CONFIG", "SET", "slowlog-log-slower-than", 0), ("CONFIG", "SET", "slowlog-max-len", 1_000))
    try:
        complete(real_store, 100 * CHUNK_TICKETS)
        took_us = sorted(entry[2] for entry in real_store.one("SLOWLOG", "GET", -1) if entry[3][0] == "EVALSHA")
    finally:
        real_store.one("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
    assert len(took_us) >= 100
    assert took_us[len(took_us) // 2] < 10_000
