"""Voids: every intent is carried out in the end, once, and none waits for another event's trouble."""

from collections.abc import Callable, Iterator, Sequence

import gevent
import pytest
from loguru import logger

from ticketing.errors import OutcomeUnknown, StoreRefused
from ticketing.model import Outcome
from ticketing.outage import voids as subject
from ticketing.outage.voids import Voids

Answer = list[str] | Outcome | Exception


class FakeStore:
    """A SaleStore that notes what it was asked to void, and answers as a test says, event by event."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[str]]] = []
        self.answers: dict[str, Answer] = {}  # by event; others are voided
        self.during: Callable[[], None] = lambda: None

    def void(self, event_id: str, seed: str, purchase_ids: Sequence[str]) -> list[str] | Outcome:
        self.asked.append((event_id, seed, list(purchase_ids)))
        self.during()
        answer = self.answers.get(event_id, ["voided"] * len(purchase_ids))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def done(self) -> set[str]:
        return {purchase_id for event_id, _, ids in self.asked if event_id not in self.answers for purchase_id in ids}


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def voids(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Voids]:
    monkeypatch.setattr(subject, "AGAIN_AFTER_S", 0.001)
    made = Voids(store)
    yield made
    store.answers.clear()
    made.stop()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(f"{message.record['level'].name} {message.record['message']}"))
    yield lines
    logger.remove(sink)


def settle(voids: Voids, left: int = 0) -> None:
    with gevent.Timeout(5, AssertionError(f"{len(voids)} left")):
        while len(voids) != left:
            gevent.sleep(0.001)


def test_an_intent_is_carried_out_once_it_is_there(store: FakeStore, voids: Voids) -> None:
    voids.start()
    voids.add("1", "s", "1.a")
    settle(voids)
    assert store.asked == [("1", "s", ["1.a"])]
    voids.add("1", "s", "1.b")
    settle(voids)
    assert store.asked[1:] == [("1", "s", ["1.b"])]


def test_intents_from_before_the_start_are_carried_out(store: FakeStore, voids: Voids) -> None:
    voids.add("1", "s", "1.a")
    voids.start()
    settle(voids)
    assert store.done() == {"1.a"}


def test_many_intents_go_in_calls_of_a_few_hundred_by_event_and_seed(store: FakeStore, voids: Voids) -> None:
    for number in range(450):
        voids.add("1", "s", f"1.{number}")
    voids.add("1", "t", "1.other-seed")
    voids.add("2", "s", "2.x")
    voids.start()
    settle(voids)
    assert [(event_id, seed, len(ids)) for event_id, seed, ids in store.asked] == [
        ("1", "s", 200),
        ("1", "s", 200),
        ("1", "s", 50),
        ("1", "t", 1),
        ("2", "s", 1),
    ]


def test_an_intent_that_is_added_twice_is_one(store: FakeStore, voids: Voids) -> None:
    voids.add("1", "s", "1.a")
    voids.add("1", "s", "1.a")
    assert len(voids) == 1


@pytest.mark.parametrize("trouble", [StoreRefused("away"), OutcomeUnknown("broken"), Outcome.HALTED, Outcome.WENT_BACK])
def test_an_intent_waits_until_the_store_carries_it_out(store: FakeStore, voids: Voids, trouble: Answer) -> None:
    store.answers["1"] = trouble
    voids.start()
    voids.add("1", "s", "1.a")
    while len(store.asked) < 5:
        gevent.sleep(0.001)
    assert len(voids) == 1
    store.answers.clear()
    settle(voids)


@pytest.mark.parametrize("trouble", [OutcomeUnknown("WRONGTYPE"), Outcome.HALTED, Outcome.WENT_BACK])
def test_an_event_in_trouble_keeps_no_other_waiting(store: FakeStore, voids: Voids, trouble: Answer) -> None:
    """An operator may take days to decide about one event."""
    store.answers["1"] = trouble
    voids.add("1", "s", "1.a")
    for number in range(5):
        voids.add("2", "s", f"2.{number}")
        voids.add("3", "s", f"3.{number}")
    voids.start()
    settle(voids, left=1)
    assert len(store.done()) == 10
    voids.add("2", "s", "2.later")
    settle(voids, left=1)
    assert "2.later" in store.done()


def test_an_event_that_does_not_exist_any_more_has_nothing_to_void(store: FakeStore, voids: Voids) -> None:
    store.answers["1"] = Outcome.NO_EVENT
    voids.start()
    voids.add("1", "s", "1.a")
    settle(voids)


def test_what_is_added_while_a_call_is_under_way_is_not_forgotten(store: FakeStore, voids: Voids) -> None:
    def arrive() -> None:
        store.during = lambda: None
        voids.add("1", "s", "1.late")

    store.during = arrive
    voids.start()
    voids.add("1", "s", "1.a")
    settle(voids)
    assert store.done() == {"1.a", "1.late"}


def test_it_is_full_at_its_limit_and_not_before(
    store: FakeStore, voids: Voids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "MOST", 3)
    for number in range(3):
        assert not voids.full
        voids.add(str(number % 2), "s", f"1.{number}")
    assert voids.full
    voids.start()
    settle(voids)
    assert not voids.full


def test_stopping_carries_out_what_is_left(store: FakeStore, voids: Voids) -> None:
    voids.add("1", "s", "1.a")
    voids.add("2", "s", "2.a")
    voids.stop()
    assert store.done() == {"1.a", "2.a"}
    assert len(voids) == 0


def test_stopping_in_the_middle_of_a_call_sends_it_again(store: FakeStore, voids: Voids) -> None:
    store.during = lambda: gevent.sleep(60)
    voids.start()
    voids.add("1", "s", "1.a")
    while not store.asked:
        gevent.sleep(0.001)
    store.during = lambda: None
    voids.stop()
    assert store.asked == [("1", "s", ["1.a"])] * 2  # voiding twice does no harm
    assert len(voids) == 0


def test_stopping_without_the_store_says_what_is_left_and_does_not_hang(store: FakeStore, voids: Voids) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    store.answers["1"] = StoreRefused("away")
    for number in range(3):
        voids.add("1", "s", f"1.{number}")
    voids.start()
    with gevent.Timeout(5):
        voids.stop()
    logger.remove(sink)
    assert lines[-1].strip() == "ERROR stopped with 3 purchases of unknown outcome that could not be voided"
    assert not any("1.0" in line for line in lines)


@pytest.mark.parametrize("seen", ["voided", "already"])
def test_what_was_sold_is_told_once_it_is_voided_and_what_was_barred_is_not(store: FakeStore, seen: str) -> None:
    """Its receipt may be stored. "already" is what the second call gets, where the first one's reply was lost."""
    told: list[str] = []
    voids = Voids(store, on_voided=told.extend)
    store.answers["1"] = ["barred", seen, "barred"]
    store.answers["2"] = ["barred"]
    store.answers["3"] = Outcome.NO_EVENT
    for purchase_id in ("1.a", "1.b", "1.c", "2.a", "3.a"):
        voids.add(purchase_id[0], "s", purchase_id)
    voids.stop()
    assert len(voids) == 0
    assert told == ["1.b"]


def test_an_error_that_nobody_foresaw_is_logged_once_and_keeps_no_other_waiting(
    store: FakeStore, voids: Voids, logged: list[str]
) -> None:
    store.answers["1"] = ZeroDivisionError("a bug")
    voids.start()
    voids.add("1", "s", "1.a")
    voids.add("2", "s", "2.a")
    settle(voids, left=1)
    asked = len(store.asked)
    while len(store.asked) < asked + 5:
        gevent.sleep(0.001)
    voids.add("2", "s", "2.later")
    settle(voids, left=1)
    store.answers.clear()
    settle(voids)
    assert store.done() >= {"1.a", "2.a", "2.later"}
    assert [line for line in logged if line.startswith("ERROR")] == [
        "ERROR event 1: an error in voiding; what is not voided is tried again"
    ]


def test_a_receipt_that_can_not_be_deleted_keeps_no_other_intent_waiting(store: FakeStore, logged: list[str]) -> None:
    def refuse(_: list[str]) -> None:
        raise PermissionError("not yours")

    voids = Voids(store, on_voided=refuse)
    for event_id in "12":
        voids.add(event_id, "s", f"{event_id}.a")
    voids.stop()
    assert len(voids) == 0
    assert store.done() == {"1.a", "2.a"}
    assert [line for line in logged if line.startswith("ERROR")] == [
        "ERROR event 1: an error in voiding; what is not voided is tried again"
    ]
