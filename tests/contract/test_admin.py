"""/admin: who may, and what each call does."""

import os
import time
from typing import Any

import pytest

from tests.contract.conftest import ADMIN, ADMIN_TOKEN, PDF, Api, StartApi, basic, contents, problem_of
from tests.contract.test_purchases import away
from tests.servers import wait_until
from ticketing.api import admin, problems
from ticketing.store import keys
from ticketing.telemetry.logs import BY_STRANGERS, LINES_A_SECOND, Throttle

CALLS = [
    ("GET", "/admin/pdf-stats", None),
    ("POST", "/admin/cleanup-tickets", {"older_than_s": 0}),
    ("GET", "/admin/audit", None),
    ("POST", "/admin/receipts/retry", None),
    ("POST", "/admin/events/1/pause", None),
    ("POST", "/admin/events/1/resume", None),
    ("POST", "/admin/events/1/tickets", {"add": 1}),
    ("GET", "/admin/rq/", None),
    ("GET", "/admin/rq/0/view/workers", None),
    ("GET", "/admin/rq/0/data/queues.json", None),
    ("GET", "/admin/rq/static/css/main.css", None),
    ("POST", "/admin/rq/requeue/receipts", None),
]
WRONG = [
    "Bearer wrong",
    f"Bearer {ADMIN_TOKEN}x",
    f"Bearer {ADMIN_TOKEN[:-1]}",
    f"Bearer {ADMIN_TOKEN.upper()}",
    "Bearer \xff\xfe",
    basic("wrong")["Authorization"],
]
NONE = [None, "", "Bearer", "Bearer ", "Basic", "Basic !!!", "Basic \xff", "Token abc", ADMIN_TOKEN]


@pytest.mark.parametrize(
    ("authorizations", "problem"), [(NONE, (401, "unauthorized")), (WRONG, (403, "forbidden"))], ids=["none", "wrong"]
)
@pytest.mark.usefixtures("quiet_log")
def test_without_the_right_token_nothing_is_shown_or_done(
    api: Api, subtests: pytest.Subtests, authorizations: list[str | None], problem: tuple[int, str]
) -> None:
    api.open_event()
    api.render(api.bought()["purchase_id"])
    before = contents(api.store)
    asked = {401: 'Basic realm="ticketing", Bearer', 403: None}[problem[0]]
    for method, path, body in CALLS:
        for authorization in authorizations:
            with subtests.test(path=path, authorization=authorization):
                headers = {} if authorization is None else {"Authorization": authorization}
                answer = api.call(method, path, json=body, headers=headers)
                assert problem_of(answer) == problem
                assert answer.headers.get("WWW-Authenticate") == asked
                assert ADMIN_TOKEN not in answer.text
    assert contents(api.store) == before
    assert api.service.files.usage().files == 1


@pytest.mark.parametrize(
    "headers",
    [ADMIN, {"Authorization": f"bearer  {ADMIN_TOKEN}"}, basic(ADMIN_TOKEN)],
    ids=["Bearer", "bearer", "Basic"],
)
def test_the_token_opens_every_call_as_bearer_or_as_a_password(
    api: Api, subtests: pytest.Subtests, headers: dict[str, str]
) -> None:
    api.open_event()
    for method, path, body in CALLS:
        with subtests.test(path):
            answer = api.call(method, path, json=body, headers=headers)
            assert answer.status_code == 200
            answer.close()


def test_a_page_of_another_site_can_not_make_a_browser_act(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    before = contents(api.store)
    fetched = [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
    sent = [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://[evil"}]
    for method, path, body in CALLS:
        for headers in fetched + sent if method == "POST" else ():
            with subtests.test(path=path, headers=headers):
                answer = api.call(method, path, json=body, headers=basic(ADMIN_TOKEN) | headers)
                assert problem_of(answer) == (403, "forbidden")
    assert contents(api.store) == before


def test_a_page_of_ours_may_act(api: Api) -> None:
    api.open_event()
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}):
        assert api.post("/admin/events/1/pause", headers=basic(ADMIN_TOKEN) | headers).status_code == 200


def test_a_link_from_another_site_may_be_followed(api: Api) -> None:
    assert api.get("/admin/pdf-stats", headers=basic(ADMIN_TOKEN) | {"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_pdf_stats_tell_of_receipts_storage_and_the_queue(api: Api) -> None:
    api.open_event()
    purchases = [api.bought()["purchase_id"] for _ in range(4)]
    api.render(purchases[0])
    api.render(purchases[1])
    api.give_up(purchases[2])
    api.service.dispatcher.stop()
    told = api.admin("GET", "/admin/pdf-stats").get_json()
    waits_s = told["receipts"].pop("oldest_pending_s")
    assert 0 <= waits_s < 60
    assert told == {
        "receipts": {"pending": 1, "ready": 2, "failed": 1},
        "storage": {"files": 2, "bytes": 2 * len(PDF), "more": False},
        "render_s": {"p50": None, "p99": None},
        "queue": {"depth": told["queue"]["depth"], "workers": 0},
    }
    assert told["queue"]["depth"] >= 1


def test_pdf_stats_tell_how_long_a_purchase_waits_for_its_receipt_however_often_it_was_tried(
    start_api: StartApi,
) -> None:
    api = start_api(receipt_retry_base_ms=60_000)
    api.open_event()
    bought = api.bought()
    api.service.outbox.begin("1", [bought["purchase_id"]])  # its due time is a minute away from now on

    def oldest_s() -> float:
        return api.admin("GET", "/admin/pdf-stats").get_json()["receipts"]["oldest_pending_s"]

    wait_until(lambda: oldest_s() > 0, 5, "the receipt waits")


def test_pdf_stats_leave_out_what_a_disk_of_receipts_does_not_tell(api: Api) -> None:
    folder = api.service.settings.receipts_dir
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()  # nothing can be listed there
    answer = api.admin("GET", "/admin/pdf-stats")
    assert (answer.status_code, answer.get_json()["storage"]) == (200, None)


def test_pdf_stats_leave_out_what_a_store_in_an_outage_knows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    away(api.store, monkeypatch)
    told = api.admin("GET", "/admin/pdf-stats").get_json()
    assert told["receipts"] is None
    assert told["storage"] == {"files": 0, "bytes": 0, "more": False}


def test_cleanup_deletes_what_is_older_and_nothing_else(api: Api) -> None:
    api.open_event()
    old, new = (api.bought()["purchase_id"] for _ in range(2))
    for purchase_id in (old, new):
        api.render(purchase_id)
    day_ago_s = time.time() - 86_401
    os.utime(api.service.files.path(old), (day_ago_s, day_ago_s))
    before = contents(api.store)
    answer = api.admin("POST", "/admin/cleanup-tickets", json={"older_than_s": 86_400})
    assert answer.get_json() == {"deleted": 1, "bytes_freed": len(PDF), "more": False}
    assert (api.service.files.has(old), api.service.files.has(new)) == (False, True)
    assert contents(api.store) == before
    again = api.admin("POST", "/admin/cleanup-tickets", json={"older_than_s": 86_400})
    assert again.get_json() == {"deleted": 0, "bytes_freed": 0, "more": False}


@pytest.mark.parametrize("store", ["fakeredis"], indirect=True)
def test_cleanup_deletes_at_most_five_thousand_files_a_call(api: Api) -> None:
    folder = api.service.settings.receipts_dir / "aa"
    folder.mkdir(parents=True)
    for number in range(5_001):
        (folder / f"{number}.pdf").write_bytes(b"%%EOF")
    first, second = (api.admin("POST", "/admin/cleanup-tickets", json={"older_than_s": 0}).get_json() for _ in range(2))
    assert first == {"deleted": 5_000, "bytes_freed": 25_000, "more": True}
    assert second == {"deleted": 1, "bytes_freed": 5, "more": False}


BODIES = (
    (b"", (400, "malformed-request")),
    (b"{}", (400, "malformed-request")),
    (b"[]", (400, "malformed-request")),
    (b"{", (400, "malformed-request")),
    (b'{"NAME": null}', (400, "malformed-request")),
    (b'{"NAME": -1}', (400, "malformed-request")),
    (b'{"NAME": 1.5}', (400, "malformed-request")),
    (b'{"NAME": "5"}', (400, "malformed-request")),
    (b'{"NAME": true}', (400, "malformed-request")),
    (b'{"NAME": 1e3}', (400, "malformed-request")),
    (b'{"NAME": 99999999999}', (400, "malformed-request")),
    (b'{"NAME": ' + b"9" * 5000 + b"}", (400, "malformed-request")),
    (b'{"NAME": 1, "NAME": 2}', (400, "malformed-request")),
    (b'{"NAME": 1, "other": 2}', (400, "malformed-request")),
    (b'{"\\ud800": 1}', (400, "malformed-request")),
    (b'{"NAME": 1}' + b" " * 16_384, (413, "body-too-large")),
)


@pytest.mark.usefixtures("quiet_log")
def test_a_body_that_makes_no_sense_does_nothing(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    api.render(api.bought()["purchase_id"])
    before = contents(api.store)
    for path, name in (("/admin/cleanup-tickets", b"older_than_s"), ("/admin/events/1/tickets", b"add")):
        for body, problem in BODIES:
            with subtests.test(path=path, body=body[:40]):
                sent = body.replace(b"NAME", name)
                assert problem_of(api.admin("POST", path, data=sent, content_type="application/json")) == problem
    assert contents(api.store) == before
    assert api.service.files.usage().files == 1


def test_a_body_of_another_type_is_refused(api: Api) -> None:
    api.open_event()
    for path in ("/admin/cleanup-tickets", "/admin/events/1/tickets"):
        answer = api.admin("POST", path, data=b'{"add": 1}', content_type="text/plain")
        assert problem_of(answer) == (415, "unsupported-media-type")


def test_an_audit_of_a_sound_store_finds_nothing(api: Api) -> None:
    api.open_event("1", tickets=10)
    api.open_event("2", tickets=5, buyer_max=2)
    api.lease("E1-000010")
    api.bought(body={"quantity": 3, "buyer": {"name": "Ada"}})
    voided = api.bought()["purchase_id"]
    api.service.sales.void("1", api.state().seed, [voided])
    api.render(api.bought("2", body={"buyer": {"id": "ada"}})["purchase_id"])
    told = api.admin("GET", "/admin/audit").get_json()
    assert (told["ok"], told["violations"]) == (True, [])
    counted = [
        (event["event_id"], event["issued"], event["sold"], event["pool"], event["leased"], event["remaining"])
        for event in told["events"]
    ]
    assert counted == [("1", 10, 3, 6, 1, 7), ("2", 5, 1, 4, 0, 4)]


def test_an_audit_names_what_is_broken_and_no_purchase(api: Api) -> None:
    api.open_event("1", tickets=10)
    api.open_event("2", tickets=10)
    purchase = api.bought()
    api.store.one("RPUSH", keys.of_event("1").tickets, purchase["tickets"][0])
    answer = api.admin("GET", "/admin/audit")
    told = answer.get_json()
    assert told["ok"] is False
    assert {violation["event_id"] for violation in told["violations"]} == {"1"}
    assert 1 in {violation["invariant"] for violation in told["violations"]}
    assert any(purchase["tickets"][0] in violation["detail"] for violation in told["violations"])
    assert purchase["purchase_id"] not in answer.text


def test_a_cleanup_is_no_violation(api: Api) -> None:
    api.open_event()
    api.render(api.bought()["purchase_id"])
    api.admin("POST", "/admin/cleanup-tickets", json={"older_than_s": 0})
    assert api.admin("GET", "/admin/audit").get_json()["ok"] is True


def test_failed_receipts_are_queued_again_with_all_their_tries(api: Api) -> None:
    api.open_event("1")
    api.open_event("2")
    given_up = [api.bought(event_id)["purchase_id"] for event_id in ("1", "1", "2")]
    for purchase_id in given_up:
        api.give_up(purchase_id)
    assert (api.state("1").receipts_failed, api.state("2").receipts_failed) == (2, 1)
    assert api.admin("POST", "/admin/receipts/retry").get_json() == {"retried": 3}
    assert api.admin("POST", "/admin/receipts/retry").get_json() == {"retried": 0}
    for event_id, pending in (("1", 2), ("2", 1)):
        assert (api.state(event_id).receipts_failed, api.state(event_id).receipts_pending) == (0, pending)
        assert api.store.one("HLEN", keys.of_event(event_id).tries) == 0


def test_pausing_and_resuming_tell_what_the_sale_does_now_and_may_be_repeated(api: Api) -> None:
    api.open_event()
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "open"), ("resume", "open")):
        answer = api.admin("POST", f"/admin/events/1/{verb}")
        assert answer.get_json() == {"event_id": "1", "state": state}
        assert api.get("/events/1").get_json()["sales"]["state"] == state


def test_a_pause_holds_in_every_process_at_once(api: Api, start_api: StartApi) -> None:
    other = start_api()
    api.open_event()
    other.bought()
    api.admin("POST", "/admin/events/1/pause")
    assert problem_of(other.buy()) == (409, "not-on-sale")
    api.admin("POST", "/admin/events/1/resume")
    assert other.bought()["quantity"] == 1


def test_more_tickets_count_as_issued_and_get_the_next_numbers(api: Api) -> None:
    api.open_event(tickets=2)
    answer = api.admin("POST", "/admin/events/1/tickets", json={"add": 2_500})
    assert answer.get_json() == {"event_id": "1", "added": 2_500, "issued": 2_502}
    told = api.get("/events/1").get_json()
    assert (told["issued"], told["sold"], told["remaining"]) == (2_502, 0, 2_502)
    assert api.store.one("LINDEX", keys.of_event("1").tickets, -1) == "E1-002502"
    assert api.admin("GET", "/admin/audit").get_json()["ok"] is True


@pytest.mark.parametrize("verb", ["pause", "resume", "tickets"])
def test_an_unknown_event_is_not_found_by_the_operator_either(api: Api, verb: str) -> None:
    body = {"add": 1} if verb == "tickets" else None
    assert problem_of(api.admin("POST", f"/admin/events/7/{verb}", json=body)) == (404, "unknown-event")
    assert contents(api.store).keys() == {"ticketing:id-secret"}


@pytest.mark.parametrize(("method", "path", "body"), CALLS[2:7])
def test_what_needs_the_store_is_unavailable_without_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    api.open_event()
    away(api.store, monkeypatch)
    answer = api.admin(method, path, json=body)
    assert problem_of(answer) == (503, "temporarily-unavailable")
    assert "10.1.2.3" not in answer.text


def test_tickets_that_are_added_with_the_number_before_are_added_once(api: Api) -> None:
    api.open_event(tickets=10)
    body = {"add": 5, "issued": 10}
    first, again = (api.admin("POST", "/admin/events/1/tickets", json=body).get_json() for _ in range(2))
    assert first == {"event_id": "1", "added": 5, "issued": 15}
    assert again == {"event_id": "1", "added": 0, "issued": 15}


def test_each_deed_leaves_one_line_that_says_who_did_what(api: Api, log: list[Any]) -> None:
    api.open_event(tickets=10)
    log.clear()
    sent = {"X-Request-ID": "a-deed", "X-Forwarded-For": "203.0.113.7"}
    for path, body, verb, done in (
        ("/admin/events/1/pause", None, "pause", "the sale of event 1 is paused"),
        ("/admin/events/1/resume", None, "resume", "the sale of event 1 is taken up"),
        ("/admin/events/1/tickets", {"add": 5}, "add", "5 tickets added to event 1, 15 issued"),
        ("/admin/receipts/retry", None, "retry", "0 failed receipts are due again"),
        ("/admin/cleanup-tickets", {"older_than_s": 60}, "cleanup", "0 receipts older than 60 s deleted"),
    ):
        assert api.admin("POST", path, headers=sent, json=body).status_code == 200
        (line,) = [record for record in log if record["level"].name == "WARNING"]
        assert line["message"] == f"operator, 127.0.0.1 for 203.0.113.7, request a-deed: {done}"
        assert line["extra"]["verb"] == verb
        log.clear()


def test_a_wrong_token_is_said_in_the_log_and_not_what_it_was(
    api: Api, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_strangers", Throttle())
    for _ in range(50):
        api.post("/admin/events/1/pause", headers={"Authorization": "Bearer not-the-token"})
    told = [record for record in log if "another admin token" in record["message"]]
    assert all(BY_STRANGERS in record["extra"] for record in told)
    lines = [record["message"] for record in told]
    assert LINES_A_SECOND <= len(lines) <= 50
    assert lines[0].startswith("POST /admin/events/<text:event_id>/pause was refused")
    assert not [record for record in log if "not-the-token" in record["message"]]


def test_what_is_refused_leaves_no_line_of_a_deed(api: Api, log: list[Any]) -> None:
    api.open_event()
    log.clear()
    for path, body in (("/admin/events/nope/pause", None), ("/admin/events/1/tickets", {"add": 0})):
        assert api.admin("POST", path, json=body).status_code in {400, 404}
    assert api.post("/admin/events/1/pause").status_code == 401
    assert not [record for record in log if "operator" in record["message"]]


def test_tickets_are_not_added_to_a_number_that_the_event_never_had(api: Api) -> None:
    """A slip of the hand in `issued` would issue every ticket that lies between."""
    api.open_event(tickets=10)
    answer = api.admin("POST", "/admin/events/1/tickets", json={"add": 5, "issued": 1_000_000})
    assert problem_of(answer) == (409, "issued-mismatch")
    assert answer.get_json()["issued"] == api.state().issued == 10


def test_a_fault_that_is_met_again_and_again_does_not_fill_the_log(
    monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(problems, "_bugs", Throttle())
    assert {problems.of_bug(ValueError("odd"), "GET", "/", "id").status for _ in range(200)} == {500}
    assert LINES_A_SECOND <= len([record for record in log if "failed, request" in record["message"]]) < 200
