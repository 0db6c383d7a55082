"""That the contract suite does go over HTTP, through the worker that the setting WEB_SERVER chooses."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import gevent
import pytest
from gevent import socket

from tests.contract.conftest import Api, StartApi, new_key, problem_of
from tests.contract.web import Connection, WebServer
from tests.server.gunicorns import WORKERS
from tests.servers import HOST, fake_store
from ticketing.store.connection import Store

pytestmark = pytest.mark.asked("express", "gevent")

CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


def in_chunks(body: bytes) -> dict[str, Any]:
    return {"input_stream": BytesIO(body), "content_type": "application/json", "environ_overrides": CHUNKED}


@pytest.fixture
def store() -> Iterator[Store]:
    """One is enough here: the store has no part in it."""
    made = fake_store()
    yield made
    made.close()


@pytest.fixture
def handled(web_server: WebServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets of the requests that gunicorn's own handler got."""
    targets: list[str] = []
    handle = web_server.worker.handle_request

    def note(listener_name: Any, req: Any, *rest: Any) -> None:
        targets.append(req.uri)
        handle(listener_name, req, *rest)

    monkeypatch.setattr(web_server.worker, "handle_request", note)
    return targets


def test_each_request_goes_through_the_worker_that_the_setting_chooses(
    api: Api, web_server: WebServer, handled: list[str]
) -> None:
    worker = web_server.worker
    assert f"{type(worker).__module__}.{type(worker).__name__}" == WORKERS[web_server.name]
    before = worker.nr, web_server.connections
    api.open_event()
    assert api.buy().status_code == 201
    assert api.buy(body={"quantity": 2}, key=new_key()).status_code == 201
    assert api.get("/events", query_string={"limit": "1"}).headers["Server"] == "gunicorn"
    assert api.call("HEAD", "/events/1").status_code == 200
    plain = ["/buy/1", "/buy/1", "/events?limit=1", "/events/1"]
    assert handled == ([] if web_server.name == "express" else plain)
    assert api.post("/buy/1", **in_chunks(b'{"quantity": 3}')).get_json()["quantity"] == 3
    assert handled[-1] == "/buy/1"  # never plain
    assert (worker.nr, web_server.connections) == (before[0] + 5, before[1] + 1)
    assert api.state().sold == 6


def test_a_body_that_is_not_read_is_no_part_of_the_next_request(api: Api, web_server: WebServer) -> None:
    api.open_event()
    for size in (20_000, 1_000_000):
        for sent in ({"data": b" " * size, "content_type": "application/json"}, in_chunks(b" " * size)):
            assert problem_of(api.post("/buy/1", **sent)) == (413, "body-too-large")
            assert api.buy().status_code == 201
    assert api.state().sold == 4


def test_each_service_is_asked_over_connections_of_its_own(start_api: StartApi, web_server: WebServer) -> None:
    one, other = start_api(grafana_url="http://one.example"), start_api(grafana_url="http://other.example")
    asked = [gevent.spawn(api.admin, "GET", "/admin/live/data") for api in (one, other) for _ in range(20)]
    links = [greenlet.get(timeout=30).get_json()["links"]["Grafana"] for greenlet in asked]
    assert links == ["http://one.example"] * 20 + ["http://other.example"] * 20


def test_what_http_does_not_carry_is_not_sent(api: Api) -> None:
    assert api.get("/health/live").status_code == 200
    for way in ("environ_base", "environ_overrides"):
        with pytest.raises(AssertionError, match="does not go over HTTP"):
            api.get("/health/live", **{way: {"REMOTE_ADDR": "203.0.113.7"}})


@pytest.fixture
def talkative() -> Iterator[tuple[str, int]]:
    """The address of a server that says more than its answer."""
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen()

    def serve() -> None:
        client, _ = listener.accept()
        client.recv(1000)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more")
        client.close()

    serving = gevent.spawn(serve)
    yield listener.getsockname()
    serving.get(timeout=10)
    listener.close()


def test_bytes_after_an_answer_are_noticed(talkative: tuple[str, int]) -> None:
    connection = Connection(talkative)
    assert connection.ask(b"GET / HTTP/1.1\r\n\r\n", "GET").read() == b"ok"
    with pytest.raises(AssertionError):
        connection.end()


def test_a_complaint_of_the_worker_is_noticed(api: Api, web_server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(api.app, "wsgi_app", lambda environ, start_response: 1 / 0)
        assert problem_of(api.client.ask("GET", "/")) == (500, "internal-error")
    (complaint,) = web_server.complaints
    assert "ZeroDivisionError" in complaint
    web_server.complaints.clear()
    assert api.get("/").status_code == 200
