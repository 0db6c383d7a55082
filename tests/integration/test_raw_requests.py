"""What gunicorn refuses before the app sees it, over raw sockets, by both workers: a problem too; the sale goes on."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import HOST, wait_until
from tests.service import Service

REFUSED = {
    "a request line of 10 kB": (b"POST /buy/" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
    "a key with a control character": (
        b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nIdempotency-Key: 0123456789\x010123456789\r\n\r\n",
        400,
        "malformed-request",
    ),
    "a key of 9 kB": (
        b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nIdempotency-Key: " + b"k" * 9_000 + b"\r\n\r\n",
        431,
        "headers-too-large",
    ),
    "a length that is no number": (
        b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
        400,
        "malformed-request",
    ),
    "a length beyond all measure": (
        b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        413,
        "body-too-large",
    ),
    "a body that is packed for the way": (
        b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        "not-implemented",
    ),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "malformed-request"),
}
BAD_CHUNKS = [
    b"0x2\r\n{}\r\n0\r\n\r\n",
    b"zz\r\n",
    b"-2\r\n{}\r\n",
    b"\r\n",
    b"2\n{}\r\n",
    b"2\r\n{}XX",
    b"0\r\n:\r\n\r\n",
]
REFUSED |= {
    f"a body in chunks like {chunks!r}": (
        b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks,
        400,
        "malformed-request",
    )
    for chunks in BAD_CHUNKS
}
SLOW_CLIENTS = 200


WEB_SERVERS = ["express", "gevent"]


@pytest.fixture(scope="module", params=WEB_SERVERS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("raw"), WEB_SERVER=request.param)
    service.start()
    service.seed({"rock": 100})
    yield service
    service.stop()
    assert "Traceback" not in service.log.read_text()
    assert "ERROR" not in service.log.read_text()


def test_a_request_line_may_have_what_the_contract_says(service: Service) -> None:
    for length, status in ((8_000, b"404"), (8_300, b"414")):
        with socket.create_connection((HOST, service.port), timeout=10) as connection:
            connection.sendall(b"GET /events/" + b"x" * length + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert _read_to_the_end(connection).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("name", REFUSED)
def test_what_gunicorn_refuses_is_a_problem_and_changes_nothing(service: Service, name: str) -> None:
    sent, status, kind = REFUSED[name]
    before = service.events()
    with socket.create_connection((HOST, service.port), timeout=10) as connection:
        connection.sendall(sent)
        answer = _read_to_the_end(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close" in head
    assert b"Content-Type: application/problem+json" in head
    assert b"X-Request-ID: " in head
    assert b"\r\nX-Frame-Options: DENY\r\n" in head
    assert json.loads(body)["type"] == f"/problems/{kind}"
    assert json.loads(body)["status"] == status
    assert service.events() == before


def test_two_hundred_slow_clients_keep_nobody_from_buying(service: Service) -> None:
    slow = [socket.create_connection((HOST, service.port), timeout=10) for _ in range(SLOW_CLIENTS)]
    try:
        for connection in slow:
            connection.sendall(b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            connection.sendall(b"Content-Length: 15\r\n\r\n" + b'{"quan')
        answers = [service.request("POST", "/buy/rock") for _ in range(20)]
    finally:
        for connection in slow:
            connection.close()
    assert [answer.status for answer in answers] == [201] * 20
    wait_until(lambda: service.request("GET", "/events/rock").json()["sold"] == 20, 5, "exactly 20 are sold")


def test_a_body_that_drips_is_cut_off(service: Service) -> None:
    with socket.create_connection((HOST, service.port), timeout=30) as connection:
        connection.sendall(b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        connection.sendall(b"Content-Length: 1000\r\n\r\n{")
        answer = _read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"/problems/malformed-request" in answer


def test_a_body_that_goes_on_dripping_is_cut_off_too(service: Service) -> None:
    """Each byte comes soon enough; all of them would take an hour."""
    with socket.create_connection((HOST, service.port), timeout=30) as connection:
        connection.sendall(b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        connection.sendall(b"Content-Length: 10000\r\n\r\n{")
        connection.settimeout(0.25)
        answer = b""
        for _ in range(160):
            try:
                answer = connection.recv(65536)
                break
            except TimeoutError:
                connection.sendall(b" ")
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("web_server", WEB_SERVERS)
def test_a_stop_is_not_held_up_by_idle_connections(tmp_path: Path, web_server: str) -> None:
    own = Service(tmp_path, WEB_SERVER=web_server)
    own.start()
    own.seed({"rock": 10})
    idle = [socket.create_connection((HOST, own.port), timeout=10) for _ in range(20)]
    for connection in idle:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += connection.recv(65536)
    own.stop()
    for connection in idle:
        assert connection.recv(65536) == b"", "closed in order, not reset"
        connection.close()
    log = own.log.read_text()
    assert "Worker graceful timeout" not in log
    assert "SIGKILL" not in log
    # The web processes came to their own end, where voids are carried out and the outbox is told.
    assert log.count("web process ends") == 2


def _read_to_the_end(connection: socket.socket) -> bytes:
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer
