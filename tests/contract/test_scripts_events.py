"""The scripts that make, fill, describe, pause, replace and read events, on both backends."""

from dataclasses import asdict, replace

import pytest

from tests.sales import SEED, Sale, a_request, account, an_event, everything
from ticketing.errors import StoreError
from ticketing.model import Event, SaleState
from ticketing.store import keys, scripts
from ticketing.store.connection import Store
from ticketing.store.events import CHUNK_TICKETS, EventConflict, Seeding, create
from ticketing.store.sale import EventBatch

pytestmark = pytest.mark.on_cluster

K = keys.of_event("1")


def open_sale(store: Store, tickets: int = 10, **changes: object) -> Sale:
    sale = Sale(store)
    sale.open(tickets, **changes)
    return sale


def put(store: Store, **fields: object) -> None:
    store.one("HSET", K.info, *(str(part) for pair in fields.items() for part in pair))


FULL = Event(
    event_id="1",
    name="Été à Ōsaka",
    venue="大阪城ホール",
    starts_at_ms=1_900_000_000_000,
    timezone="Asia/Tokyo",
    price_amount="4900",
    price_currency="JPY",
    address="Osaka",
    organiser="Kyōdō",
    accent="#0a7d5c",
    opens_ms=1_700_000_000_000,
    closes_ms=1_899_999_999_999,
    quantity_max=4,
    buyer_max=8,
)


def test_an_event_is_read_as_it_was_made(store: Store) -> None:
    assert create(store, FULL, seed="s", planned=7) == Seeding("s", 0, created=True)
    [state] = Sale(store).events.read(["1"])
    assert state.event == FULL
    assert (state.seed, state.version, state.epoch, state.issued, state.planned) == ("s", 1, 1, 0, 7)
    assert (state.sold, state.pool, state.leased, state.purchases, state.remaining) == (0, 0, 0, 0, 0)
    assert (state.paused, state.halted, state.oldest_pending_ms) == (False, False, None)
    assert state.state(FULL.opens_ms or 0) is SaleState.UPCOMING  # its tickets are not all there yet


def test_an_event_that_exists_is_not_made_again(store: Store) -> None:
    sale = open_sale(store)
    held = everything(store)
    assert create(store, an_event(name="Another"), seed="another", planned=99) == Seeding(SEED, 10, created=False)
    assert everything(store) == held
    assert sale.events.ids() == ["1"]


def test_an_event_whose_making_died_halfway_is_listed_by_the_next_try(store: Store) -> None:
    create(store, an_event(), seed=SEED, planned=5)
    store.one("DEL", keys.EVENTS)  # as if the process had died before this was written
    assert create(store, an_event(), seed="other", planned=5) == Seeding(SEED, 0, created=False)
    assert Sale(store).events.ids() == ["1"]


def test_events_are_listed_for_people_numbers_first_and_by_value(store: Store) -> None:
    for event_id in ("10", "gala", "2", "Ball", "1"):
        create(store, an_event(event_id), seed=SEED, planned=1)
    assert Sale(store).events.ids() == ["1", "2", "10", "Ball", "gala"]


def test_reading_leaves_out_events_that_do_not_exist(store: Store) -> None:
    sale = open_sale(store)
    sale.open(1, "2")
    assert [state.event.event_id for state in sale.events.read(["1", "nowhere", "2"])] == ["1", "2"]


def test_more_events_than_fit_a_round_trip_are_read_in_order(store: Store) -> None:
    for number in range(450):
        create(store, an_event(str(number)), seed=SEED, planned=1)
    events = Sale(store).events
    assert [state.event.event_id for state in events.read(events.ids())] == [str(number) for number in range(450)]


def test_the_counters_of_a_state_belong_together(store: Store) -> None:
    sale = open_sale(store, 10)
    bought = [a_request(2) for _ in range(3)]
    sale.buy(*bought)
    sale.sales.void("1", SEED, [bought[0].purchase_id])
    while sale.outbox.begin("1", [bought[1].purchase_id]):
        pass
    store.one("HSET", K.leases, "h-0", f"t|{store.one('LPOP', K.tickets)}", "h-1", "u|")
    [state] = sale.events.read(["1"])
    assert (state.sold, state.pool, state.leased, state.issued, state.remaining) == (4, 5, 1, 10, 6)
    assert (state.purchases, state.receipts_pending, state.receipts_failed) == (2, 1, 1)
    [fingerprint, sold_at_ms, *_] = store.one("HGET", K.purchases, bought[2].purchase_id).split("|")
    assert state.oldest_pending_ms == int(sold_at_ms), fingerprint
    assert state.as_of_ms > 0


def test_reading_writes_nothing(store: Store) -> None:
    sale = open_sale(store)
    sale.buy(a_request())
    held = everything(store)
    sale.events.read(["1", "2"])
    assert everything(store) == held


@pytest.mark.parametrize("damage", [("HDEL", "seed"), ("HDEL", "issued"), ("HSET", "sold", "many")])
def test_an_event_with_damaged_info_is_a_store_error_that_names_it(store: Store, damage: tuple[str, ...]) -> None:
    sale = open_sale(store)
    command, *words = damage
    store.one(command, K.info, *words)
    with pytest.raises(StoreError, match="event 1: its info is damaged"):
        sale.events.read(["1"])


# --- tickets


def test_tickets_are_numbered_from_one_and_issued_in_order(store: Store) -> None:
    open_sale(store, 3)
    assert account(store).check().pool == ["E1-000001", "E1-000002", "E1-000003"]


def test_a_chunk_that_is_sent_again_enters_the_pool_once(store: Store) -> None:
    sale = open_sale(store, 10)
    first = sale.events.add_chunk("1", SEED, 10, 5)
    again = sale.events.add_chunk("1", SEED, 10, 5)  # the answer to the first was lost
    assert (first, again) == (15, 15)
    assert account(store).check().issued == 15


def test_two_who_add_at_once_are_both_served_once(store: Store) -> None:
    sale, other = open_sale(store, 10), Sale(store)
    assert other.events.add_chunk("1", SEED, 10, 3) == 13
    assert sale.events.add_more("1", SEED, 10, 5) == 18  # it was moved on from 10
    assert account(store).check().issued == 18


def test_a_chunk_is_never_larger_than_what_keeps_the_server_quick(store: Store) -> None:
    sale = open_sale(store, 1)
    assert sale.events.add_chunk("1", SEED, 1, 10 * CHUNK_TICKETS) == 1 + CHUNK_TICKETS
    assert sale.events.add_more("1", SEED, 1 + CHUNK_TICKETS, 2 * CHUNK_TICKETS + 1) == 3 * CHUNK_TICKETS + 2
    assert len(account(store).check().pool) == 3 * CHUNK_TICKETS + 2


def test_tickets_that_are_added_raise_version_and_epoch(store: Store) -> None:
    sale = open_sale(store, 1)
    before = account(store).info
    sale.events.add_chunk("1", SEED, 1, 1)
    after = account(store).info
    assert [int(after[name]) - int(before[name]) for name in ("version", "epoch", "issued")] == [1, 1, 1]


def test_an_event_opens_when_all_planned_tickets_are_there(store: Store) -> None:
    sale = Sale(store)
    create(store, an_event(), seed=SEED, planned=3)
    sale.events.add_chunk("1", SEED, 0, 2)
    [reply] = sale.buy(a_request())
    assert (reply.outcome, reply.detail) == ("not_on_sale", "upcoming")
    sale.events.add_chunk("1", SEED, 2, 1)
    assert sale.tags(a_request()) == ["sold"]


def test_numbers_beyond_six_digits_grow(store: Store) -> None:
    sale = open_sale(store, 1)
    put(store, issued=999_999)
    sale.events.add_chunk("1", SEED, 999_999, 2)
    assert store.one("LRANGE", K.tickets, -2, -1) == ["E1-1000000", "E1-1000001"]


def test_tickets_of_a_wrong_type_of_key_are_not_counted_as_issued(store: Store) -> None:
    sale = open_sale(store, 1)
    store.one("DEL", K.tickets)
    store.one("SET", K.tickets, "damage")
    held = everything(store)
    with pytest.raises(StoreError, match="WRONGTYPE"):
        sale.events.add_chunk("1", SEED, 1, 5)
    assert everything(store) == held


# --- what an event says of itself


def test_a_description_that_changes_raises_revision_version_and_epoch(store: Store) -> None:
    sale = open_sale(store)
    before = account(store).info
    changed = an_event(name="Tagmusik", closes_ms=5, quantity_max=2, address="Neue Straße 1")
    assert sale.events.describe(changed, SEED) is True
    [state] = sale.events.read(["1"])
    assert state.event == replace(changed, revision=2)
    after = account(store).check().info
    assert [int(after[name]) - int(before[name]) for name in ("version", "epoch", "revision")] == [1, 1, 1]


def test_a_description_that_says_the_same_changes_nothing(store: Store) -> None:
    sale = open_sale(store, address="Somewhere", opens_ms=1)
    held = everything(store)
    assert sale.events.describe(an_event(address="Somewhere", opens_ms=1), SEED) is False
    assert everything(store) == held


def test_a_field_that_is_taken_away_is_gone(store: Store) -> None:
    sale = open_sale(store, address="Somewhere", opens_ms=9_999_999_999_999)
    assert sale.tags(a_request()) == ["not_on_sale"]
    sale.events.describe(an_event(), SEED)
    assert not {"address", "opens_ms"} & account(store).info.keys()
    assert sale.tags(a_request()) == ["sold"]


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0)])
def test_a_limit_a_buyer_neither_begins_nor_ends_once_tickets_are_sold(store: Store, before: int, after: int) -> None:
    sale = open_sale(store, buyer_max=before)
    sale.buy(a_request(buyer_tag="annannannan"))
    held = everything(store)
    with pytest.raises(EventConflict, match="limit a buyer"):
        sale.events.describe(an_event(name="Other", buyer_max=after), SEED)
    assert everything(store) == held


def test_a_limit_a_buyer_may_change_its_number_and_begin_before_the_first_sale(store: Store) -> None:
    sale = open_sale(store)
    assert sale.events.describe(an_event(buyer_max=1), SEED) is True
    ann = {"buyer_tag": "annannannan"}
    assert sale.tags(a_request(1, **ann), a_request(1, **ann)) == ["sold", "buyer_limit"]
    assert sale.events.describe(an_event(buyer_max=2), SEED) is True
    assert sale.tags(a_request(1, **ann), a_request(1, **ann)) == ["sold", "buyer_limit"]
    assert account(store).check().held == {"annannannan": 2}


# --- pause


def test_a_paused_sale_sells_nothing_until_it_is_taken_up(store: Store) -> None:
    sale, other = open_sale(store), Sale(store)
    sale.events.set_paused("1", SEED, True)
    [reply] = other.buy(a_request())
    assert (reply.outcome, reply.detail) == ("not_on_sale", "paused")
    assert sale.events.read(["1"])[0].state(1) is SaleState.PAUSED
    sale.events.set_paused("1", SEED, False)
    assert other.tags(a_request()) == ["sold"]


def test_pausing_twice_changes_nothing_the_second_time(store: Store) -> None:
    sale = open_sale(store)
    sale.events.set_paused("1", SEED, False)  # it was not paused
    assert account(store).info["version"] == "2"
    sale.events.set_paused("1", SEED, True)
    held = everything(store)
    sale.events.set_paused("1", SEED, True)
    assert everything(store) == held
    assert account(store).info["version"] == "3"


# --- replace


def test_an_event_that_sold_nothing_begins_anew_with_an_empty_pool(store: Store) -> None:
    sale = open_sale(store, 10, address="Somewhere")
    sale.events.set_paused("1", SEED, True)
    sale.events.replace(an_event(name="New"), old_seed=SEED, new_seed="seed-2", planned=2)
    [state] = sale.events.read(["1"])
    assert (state.seed, state.issued, state.planned, state.pool, state.paused) == ("seed-2", 0, 2, 0, False)
    assert state.event == an_event(name="New", revision=2)
    assert (state.version, state.epoch) == (4, 4)  # both went on, so that no process takes it for a step back
    sale.events.add_more("1", "seed-2", 0, 2)
    assert sale.buy(a_request(), seed="seed-2")[0].outcome == "sold"
    account(store).check()


def test_a_late_script_of_the_old_sale_does_nothing_to_the_new_one(store: Store) -> None:
    sale, late = open_sale(store), Sale(store)
    late.events.read(["1"])
    sale.events.replace(an_event(), old_seed=SEED, new_seed="seed-2", planned=10)
    held = everything(store)
    assert late.tags(a_request()) == ["no_event"]
    assert late.sales.void("1", SEED, ["1.x"]) == "no_event"
    for change in (
        lambda: late.events.add_chunk("1", SEED, 0, 10),
        lambda: late.events.set_paused("1", SEED, True),
        lambda: late.events.describe(an_event(name="Old"), SEED),
        lambda: late.events.replace(an_event(), old_seed=SEED, new_seed="seed-3", planned=1),
    ):
        with pytest.raises(EventConflict, match="replaced"):
            change()
    assert everything(store) == held


def test_an_event_that_sold_a_ticket_is_never_begun_anew(store: Store) -> None:
    sale = open_sale(store)
    sale.buy(a_request())
    held = everything(store)
    with pytest.raises(EventConflict, match="tickets of it are sold"):
        sale.events.replace(an_event(), old_seed=SEED, new_seed="seed-2", planned=10)
    assert everything(store) == held


def test_an_event_with_leased_tickets_is_not_begun_anew_and_with_empty_leases_is(store: Store) -> None:
    sale = open_sale(store)
    store.one("HSET", K.leases, "h-0", "token|", "h-1", f"token|{store.one('LPOP', K.tickets)}")
    held = everything(store)
    with pytest.raises(EventConflict, match="leased"):
        sale.events.replace(an_event(), old_seed=SEED, new_seed="seed-2", planned=10)
    assert everything(store) == held
    store.one("HSET", K.leases, "h-1", "token|")
    sale.events.replace(an_event(), old_seed=SEED, new_seed="seed-2", planned=10)
    assert account(store).info["seed"] == "seed-2"


def test_an_event_whose_only_purchase_was_voided_may_begin_anew_and_bars_its_late_scripts(store: Store) -> None:
    sale = open_sale(store)
    late = a_request(2)
    sale.buy(late)
    sale.sales.void("1", SEED, [late.purchase_id])
    sale.events.replace(an_event(), old_seed=SEED, new_seed="seed-2", planned=1)
    assert sale.tags(late) == ["no_event"]
    assert account(store).tombstones == set()


# --- what all of them have in common


@pytest.mark.parametrize(("fields", "reason"), [({"halted": 1}, "halted"), ({"version": 0}, "older")])
def test_no_change_is_made_to_an_event_that_is_halted_or_went_back(
    store: Store, fields: dict[str, int], reason: str
) -> None:
    sale = open_sale(store)
    put(store, **fields)
    held = everything(store)
    for change in (
        lambda: sale.events.add_chunk("1", SEED, 10, 1),
        lambda: sale.events.set_paused("1", SEED, True),
        lambda: sale.events.describe(an_event(name="Other"), SEED),
        lambda: sale.events.replace(an_event(), old_seed=SEED, new_seed="seed-2", planned=1),
    ):
        with pytest.raises(EventConflict, match=reason):
            change()
    assert everything(store) == held


def test_each_script_has_all_its_keys_in_the_events_slot() -> None:
    for key in keys.of_event("some-event"):
        assert key.startswith("event:{some-event}:")


def test_each_script_names_its_keys_replies_and_arguments() -> None:
    for path in sorted(scripts.FOLDER.glob("*.lua")):
        text = path.read_text(encoding="utf-8")
        header = [line for line in text.splitlines() if line.startswith("--")]
        assert any(line.startswith("-- KEYS 1 ") for line in header), path.name
        assert any(line.startswith("-- Reply ") for line in header), path.name
        assert not text.startswith("#!"), path.name  # fakeredis can't parse it; the store puts it there


def test_the_whole_store_can_be_described_without_touching_a_sale(store: Store) -> None:
    sale = open_sale(store)
    bought = a_request(2)
    [[reply]] = sale.sales.purchase([EventBatch("1", SEED, [bought])])
    assert asdict(sale.events.read(["1"])[0])["event"]["name"] == "Nachtmusik"
    assert reply.outcome == "sold"
