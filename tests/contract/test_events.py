"""GET /events and /events/<id>: what people are told of an event, and page by page of all."""

import gzip

import pytest

from tests.contract.conftest import STARTS_AT_MS, Api, StartApi, new_key, problem_of
from tests.contract.test_purchases import HOUR_MS, away
from tests.servers import wait_until

OPENS_MS = 1_790_000_000_123


def test_an_event_tells_all_that_the_contract_says(api: Api) -> None:
    api.open_event(
        "gala_2027-b",
        tickets=20,
        name="Nachtmusik: 夜の音楽 🎻",
        venue="Große Halle",
        timezone="Europe/Berlin",
        accent="#aa3311",
        opens_ms=OPENS_MS,
        closes_ms=STARTS_AT_MS,
        quantity_max=4,
        buyer_max=8,
    )
    answer = api.get("/events/gala_2027-b")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=1"
    assert answer.content_type == "application/json"
    state = "open" if api.store.clock_ms() >= OPENS_MS else "upcoming"
    assert answer.get_json() == {
        "event_id": "gala_2027-b",
        "name": "Nachtmusik: 夜の音楽 🎻",
        "venue": "Große Halle",
        "starts_at": "2027-01-15T08:00:00.000Z",
        "timezone": "Europe/Berlin",
        "accent": "#aa3311",
        "price": {"amount": "45.00", "currency": "GBP"},
        "sales": {"opens_at": "2026-09-21T14:13:20.123Z", "closes_at": "2027-01-15T08:00:00.000Z", "state": state},
        "limits": {"per_purchase": 4, "per_buyer": 8},
        "issued": 20,
        "sold": 0,
        "remaining": 20,
    }


def test_what_an_event_does_not_have_is_null(api: Api) -> None:
    api.open_event()
    told = api.get("/events/1").get_json()
    assert told["limits"] == {"per_purchase": 10, "per_buyer": None}
    assert told["sales"] == {"opens_at": None, "closes_at": None, "state": "open"}


def test_remaining_is_issued_less_sold_with_leased_tickets_among_it(api: Api) -> None:
    api.open_event(tickets=10)
    api.lease("E1-000009", "E1-000010")
    api.bought(body={"quantity": 3})
    told = api.get("/events/1").get_json()
    assert (told["issued"], told["sold"], told["remaining"]) == (10, 3, 7)


def test_an_event_has_each_of_its_states(api: Api) -> None:
    now_ms = api.store.clock_ms()
    api.open_event("a-upcoming", opens_ms=now_ms + HOUR_MS)
    api.open_event("b-half-seeded", tickets=3, planned=10)
    api.open_event("c-open", opens_ms=now_ms - HOUR_MS, closes_ms=now_ms + HOUR_MS)
    api.open_event("d-paused")
    api.admin("POST", "/admin/events/d-paused/pause")
    api.open_event("e-sold-out", tickets=1)
    api.bought("e-sold-out")
    api.open_event("f-closed", closes_ms=now_ms - 1)
    listed = api.get("/events").get_json()["events"]
    assert [(event["event_id"], event["sales"]["state"]) for event in listed] == [
        ("a-upcoming", "upcoming"),
        ("b-half-seeded", "upcoming"),
        ("c-open", "open"),
        ("d-paused", "paused"),
        ("e-sold-out", "sold_out"),
        ("f-closed", "closed"),
    ]
    for event in listed:
        assert api.get(f"/events/{event['event_id']}").get_json() == event


def test_no_events_are_an_empty_page(api: Api) -> None:
    answer = api.get("/events")
    assert answer.get_json() == {"events": [], "next": None}
    assert answer.headers["Cache-Control"] == "public, max-age=1"


def test_pages_lead_through_all_events_once_and_in_order(api: Api) -> None:
    in_order = ["1", "2", "10", "100", "Z", "a", "a-1", "b"]
    for event_id in reversed(in_order):
        api.open_event(event_id, tickets=1)
    seen, sizes, following = [], [], "/events?limit=3"
    while following is not None:
        page = api.get(following).get_json()
        seen += [event["event_id"] for event in page["events"]]
        sizes.append(len(page["events"]))
        following = page["next"]
    assert seen == in_order
    assert sizes == [3, 3, 2]


def test_a_page_that_ends_with_the_last_event_is_the_last(api: Api) -> None:
    for event_id in ("1", "2", "3"):
        api.open_event(event_id, tickets=1)
    assert api.get("/events?limit=3").get_json()["next"] is None
    assert api.get("/events?limit=2").get_json()["next"] == "/events?limit=2&after=2"


def test_after_may_name_an_event_that_is_gone(api: Api) -> None:
    for event_id in ("1", "3"):
        api.open_event(event_id, tickets=1)
    page = api.get("/events?after=2").get_json()
    assert [event["event_id"] for event in page["events"]] == ["3"]
    assert api.get("/events?after=zzz").get_json() == {"events": [], "next": None}


def test_an_empty_parameter_is_none(api: Api) -> None:
    api.open_event()
    assert api.get("/events?limit=&after=").get_json() == api.get("/events").get_json()


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=501", "limit"),
        ("limit=1.5", "limit"),
        ("limit=ten", "limit"),
        ("limit=%C2%B2", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("after=" + "9" * 5000, "after"),
        ("after=a/b", "after"),
        ("after=%00", "after"),
        ("after=%FF", "after"),
    ],
)
@pytest.mark.usefixtures("quiet_log")
def test_a_parameter_that_makes_no_sense_is_refused(api: Api, query: str, pointer: str) -> None:
    api.open_event()
    answer = api.get(f"/events?{query}")
    assert problem_of(answer) == (400, "malformed-request")
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]


def test_five_hundred_events_fit_one_page_and_a_hundred_are_the_default(api: Api) -> None:
    for number in range(1, 104):
        api.open_event(str(number), tickets=0, planned=1)
    assert len(api.get("/events").get_json()["events"]) == 100
    assert api.get("/events").get_json()["next"] == "/events?limit=100&after=100"
    assert len(api.get("/events?limit=500").get_json()["events"]) == 103


def test_what_is_told_of_an_event_is_at_most_a_second_old(api: Api) -> None:
    api.service.catalogue._fresh_s = 1.0
    api.open_event()
    wait_until(lambda: api.get("/events/1").status_code == 200, 1.5, "the event shows")
    assert api.get("/events/1").get_json()["sold"] == 0
    api.bought()
    wait_until(lambda: api.get("/events/1").get_json()["sold"] == 1, 1.5, "the counter moves")


def test_an_outage_shows_the_last_values_and_their_age(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.open_event()
    api.bought()
    known = api.get("/events/1").get_json()
    assert "as_of" not in known
    with monkeypatch.context() as patch:
        away(api.store, patch)
        answer = api.get("/events/1")
        assert answer.status_code == 200
        told = answer.get_json()
        as_of = told.pop("as_of")
        assert told == known
        assert [event["as_of"] for event in api.get("/events").get_json()["events"]] == [as_of]
        assert problem_of(api.get("/events/2")) == (404, "unknown-event")
    assert "as_of" not in api.get("/events/1").get_json()


def test_a_process_that_never_saw_the_store_is_unavailable(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, store: object
) -> None:
    away(store, monkeypatch)
    api = start_api()
    for answer in (api.get("/events"), api.get("/events/1"), api.buy(), api.buy(key=new_key())):
        assert problem_of(answer) == (503, "temporarily-unavailable")
        assert answer.headers["Retry-After"] == "1"


def test_a_page_of_events_is_made_once_and_anew_when_the_catalogue_is_read(api: Api) -> None:
    for number in range(1, 8):
        api.open_event(str(number), tickets=10)
    api.get("/events")
    api.service.catalogue._fresh_s = 3600.0  # as for all who ask within one second
    before = [api.get(f"/events{query}").get_json() for query in ("", "?limit=2", "?limit=2&after=3")]
    api.bought("4", body={"quantity": 3})
    again = [api.get(f"/events{query}").get_json() for query in ("", "?limit=2", "?limit=2&after=3")]
    assert again == before
    api.service.catalogue._fresh_s = 0.0
    fresh = api.get("/events?limit=2&after=3").get_json()
    assert [(event["event_id"], event["remaining"]) for event in fresh["events"]] == [("4", 7), ("5", 10)]
    assert [event["event_id"] for event in before[2]["events"]] == ["4", "5"]
    assert before[2]["events"][0]["remaining"] == 10


@pytest.mark.asked("direct")
def test_a_long_page_of_events_comes_zipped_for_whoever_reads_that(api: Api) -> None:
    for number in range(1, 8):
        api.open_event(str(number))
    client = api.app.test_client()
    plain, zipped = client.get("/events"), client.get("/events", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.data) == plain.data
    assert plain.headers["Vary"] == zipped.headers["Vary"] == "Accept-Encoding"


def test_pages_of_events_that_nobody_else_asks_for_are_not_kept_for_ever(api: Api) -> None:
    api.open_event()
    api.get("/events")
    api.service.catalogue._fresh_s = 3600.0
    told = {str(api.get(f"/events?limit={limit}").get_json()) for limit in range(1, 501)}
    assert len(told) == 1
