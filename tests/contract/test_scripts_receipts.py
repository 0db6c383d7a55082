"""The outbox: due, swept, begun, stored, given up, retried, asked for again; on both backends."""

from collections.abc import Iterator

import pytest
from loguru import logger

from tests.sales import LATER_MS, RECEIPT_TRIES, SEED, Sale, a_request, account, everything
from ticketing.errors import StoreError
from ticketing.model import Contact
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.outbox import OutboxStore
from ticketing.store.sale import standing
from ticketing.telemetry.logs import short

pytestmark = pytest.mark.on_cluster

K = keys.of_event("1")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(f"{message.record['level'].name} {message.record['message']}"))
    yield lines
    logger.remove(sink)


def with_purchases(store: Store, count: int, **changes: object) -> tuple[Sale, list[str]]:
    sale = Sale(store)
    sale.open(count)
    requests = [a_request(1, **changes) for _ in range(count)]
    assert sale.tags(*requests) == ["sold"] * count
    return sale, [request.purchase_id for request in requests]


def due_of(store: Store, purchase_id: str) -> int:
    return int(store.one("ZSCORE", K.receipts, purchase_id))


def test_a_receipt_is_begun_with_its_purchase_and_contact_and_leaves_when_it_is_stored(store: Store) -> None:
    sale, [first, second] = with_purchases(store, 2, contact='{"name":"Ann","email":"ann@example.org"}')
    due = sale.outbox.begin("1", [first, second])
    assert [one.purchase.purchase_id for one in due] == [first, second]
    assert [one.purchase.ticket_ids for one in due] == [("E1-000001",), ("E1-000002",)]
    assert {one.contact for one in due} == {Contact("Ann", "ann@example.org")}
    assert sale.outbox.finish("1", [first]) == []
    held = account(store).check()
    assert (held.outbox, held.tries) == ({second}, {second})


def test_what_is_not_in_the_outbox_is_not_begun(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    sale.outbox.begin("1", [first])
    sale.outbox.finish("1", [first])
    held = everything(store)
    assert sale.outbox.begin("1", [first, "1.never-heard-of"]) == []
    assert everything(store) == held


def test_storing_a_receipt_twice_does_no_harm(store: Store) -> None:
    sale, ids = with_purchases(store, 2)
    sale.outbox.begin("1", ids)
    sale.outbox.finish("1", ids)
    held = everything(store)
    assert sale.outbox.finish("1", ids) == []
    assert everything(store) == held


def test_each_begin_moves_the_due_time_twice_as_far(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    before = store.clock_ms()
    distances = []
    for _ in range(RECEIPT_TRIES):
        sale.outbox.begin("1", [first])
        distances.append(due_of(store, first) - before)
    assert [round(distance / LATER_MS) for distance in distances] == [1, 2, 4]


def test_a_receipt_that_kills_its_worker_each_time_is_given_up_after_exactly_so_many_tries(store: Store) -> None:
    sale, [poison, good] = with_purchases(store, 2)
    begun = 0
    while due := sale.outbox.begin("1", [poison]):
        begun += len(due)
        sale.due_now()
        tries = dict(sale.overdue())
        assert tries.get(poison) == begun  # the sweeper still hands it out, and says how often it was begun
        if begun == 1:
            sale.outbox.begin("1", [good])
            assert sale.outbox.finish("1", [good]) == []
    assert begun == RECEIPT_TRIES
    held = account(store).check()
    assert (held.outbox, held.failed, held.tries) == (set(), {poison}, set())
    assert standing(sale.store, "1", poison).receipt_failed
    sale.due_now()
    assert sale.overdue() == []
    assert sale.outbox.begin("1", [poison]) == []


def test_a_slow_worker_that_ends_after_the_receipt_was_given_up_still_delivers_it(store: Store) -> None:
    sale, [slow] = with_purchases(store, 1)
    while sale.outbox.begin("1", [slow]):
        pass
    assert account(store).check().failed == {slow}
    assert sale.outbox.finish("1", [slow]) == []
    held = account(store).check()
    assert (held.outbox, held.failed) == (set(), set())


def test_failed_receipts_are_due_again_with_all_their_tries_when_the_operator_says_so(store: Store) -> None:
    sale, ids = with_purchases(store, 5)
    for _ in range(RECEIPT_TRIES + 1):
        sale.outbox.begin("1", ids)
    assert account(store).check().failed == set(ids)
    assert [sale.outbox.retry_failed("1", 3), sale.outbox.retry_failed("1", 3), sale.outbox.retry_failed("1", 3)] == [
        3,
        2,
        0,
    ]
    held = account(store).check()
    assert (held.outbox, held.failed, held.tries) == (set(ids), set(), set())
    assert sorted(sale.overdue()) == sorted((purchase_id, 0) for purchase_id in ids)
    assert len(sale.outbox.begin("1", ids)) == 5


def test_a_thousand_failed_receipts_are_retried_in_one_call(store: Store) -> None:
    sale, ids = with_purchases(store, 1000)
    for _ in range(RECEIPT_TRIES + 1):
        sale.outbox.begin("1", ids)
    assert sale.outbox.retry_failed("1", 1000) == 1000
    assert len(sale.overdue()) == 1000
    assert sale.outbox.finish("1", ids) == []
    assert account(store).check().outbox == set()


def test_nothing_is_swept_before_it_is_due(store: Store) -> None:
    sale, _ = with_purchases(store, 3)
    held = everything(store)
    assert sale.overdue() == []
    assert everything(store) == held


def test_what_is_swept_is_not_swept_again_at_once_and_goes_further_with_its_tries(store: Store) -> None:
    sale, [fresh, begun] = with_purchases(store, 2)
    sale.outbox.begin("1", [begun])
    sale.outbox.begin("1", [begun])
    sale.due_now()
    before = store.clock_ms()
    assert sorted(sale.overdue()) == sorted([(fresh, 0), (begun, 2)])
    assert sale.overdue() == []
    assert [round((due_of(store, one) - before) / LATER_MS) for one in (fresh, begun)] == [1, 4]


def test_a_sweep_hands_out_the_most_overdue_first_and_no_more_than_it_may(store: Store) -> None:
    sale, ids = with_purchases(store, 5)
    for due, purchase_id in enumerate(ids):
        store.one("ZADD", K.receipts, 10 - due, purchase_id)
    assert [purchase_id for purchase_id, _ in sale.overdue(most=3)] == ids[:1:-1]
    assert [purchase_id for purchase_id, _ in sale.overdue(most=3)] == ids[1::-1]


def test_a_sweep_goes_over_all_events_and_names_those_with_something_overdue(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    sale.open(1, "2")
    sale.open(1, "3")
    third = a_request(event_id="3")
    sale.buy(third)
    for event_id in ("1", "3"):
        sale.due_now(event_id)
    swept = sale.outbox.sweep(["1", "2", "3", "nowhere"], 10)
    assert [(event_id, [one.purchase_id for one in overdue]) for event_id, overdue in swept] == [
        ("1", [first]),
        ("3", [third.purchase_id]),
    ]


def test_an_event_whose_outbox_is_damaged_keeps_no_other_from_being_swept(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    store.one("SET", keys.of_event("0").receipts, "damage")
    sale.due_now()
    [(event_id, [overdue])] = sale.outbox.sweep(["0", "1"], 10)
    assert (event_id, overdue.purchase_id) == ("1", first)
    with pytest.raises(StoreError, match="WRONGTYPE"):  # said where nothing else is to be done
        sale.outbox.sweep(["0", "1"], 10)


def test_a_thousand_overdue_receipts_are_swept_in_one_call(store: Store) -> None:
    sale, ids = with_purchases(store, 1000)
    sale.due_now()
    assert {purchase_id for purchase_id, _ in sale.overdue(most=1000)} == set(ids)
    assert sale.overdue() == []


def test_an_entry_without_a_purchase_is_dropped_when_a_worker_comes_to_it(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    store.one("ZADD", K.receipts, 1, "1.of-nothing")
    assert [one.purchase.purchase_id for one in sale.outbox.begin("1", ["1.of-nothing", first])] == [first]
    assert sale.outbox.finish("1", ["1.of-nothing"]) == ["1.of-nothing"]
    assert account(store).check().outbox == {first}


def test_a_receipt_that_was_cleaned_up_is_asked_for_once(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    assert sale.outbox.request("1", first, LATER_MS) == "pending"
    sale.outbox.begin("1", [first])
    sale.outbox.finish("1", [first])
    assert [sale.outbox.request("1", first, LATER_MS) for _ in range(3)] == ["requested", "pending", "pending"]
    assert account(store).check().outbox == {first}
    assert sale.overdue() == []  # it is enqueued by whoever asked; the sweeper comes later
    assert len(sale.outbox.begin("1", [first])) == 1


def test_a_receipt_that_failed_or_has_no_purchase_is_not_put_into_the_outbox(store: Store) -> None:
    sale, [failed, voided] = with_purchases(store, 2)
    while sale.outbox.begin("1", [failed]):
        pass
    sale.sales.void("1", SEED, [voided])
    held = everything(store)
    asked = [sale.outbox.request("1", one, LATER_MS) for one in (failed, voided, "1.never-heard-of")]
    assert asked == ["failed", "none", "none"]
    assert everything(store) == held


def test_asking_for_a_pending_receipt_does_not_put_it_off(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    due = due_of(store, first)
    sale.outbox.request("1", first, 10 * LATER_MS)
    assert due_of(store, first) == due


@pytest.mark.parametrize("damage", ["", "no bars", "f|yesterday|E1-000001|", "f|1"])
def test_a_damaged_record_keeps_no_other_from_being_drawn_and_is_given_up_in_the_end(
    store: Store, damage: str, logged: list[str]
) -> None:
    sale, [damaged, good] = with_purchases(store, 2, contact='{"name":"Ann"}')
    if damage:
        store.one("HSET", K.purchases, damaged, damage)
    else:
        store.one("HSET", K.contacts, damaged, '["no", "contact"]')
    assert [one.purchase.purchase_id for one in sale.outbox.begin("1", [damaged, good])] == [good]
    assert store.one("ZRANGE", K.receipts, 0, -1) == [damaged, good]
    for _ in range(RECEIPT_TRIES):
        sale.outbox.begin("1", [damaged])
    assert store.one("HKEYS", K.failed) == [damaged]
    assert [line.partition(" ")[0] for line in logged] == ["ERROR"] * RECEIPT_TRIES + ["WARNING"]
    assert damaged not in "".join(logged)


def test_a_receipt_that_is_given_up_is_told_of_once_and_its_id_is_not_in_the_log(
    store: Store, logged: list[str]
) -> None:
    _, [poison, good] = with_purchases(store, 2)
    told: list[str] = []
    outbox = OutboxStore(store, tries=2, retry_base_ms=LATER_MS, on_given_up=told.append)
    for expected in ([], [], [poison], [poison]):
        outbox.begin("1", [poison])
        assert told == expected
    outbox.begin("1", [good])
    assert told == [poison]
    assert logged == [f"WARNING the receipt of {short(poison)} is given up after 2 tries"]


def test_a_first_try_is_told_from_later_ones_and_from_a_receipt_that_was_stored_before(store: Store) -> None:
    sale, [first] = with_purchases(store, 1)
    assert [one.first_try for _ in range(2) for one in sale.outbox.begin("1", [first])] == [True, False]
    sale.outbox.finish("1", [first])
    assert sale.outbox.request("1", first, LATER_MS) == "requested"
    assert [one.first_try for one in sale.outbox.begin("1", [first])] == [False]


@pytest.mark.parametrize("planted", ["purchases", "receipts", "tries", "failed"])
def test_a_key_of_a_wrong_type_is_an_error_and_no_receipt_is_taken_for_stored(store: Store, planted: str) -> None:
    sale, [first] = with_purchases(store, 1)
    key = getattr(K, planted)
    store.one("DEL", key)
    store.one("SET", key, "damage")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        sale.outbox.finish("1", [first])
