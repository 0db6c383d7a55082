"""void.lua: ids that hold no ticket, now or later, on both backends."""

import pytest

from tests.sales import SEED, Sale, a_request, account, everything
from ticketing.errors import OutcomeUnknown
from ticketing.model import Outcome
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.sale import standing

pytestmark = pytest.mark.on_cluster

K = keys.of_event("1")


def open_sale(store: Store, tickets: int = 10, **changes: object) -> Sale:
    sale = Sale(store)
    sale.open(tickets, **changes)
    return sale


def test_a_voided_purchase_gives_its_tickets_back_and_leaves_no_trace(store: Store) -> None:
    sale = open_sale(store, buyer_max=4)
    ann = {"buyer_tag": "annannannan", "contact": '{"name":"Ann"}'}
    gone, kept = a_request(3, **ann), a_request(1, **ann)
    sale.buy(gone, kept)
    sale.outbox.begin("1", [gone.purchase_id])
    assert sale.sales.void("1", SEED, [gone.purchase_id]) == ["voided"]
    held = account(store).check()
    assert held.sold.keys() == held.outbox == held.contacts == {kept.purchase_id}
    assert held.tombstones == {gone.purchase_id}
    assert held.held == {"annannannan": 1}
    assert held.tries == set()
    assert sorted(held.pool) == [f"E1-{number:06d}" for number in (1, 2, 3, 5, 6, 7, 8, 9, 10)]


def test_the_tickets_of_a_voided_purchase_are_sold_again(store: Store) -> None:
    sale = open_sale(store, 3)
    first, second = a_request(3), a_request(3)
    assert sale.tags(first, second) == ["sold", "sold_out"]
    sale.sales.void("1", SEED, [first.purchase_id])
    assert sale.tags(second) == ["sold"]
    assert account(store).check().sold.keys() == {second.purchase_id}


def test_tickets_that_come_back_raise_version_and_epoch_and_a_bar_only_the_version(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    before = account(store).info
    sale.sales.void("1", SEED, ["1.never-heard-of"])
    barred = account(store).info
    assert (int(barred["version"]), barred["epoch"]) == (int(before["version"]) + 1, before["epoch"])
    sale.sales.void("1", SEED, [bought.purchase_id])
    voided = account(store).info
    assert (int(voided["version"]), int(voided["epoch"])) == (int(barred["version"]) + 1, int(barred["epoch"]) + 1)
    assert sale.versions.seen("1", SEED) == int(voided["version"])


def test_a_void_before_the_late_purchase_bars_it(store: Store) -> None:
    sale = open_sale(store)
    late = a_request(2)
    assert sale.sales.void("1", SEED, [late.purchase_id]) == ["barred"]
    assert sale.tags(late) == ["voided"]
    held = account(store).check()
    assert (len(held.pool), held.tombstones) == (10, {late.purchase_id})


def test_a_void_after_the_late_purchase_takes_it_back(store: Store) -> None:
    sale = open_sale(store)
    late = a_request(2)
    assert sale.tags(late) == ["sold"]
    assert sale.sales.void("1", SEED, [late.purchase_id]) == ["voided"]
    assert sale.tags(late) == ["voided"]
    assert len(account(store).check().pool) == 10


def test_voiding_twice_changes_nothing_the_second_time(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(2)
    sale.buy(bought)
    ids = [bought.purchase_id, "1.never-heard-of"]
    assert sale.sales.void("1", SEED, ids) == ["voided", "barred"]
    held = everything(store)
    assert sale.sales.void("1", SEED, ids) == ["already", "already"]
    assert everything(store) == held


def test_an_id_twice_in_one_void_is_voided_once(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(2)
    sale.buy(bought)
    ids = [bought.purchase_id, bought.purchase_id, "1.x", "1.x"]
    assert sale.sales.void("1", SEED, ids) == ["voided", "already", "barred", "already"]
    assert account(store).check().tombstones == {bought.purchase_id, "1.x"}


def test_two_hundred_purchases_of_a_hundred_tickets_are_voided_in_one_call(store: Store) -> None:
    sale = open_sale(store, 20_000, quantity_max=100)
    requests = [a_request(100) for _ in range(200)]
    sale.buy(*requests)
    assert sale.sales.void("1", SEED, [one.purchase_id for one in requests]) == ["voided"] * 200
    assert len(account(store).check().pool) == 20_000


def test_a_paused_or_closed_sale_is_voided_all_the_same(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    store.one("HSET", K.info, "paused", "1", "closes_ms", "1")
    assert sale.sales.void("1", SEED, [bought.purchase_id]) == ["voided"]
    account(store).check()


def test_a_failed_receipt_of_a_voided_purchase_is_forgotten(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    while sale.outbox.begin("1", [bought.purchase_id]):
        pass
    assert account(store).check().failed == {bought.purchase_id}
    sale.sales.void("1", SEED, [bought.purchase_id])
    assert account(store).check().failed == set()


@pytest.mark.parametrize(
    ("fields", "seed", "outcome"),
    [
        ({"halted": "1"}, SEED, Outcome.HALTED),
        ({"version": "1"}, SEED, Outcome.WENT_BACK),
        ({}, "seed-2", Outcome.NO_EVENT),
    ],
)
def test_an_event_that_is_not_as_it_was_is_left_alone(
    store: Store, fields: dict[str, str], seed: str, outcome: Outcome
) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    for field, value in fields.items():
        store.one("HSET", K.info, field, value)
    held = everything(store)
    assert sale.sales.void("1", seed, [bought.purchase_id]) is outcome
    assert everything(store) == held


@pytest.mark.parametrize("planted", sorted(set(K._fields) - {"leases", "put_back"}))
def test_a_key_of_a_wrong_type_stops_the_void_and_loses_nothing(store: Store, planted: str) -> None:
    sale = open_sale(store, 5, buyer_max=3)
    bought = a_request(2, buyer_tag="annannannan", contact='{"name":"Ann"}')
    sale.buy(bought)
    store.one("DEL", getattr(K, planted))
    store.one("SET", getattr(K, planted), "not what should be here")
    held = everything(store)
    with pytest.raises(OutcomeUnknown, match="WRONGTYPE"):
        sale.sales.void("1", SEED, [bought.purchase_id, "1.never-heard-of"])
    assert everything(store) == held


def test_a_tombstone_is_found_at_the_end_of_the_rendering(store: Store) -> None:
    sale = open_sale(store)
    gone, kept = a_request(1), a_request(1)
    sale.buy(gone, kept)
    assert len(sale.outbox.begin("1", [gone.purchase_id, kept.purchase_id])) == 2
    sale.sales.void("1", SEED, [gone.purchase_id])
    assert sale.outbox.finish("1", [gone.purchase_id, kept.purchase_id]) == [gone.purchase_id]
    assert account(store).check().outbox == set()


def test_a_voided_purchase_stands_nowhere(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    found = standing(sale.store, "1", bought.purchase_id)
    assert found.purchase is not None
    assert (found.voided, found.in_outbox, found.receipt_failed) == (False, True, False)
    sale.sales.void("1", SEED, [bought.purchase_id])
    found = standing(sale.store, "1", bought.purchase_id)
    assert (found.purchase, found.voided, found.in_outbox) == (None, True, False)
    assert sale.overdue() == []
