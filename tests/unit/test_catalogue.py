"""Catalogue: the store is read at most once a second, however many ask, and the last values stay."""

import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace

import pytest
from loguru import logger

from tests.servers import wait_until
from tests.unit.test_counter import a_state
from ticketing.errors import NodeAway, StoreError, StoreRefused, StoreShut
from ticketing.model import EventState
from ticketing.sale import catalogue as subject
from ticketing.sale.catalogue import Catalogue

CALLERS = 200


class FakeEvents:
    """An EventStore that counts its reads, takes as long as a test wants, and may be away."""

    def __init__(self) -> None:
        self.states = [a_state("1"), a_state("2")]
        self.reads = 0
        self.down = False
        self.unread: dict[str, NodeAway] = {}  # events whose node is away
        self.going_on = threading.Event()
        self.going_on.set()

    def ids(self) -> list[str]:
        self.reads += 1
        self.going_on.wait(10)
        if self.down:
            raise StoreRefused("away")
        return [state.event.event_id for state in self.states]

    def read_sound(self, event_ids: list[str]) -> list[EventState]:
        return [state for state in self.states if state.event.event_id not in self.unread]


class Clock:
    """Monotonic time as a test sets it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(subject, "time", made)
    return made


@pytest.fixture
def events() -> FakeEvents:
    return FakeEvents()


@pytest.fixture
def catalogue(events: FakeEvents, clock: Clock) -> Iterator[Catalogue]:
    yield Catalogue(events, fresh_s=1.0)
    events.going_on.set()


def herd(call: object, count: int = CALLERS) -> list[object]:
    """What so many threads got that called at once: a value, or an error."""
    got: list[object] = []
    gate = threading.Barrier(count)

    def one() -> None:
        gate.wait(10)
        try:
            got.append(call())  # type: ignore[operator]
        except StoreError as error:
            got.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return got


def test_nothing_is_read_before_somebody_asks(catalogue: Catalogue, events: FakeEvents) -> None:
    assert (events.reads, catalogue.store_up) == (0, False)


def test_within_a_second_the_store_is_read_once(catalogue: Catalogue, events: FakeEvents, clock: Clock) -> None:
    for _ in range(10):
        assert [state.event.event_id for state in catalogue.states()] == ["1", "2"]
        clock.now_s += 0.099
    assert (events.reads, catalogue.store_up) == (1, True)
    clock.now_s += 0.1
    catalogue.states()
    assert events.reads == 2


def test_a_known_event_is_found_without_reading_however_old_it_is(
    catalogue: Catalogue, events: FakeEvents, clock: Clock
) -> None:
    catalogue.states()
    clock.now_s += 3600
    assert catalogue.find("1") is not None
    assert events.reads == 1
    assert catalogue.find_fresh("1") is not None
    assert events.reads == 2


def test_events_that_do_not_exist_cost_one_read_a_second(
    catalogue: Catalogue, events: FakeEvents, clock: Clock
) -> None:
    assert [catalogue.find(f"made-up-{number}") for number in range(100)] == [None] * 100
    assert events.reads == 1
    events.states.append(a_state("3"))
    assert catalogue.find("3") is None  # it was not there a moment ago
    clock.now_s += 1.0
    assert catalogue.find("3") is not None


def test_when_the_store_is_away_the_last_values_stay(catalogue: Catalogue, events: FakeEvents, clock: Clock) -> None:
    catalogue.states()
    events.down = True
    clock.now_s += 5
    assert len(catalogue.states()) == 2
    assert not catalogue.store_up
    assert catalogue.find("1") is not None
    with pytest.raises(StoreRefused):  # nobody can say whether there is one by now
        catalogue.find("nowhere")
    events.down = False
    clock.now_s += 1
    assert catalogue.find("nowhere") is None
    catalogue.states()
    assert catalogue.store_up


def test_a_store_that_was_never_reached_is_an_error_and_tried_once_a_second(
    catalogue: Catalogue, events: FakeEvents, clock: Clock
) -> None:
    events.down = True
    for _ in range(10):
        with pytest.raises(StoreRefused, match="away"):
            catalogue.find("1")
    assert events.reads == 1
    clock.now_s += 1
    with pytest.raises(StoreRefused):
        catalogue.states()
    assert events.reads == 2


def test_a_store_that_was_not_asked_is_asked_as_soon_as_it_may_be(
    catalogue: Catalogue, events: FakeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper reads the moment after an outage: what was refused a moment before it must not count."""

    def shut() -> list[str]:
        raise StoreShut("an outage is under way")

    with monkeypatch.context() as patch:
        patch.setattr(events, "ids", shut)
        with pytest.raises(StoreShut):
            catalogue.states()
    assert len(catalogue.states()) == 2


def test_a_herd_finds_a_store_that_is_down_with_one_try(catalogue: Catalogue, events: FakeEvents) -> None:
    events.down = True
    got = herd(lambda: catalogue.find("1"))
    assert [type(one) for one in got] == [StoreRefused] * CALLERS
    assert events.reads == 1


def test_a_herd_at_the_start_waits_for_one_read_and_gets_its_events(catalogue: Catalogue, events: FakeEvents) -> None:
    got = herd(catalogue.states)
    assert [len(one) for one in got] == [2] * CALLERS  # type: ignore[arg-type]
    assert events.reads == 1


def test_while_the_store_is_read_others_get_what_is_known(
    catalogue: Catalogue, events: FakeEvents, clock: Clock
) -> None:
    catalogue.states()
    clock.now_s += 2
    events.going_on.clear()
    reader = threading.Thread(target=catalogue.states)
    reader.start()
    wait_until(lambda: events.reads == 2, 10)
    assert len(catalogue.states()) == 2  # at once, though the reader still waits
    events.going_on.set()
    reader.join(10)
    assert events.reads == 2


def test_a_herd_that_was_told_no_event_reads_the_new_seed_once(
    catalogue: Catalogue, events: FakeEvents, clock: Clock
) -> None:
    catalogue.states()
    events.states = [a_state("1", seed="t")]
    clock.now_s += 0.5
    asked_at_s = clock.now_s
    clock.now_s += 0.1
    got = herd(lambda: catalogue.find_since("1", asked_at_s))
    assert [one.seed for one in got] == ["t"] * CALLERS  # type: ignore[union-attr]
    assert events.reads == 2
    assert catalogue.find_since("gone", asked_at_s) is None


def test_a_new_seed_that_can_not_be_read_is_an_error_even_though_an_old_one_is_known(
    catalogue: Catalogue, events: FakeEvents, clock: Clock
) -> None:
    catalogue.states()
    events.down = True
    clock.now_s += 0.1
    for _ in range(3):
        with pytest.raises(StoreRefused):
            catalogue.find_since("1", clock.now_s - 0.05)
    assert events.reads == 2
    assert catalogue.find("1") is not None  # sold under the old seed nothing is: the script knows better


def test_an_error_that_many_are_told_does_not_keep_the_frames_of_all_of_them(
    catalogue: Catalogue, events: FakeEvents
) -> None:
    events.down = True
    depths = set()
    for _ in range(20):
        with pytest.raises(StoreRefused) as caught:
            catalogue.states()
        cause = caught.value.__cause__
        assert cause is not None
        depths.add(
            (len(traceback.extract_tb(caught.value.__traceback__)), len(traceback.extract_tb(cause.__traceback__)))
        )
    assert len(depths) == 1


def test_what_an_operator_changed_is_said_once_when_it_is_read(
    catalogue: Catalogue, events: FakeEvents, clock: Clock, said: list[str]
) -> None:
    first, second = events.states
    stages = [
        ([first, second], []),
        ([replace(first, paused=True), second], ["event 1: the sale is paused"]),
        ([replace(first, paused=True), second], []),
        (
            [first, replace(second, issued=15, planned=15)],
            ["event 1: the sale is taken up", "event 2: 15 tickets are issued, 10 before"],
        ),
        ([replace(first, issued=20, planned=30), replace(second, issued=15, planned=15)], []),  # is being seeded
        ([replace(first, seed="another", paused=True)], []),  # began anew
    ]
    for states, expected in stages:
        events.states = states
        clock.now_s += 2
        catalogue.states()
        assert said == expected
        said.clear()


def test_events_whose_node_is_away_stay_as_they_were_and_others_are_read(
    catalogue: Catalogue, events: FakeEvents, clock: Clock
) -> None:
    catalogue.states()
    events.unread = {"1": NodeAway("away")}
    events.states = [replace(state, sold=7) for state in events.states]
    clock.now_s += 1
    assert [(state.event.event_id, state.sold) for state in catalogue.states()] == [("1", 0), ("2", 7)]
    assert catalogue.store_up
    events.unread = {}
    clock.now_s += 1
    assert [state.sold for state in catalogue.states()] == [7, 7]


def test_an_event_that_was_never_read_since_its_node_is_away_is_not_said_to_be_unknown(
    catalogue: Catalogue, events: FakeEvents
) -> None:
    events.unread = {"1": NodeAway("away")}
    for _ in range(2):
        with pytest.raises(NodeAway):
            catalogue.find("1")
    assert catalogue.find("3") is None
