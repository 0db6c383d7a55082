"""Connections on both workers: their limits, their ends, who is served first, and who takes the new ones."""

import contextlib
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.server.conftest import Start
from tests.server.gunicorns import WORKERS, Gunicorn, hear, read_answer
from tests.servers import wait_until

CROWD = 200
QUICK_BODIES = "import ticketing.server.worker as w; w.BODY_S = 1.0"
QUICK_HEADS = "import ticketing.server.worker as w; w.HEAD_S = 1.0"
TELLS_OF_THE_LONG_WAY = """
import ticketing.server.express_worker as w
class Told(w.Replayed):
    def __init__(self, *args):
        print("handed over", flush=True)
        super().__init__(*args)
w.Replayed = Told
"""
TELLS_OF_ITS_END = "def worker_exit(server, worker): print('worker exit ran', flush=True)"
BOTH = pytest.mark.parametrize("web_server", WORKERS)


def ask(path: str, *lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: x", *lines, "")).encode()


def number_in(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return int(answer.partition(b"\r\n\r\n")[2])


@contextmanager
def connections(server: Gunicorn, count: int) -> Iterator[list[socket.socket]]:
    made = [server.connect() for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def numbers(log: str) -> Counter[str]:
    return Counter(re.findall(r"Booting worker with pid: (\d+)", log))


@BOTH
def test_an_idle_connection_ends_after_its_time(start: Start, web_server: str) -> None:
    server = start(web_server, keepalive=1)
    with connections(server, 2) as (silent, after_one):
        after_one.sendall(ask("/count"))
        assert number_in(read_answer(after_one)) > 0
        assert [silent.recv(100), after_one.recv(100)] == [b"", b""]


@BOTH
def test_half_a_head_ends_after_the_time_of_an_idle_connection(start: Start, web_server: str) -> None:
    server = start(web_server, keepalive=1)
    with server.connect() as connection:
        connection.sendall(b"GET /count HTTP/1.1\r\nHo")
        assert connection.recv(100) == b""


@BOTH
def test_a_head_that_drips_ends(start: Start, web_server: str) -> None:
    """Each byte comes soon enough; an idle connection would have 75 s."""
    server = start(web_server, code=QUICK_HEADS)
    with server.connect() as connection:
        connection.sendall(ask("/count"))
        assert number_in(read_answer(connection)) > 0
        connection.sendall(b"GET /count HTTP/1.1\r\nX-A: ")
        connection.settimeout(0.25)
        ended = False
        for _ in range(80):
            try:
                ended = connection.recv(100) == b""
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"a")
            except ConnectionError:
                ended = True
            if ended:
                break
    assert ended
    assert server.ask(ask("/count")).statuses == [200]


@BOTH
def test_a_body_that_does_not_come_ends(start: Start, web_server: str) -> None:
    """The echo app does not catch what its read raises, and gunicorn gives no answer then."""
    server = start(web_server, code=QUICK_BODIES)
    with server.connect() as connection:
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
        assert connection.recv(100) == b""
    assert server.ask(ask("/count")).statuses == [200]


def test_a_body_that_is_late_goes_on_the_long_way_and_is_answered(start: Start) -> None:
    server = start("express", code=TELLS_OF_THE_LONG_WAY)
    with server.connect() as connection:
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
        wait_until(lambda: "handed over" in server.log.read_text(), 10)
        connection.sendall(b"llo")
        heard = hear(connection)
    assert heard.statuses == [200]
    assert b'"body": "hello"' in heard.body
    assert heard.goes_on


@BOTH
def test_a_stop_finishes_what_was_begun_and_ends_what_is_idle(start: Start, web_server: str) -> None:
    server = start(web_server)
    with connections(server, 12) as (busy, late, *idle):
        for each in idle[:5]:
            each.sendall(ask("/count"))
            assert number_in(read_answer(each)) > 0
        busy.sendall(ask("/wait"))
        wait_until((server.folder / "waiting").exists, 10)
        server.process.send_signal(signal.SIGTERM)
        late.sendall(ask("/count"))  # a stop that has begun does not cut this off
        assert number_in(read_answer(late)) > 0
        assert [each.recv(100) for each in idle] == [b""] * len(idle), "closed in order, not reset"
        assert server.process.poll() is None, "it waits for what was begun"
        (server.folder / "go").touch()
        heard = hear(busy)
        assert heard.body == b'"waited"'
        assert not (heard.goes_on and web_server == "express"), "gunicorn's own tells it with the answer after this"
    server.stop()
    assert "graceful timeout" not in server.log.read_text()
    assert server.process.returncode == 0


def test_an_answer_after_the_stop_tells_that_the_connection_closes(start: Start) -> None:
    """Though the stop came while the app was at work; gunicorn's own says keep-alive then, and closes."""
    server = start("express")
    with server.connect() as busy:
        busy.sendall(ask("/wait"))
        wait_until((server.folder / "waiting").exists, 10)
        server.process.send_signal(signal.SIGTERM)
        wait_until(server.refuses, 10, "nobody listens any more")
        (server.folder / "go").touch()
        assert b"\r\nConnection: close\r\n" in read_answer(busy)


@BOTH
def test_a_stop_does_not_wait_longer_than_its_time(start: Start, web_server: str) -> None:
    server = start(web_server, graceful_timeout=6, code=TELLS_OF_ITS_END)
    with server.connect() as busy:
        busy.sendall(ask("/wait"))
        wait_until((server.folder / "waiting").exists, 10)
        server.stop()
        assert busy.recv(100) == b""
    assert "worker exit ran" in server.log.read_text()


@BOTH
def test_a_worker_ends_after_its_requests_and_another_takes_over(start: Start, web_server: str) -> None:
    server = start(web_server, max_requests=5)
    with server.connect() as connection:
        closing = 0
        for _ in range(4):  # one was asked when it started
            connection.sendall(ask("/count"))
            closing = b"\r\nConnection: close\r\n" in (answer := read_answer(connection))
            assert number_in(answer) > 0
        assert closing
        assert connection.recv(100) == b""
    wait_until(lambda: len(numbers(server.log.read_text())) == 2, 10, "another worker")
    assert server.ask(ask("/count")).statuses == [200]


@BOTH
def test_no_more_connections_than_may_be_are_served(start: Start, web_server: str) -> None:
    server = start(web_server, worker_connections=3)
    with connections(server, 3) as served, server.connect() as waiting:
        for each in served:
            each.sendall(ask("/count"))
            assert number_in(read_answer(each)) > 0
        waiting.sendall(ask("/count"))
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(100)
        waiting.settimeout(10)
        served[0].close()
        assert number_in(read_answer(waiting)) > 0


@BOTH
def test_the_app_is_told_when_its_client_has_gone(start: Start, web_server: str) -> None:
    server = start(web_server)
    with server.connect() as connection:
        connection.sendall(ask("/closing"))
        assert connection.recv(100)
    wait_until((server.folder / "closed").exists, 10, "the iterable was closed")
    assert server.ask(ask("/count")).statuses == [200]
    assert "Traceback" not in server.log.read_text()


@BOTH
def test_a_slow_reader_gets_all_and_keeps_nobody_waiting(start: Start, web_server: str) -> None:
    server = start(web_server)
    with server.connect() as slow:
        slow.sendall(ask("/large"))
        assert slow.recv(1) == b"H"
        assert server.ask(ask("/count")).statuses == [200]
        answer = b"H" + read_answer(slow)
    assert len(answer.partition(b"\r\n\r\n")[2]) == 20_000_000


@contextmanager
def standing_still(server: Gunicorn) -> Iterator[None]:
    """The process does nothing meanwhile, so that all that is sent is there at once when it goes on."""
    with server.connect() as blocking:
        blocking.sendall(ask("/block"))
        wait_until((server.folder / "blocked").exists, 10)
        yield
        (server.folder / "go").touch()
        assert read_answer(blocking).endswith(b'"went on"')


@contextmanager
def known(server: Gunicorn, count: int) -> Iterator[list[socket.socket]]:
    """Connections that the server has accepted."""
    with connections(server, count) as made:
        for each in made:
            each.sendall(ask("/count"))
            number_in(read_answer(each))
        yield made


def numbers_of(connection: socket.socket, count: int) -> list[int]:
    return [number_in(read_answer(connection)) for _ in range(count)]


def test_a_client_that_sends_a_thousand_requests_at_once_waits_its_turn(start: Start) -> None:
    server = start("express")
    many = 1000
    with known(server, CROWD + 1) as (greedy, *crowd):
        with standing_still(server):
            greedy.sendall(ask("/count") * many)
            for each in crowd:
                each.sendall(ask("/count"))
        of_the_crowd = [number for each in crowd for number in numbers_of(each, 1)]
        of_the_greedy = numbers_of(greedy, many)
    assert len([number for number in of_the_greedy if number < max(of_the_crowd)]) < 20
    assert len({*of_the_crowd, *of_the_greedy}) == CROWD + many


def test_two_hundred_busy_connections_are_served_in_turn(start: Start) -> None:
    server = start("express")
    rounds = 10
    with known(server, CROWD) as crowd:
        with standing_still(server):
            for each in crowd:
                each.sendall(ask("/count") * rounds)
        told = [numbers_of(each, rounds) for each in crowd]
    assert len({number for each in told for number in each}) == CROWD * rounds
    assert max(each[0] for each in told) < min(each[-1] for each in told), "nobody is done before all have begun"


def test_new_connections_are_taken_while_others_are_busy(start: Start) -> None:
    """A process with many busy connections takes several new ones at a time."""
    server = start("express")
    rounds = 20
    with known(server, CROWD) as busy, contextlib.ExitStack() as at_the_end:
        with standing_still(server):
            new = at_the_end.enter_context(connections(server, CROWD))
            for each in new:
                each.sendall(ask("/count"))
            for each in busy:
                each.sendall(ask("/count") * rounds)
        of_the_new = [number for each in new for number in numbers_of(each, 1)]
        lasts = [numbers_of(each, rounds)[-1] for each in busy]
    assert max(of_the_new) < min(lasts)


def test_two_workers_share_a_crowd_that_comes_at_once(start: Start) -> None:
    """In one of a few crowds: on a busy machine one worker may sleep while the other takes all that come."""
    server = start("express", workers=2)
    smaller = []
    for _ in range(5):
        with connections(server, 600) as crowd:
            for each in crowd:
                each.sendall(ask("/process"))
            shares = Counter(number_in(read_answer(each)) for each in crowd)
        assert sum(shares.values()) == 600
        smaller.append(min(shares.values()) if len(shares) == 2 else 0)
        if smaller[-1] > 600 / 6:
            return
    raise AssertionError(smaller)
