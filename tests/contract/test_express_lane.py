"""POST /buy by the express lane and by way of Flask: two services, the same requests, nothing to tell them apart."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.contract.conftest import Api, StartApi, new_key
from ticketing.api.express_lane import ExpressLane

pytestmark = pytest.mark.asked("direct")  # both ways are compared inside the app

JSON = {"content_type": "application/json"}
KEY = {"headers": {"Idempotency-Key": "a-key-of-the-express-lane"}}
BUYER = b'{"quantity": 2, "buyer": {"id": "a", "name": "Zo\xc3\xab", "email": "z@example.org"}}'

# What is asked for, in this order, of an event of 12 tickets.
PLAIN: dict[str, dict[str, Any]] = {
    "nothing sent": {},
    "a body": {"data": b'{"quantity": 3}', **JSON},
    "a buyer": {"data": BUYER, **JSON},
    "a key": KEY,
    "the key again": KEY,
    "the key for something else": {"data": b'{"quantity": 2}', **JSON, **KEY},
    "a key that is too short": {"headers": {"Idempotency-Key": "short"}},
    "two keys": {"headers": {"Idempotency-Key": "the-first-of-two-keys,the-second-of-two-keys"}},
    "a request id": {"headers": {"X-Request-ID": "mine"}},
    "an odd request id": {"headers": {"X-Request-ID": "not mine"}},
    "a query": {"query_string": "quantity=5"},
    "a charset": {"data": b"{}", "content_type": "Application/JSON; charset=utf-8"},
    "not JSON by its type": {"data": b"{}", "content_type": "text/plain"},
    "no type": {"data": b"{}"},
    "not JSON": {"data": b"{", **JSON},
    "not UTF-8": {"data": b'{"\xff": 1}', **JSON},
    "a member twice": {"data": b'{"quantity": 1, "quantity": 2}', **JSON},
    "an unknown member": {"data": b'{"qty": 2}', **JSON},
    "a form": {"data": b"quantity=2", "content_type": "application/x-www-form-urlencoded"},
    "too many for one purchase": {"data": b'{"quantity": 50}', **JSON},
    "more than are left": {"data": b'{"quantity": 10}', **JSON},
    "the longest body": {"data": b" " * (16 * 1024 - 2) + b"{}", **JSON},
    "the client goes before its body": {"data": b"{}", "length": 30, **JSON},
    "an event that there is not": {"path": "/buy/nope"},
    "an odd host": {"headers": {"Host": "a b<>"}},
    "a trailing header": {"headers": {"Accept": "text/html", "Cookie": "a=b; c"}},
}
# What goes to Flask.
NOT_PLAIN: dict[str, dict[str, Any]] = {
    "a body that is too long": {"data": b" " * (16 * 1024 + 1), **JSON},
    "a body that is far too long": {"data": b" " * 200_000, **JSON},
    "a body without its length": {"data": b'{"quantity": 2}', **JSON, "chunked": True},
    "a packed body": {"data": b"{}", "headers": {"Content-Encoding": "gzip"}, **JSON},
    "a body that says it is not packed": {"data": b"{}", "headers": {"Content-Encoding": "Identity"}, **JSON},
    "no event": {"path": "/buy/"},
    "a path that goes on": {"path": "/buy/1/2"},
    "an event in the wrong letters": {"path": "/buy/\u00e9"},
    "two slashes": {"path": "//buy/1"},
    "another method": {"method": "PUT"},
    "no body asked for": {"method": "HEAD"},
    "what may be done": {"method": "OPTIONS"},
    "a read": {"method": "GET"},
}


def _environ(path: str = "/buy/1", method: str = "POST", length: int | None = None, chunked: bool = False, **rest: Any):
    environ = EnvironBuilder(path, method=method, **rest).get_environ()
    if chunked:
        del environ["CONTENT_LENGTH"]
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    return environ


class Way:
    """One of the two ways to the same answer, in a service of its own."""

    def __init__(self, api: Api, take: Callable[[ExpressLane], Any]) -> None:
        lane = api.app.wsgi_app
        assert isinstance(lane, ExpressLane)
        self.lane, self.api, self.by_flask = lane, api, 0
        self._flask = lane.flask
        lane.flask = self._by_flask
        self._app = take(lane)

    def _by_flask(self, environ: Any, start_response: Any) -> Any:
        self.by_flask += 1
        return self._flask(environ, start_response)

    def ask(self, said: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        body, status, headers = run_wsgi_app(self._app, _environ(**said), buffered=True)
        return status, list(headers), b"".join(body)

    def counted(self) -> dict[str, float]:
        values = self.api.service.exposition.values
        counted = values("ticketing_purchases_total", "outcome") | values("flask_http_request_total", "status")
        return counted | values("ticketing_purchase_duration_seconds_count", "")


@pytest.fixture
def ways(start_api: StartApi) -> tuple[Way, Way]:
    """The express lane, and Flask alone. They share a store, and sell each an event of its own."""
    return Way(start_api(), lambda lane: lane), Way(start_api(), lambda lane: lane.flask)


def _told(answer: tuple[str, list[tuple[str, str]], bytes], event_id: str) -> tuple[str, list[tuple[str, str]], str]:
    """The answer without what differs from one purchase to the next."""
    status, headers, body = answer

    def same(value: str) -> str:
        value = re.sub(rf"\b{event_id}\.[\w-]{{28}}", "ID", value).replace(f"E{event_id}-", "E-")
        value = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", value)
        return re.sub(r'"event_id":"\d"', "EVENT", value)

    def same_header(name: str, value: str) -> str:
        is_made = name == "X-Request-ID" and re.fullmatch(r"[0-9a-f]{16}", value)
        return "MADE" if is_made else same(value)

    return status, [(name, same_header(name, value)) for name, value in headers], same(body.decode())


def _with_path(said: dict[str, Any], event_id: str) -> dict[str, Any]:
    return said | {"path": said.get("path", "/buy/1").replace("/buy/1", f"/buy/{event_id}")}


def test_answers_are_the_same_to_the_letter(ways: tuple[Way, Way], subtests: pytest.Subtests) -> None:
    express, flask = ways
    express.api.open_event("1", tickets=12)
    express.api.open_event("2", tickets=12)
    asked_of_flask = 0
    for name, said in {**PLAIN, **NOT_PLAIN}.items():
        with subtests.test(name):
            one = _told(express.ask(_with_path(said, "1")), "1")
            other = _told(flask.ask(_with_path(said, "2")), "2")
            assert one == other
            asked_of_flask += name in NOT_PLAIN
            assert express.by_flask == asked_of_flask
    assert express.counted() == flask.counted()
    assert express.counted()["sold"] >= 5
    assert express.api.state("1").sold == flask.api.state("2").sold > 0


def test_a_client_that_asks_too_often_is_turned_away_by_both(start_api: StartApi) -> None:
    limits = {"rate_limit_per_s": 0.001, "rate_limit_burst": 2}
    told = []
    for event_id, take in (("1", lambda lane: lane), ("2", lambda lane: lane.flask)):
        way = Way(start_api(**limits), take)
        way.api.open_event(event_id)
        told.append([_told(way.ask({"path": f"/buy/{event_id}"}), event_id) for _ in range(3)])
        assert way.counted()["rate_limited"] == 1
    assert told[0] == told[1]
    assert [status for status, _, _ in told[0]] == ["201 CREATED", "201 CREATED", "429 TOO MANY REQUESTS"]


def test_all_tickets_of_an_event_by_both_ways_are_sold_once(ways: tuple[Way, Way]) -> None:
    express, flask = ways
    express.api.open_event(tickets=6)
    answers = [way.ask({"data": b'{"quantity": 1}', **JSON}) for _ in range(4) for way in (express, flask)]
    assert [status for status, _, _ in answers] == ["201 CREATED"] * 6 + ["409 CONFLICT"] * 2
    assert express.api.state().remaining == 0


def test_a_key_that_bought_by_one_way_is_replayed_by_the_other(ways: tuple[Way, Way]) -> None:
    express, flask = ways
    express.api.open_event()
    said = {"headers": {"Idempotency-Key": new_key()}}
    first, second = express.ask(said), flask.ask(said)
    assert (first[0], second[0]) == ("201 CREATED", "200 OK")
    assert first[2] == second[2]


def test_a_fault_of_ours_is_the_same_problem_and_the_same_line(
    ways: tuple[Way, Way], monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    answers = []
    for way in ways:
        monkeypatch.setattr(way.api.service.counter, "buy", fail)
        answers.append(way.ask({"headers": {"X-Request-ID": "the-one-that-failed"}}))
    assert answers[0] == answers[1]
    assert answers[0][0] == "500 INTERNAL SERVER ERROR"
    assert b"secret" not in answers[0][2]
    lines = [record for record in log if record["level"].name == "ERROR"]
    assert [line["exception"].type for line in lines] == [RuntimeError, RuntimeError]
    assert lines[0]["message"] == lines[1]["message"]
    assert [way.counted()["failed"] for way in ways] == [1, 1]


def test_a_connection_that_breaks_in_the_body_buys_nothing(ways: tuple[Way, Way]) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise TimeoutError("the body came too slowly")

    express, flask = ways
    express.api.open_event()
    answers = []
    for way in ways:
        environ = _environ(data=b'{"quantity": 1}', **JSON) | {"wsgi.input": Broken()}
        body, status, headers = run_wsgi_app(way._app, environ, buffered=True)
        answers.append(_told((status, list(headers), b"".join(body)), "1"))
    assert answers[0] == answers[1]
    assert answers[0][0] == "400 BAD REQUEST"
    assert express.api.state().sold == flask.api.state().sold == 0
