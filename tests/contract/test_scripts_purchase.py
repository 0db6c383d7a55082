"""purchase.lua: every reply that it documents, on both backends, and the account to the ticket after each."""

import pytest

from tests.sales import LATER_MS, SEED, Sale, a_request, account, an_event, everything
from ticketing.model import Outcome, PoolLevel, parse_record
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.sale import EventBatch

pytestmark = pytest.mark.on_cluster

K = keys.of_event("1")
# The level is told with every answer that looked at the pool.
CALM = {"quantity_max": 10, "buyer_max": 0, "opens_ms": None}


def open_sale(store: Store, tickets: int = 10, **changes: object) -> Sale:
    sale = Sale(store)
    sale.open(tickets, **changes)
    return sale


def set_info(store: Store, **fields: object) -> None:
    store.one("HSET", K.info, *(str(part) for pair in fields.items() for part in pair))


def test_a_purchase_takes_the_first_tickets_of_the_pool_and_is_recorded_whole(store: Store) -> None:
    sale = open_sale(store)
    asked = a_request(3, fingerprint="0123456789abcdef", contact='{"name":"Zoë"}')
    [reply] = sale.buy(asked)
    assert reply.outcome is Outcome.SOLD
    purchase = parse_record(asked.purchase_id, reply.detail)
    assert purchase.ticket_ids == ("E1-000001", "E1-000002", "E1-000003")
    assert (purchase.fingerprint, purchase.buyer_tag, purchase.quantity) == ("0123456789abcdef", "", 3)
    assert reply.level == PoolLevel(epoch=2, left=7, leased=-1, **CALM)
    held = account(store).check()
    assert held.outbox == held.contacts == {asked.purchase_id}
    assert store.one("HGET", K.contacts, asked.purchase_id) == '{"name":"Zoë"}'
    assert store.one("HGET", K.purchases, asked.purchase_id) == reply.detail
    assert int(store.one("ZSCORE", K.receipts, asked.purchase_id)) == purchase.sold_at_ms + LATER_MS


def test_a_batch_raises_the_version_once_and_a_refusal_does_not(store: Store) -> None:
    sale = open_sale(store)
    before = int(account(store).info["version"])
    assert sale.tags(*(a_request() for _ in range(4))) == ["sold"] * 4
    assert int(account(store).info["version"]) == before + 1
    assert sale.tags(a_request(99)) == ["bad_quantity"]
    assert int(account(store).info["version"]) == before + 1
    assert sale.versions.seen("1", SEED) == before + 1


def test_the_same_purchase_asked_for_again_is_replayed_as_it_stands(store: Store) -> None:
    sale = open_sale(store)
    asked = a_request(2)
    [first] = sale.buy(asked)
    held = everything(store)
    [again] = sale.buy(asked)
    assert (again.outcome, again.detail) == (Outcome.REPLAYED, first.detail)
    assert everything(store) == held


def test_an_id_with_other_content_is_key_reused_and_moves_nothing(store: Store) -> None:
    sale = open_sale(store)
    asked = a_request(2)
    sale.buy(asked)
    held = everything(store)
    [reply] = sale.buy(a_request(3, asked.purchase_id))
    assert (reply.outcome, reply.detail) == (Outcome.KEY_REUSED, "")
    assert everything(store) == held


def test_a_fingerprint_that_begins_like_the_stored_one_is_another(store: Store) -> None:
    sale = open_sale(store)
    asked = a_request(1, fingerprint="0123456789abcdef")
    sale.buy(asked)
    assert sale.tags(a_request(1, asked.purchase_id, fingerprint="0123456789abcde")) == ["key_reused"]


def test_an_id_twice_in_a_batch_is_bought_once(store: Store) -> None:
    sale = open_sale(store)
    asked = a_request(2)
    replies = sale.buy(asked, asked, a_request(3, asked.purchase_id), asked)
    assert [reply.outcome for reply in replies] == ["sold", "replayed", "key_reused", "replayed"]
    assert replies[1].detail == replies[0].detail == replies[3].detail
    assert account(store).check().tickets_sold == 2


def test_an_id_twice_in_a_batch_can_be_refused_first_and_bought_then(store: Store) -> None:
    sale = open_sale(store, 2)
    asked = a_request(3)
    assert sale.tags(asked, a_request(2, asked.purchase_id)) == ["sold_out", "sold"]
    assert account(store).check().sold == {asked.purchase_id: ["E1-000001", "E1-000002"]}


def test_a_tombstone_answers_voided_whatever_is_asked(store: Store) -> None:
    sale = open_sale(store)
    asked = a_request(2)
    sale.sales.void("1", SEED, [asked.purchase_id])
    held = everything(store)
    assert sale.tags(asked, a_request(3, asked.purchase_id)) == ["voided", "voided"]
    assert everything(store) == held


def test_a_purchase_is_all_or_nothing_and_a_smaller_one_after_it_still_gets_its_tickets(store: Store) -> None:
    sale = open_sale(store, 5)
    replies = sale.buy(a_request(3), a_request(3), a_request(2), a_request(1))
    assert [reply.outcome for reply in replies] == ["sold", "sold_out", "sold", "sold_out"]
    assert {reply.level for reply in replies} == {PoolLevel(epoch=2, left=0, leased=0, **CALM)}
    assert account(store).check().pool == []


def test_the_last_tickets_are_sold_and_then_none(store: Store) -> None:
    sale = open_sale(store, 10)
    assert sale.tags(*(a_request(3) for _ in range(5))) == ["sold"] * 3 + ["sold_out"] * 2
    assert sale.tags(a_request(2), a_request(1), a_request(1)) == ["sold_out", "sold", "sold_out"]
    assert account(store).check().tickets_sold == 10


@pytest.mark.parametrize("quantity", [0, -1, 11, 100, 10**15])
def test_a_quantity_out_of_the_events_bounds_is_bad(store: Store, quantity: int) -> None:
    sale = open_sale(store)
    held = everything(store)
    [reply] = sale.buy(a_request(quantity, fingerprint="f" * 16))
    assert reply.outcome is Outcome.BAD_QUANTITY
    assert reply.level is not None
    assert reply.level.quantity_max == 10
    assert everything(store) == held


def test_a_bad_quantity_says_what_was_ever_allowed(store: Store) -> None:
    """Another holder may have sold that many while it was, and its journal may have it yet."""
    sale = open_sale(store, quantity_max=6)
    told = []
    for limit in (6, 4, 8, 2):
        sale.events.describe(an_event(quantity_max=limit), SEED)
        [reply] = sale.buy(a_request(9, fingerprint="f" * 16))
        assert reply.outcome is Outcome.BAD_QUANTITY
        told.append(reply.detail)
    assert told == ["6", "6", "8", "8"]


@pytest.mark.parametrize("quantity", ["1.5", "nan", "x", "", "0x"])
def test_a_quantity_that_is_no_whole_number_is_bad(store: Store, quantity: str) -> None:
    sale = open_sale(store)
    held = everything(store)
    assert sale.tags(a_request(quantity, fingerprint="f" * 16)) == ["bad_quantity"]  # type: ignore[arg-type]
    assert everything(store) == held


def test_an_event_may_allow_a_hundred_tickets_a_purchase(store: Store) -> None:
    sale = open_sale(store, 150, quantity_max=100)
    assert sale.tags(a_request(100), a_request(100), a_request(101)) == ["sold", "sold_out", "bad_quantity"]
    assert account(store).check().tickets_sold == 100


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"paused": 1}, "paused"),
        ({"opens_ms": 9_999_999_999_999}, "upcoming"),
        ({"planned": 11}, "upcoming"),
        ({"closes_ms": 1}, "closed"),
        ({"closes_ms": 1, "paused": 1, "opens_ms": 9_999_999_999_999}, "closed"),
        ({"paused": 1, "opens_ms": 9_999_999_999_999}, "upcoming"),
    ],
)
def test_an_event_that_is_not_on_sale_says_why(store: Store, fields: dict[str, int], state: str) -> None:
    sale = open_sale(store)
    earlier = a_request(1)
    sale.buy(earlier)
    set_info(store, **fields)
    held = everything(store)
    replies = sale.buy(a_request(1), earlier)
    assert [(reply.outcome, reply.detail) for reply in replies[:1]] == [("not_on_sale", state)]
    assert replies[1].outcome is Outcome.REPLAYED  # what was sold stays sold
    assert replies[0].level is not None
    assert replies[0].level.opens_ms == fields.get("opens_ms")
    assert everything(store) == held


def test_a_sale_that_has_opened_and_not_yet_closed_sells(store: Store) -> None:
    sale = open_sale(store, opens_ms=1, closes_ms=9_999_999_999_999)
    assert sale.tags(a_request(1)) == ["sold"]


def test_a_purchase_past_its_deadline_is_expired_and_a_known_one_still_replayed(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    late = Sale(store, timeout_ms=-1000)
    held = everything(store)
    assert late.tags(a_request(1), bought) == ["expired", "replayed"]
    assert everything(store) == held


def test_an_expired_purchase_tells_the_time_so_that_the_next_try_is_in_time(store: Store) -> None:
    sale = open_sale(store)
    sale.buy(a_request(1))
    for clock in sale.clocks:
        clock.saw(1)  # as if the store's clock had been set forward by years
    asked = a_request(1)
    assert sale.tags(asked) == ["expired"]
    assert sale.tags(asked) == ["sold"]


def test_an_event_of_another_seed_is_no_event_and_nothing_is_done(store: Store) -> None:
    sale = open_sale(store)
    held = everything(store)
    assert sale.buy(a_request(1), seed="seed-2")[0] == sale.buy(a_request(1, event_id="nowhere"))[0]
    assert sale.tags(a_request(1), a_request(1), seed="seed-2") == ["no_event", "no_event"]
    assert everything(store) == held


def test_a_store_that_went_back_is_noticed_before_anything_is_written(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    store.one("HINCRBY", K.info, "version", -1)
    held = everything(store)
    assert sale.tags(bought, a_request(1)) == ["went_back", "went_back"]
    assert everything(store) == held
    assert Sale(store).tags(a_request(1)) == ["sold"]  # a fresh process has seen nothing higher


def test_a_halted_event_sells_nothing_and_replays_nothing(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(1)
    sale.buy(bought)
    set_info(store, halted=1)
    held = everything(store)
    assert sale.tags(bought, a_request(1)) == ["halted", "halted"]
    assert everything(store) == held


def test_no_event_comes_before_went_back_and_that_before_halted(store: Store) -> None:
    sale = open_sale(store)
    set_info(store, halted=1)
    sale.versions.saw("1", SEED, 99)
    sale.versions.saw("1", "seed-2", 99)
    assert sale.tags(a_request(1), seed="seed-2") == ["no_event"]
    assert sale.tags(a_request(1)) == ["went_back"]


def test_a_buyer_may_hold_so_many_tickets_over_all_purchases_and_within_a_batch(store: Store) -> None:
    sale = open_sale(store, 20, buyer_max=5)
    ann = {"buyer_tag": "annannannan"}
    bob = {"buyer_tag": "bobbobbobbo"}
    replies = sale.buy(a_request(3, **ann), a_request(3, **ann), a_request(5, **bob), a_request(2, **ann))
    assert [reply.outcome for reply in replies] == ["sold", "buyer_limit", "sold", "sold"]
    assert replies[1].detail == "3"
    [reply] = sale.buy(a_request(1, **ann))
    assert (reply.outcome, reply.detail) == (Outcome.BUYER_LIMIT, "5")
    assert account(store).check().held == {"annannannan": 5, "bobbobbobbo": 5}


def test_an_event_with_a_limit_a_buyer_needs_a_buyer(store: Store) -> None:
    sale = open_sale(store, buyer_max=5)
    held = everything(store)
    assert sale.tags(a_request(1)) == ["buyer_required"]
    assert everything(store) == held


def test_an_event_without_a_limit_counts_no_buyers(store: Store) -> None:
    sale = open_sale(store)
    assert sale.tags(a_request(2, buyer_tag="annannannan")) == ["sold"]
    held = account(store).check()
    assert (held.held, dict(held.buyers)) == ({}, {"annannannan": 2})


@pytest.mark.parametrize(
    ("leases", "leased"),
    [
        ({}, 0),
        ({"h-0": "t|"}, 0),
        ({"h-0": "t|E1-000009"}, 1),
        ({"h-0": "t|E1-000009,E1-000010", "h-1": "u|E1-000008"}, 3),
    ],
)
def test_each_refusal_says_how_many_tickets_are_leased(store: Store, leases: dict[str, str], leased: int) -> None:
    sale = open_sale(store)
    for holder, lease in leases.items():
        store.one("HSET", K.leases, holder, lease)
    for tag, asked in (("bad_quantity", a_request(11)), ("sold", a_request(1))):
        [reply] = sale.buy(asked)
        assert reply.outcome == tag
        assert reply.level is not None
        assert reply.level.leased == (leased if tag == "bad_quantity" else -1)


def test_leased_tickets_are_counted_in_the_account_and_not_sold(store: Store) -> None:
    sale = open_sale(store, 3)
    ticket = store.one("LPOP", K.tickets)
    store.one("HSET", K.leases, "h-0", f"token|{ticket}")
    assert sale.tags(a_request(3), a_request(2), a_request(1)) == ["sold_out", "sold", "sold_out"]
    assert account(store).check().leased == ["E1-000001"]


def test_a_thousand_purchases_of_a_hundred_tickets_go_in_one_call(store: Store) -> None:
    sale = open_sale(store, 100_050, quantity_max=100)
    contact = '{"name":"' + "n" * 100 + '"}'
    replies = sale.buy(*(a_request(100, contact=contact, buyer_tag="annannannan") for _ in range(1000)))
    assert [reply.outcome for reply in replies] == ["sold"] * 1000
    held = account(store).check()
    assert (len(held.sold), held.tickets_sold, len(held.pool)) == (1000, 100_000, 50)
    assert held.outbox == held.contacts == held.sold.keys()


def test_a_thousand_buyers_with_a_limit_go_in_one_call(store: Store) -> None:
    sale = open_sale(store, 1000, buyer_max=1)
    requests = [a_request(1, buyer_tag=f"buyer{number:06d}") for number in range(1000)]
    assert sale.tags(*requests) == ["sold"] * 1000
    assert sale.tags(*requests) == ["replayed"] * 1000
    assert account(store).check().held == {request.buyer_tag: 1 for request in requests}


@pytest.mark.parametrize("planted", sorted(set(K._fields) - {"put_back"}))
def test_a_key_of_a_wrong_type_stops_the_sale_and_loses_nothing(store: Store, planted: str) -> None:
    sale = open_sale(store, 5, buyer_max=3)
    sale.buy(a_request(2, buyer_tag="annannannan", contact='{"name":"Ann"}'))
    key = getattr(K, planted)
    store.one("DEL", key)
    store.one("SET", key, "not what should be here")
    held = everything(store)
    refused = a_request(2, buyer_tag="annannannan", contact='{"name":"Ann"}')
    bought = a_request(1, buyer_tag="bobbobbobbo", contact='{"name":"Bob"}')
    replies = sale.buy(refused, bought)
    if planted in {"tries", "failed"}:  # a sale touches neither
        assert [reply.outcome for reply in replies] == ["buyer_limit", "sold"]
    else:
        assert [reply.outcome for reply in replies] == ["script_failed", "script_failed"]
        assert "WRONGTYPE" in replies[0].detail
        assert everything(store) == held


@pytest.mark.parametrize("field", ["issued", "planned", "version", "quantity_max", "buyer_max", "sold"])
def test_a_counter_that_is_no_number_stops_the_sale_and_loses_nothing(store: Store, field: str) -> None:
    sale = open_sale(store, 5)
    set_info(store, **{field: "many"})
    held = everything(store)
    assert sale.tags(a_request(1)) == ["script_failed"]
    assert everything(store) == held


def test_events_in_one_round_trip_do_not_mind_each_other(store: Store) -> None:
    sale = open_sale(store, 5)
    for event_id in ("2", "3"):
        sale.open(5, event_id)
    store.one("SET", keys.of_event("2").receipts, "damage")
    batches = [EventBatch(name, SEED, [a_request(1, event_id=name)]) for name in ("1", "2", "3", "4")]
    replies = sale.sales.purchase(batches)
    assert [reply.outcome for [reply] in replies] == ["sold", "script_failed", "sold", "no_event"]
    for event_id in ("1", "3"):
        assert account(store, event_id).check().tickets_sold == 1
    store.one("DEL", keys.of_event("2").receipts)
    assert account(store, "2").check().tickets_sold == 0


def test_nothing_is_sent_while_the_stores_time_is_not_known(store: Store) -> None:
    open_sale(store)
    held = everything(store)
    assert Sale(store, greeted=False).tags(a_request(1)) == ["refused"]
    assert everything(store) == held


def test_what_buyers_are_named_is_data_and_never_a_command(store: Store) -> None:
    sale = open_sale(store)
    contact = '{"name":"\\r\\n*1\\r\\n$8\\r\\nFLUSHALL\\r\\n\\u0000|,-"}\r\nFLUSHALL\r\n\0'
    asked = a_request(1, contact=contact)
    assert sale.tags(asked) == ["sold"]
    assert store.one("HGET", K.contacts, asked.purchase_id) == contact
    account(store).check()
