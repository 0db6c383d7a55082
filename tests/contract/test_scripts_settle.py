"""settle.lua: every outcome that it documents, on both backends, and the account to the ticket after each."""

import pytest

from tests.leases import HOST, SOLD_AT_MS, K, Leasing, journalled
from tests.sales import LATER_MS, SEED, a_request, everything
from ticketing.errors import ScriptFailed
from ticketing.model import Outcome, parse_record
from ticketing.store.connection import Store
from ticketing.store.leases import LeaseReply, Settled

pytestmark = pytest.mark.on_cluster

SETTLED, KNOWN, REUSED, VOIDED, UNFUNDED = (
    Settled.SETTLED,
    Settled.KNOWN,
    Settled.KEY_REUSED,
    Settled.VOIDED,
    Settled.UNFUNDED,
)


def test_a_journalled_purchase_takes_its_tickets_from_the_lease_and_enters_the_outbox(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(5)
    asked = a_request(2, fingerprint="0123456789abcdef", contact='{"name":"Zoë"}')
    before_ms = store.clock_ms()
    change = holder.settling(journalled(asked))
    assert holder.send(change) == LeaseReply(False, change.token, 3, (SETTLED,))
    held = holder.sound()
    purchase = parse_record(asked.purchase_id, store.one("HGET", K.purchases, asked.purchase_id))
    assert purchase.ticket_ids == ("E1-000006", "E1-000007")
    assert (purchase.sold_at_ms, purchase.fingerprint) == (SOLD_AT_MS, "0123456789abcdef")
    assert (len(held.pool), len(held.leased)) == (5, 3)
    assert held.outbox == held.contacts == {asked.purchase_id}
    assert int(store.one("ZSCORE", K.receipts, asked.purchase_id)) >= before_ms + LATER_MS
    assert holder.sale.tags(asked) == ["replayed"]


def test_what_the_lease_does_not_cover_comes_from_the_pool(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(2)
    asked = a_request(5)
    assert holder.settle(journalled(asked)) == (SETTLED,)
    held = holder.sound()
    assert sorted(held.sold[asked.purchase_id]) == [f"E1-{number:06d}" for number in (1, 2, 3, 9, 10)]
    assert (len(held.pool), held.leased) == (5, [])


def test_a_holder_without_a_lease_settles_from_the_pool(store: Store) -> None:
    holder = Leasing(store, 3)
    assert holder.settle(journalled(a_request(2)), journalled(a_request(1))) == (SETTLED, SETTLED)
    assert holder.sound().pool == []


def test_a_purchase_that_nothing_covers_is_unfunded_and_takes_nothing(store: Store) -> None:
    holder = Leasing(store, 4)
    holder.lease(1)
    first, too_many, last = a_request(3), a_request(2), a_request(1)
    assert holder.settle(*map(journalled, (first, too_many, last))) == (SETTLED, UNFUNDED, SETTLED)
    held = holder.sound()
    assert held.sold.keys() == held.outbox == {first.purchase_id, last.purchase_id}
    assert (held.pool, held.leased) == ([], [])
    assert holder.settle(journalled(too_many)) == (UNFUNDED,)
    holder.sale.events.add_more("1", SEED, 4, 2)
    assert holder.settle(journalled(too_many)) == (SETTLED,)


def test_settling_again_changes_nothing_but_the_token(store: Store) -> None:
    """H1: run twice, the simpler script gave tickets back and sold them twice."""
    holder = Leasing(store, 10)
    holder.lease(5)
    entries = [journalled(a_request(quantity)) for quantity in (1, 2)]
    assert holder.settle(*entries) == (SETTLED, SETTLED)
    before = holder.sound()
    assert holder.settle(*entries) == (KNOWN, KNOWN)
    after = holder.sound()
    assert (after.pool, after.leased, after.sold) == (before.pool, before.leased, before.sold)
    assert after.info["sold"] == before.info["sold"] == "3"


def test_a_command_that_comes_twice_acts_once_and_says_that_it_had_run(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(5)
    change = holder.settling(journalled(a_request(2)))
    assert holder.send(change) == LeaseReply(False, change.token, 3, (SETTLED,))
    held = everything(store)
    assert holder.send(change) == LeaseReply(True, change.token, 3)
    assert everything(store) == held


def test_a_late_settle_takes_nothing_from_a_lease_that_was_filled_again(store: Store) -> None:
    """H4: the copy comes when its purchases are settled and the lease holds other tickets."""
    holder = Leasing(store, 10)
    holder.lease(3)
    late = holder.settling(journalled(a_request(2)))
    holder.send(late)
    holder.lease(4)
    held = everything(store)
    assert holder.send(late) == LeaseReply(True, holder.token, 4)
    assert everything(store) == held


def test_a_purchase_that_the_store_sold_meanwhile_is_known(store: Store) -> None:
    """The first script was only late: the reserve sold the same id, and its tickets stay in the lease."""
    holder = Leasing(store, 10)
    holder.lease(5)
    asked = a_request(2)
    assert holder.sale.tags(asked) == ["sold"]
    assert holder.settle(journalled(asked)) == (KNOWN,)
    assert len(holder.sound().leased) == 5


def test_a_key_that_bought_something_else_moves_nothing(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(5)
    asked = a_request(2)
    holder.sale.buy(asked)
    before = holder.sound()
    assert holder.settle(journalled(a_request(3, asked.purchase_id))) == (REUSED,)
    after = holder.sound()
    assert (after.pool, after.leased, after.sold) == (before.pool, before.leased, before.sold)


def test_a_fingerprint_that_begins_like_the_stored_one_is_another(store: Store) -> None:
    holder = Leasing(store, 10)
    asked = a_request(1, fingerprint="0123456789abcdef")
    holder.sale.buy(asked)
    assert holder.settle(journalled(a_request(1, asked.purchase_id, fingerprint="0123456789abcde"))) == (REUSED,)


def test_a_voided_id_stays_voided(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(5)
    asked = a_request(2)
    holder.sale.sales.void("1", SEED, [asked.purchase_id])
    assert holder.settle(journalled(asked)) == (VOIDED,)
    held = holder.sound()
    assert (held.tombstones, held.sold, len(held.leased)) == ({asked.purchase_id}, {}, 5)


def test_the_same_id_twice_in_one_call_is_settled_once(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(5)
    asked = a_request(2)
    again, other = journalled(asked), journalled(a_request(3, asked.purchase_id))
    assert holder.settle(journalled(asked), again, other) == (SETTLED, KNOWN, REUSED)
    held = holder.sound()
    assert (len(held.leased), held.tickets_sold) == (3, 2)


def test_an_unfunded_id_twice_in_one_call_is_unfunded_twice(store: Store) -> None:
    holder = Leasing(store, 1)
    asked = journalled(a_request(2))
    assert holder.settle(asked, asked) == (UNFUNDED, UNFUNDED)


def test_it_ignores_sale_times_pause_and_limits_since_the_sale_was_promised(store: Store) -> None:
    holder = Leasing(store, 20, buyer_max=2)
    ann = {"buyer_tag": "annannannan"}
    store.one("HSET", K.info, "paused", "1", "closes_ms", "1", "quantity_max", "1")
    assert holder.settle(journalled(a_request(12, **ann)), journalled(a_request(1, **ann))) == (SETTLED, SETTLED)
    assert holder.sound().held == {"annannannan": 13}


def test_buyers_are_counted_only_where_there_is_a_limit(store: Store) -> None:
    holder = Leasing(store, 20)
    holder.settle(journalled(a_request(2, buyer_tag="annannannan")))
    assert holder.sound().held == {}


def test_a_settle_of_nothing_changes_the_token_only(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(4)
    before = holder.sound()
    assert holder.settle() == ()
    after = holder.sound()
    assert (after.pool, after.leased, after.sold) == (before.pool, before.leased, {})


def test_every_settle_raises_the_version_and_it_is_remembered(store: Store) -> None:
    holder = Leasing(store, 10)
    before = holder.version()
    holder.settle(journalled(a_request()))
    assert holder.version() == holder.sale.versions.seen("1", SEED) == before + 1


def test_a_lease_of_another_holder_is_not_touched(store: Store) -> None:
    one, two = Leasing(store, 10), Leasing(store, 0, holder=f"{HOST}-1")
    one.lease(3)
    two.lease(7)
    assert one.settle(journalled(a_request(4))) == (UNFUNDED,)
    assert one.settle(journalled(a_request(3))) == (SETTLED,)
    assert len(one.sound().leased) == 7


def test_two_hundred_purchases_of_a_hundred_tickets_are_settled_in_one_call(store: Store) -> None:
    holder = Leasing(store, 20_000, quantity_max=100)
    holder.lease(900)
    assert holder.settle(*(journalled(a_request(100)) for _ in range(200))) == (SETTLED,) * 200
    held = holder.sound()
    assert (held.pool, held.leased, held.tickets_sold) == ([], [], 20_000)


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
    holder = Leasing(store, 10)
    holder.lease(5)
    for field, value in fields.items():
        store.one("HSET", K.info, field, value)
    held = everything(store)
    assert holder.send(holder.settling(journalled(a_request()), seed=seed)) is outcome
    assert everything(store) == held


@pytest.mark.parametrize("planted", ["tickets", "info", "purchases", "receipts", "buyers", "contacts", "leases"])
def test_a_key_of_a_wrong_type_stops_the_settle_and_loses_nothing(store: Store, planted: str) -> None:
    holder = Leasing(store, 10, buyer_max=9)
    ann = {"buyer_tag": "annannannan", "contact": '{"name":"Ann"}'}
    holder.sale.buy(a_request(1, **ann))
    holder.lease(3)
    store.one("DEL", getattr(K, planted))
    store.one("SET", getattr(K, planted), "not what should be here")
    held = everything(store)
    assert isinstance(holder.send(holder.settling(journalled(a_request(4, **ann)))), ScriptFailed)
    assert everything(store) == held
