"""The words of the sale: states, records, ids."""

from dataclasses import replace

import pytest

from tests.sales import an_event
from tests.unit.test_counter import a_state
from ticketing.model import (
    EVENT_ID,
    Event,
    EventState,
    Purchase,
    SaleState,
    event_id_of,
    is_tombstone,
    parse_record,
    ticket_id,
)

NOW_MS = 1000


def a_sale(event: Event | None = None, **changes: object) -> EventState:
    return replace(a_state(), event=event or an_event(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sale", "state"),
    [
        (a_sale(), SaleState.OPEN),
        (a_sale(an_event(opens_ms=NOW_MS)), SaleState.OPEN),
        (a_sale(an_event(opens_ms=NOW_MS + 1)), SaleState.UPCOMING),
        (a_sale(issued=9), SaleState.UPCOMING),  # its seeding is not complete
        (a_sale(an_event(closes_ms=NOW_MS + 1)), SaleState.OPEN),
        (a_sale(an_event(closes_ms=NOW_MS)), SaleState.CLOSED),
        (a_sale(paused=True), SaleState.PAUSED),
        (a_sale(halted=True), SaleState.PAUSED),
        (a_sale(sold=10), SaleState.SOLD_OUT),
        (a_sale(sold=9, pool=0, leased=1), SaleState.OPEN),  # leased tickets remain to be sold
        (a_sale(paused=True, sold=10), SaleState.PAUSED),
        (a_sale(an_event(closes_ms=NOW_MS), paused=True, sold=10, issued=9), SaleState.CLOSED),
        (a_sale(an_event(opens_ms=NOW_MS + 1), paused=True), SaleState.UPCOMING),
        (a_sale(issued=0, planned=0), SaleState.SOLD_OUT),
    ],
)
def test_a_sale_is_in_the_first_state_that_holds(sale: EventState, state: SaleState) -> None:
    assert sale.state(NOW_MS) is state


def test_remaining_counts_what_is_issued_and_not_sold_leased_ones_included() -> None:
    assert a_sale(issued=10, sold=3, pool=5, leased=2).remaining == 7


def test_a_record_is_read_whole() -> None:
    assert parse_record("gala.x", "0123456789abcdef|1700000000000|Egala-000001,Egala-000002|annannannan") == Purchase(
        "gala.x", "gala", "0123456789abcdef", 1_700_000_000_000, 2, ("Egala-000001", "Egala-000002"), "annannannan"
    )
    assert parse_record("1.x", "f|1|E1-000001|", replayed=True).replayed
    assert parse_record("1.x", "f|1|E1-000001|").quantity == 1


def test_a_tombstone_is_no_record() -> None:
    assert is_tombstone("-1700000000000")
    assert not is_tombstone("0123456789abcdef|1|E1-000001|")


def test_ticket_ids_have_six_digits_or_more() -> None:
    assert [ticket_id("1", number) for number in (1, 999_999, 1_000_000)] == ["E1-000001", "E1-999999", "E1-1000000"]


def test_the_event_of_a_purchase_stands_before_its_full_stop() -> None:
    assert event_id_of("gala-2.abc") == "gala-2"


@pytest.mark.parametrize("good", ["1", "a", "Z9", "gala_2027-b", "x" * 64])
def test_an_event_id_is_what_the_documents_say(good: str) -> None:
    assert EVENT_ID.fullmatch(good)


@pytest.mark.parametrize("bad", ["", "-a", "_a", "x" * 65, "a.b", "a b", "ä", "a\n", "a/b", "a{b}", "\u0661"])
def test_anything_else_is_no_event_id(bad: str) -> None:
    assert not EVENT_ID.fullmatch(bad)
