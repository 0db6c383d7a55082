"""What a running service lets a client do: the rate limit over all its processes, behind a proxy too."""

import http.client
import socket
from collections.abc import Iterator

import pytest

from tests.servers import HOST, wait_until
from tests.service import Service

BURST = 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It takes a purchase in a thousand seconds after the first ones: none, as far as a test is concerned."""
    service = Service(
        tmp_path_factory.mktemp("limits"),
        WEB_WORKERS=3,
        RECEIPT_WORKERS=1,
        RATE_LIMIT_PER_S=0.001,
        RATE_LIMIT_BURST=BURST,
        FORWARDED_ALLOW_IPS="127.0.0.1",
    )
    service.start()
    service.seed({"rock": 1000})
    yield service
    service.stop()
    assert "Traceback" not in service.log.read_text()


def statuses(service: Service, asked: int, forwarded_for: str) -> list[int]:
    """Of so many purchases, a connection each, so that every web process gets some."""
    return [service.request("POST", "/buy/rock", X_Forwarded_For=forwarded_for).status for _ in range(asked)]


def test_all_web_processes_count_a_client_together(service: Service) -> None:
    codes = statuses(service, 3 * BURST, "203.0.113.7")
    assert (codes.count(201), codes.count(429)) == (BURST, 2 * BURST)
    wait_until(lambda: _counted(service) == (BURST, 2 * BURST), 10, "every process tells the same")


def _counted(service: Service) -> tuple[int, int]:
    purchases = service.request("GET", "/metrics?format=json").json()["purchases"]
    return purchases["sold"], purchases["rate_limited"]


def test_who_is_turned_away_with_a_body_keeps_its_connection(service: Service) -> None:
    """The body was not read: it must not be taken for the next request."""
    body = b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 3_000
    head = b"POST /buy/rock HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.10\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    statuses(service, BURST, "203.0.113.10")
    with socket.create_connection((HOST, service.port), timeout=10) as connection:
        answers = http.client.HTTPResponse
        for _ in range(3):
            connection.sendall(head + body)
            answer = answers(connection)
            answer.begin()
            assert answer.status == 429
            answer.read()
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = answers(connection)
        answer.begin()
        assert answer.status == 200
        answer.read()


def test_a_client_behind_the_proxy_can_not_write_itself_another_address(service: Service) -> None:
    for number in range(BURST):
        assert statuses(service, 1, f"192.0.2.{number}, 203.0.113.8") == [201]
    for number in range(10):
        refused = service.request("POST", "/buy/rock", X_Forwarded_For=f"198.51.100.{number}, 203.0.113.8")
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["X-Frame-Options"] == "DENY"
    assert statuses(service, 1, "203.0.113.9") == [201]
