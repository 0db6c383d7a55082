"""The events file: what is taken, and what is said of each fault."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from seeds.events_file import EventsFileError, parse, read
from seeds.plan import Plan
from ticketing.model import Event

LEAST: dict[str, Any] = {
    "event_id": "gala",
    "name": "Gala",
    "venue": "Hall",
    "starts_at": "2031-06-18T19:30:00+01:00",
    "price": {"amount": "45.00", "currency": "GBP"},
    "tickets": 100,
}
ID_RULE = "must be 1 to 64 letters, digits, - or _ (A-Z, a-z, 0-9), and begin with a letter or digit"
TIME_RULE = 'must be a time such as "2027-05-01T19:30:00+02:00", or "2027-05-01T19:30" (in the time zone)'
ZONE_RULE = 'is no time zone: use an IANA name such as "Europe/Berlin"'
AMOUNT_RULE = 'must be a decimal number in quotes, such as "49.00"'
CURRENCY_RULE = 'must be three capital letters, such as "EUR"'
COLOUR_RULE = 'must be a colour such as "#1f4e79"'
WHOLE = "must be a whole number without quotes"
BERLIN = {"timezone": "Europe/Berlin"}

# What is changed in a sound event, and the one line that tells it.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"event_id": ""}, f"event 1 (''): event_id: {ID_RULE}"),
    ({"event_id": "a/b"}, f"event 1 ('a/b'): event_id: {ID_RULE}"),
    ({"event_id": "-a"}, f"event 1 ('-a'): event_id: {ID_RULE}"),
    ({"event_id": "a" * 65}, f"event 1 ('{'a' * 65}'): event_id: {ID_RULE}"),
    ({"event_id": "é"}, f"event 1 ('é'): event_id: {ID_RULE}"),
    ({"event_id": "a\n"}, f"event 1 ('a\\n'): event_id: {ID_RULE}"),
    ({"event_id": 7}, "event 1: event_id: must be a text in quotes"),
    ({"name": ""}, "event 1 ('gala'): name: must not be empty"),
    ({"name": " \u3000"}, "event 1 ('gala'): name: must not be empty"),
    ({"name": "a" * 201}, "event 1 ('gala'): name: has more than 200 characters"),
    ({"name": "a\nb"}, "event 1 ('gala'): name: holds the control character U+000A"),
    ({"name": "a\x00"}, "event 1 ('gala'): name: holds the control character U+0000"),
    ({"name": "a\u202eb"}, "event 1 ('gala'): name: holds the control character U+202E"),
    ({"name": "\ud800"}, "event 1 ('gala'): name: is no valid Unicode text"),
    ({"name": None}, "event 1 ('gala'): name: must be a text in quotes"),
    ({"venue": "\x7f"}, "event 1 ('gala'): venue: holds the control character U+007F"),
    ({"address": "a" * 301}, "event 1 ('gala'): address: has more than 300 characters"),
    ({"organiser": "a" * 201}, "event 1 ('gala'): organiser: has more than 200 characters"),
    ({"starts_at": "tomorrow"}, f"event 1 ('gala'): starts_at: {TIME_RULE}"),
    ({"starts_at": 1_900_000_000}, f"event 1 ('gala'): starts_at: {TIME_RULE}"),
    ({"starts_at": "2031-06-18"}, f"event 1 ('gala'): starts_at: {TIME_RULE}"),
    ({"starts_at": "2031-02-30T10:00:00Z"}, "event 1 ('gala'): starts_at: day is out of range for month"),
    ({"starts_at": "1969-01-01T10:00:00Z"}, "event 1 ('gala'): starts_at: must be in a year from 1971 to 9000"),
    (
        {"starts_at": "2027-03-28T02:30", **BERLIN},
        "event 1 ('gala'): starts_at: does not exist in Europe/Berlin: the clocks go forward then",
    ),
    (
        {"starts_at": "2027-10-31T02:30", **BERLIN},
        "event 1 ('gala'): starts_at: comes twice in Europe/Berlin, when the clocks go back: add its offset",
    ),
    ({"timezone": "Mars/Olympus"}, f"event 1 ('gala'): timezone: {ZONE_RULE}"),
    ({"timezone": "../../etc/passwd"}, f"event 1 ('gala'): timezone: {ZONE_RULE}"),
    ({"timezone": "Europe"}, f"event 1 ('gala'): timezone: {ZONE_RULE}"),
    ({"price": "45.00 GBP"}, "event 1 ('gala'): price: must be an object: {...}"),
    ({"price": {"amount": "45.00"}}, "event 1 ('gala'): price.currency: is missing"),
    ({"price": {"amount": 45, "currency": "GBP"}}, "event 1 ('gala'): price.amount: must be a text in quotes"),
    ({"price": {"amount": "-1.00", "currency": "GBP"}}, f"event 1 ('gala'): price.amount: {AMOUNT_RULE}"),
    ({"price": {"amount": "1e3", "currency": "GBP"}}, f"event 1 ('gala'): price.amount: {AMOUNT_RULE}"),
    ({"price": {"amount": "١٢", "currency": "GBP"}}, f"event 1 ('gala'): price.amount: {AMOUNT_RULE}"),
    ({"price": {"amount": "1.", "currency": "GBP"}}, f"event 1 ('gala'): price.amount: {AMOUNT_RULE}"),
    ({"price": {"amount": "1.005", "currency": "GBP"}}, "event 1 ('gala'): price.amount: has 3 decimals, GBP has 2"),
    ({"price": {"amount": "1.5", "currency": "JPY"}}, "event 1 ('gala'): price.amount: has 1 decimals, JPY has none"),
    ({"price": {"amount": "1.00", "currency": "gbp"}}, f"event 1 ('gala'): price.currency: {CURRENCY_RULE}"),
    ({"price": {"amount": "1.00", "currency": "EURO"}}, f"event 1 ('gala'): price.currency: {CURRENCY_RULE}"),
    (
        {"price": {"amount": "1", "currency": "EUR", "vat": 7}},
        "event 1 ('gala'): price.vat: is not a known member",
    ),
    ({"tickets": 0}, "event 1 ('gala'): tickets: must be 1 or more"),
    ({"tickets": 10_000_001}, "event 1 ('gala'): tickets: must be 10,000,000 or less"),
    ({"tickets": "100"}, f"event 1 ('gala'): tickets: {WHOLE}"),
    ({"tickets": 1.0}, f"event 1 ('gala'): tickets: {WHOLE}"),
    ({"tickets": True}, f"event 1 ('gala'): tickets: {WHOLE}"),
    ({"sales": []}, "event 1 ('gala'): sales: must be an object: {...}"),
    ({"sales": {"opens_at": "soon"}}, f"event 1 ('gala'): sales.opens_at: {TIME_RULE}"),
    (
        {"sales": {"opens_at": "2030-01-02T00:00:00Z", "closes_at": "2030-01-02T00:00:00Z"}},
        "event 1 ('gala'): sales: closes_at must be later than opens_at",
    ),
    (
        {"sales": {"closes_at": "2027-03-28T02:30"}, **BERLIN},
        "event 1 ('gala'): sales: closes_at does not exist in Europe/Berlin: the clocks go forward then",
    ),
    ({"limits": {"per_purchase": 0}}, "event 1 ('gala'): limits.per_purchase: must be 1 or more"),
    ({"limits": {"per_purchase": 101}}, "event 1 ('gala'): limits.per_purchase: must be 100 or less"),
    ({"limits": {"per_buyer": 0}}, "event 1 ('gala'): limits.per_buyer: must be 1 or more"),
    ({"limits": {"per_buyer": True}}, f"event 1 ('gala'): limits.per_buyer: {WHOLE}"),
    ({"limits": {"per_byer": 4}}, "event 1 ('gala'): limits.per_byer: is not a known member"),
    ({"accent": "red"}, f"event 1 ('gala'): accent: {COLOUR_RULE}"),
    ({"accent": "#12345"}, f"event 1 ('gala'): accent: {COLOUR_RULE}"),
    ({"qty": 3}, "event 1 ('gala'): qty: is not a known member"),
    ({"opens_at": "2030-01-02T00:00:00Z"}, "event 1 ('gala'): opens_at: is not a known member"),
]

NOT_LISTS = [
    ("", "is not JSON: Expecting value (line 1, column 1)"),
    ("[{,}]", "is not JSON: Expecting property name enclosed in double quotes (line 1, column 3)"),
    ("{}", "must be a list of events: [{...}, ...]"),
    ("[NaN]", "is not JSON: NaN is no number"),
    ("[[]]", "event 1: must be an object: {...}"),
    ('[{"name": "a", "name": "b"}]', "has the member 'name' twice in one object"),
    ("[" * 100_000, "is nested too deeply"),
    ("[{}" + ",{}" * 10_000 + "]", "has 10,001 events, more than 10,000"),
]


def faults_of(text: str) -> list[str]:
    with pytest.raises(EventsFileError) as caught:
        parse(text)
    return str(caught.value).splitlines()


def only(**changed: Any) -> Event:
    (plan,) = parse(json.dumps([LEAST | changed]))
    return plan.event


@pytest.mark.parametrize(("changed", "line"), FAULTS, ids=[line for _, line in FAULTS])
def test_each_fault_is_told_in_one_line_that_names_event_and_field(changed: dict[str, Any], line: str) -> None:
    assert faults_of(json.dumps([LEAST | changed])) == [line]


@pytest.mark.parametrize(("text", "line"), NOT_LISTS, ids=[line for _, line in NOT_LISTS])
def test_what_is_no_list_of_events_is_refused(text: str, line: str) -> None:
    assert faults_of(text) == [line]


@pytest.mark.parametrize("member", LEAST)
def test_the_six_required_members_are_required(member: str) -> None:
    place = "event 1" if member == "event_id" else "event 1 ('gala')"
    assert faults_of(json.dumps([{k: v for k, v in LEAST.items() if k != member}])) == [
        f"{place}: {member}: is missing"
    ]


def test_every_fault_of_every_event_is_told_at_once() -> None:
    bad = [LEAST | {"tickets": 0, "accent": "red"}, LEAST, LEAST | {"event_id": "b", "timezone": "Mars/Olympus"}, 7]
    assert faults_of(json.dumps(bad)) == [
        "event 1 ('gala'): tickets: must be 1 or more",
        f"event 1 ('gala'): accent: {COLOUR_RULE}",
        f"event 3 ('b'): timezone: {ZONE_RULE}",
        "event 4: must be an object: {...}",
        "event 2 ('gala'): event_id: is used by event 1 already",
    ]


def test_what_is_optional_has_its_defaults() -> None:
    starts_at_ms = int(datetime(2031, 6, 18, 18, 30, tzinfo=UTC).timestamp()) * 1000
    # The very time that the organiser wrote, and no sale after the start.
    event = Event("gala", "Gala", "Hall", starts_at_ms, "Etc/GMT-1", "45.00", "GBP", closes_ms=starts_at_ms)
    assert parse(json.dumps([LEAST])) == [Plan(event, 100)]


@pytest.mark.parametrize(
    ("starts_at", "told"),
    [
        ("2031-06-18T19:30", "starts_at: needs an offset, such as +01:00, or the event a timezone"),
        ("2031-06-18T19:30:00+05:30", "starts_at: has an offset of its own kind: the event needs a timezone"),
    ],
)
def test_a_time_that_no_zone_can_be_told_of_is_refused(starts_at: str, told: str) -> None:
    with pytest.raises(EventsFileError, match=re.escape(told)):
        parse(json.dumps([LEAST | {"starts_at": starts_at}]))


def test_a_sale_that_opens_after_the_start_is_refused_where_nothing_says_when_it_closes() -> None:
    with pytest.raises(EventsFileError, match="opens_at must be earlier than starts_at"):
        parse(json.dumps([LEAST | {"sales": {"opens_at": "2032-01-01T00:00:00Z"}}]))


def test_a_full_event_is_taken_as_it_is_written() -> None:
    event = only(
        name="  Gala de l\u2019e\u0301te\u0301 ",
        address="1 High Street",
        organiser="We",
        timezone="Asia/Tokyo",
        starts_at="2031-06-18T19:30",
        price={"amount": "6800", "currency": "JPY"},
        sales={"opens_at": "2031-01-01T00:00:00Z", "closes_at": "2031-06-18T19:00"},
        limits={"per_purchase": 4, "per_buyer": 8},
        accent="#ABCDEF",
    )
    assert event == Event(
        event_id="gala",
        name="Gala de l\u2019\u00e9t\u00e9",
        venue="Hall",
        starts_at_ms=int(datetime(2031, 6, 18, 10, 30, tzinfo=UTC).timestamp()) * 1000,
        timezone="Asia/Tokyo",
        price_amount="6800",
        price_currency="JPY",
        address="1 High Street",
        organiser="We",
        accent="#abcdef",
        opens_ms=int(datetime(2031, 1, 1, tzinfo=UTC).timestamp()) * 1000,
        closes_ms=int(datetime(2031, 6, 18, 10, 0, tzinfo=UTC).timestamp()) * 1000,
        quantity_max=4,
        buyer_max=8,
    )


def test_sale_times_are_compared_as_moments_not_as_texts() -> None:
    event = only(timezone="Europe/Berlin", sales={"opens_at": "2030-01-02T00:30", "closes_at": "2030-01-01T23:45:00Z"})
    assert event.closes_ms is not None
    assert event.opens_ms is not None
    assert event.closes_ms - event.opens_ms == 15 * 60 * 1000


@pytest.mark.parametrize(
    ("amount", "currency", "kept"),
    [
        ("49", "EUR", "49.00"),
        ("49.5", "EUR", "49.50"),
        ("0", "EUR", "0.00"),
        ("12.5", "KWD", "12.500"),
        ("7", "KRW", "7"),
    ],
)
def test_an_amount_is_kept_with_all_decimals_of_its_currency(amount: str, currency: str, kept: str) -> None:
    assert only(price={"amount": amount, "currency": currency}).price_amount == kept


def test_an_offset_settles_which_of_two_equal_hours_is_meant() -> None:
    summer = only(timezone="Europe/Berlin", starts_at="2027-10-31T02:30:00+02:00")
    winter = only(timezone="Europe/Berlin", starts_at="2027-10-31T02:30:00+01:00")
    assert winter.starts_at_ms - summer.starts_at_ms == 3_600_000


def test_a_file_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    latin = tmp_path / "latin.json"
    latin.write_bytes('[{"name": "é"}]'.encode("latin-1"))
    broken = tmp_path / "broken.json"
    broken.write_text("[{}]")
    for path, expected in (
        (tmp_path / "none.json", "none.json: No such file or directory"),
        (tmp_path, f"{tmp_path}: Is a directory"),
        (latin, "latin.json: is not UTF-8 (byte 11)"),
    ):
        with pytest.raises(EventsFileError) as caught:
            read(path)
        assert str(caught.value).endswith(expected)
    with pytest.raises(EventsFileError) as caught:
        read(broken)
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [str(broken)] * 6


def test_a_file_with_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(json.dumps([LEAST]), encoding="utf-8-sig")
    assert [plan.tickets for plan in read(path)] == [100]
