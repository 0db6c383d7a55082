"""The operator's page over HTTP: who gets in, what a session may do and what another site can't, what is shown."""

import gzip
import json
import re
from typing import Any

import pytest
from itsdangerous import TimestampSigner
from werkzeug.test import TestResponse

from tests.contract.conftest import ADMIN, ADMIN_TOKEN, Api, StartApi, problem_of
from tests.contract.test_pages import BROWSER
from tests.contract.test_purchases import away
from ticketing.api import sessions

FORM = "application/x-www-form-urlencoded"


def log_in(api: Api, token: str = ADMIN_TOKEN, **headers: str) -> TestResponse:
    return api.post("/admin/login", data={"token": token}, headers={"Sec-Fetch-Site": "same-origin"} | headers)


def cookie_of(answer: TestResponse) -> str:
    (cookie,) = answer.headers.getlist("Set-Cookie")
    return str(cookie)


def session_of(api: Api) -> dict[str, str]:
    """The headers of a browser that has signed in."""
    return {"Cookie": cookie_of(log_in(api)).partition(";")[0]}


def csrf_of(api: Api, session: dict[str, str]) -> dict[str, str]:
    page = api.get("/admin/live", headers=BROWSER | session).text
    (token,) = re.findall(r'<meta name="csrf" content="([0-9a-f]{64})">', page)
    return {"X-CSRF-Token": token}


def test_a_stranger_is_shown_a_form_and_a_program_a_problem(api: Api) -> None:
    page = api.get("/admin/live", headers=BROWSER)
    assert (page.status_code, page.mimetype) == (401, "text/html")
    assert 'action="/admin/login"' in page.text
    assert problem_of(api.get("/admin/live")) == (401, "unauthorized")
    assert problem_of(api.get("/admin/live/data", headers=BROWSER)) == (401, "unauthorized")


def test_the_token_opens_a_session_that_says_nothing_of_it(api: Api) -> None:
    answer = log_in(api)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/live")
    cookie = cookie_of(answer)
    assert {"HttpOnly", "SameSite=Strict", "Path=/admin"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert ADMIN_TOKEN not in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    assert api.get("/admin/live", headers=BROWSER | session).status_code == 200
    assert api.get("/admin/live/data", headers=session).status_code == 200
    assert api.get("/admin/pdf-stats", headers=session).status_code == 200
    assert api.get("/admin/rq/", headers=session).status_code == 200


def test_over_https_the_cookie_stays_there(api: Api) -> None:
    answer = api.post("/admin/login", data={"token": ADMIN_TOKEN}, base_url="https://localhost")
    assert "Secure" in cookie_of(answer).split("; ")


def test_a_wrong_token_or_none_opens_nothing(api: Api) -> None:
    for token, status in (("", 401), ("wrong", 403), (ADMIN_TOKEN[:-1], 403), ("\u00e4" * 20, 403)):
        answer = log_in(api, token)
        assert (answer.status_code, answer.mimetype) == (status, "text/html")
        assert "Set-Cookie" not in answer.headers
        assert re.search(r'role="alert">[^<]+<', answer.text)
    for body, kind in ((b"", FORM), (b"token", "text/plain"), (b"\xff" * 40_000, FORM), (b"token=%ff&token=", FORM)):
        assert api.post("/admin/login", data=body, content_type=kind).status_code in {401, 403}


def test_guessing_is_slowed_down_for_its_address_alone(api: Api) -> None:
    for _ in range(sessions.TRIES):
        assert log_in(api, "wrong").status_code == 403
    for token in ("wrong", ADMIN_TOKEN):
        answer = log_in(api, token)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= sessions.TRIES_S
    elsewhere = api.post("/admin/login", data={"token": ADMIN_TOKEN}, headers={"X-Forwarded-For": "10.9.8.7"})
    assert elsewhere.status_code == 303
    assert api.get("/admin/pdf-stats", headers=ADMIN).status_code == 200


def test_what_changes_something_needs_the_token_of_a_page_of_this_session(api: Api) -> None:
    api.open_event()
    session = session_of(api)
    csrf = csrf_of(api, session)
    other = csrf_of(api, session_of(api))
    for wrong in ({}, other, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, csrf | {"Sec-Fetch-Site": "cross-site"}):
        assert problem_of(api.post("/admin/events/1/pause", headers=session | wrong)) == (403, "forbidden")
    assert api.state().paused is False
    assert api.post("/admin/events/1/pause", headers=session | csrf).get_json()["state"] == "paused"
    assert api.post("/admin/events/1/resume", headers=session | csrf).get_json()["state"] == "open"
    added = api.post("/admin/events/1/tickets", headers=session | csrf, json={"add": 5, "issued": 10})
    assert added.get_json()["issued"] == 15


def test_the_dashboard_acts_for_its_own_pages_alone(api: Api) -> None:
    session = session_of(api)
    path = "/admin/rq/queue/receipts/queued/empty"
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert problem_of(api.post(path, headers=session | headers)) == (403, "forbidden")
    assert api.post(path, headers=session | {"Sec-Fetch-Site": "same-origin"}).status_code != 403
    assert api.post(path, headers=session | {"Origin": "http://localhost"}).status_code != 403


def test_another_site_can_neither_sign_in_nor_out(api: Api) -> None:
    for path in ("/admin/login", "/admin/logout"):
        answer = api.post(path, data={"token": ADMIN_TOKEN}, headers={"Sec-Fetch-Site": "cross-site"})
        assert problem_of(answer) == (403, "forbidden")
        assert "Set-Cookie" not in answer.headers


def test_signing_out_takes_the_cookie_away(api: Api) -> None:
    cookie = cookie_of(api.post("/admin/logout", headers=session_of(api)))
    assert cookie.startswith(f"{sessions.COOKIE}=; ")
    assert "Max-Age=0" in cookie


def test_a_session_ends_by_itself_and_with_the_secrets(
    api: Api, start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(api)
    for settings in ({"admin_token": "another admin token"}, {"id_secret": "another id secret, 0123456789 0123456789"}):
        other = start_api(**settings)
        assert problem_of(other.get("/admin/live/data", headers=session)) == (401, "unauthorized")
    assert start_api().get("/admin/live/data", headers=session).status_code == 200  # another process of the same
    monkeypatch.setattr(sessions, "SESSION_S", -1)
    assert problem_of(api.get("/admin/live/data", headers=session)) == (401, "unauthorized")


@pytest.mark.parametrize(("ahead_s", "status"), [(1_200, 200), (-1_200, 200), (7_200, 401)])
def test_a_session_of_a_host_whose_clock_is_minutes_off_is_one(
    api: Api, monkeypatch: pytest.MonkeyPatch, ahead_s: int, status: int
) -> None:
    now_s = TimestampSigner.get_timestamp
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(TimestampSigner, "get_timestamp", lambda signer: now_s(signer) + ahead_s)
        session = session_of(api)
    assert api.get("/admin/live/data", headers=session).status_code == status


def test_a_made_up_cookie_is_no_session(api: Api) -> None:
    good = session_of(api)["Cookie"]
    value = good.partition("=")[2]
    for cookie in ("x", value[:-2], value[::-1], value.replace(".", "", 1), "", "\u00ff", "a.b.c", value + "x" * 5000):
        answer = api.get(
            "/admin/live/data", headers={"Cookie": f"{sessions.COOKIE}={cookie}".encode().decode("latin-1")}
        )
        assert problem_of(answer) == (401, "unauthorized")


def test_the_snapshot_shows_the_sale_and_names_no_purchase(api: Api) -> None:
    api.open_event(tickets=10)
    api.open_event("2", tickets=4)
    bought = api.bought(body={"quantity": 3})
    api.lease("E2-000004", event_id="2")
    shown = api.admin("GET", "/admin/live/data")
    told = shown.get_json()
    assert told["sale"]["issued"] == 14
    assert (told["sale"]["sold"], told["sale"]["remaining"]) == (3, 11)
    assert told["outcomes"] == {"sold": 1}
    assert [(row["event_id"], row["remaining"], row["leased"]) for row in told["events"]] == [("1", 7, 0), ("2", 4, 1)]
    assert told["receipts"]["pending"] == 1
    assert told["web_processes"] == 1
    assert told["links"] == {"Queue": "/admin/rq/"}
    assert bought["purchase_id"] not in shown.text


def test_pages_are_told_to_ask_less_often_the_more_of_them_ask(api: Api) -> None:
    api.open_event()
    assert api.get("/events").headers["Poll-After"] == "2"
    assert api.admin("GET", "/admin/live/data").headers["Poll-After"] == "2"


def test_the_snapshot_comes_zipped_for_a_browser(api: Api) -> None:
    api.open_event()
    answer = api.client.ask("GET", "/admin/live/data", headers=ADMIN | {"Accept-Encoding": "br, gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.data))["sale"]["issued"] == 10


def test_links_are_those_that_are_set(start_api: StartApi) -> None:
    api = start_api(grafana_url="https://grafana.example.org/d/1", jaeger_url="http://localhost:16686")
    links: dict[str, Any] = api.admin("GET", "/admin/live/data").get_json()["links"]
    assert links == {
        "Queue": "/admin/rq/",
        "Grafana": "https://grafana.example.org/d/1",
        "Jaeger": "http://localhost:16686",
    }


def test_in_an_outage_the_page_goes_on_with_what_is_known(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, store: object
) -> None:
    api = start_api(store_timeout_s=0.2)
    api.open_event()
    assert api.admin("GET", "/admin/live/data").get_json()["outage"]["active"] is False
    away(store, monkeypatch)
    api.buy()
    told = api.admin("GET", "/admin/live/data").get_json()
    assert told["outage"]["active"] is True
    assert [row["event_id"] for row in told["events"]] == ["1"]
    assert log_in(api).status_code == 303
