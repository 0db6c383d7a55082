"""What holds for every call: request ids, HEAD, methods, other paths, problems, times, and what is never told."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.conftest import ADMIN, Api, StartApi, new_key, problem_of
from tests.contract.test_purchases import away
from ticketing.api.contract import operations

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "XYZ"}
OTHER_PATHS = [
    "/favicon.ico",
    "/buy",
    "/tickets",
    "/event/1",
    "/EVENTS",
    "/events%0A",
    "/%2Fevents",
    "/health/",
    "/health/nope",
    "/metrics/",
    "/admin",
    "/admin/",
    "/admin/nope",
    "/admin/events",
    "/admin/events/1",
    "/admin/events/1/nope",
    "/docs/",
    "/index.html",
    "/.env",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/static/../app.py",
    "/static/%2e%2e/%2e%2e/app.py",
    "/static/nope.css",
    "/problems/sold-out",
    "/\u00e9",
    "/%FF",
    "/" + "x" * 8_000,
]


def test_a_sane_request_id_comes_back(api: Api) -> None:
    for given in ("a", "A-z.0_9", "9f1c2b7e-0000-4000-8000-000000000000", "x" * 128):
        for method, path in (("GET", "/events"), ("POST", "/buy/1"), ("GET", "/nope"), ("PUT", "/")):
            assert api.call(method, path, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


def test_another_request_id_is_replaced_by_one_made_here(api: Api) -> None:
    odd = ["", "x" * 129, "a b", "a/b", "a\tb", "<script>", "\u00e4", "a,b", '"', "%0d%0a"]
    answers = [api.get("/health/live", environ_overrides={"HTTP_X_REQUEST_ID": given}) for given in odd]
    answers.append(api.get("/health/live"))
    made = [answer.headers["X-Request-ID"] for answer in answers]
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in made)
    assert len(set(made)) == len(made)


def _filled(path: str) -> str:
    return path.replace("{event_id}", "1").replace("{purchase_id}", "1.x").replace("{name}", "shop.js")


KNOWN: dict[str, set[str]] = {}  # methods by path
for documented, documented_method, _ in operations():
    KNOWN.setdefault(_filled(documented), set()).update(
        {"GET", "HEAD"} if documented_method == "GET" else {documented_method}
    )


@pytest.mark.usefixtures("quiet_log")
def test_any_other_method_is_405_and_told_which_ones_there_are(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    for path, allowed in KNOWN.items():
        for method in METHODS - allowed:
            with subtests.test(method=method, path=path):
                answer = api.call(method, path, headers=ADMIN)
                assert answer.status_code == 405
                assert method == "HEAD" or problem_of(answer) == (405, "method-not-allowed")
                assert set(answer.headers["Allow"].split(", ")) == allowed
    assert api.state().sold == 0


@pytest.mark.usefixtures("quiet_log")
def test_any_other_path_is_not_found(api: Api, subtests: pytest.Subtests) -> None:
    for path in OTHER_PATHS:
        for method in ("GET", "POST"):
            with subtests.test(method=method, path=path):
                answer = api.call(method, path, headers=ADMIN)
                if path.startswith("/static/") and method == "POST":
                    assert answer.status_code in {404, 405}
                else:
                    assert problem_of(answer) == (404, "not-found")
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_answer_tells_browsers_to_do_no_harm(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    bought = f"/tickets/{api.bought()['purchase_id']}"
    others = [
        "/nope",
        "/static/contract.css",
        "/static/nope",
        "/admin/rq/0/view/jobs",
        "/admin/rq/nope",
        "/events/nope",
    ]
    for path in [*KNOWN, *others, bought]:
        for method, headers in (("GET", ADMIN), ("GET", {}), ("POST", ADMIN), ("PUT", {})):
            with subtests.test(method=method, path=path):
                answer = api.call(method, path, headers=headers)
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers.getlist("Content-Security-Policy")[0].endswith("frame-ancestors 'none'")
                if answer.mimetype == "text/html":
                    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
                answer.close()


def test_no_cache_keeps_what_is_secret(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    purchase_id = api.bought()["purchase_id"]
    api.render(purchase_id)
    for path in [path for path in KNOWN if path.startswith("/admin")] + [f"/tickets/{purchase_id}", "/metrics"]:
        with subtests.test(path):
            kept = api.get(path, headers=ADMIN).headers["Cache-Control"]
            assert kept == ("private, no-cache" if path.startswith("/tickets") else "no-store")
    for path in ("/admin/rq/0/data/queues.json", "/admin/rq/0/view/workers"):
        assert api.get(path, headers=ADMIN).headers["Cache-Control"] == "no-store"


def test_head_answers_as_get_does_without_a_body(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    for path in [path for path, methods in KNOWN.items() if "GET" in methods and not path.startswith("/tickets")]:
        with subtests.test(path):
            get, head = api.get(path, headers=ADMIN), api.call("HEAD", path, headers=ADMIN)
            assert head.status_code == get.status_code == 200
            assert head.data == b""
            changing = {"X-Request-ID", "Date"} | ({"Content-Length"} if path == "/metrics" else set())
            assert _without(head, changing) == _without(get, changing)


def _without(answer: Any, names: set[str]) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name not in names}


def test_head_of_a_problem_has_its_headers(api: Api) -> None:
    for path, status in (("/events/nope", 404), ("/nope", 404), ("/buy/1", 405), ("/admin/audit", 401)):
        answer = api.call("HEAD", path)
        assert (answer.status_code, answer.data) == (status, b"")
        assert answer.mimetype == "application/problem+json"


def test_every_problem_has_the_members_of_rfc_9457_and_is_not_cached(api: Api) -> None:
    api.open_event(tickets=1)
    api.bought()
    answers = [
        api.buy(),
        api.buy("nope"),
        api.buy(body={"quantity": 0}),
        api.buy(body={"qty": 1}),
        api.buy(key="short"),
        api.post("/buy/1", data=b"x"),
        api.post("/buy/1", data=b"x" * 20_000),
        api.get("/nope"),
        api.get("/buy/1"),
        api.get("/tickets/nope"),
        api.get("/admin/audit"),
        api.get("/admin/audit", headers={"Authorization": "Bearer no"}),
    ]
    for answer in answers:
        assert answer.content_type == "application/problem+json"
        assert answer.headers["Cache-Control"] == "no-store"
        told = answer.get_json()
        assert list(told)[:4] == ["type", "title", "status", "detail"]
        assert re.fullmatch(r"/problems/[a-z]+(-[a-z]+)*", told["type"])
        assert told["status"] == answer.status_code
    assert len({answer.get_json()["type"] for answer in answers}) == 12


def test_times_are_rfc_3339_in_utc_by_the_store_s_clock(api: Api) -> None:
    api.open_event()
    before_ms = api.store.clock_ms()
    sold_at = api.bought()["sold_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", sold_at)
    sold_at_ms = round(datetime.fromisoformat(sold_at).astimezone(UTC).timestamp() * 1000)
    assert before_ms <= sold_at_ms <= api.store.clock_ms()


def test_members_are_in_snake_case(api: Api) -> None:
    api.open_event(buyer_max=3)
    purchase = api.buy(body={"buyer": {"id": "a"}})
    told = [
        api.get(path, headers=ADMIN | {"Accept": "application/json"})
        for path in ("/events", "/events/1", "/health", "/metrics", "/admin/pdf-stats", "/admin/audit")
    ]
    for answer in [purchase, *told]:
        assert not re.findall(r'"[^":]*[A-Z-][^":]*":', answer.text.replace("E1-", ""))


def test_no_error_tells_anything_of_the_inside(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, store: object
) -> None:
    api = start_api(store_timeout_s=0.2)
    api.open_event()
    away(store, monkeypatch)
    answers = [
        api.buy(),
        api.buy(key=new_key()),
        api.get("/health/ready"),
        *(
            api.admin(method, f"/admin/{path}", json={"add": 1} if path.endswith("tickets") else None)
            for method, path in [
                ("GET", "audit"),
                ("POST", "receipts/retry"),
                ("POST", "events/1/pause"),
                ("POST", "events/1/resume"),
                ("POST", "events/1/tickets"),
            ]
        ),
    ]
    for answer in answers:
        assert problem_of(answer) == (503, "temporarily-unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert not re.search(r"redis|valkey|10\.1\.2\.3|6379|refused|Error|Traceback|\.py", answer.text, re.IGNORECASE)


def test_a_fault_of_ours_is_a_problem_too_and_its_traceback_stays_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    def fail(event_id: str) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(api.service.catalogue, "find_fresh", fail)
    answer = api.client.ask("GET", "/events/1", headers={"X-Request-ID": "the-one-that-failed"})
    assert problem_of(answer) == (500, "internal-error")
    assert answer.headers["X-Request-ID"] == "the-one-that-failed"
    assert "secret" not in answer.text
    (record,) = [record for record in log if record["level"].name == "ERROR"]
    assert "the-one-that-failed" in record["message"]
    assert record["exception"].type is RuntimeError


def test_no_purchase_or_buyer_is_in_the_log(start_api: StartApi, log: list[Any]) -> None:
    api = start_api(log_level="DEBUG")
    api.open_event()
    buyer = {"id": "buyer-4711", "name": "Ada Byron", "email": "ada@example.org"}
    key = new_key()
    purchase = api.bought(body={"buyer": buyer}, key=key)
    api.buy(body={"buyer": buyer}, key=key)
    api.get(purchase["receipt"]["url"])
    api.buy(key=key)
    logged = " ".join(f"{record['message']} {record['extra']}" for record in log)
    for secret in (purchase["purchase_id"], key, *buyer.values()):
        assert secret not in logged
