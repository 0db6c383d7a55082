"""SaleDesk: who is asked with whom, who gets which reply, and what happens when the store fails."""

from collections.abc import Callable, Iterator, Sequence

import gevent
import pytest
from gevent.event import Event as Signal
from loguru import logger

from tests.sales import a_request
from ticketing.model import Outcome, PurchaseRequest, SaleReply
from ticketing.sale.batch import BatchReport, SaleDesk
from ticketing.store.sale import EventBatch

Script = Callable[[PurchaseRequest], SaleReply]


def sell(request: PurchaseRequest) -> SaleReply:
    """Every reply tells whose it is."""
    return SaleReply(Outcome.SOLD, request.purchase_id)


class FakeStore:
    """A SaleStore that notes what it was sent, and lets a test decide what it answers."""

    def __init__(self) -> None:
        self.sent: list[list[EventBatch]] = []  # a list a round trip
        self.script: Script = sell
        self.before: Callable[[], None] = lambda: None  # runs while a round trip is under way
        self.too_late_s = 0.0

    def purchase(self, batches: Sequence[EventBatch]) -> list[list[SaleReply]]:
        self.sent.append(list(batches))
        self.before()
        return [[self.script(request) for request in batch.requests] for batch in batches]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def reports() -> list[BatchReport]:
    return []


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def desk(store: FakeStore, reports: list[BatchReport], failures: list[str]) -> Iterator[SaleDesk]:
    made = SaleDesk(store, batch_max=1000, pace_ms=0, on_round_trip=reports.extend, on_failure=failures.append)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(sink)


def ask_all(desk: SaleDesk, requests: Sequence[PurchaseRequest], seed: str = "s") -> list[SaleReply]:
    """The replies of callers who all ask at once."""
    callers = [gevent.spawn(desk.ask, seed, request) for request in requests]
    gevent.joinall(callers, timeout=10, raise_error=True)
    return [caller.get(block=False) for caller in callers]


def test_callers_who_ask_at_once_share_one_round_trip_and_each_gets_its_own_reply(
    desk: SaleDesk, store: FakeStore
) -> None:
    requests = [a_request() for _ in range(50)]
    replies = ask_all(desk, requests)
    assert [reply.detail for reply in replies] == [request.purchase_id for request in requests]
    assert [[len(batch.requests) for batch in trip] for trip in store.sent] == [[50]]


def test_purchases_are_grouped_by_event_and_seed_in_the_order_in_which_they_came(
    desk: SaleDesk, store: FakeStore
) -> None:
    asked = [("s", "1"), ("s", "2"), ("t", "1"), ("s", "1"), ("s", "2"), ("t", "1")]
    requests = [(seed, a_request(event_id=event_id)) for seed, event_id in asked]
    callers = [gevent.spawn(desk.ask, seed, request) for seed, request in requests]
    gevent.joinall(callers, timeout=10, raise_error=True)
    [trip] = store.sent
    assert [(batch.seed, batch.event_id) for batch in trip] == [("s", "1"), ("s", "2"), ("t", "1")]
    assert [batch.requests for batch in trip] == [[requests[i][1], requests[i + 3][1]] for i in range(3)]
    assert [caller.get().detail for caller in callers] == [request.purchase_id for _, request in requests]


def test_a_crowd_is_split_into_calls_of_at_most_batch_max(store: FakeStore) -> None:
    desk = SaleDesk(store, batch_max=4, pace_ms=0, on_round_trip=lambda _: None, on_failure=lambda _: None)
    desk.start()
    requests = [a_request(event_id=name) for name in ["1"] * 10 + ["2"] * 4]
    replies = ask_all(desk, requests)
    desk.stop()
    [trip] = store.sent
    assert [(batch.event_id, len(batch.requests)) for batch in trip] == [("1", 4), ("1", 4), ("1", 2), ("2", 4)]
    assert [reply.detail for reply in replies] == [request.purchase_id for request in requests]


def test_who_asks_while_a_round_trip_is_under_way_goes_with_the_next(desk: SaleDesk, store: FakeStore) -> None:
    late: list[gevent.Greenlet] = []

    def arrive() -> None:
        store.before = lambda: None
        late.extend(gevent.spawn(desk.ask, "s", a_request()) for _ in range(3))
        gevent.sleep(0)  # they ask now, while the first waits for its reply

    store.before = arrive
    ask_all(desk, [a_request()])
    gevent.joinall(late, timeout=10, raise_error=True)
    assert [[len(batch.requests) for batch in trip] for trip in store.sent] == [[1], [3]]


def test_many_waves_of_callers_all_get_their_own_reply(desk: SaleDesk, store: FakeStore) -> None:
    """No wake-up is lost, whenever a caller comes."""
    store.before = lambda: gevent.sleep(0)

    def come_often(number: int) -> list[bool]:
        told = []
        for turn in range(20):
            request = a_request(event_id=str((number + turn) % 3))
            told.append(desk.ask("s", request).detail == request.purchase_id)
            gevent.sleep(0 if turn % 3 else 0.0005)
        return told

    callers = [gevent.spawn(come_often, number) for number in range(40)]
    gevent.joinall(callers, timeout=20, raise_error=True)
    assert sum(sum(caller.get(block=False)) for caller in callers) == 40 * 20
    assert sum(len(batch.requests) for trip in store.sent for batch in trip) == 40 * 20


def test_an_event_whose_script_failed_does_not_hurt_another(desk: SaleDesk, store: FakeStore) -> None:
    store.script = lambda request: SaleReply(Outcome.UNKNOWN) if request.event_id == "2" else sell(request)
    replies = ask_all(desk, [a_request(event_id=name) for name in ("1", "2", "1", "3")])
    assert [reply.outcome for reply in replies] == ["sold", "unknown", "sold", "sold"]


def test_a_bug_in_one_round_trip_leaves_its_callers_in_doubt_and_not_waiting(
    desk: SaleDesk, store: FakeStore, logged: list[str]
) -> None:
    store.script = lambda _: 1 / 0  # type: ignore[return-value]
    assert [reply.outcome for reply in ask_all(desk, [a_request(), a_request()])] == ["unknown", "unknown"]
    assert [line.splitlines()[0] for line in logged] == ["ERROR a batch failed"]
    store.script = sell
    assert [reply.outcome for reply in ask_all(desk, [a_request()])] == ["sold"]


def test_too_few_replies_leave_all_callers_in_doubt(desk: SaleDesk, store: FakeStore, logged: list[str]) -> None:
    store.purchase = lambda batches: [[sell(batch.requests[0])] for batch in batches]  # type: ignore[method-assign]
    assert [reply.outcome for reply in ask_all(desk, [a_request(), a_request()])] == ["unknown", "unknown"]


def test_a_report_that_can_not_be_told_does_not_end_the_sale(store: FakeStore, logged: list[str]) -> None:
    def full_disk(_: Sequence[BatchReport]) -> None:
        raise OSError("no space left on device")

    desk = SaleDesk(store, batch_max=10, pace_ms=0, on_round_trip=full_disk, on_failure=lambda _: None)
    desk.start()
    outcomes = [ask_all(desk, [a_request()])[0].outcome for _ in range(3)]
    desk.stop()
    assert outcomes == ["sold"] * 3
    assert [line.splitlines()[0] for line in logged] == ["ERROR a round trip could not be reported"] * 3


@pytest.mark.parametrize("outcome", Outcome)
def test_a_store_that_does_not_answer_is_said_to_have_failed_and_no_other(
    desk: SaleDesk, store: FakeStore, failures: list[str], outcome: Outcome
) -> None:
    store.script = lambda _: SaleReply(outcome, "why")
    ask_all(desk, [a_request()])
    assert failures == (["why"] if outcome in (Outcome.REFUSED, Outcome.UNKNOWN) else [])


def test_a_failure_is_told_before_the_next_round_trip(desk: SaleDesk, store: FakeStore, failures: list[str]) -> None:
    told_before: list[int] = []
    store.script = lambda _: SaleReply(Outcome.UNKNOWN)
    store.before = lambda: told_before.append(len(failures))
    callers = [gevent.spawn(desk.ask, "s", a_request()) for _ in range(2)]
    gevent.joinall(callers)
    ask_all(desk, [a_request()])
    assert told_before == [0, 1]


def test_stopping_takes_what_waits_to_the_store_and_refuses_what_comes_later(desk: SaleDesk, store: FakeStore) -> None:
    waiting = [gevent.spawn(desk.ask, "s", a_request()) for _ in range(3)]
    gevent.sleep(0)
    desk.stop()
    assert [caller.get(timeout=5).outcome for caller in waiting] == ["sold"] * 3
    with gevent.Timeout(5):
        assert desk.ask("s", a_request()).outcome is Outcome.REFUSED
    assert sum(len(batch.requests) for trip in store.sent for batch in trip) == 3


def test_stopping_waits_for_those_who_came_during_the_last_round_trip(desk: SaleDesk, store: FakeStore) -> None:
    late: list[gevent.Greenlet] = []
    under_way = Signal()

    def arrive() -> None:
        if not late:
            late.append(gevent.spawn(desk.ask, "s", a_request()))
            gevent.sleep(0)  # it has asked
            under_way.set()
            gevent.sleep(0)  # now the desk is stopped

    store.before = arrive
    first = gevent.spawn(desk.ask, "s", a_request())
    under_way.wait(5)
    desk.stop()
    assert [caller.get(timeout=5).outcome for caller in (first, *late)] == ["sold", "sold"]


def test_stopping_twice_or_without_a_start_does_no_harm(store: FakeStore) -> None:
    desk = SaleDesk(store, batch_max=10, pace_ms=0, on_round_trip=lambda _: None, on_failure=lambda _: None)
    desk.stop()
    desk.stop()
    assert store.sent == []


def test_at_light_load_the_pace_makes_batches_of_single_purchases(store: FakeStore) -> None:
    desk = SaleDesk(store, batch_max=10, pace_ms=50, on_round_trip=lambda _: None, on_failure=lambda _: None)
    desk.start()
    ask_all(desk, [a_request()])  # the first goes at once
    first = gevent.spawn(desk.ask, "s", a_request())
    gevent.sleep(0.001)
    second = gevent.spawn(desk.ask, "s", a_request())
    gevent.joinall([first, second], timeout=5, raise_error=True)
    desk.stop()
    assert [[len(batch.requests) for batch in trip] for trip in store.sent] == [[1], [2]]


def test_each_script_call_is_reported_with_what_it_sold(
    desk: SaleDesk, store: FakeStore, reports: list[BatchReport]
) -> None:
    store.script = lambda request: sell(request) if request.quantity < 5 else SaleReply(Outcome.SOLD_OUT)
    first, second, refused, other = a_request(2), a_request(3), a_request(5), a_request(1, event_id="2")
    ask_all(desk, [first, refused, other, second])
    assert [(one.event_id, one.purchases, one.tickets, one.sold_ids) for one in reports] == [
        ("1", 3, 5, [first.purchase_id, second.purchase_id]),
        ("2", 1, 1, [other.purchase_id]),
    ]
    assert reports[0].outcomes == {Outcome.SOLD: 2, Outcome.SOLD_OUT: 1}


def test_a_replayed_purchase_is_not_reported_as_sold(
    desk: SaleDesk, store: FakeStore, reports: list[BatchReport]
) -> None:
    store.script = lambda request: SaleReply(Outcome.REPLAYED, request.purchase_id)
    ask_all(desk, [a_request(2)])
    assert (reports[0].sold_ids, reports[0].tickets) == ([], 0)


def test_a_caller_who_is_gone_keeps_no_other_from_its_reply(desk: SaleDesk, store: FakeStore) -> None:
    callers = [gevent.spawn(desk.ask, "s", a_request()) for _ in range(3)]
    gevent.sleep(0)
    callers[0].kill()
    assert [caller.get(timeout=5).outcome for caller in callers[1:]] == ["sold", "sold"]
