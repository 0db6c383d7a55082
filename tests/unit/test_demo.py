"""The demonstration events: real-looking, of many places, never stale."""

import unicodedata
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from seeds import demo
from seeds.events_file import ACCENT, AMOUNT, DIRECTION_OVERRIDES, UNPRINTABLE
from ticketing.model import EVENT_ID
from ticketing.money import decimals_of

TODAY = date(2026, 11, 25)


@pytest.mark.parametrize("days", range(0, 366, 7))
def test_every_event_lies_at_least_sixty_days_and_at_most_two_years_ahead(days: int) -> None:
    today = TODAY + timedelta(days=days)
    for plan in demo.plans(30, 1, today):
        begins = datetime.fromtimestamp(plan.event.starts_at_ms / 1000, ZoneInfo(plan.event.timezone))
        assert 60 <= (begins.date() - today).days <= 2 * 366, plan.event
        assert 17 <= begins.hour <= 21, plan.event


def test_the_same_day_gives_the_same_events_and_fewer_are_the_first_of_more() -> None:
    assert demo.plans(500, 7, TODAY) == demo.plans(500, 7, TODAY)
    assert demo.plans(5, 7, TODAY) == demo.plans(500, 7, TODAY)[:5]
    assert demo.plans(0, 7, TODAY) == []


def test_ids_count_from_one_and_every_plan_has_the_tickets_asked_for() -> None:
    plans = demo.plans(500, 7, TODAY)
    assert [plan.event.event_id for plan in plans] == [str(number) for number in range(1, 501)]
    assert all(EVENT_ID.fullmatch(plan.event.event_id) for plan in plans)
    assert {plan.tickets for plan in plans} == {7}


def test_the_five_events_differ_in_place_currency_colour_and_script() -> None:
    events = [plan.event for plan in demo.plans(5, 1, TODAY)]
    for values in zip(*((e.name, e.venue, e.address, e.organiser, e.timezone, e.accent) for e in events), strict=True):
        assert len(set(values)) == 5
    assert len({event.price_currency for event in events}) == 5
    scripts = {unicodedata.name(event.name[0]).split()[0] for event in events}
    assert scripts == {"LATIN", "CJK", "ARABIC"}
    assert any(decimals_of(event.price_currency) == 0 for event in events)


def test_five_hundred_events_have_five_hundred_names() -> None:
    events = [plan.event for plan in demo.plans(500, 1, TODAY)]
    assert len({(event.name, event.venue) for event in events}) == 500


def test_every_event_would_be_taken_from_a_file_too() -> None:
    for event in (plan.event for plan in demo.plans(500, 1, TODAY)):
        amount = AMOUNT.fullmatch(event.price_amount)
        assert amount is not None
        assert len(amount[3] or "") == decimals_of(event.price_currency)
        assert ACCENT.fullmatch(event.accent)
        for text in (event.name, event.venue, event.address, event.organiser):
            assert 0 < len(text) <= 200
            assert unicodedata.normalize("NFC", text) == text
            assert not any(unicodedata.category(c) in UNPRINTABLE or c in DIRECTION_OVERRIDES for c in text)
        assert event.closes_ms == event.starts_at_ms > datetime(2026, 11, 25, tzinfo=UTC).timestamp() * 1000
