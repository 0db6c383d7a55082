"""Waits of a connection on the short way: each has a limit, and a limit ends nothing else."""

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import event, socket
from gevent.pool import Pool

from ticketing.server import connection as module
from ticketing.server.connection import SEND_S, Connection, Deadlines, Replayed
from ticketing.server.express_worker import _Door

BIG = 20_000_000


class Now:
    s = 1000.0

    def monotonic(self) -> float:
        return self.s


now = Now()


class Clock(Deadlines):
    """Time passes when a test says so."""

    def pass_s(self, seconds: float) -> None:
        now.s += seconds
        self.sweep()
        gevent.sleep(0.001)  # the hub has its turn, and the connections theirs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(module, "time", now)
    return Clock()


@pytest.fixture
def ends() -> Iterator[tuple[Any, Any]]:
    """The server's end of a connection, and the client's."""
    server, client = socket.socketpair()
    yield server, client
    server.close()
    client.close()


def serve(server: Any, clock: Clock, work: Callable[[Connection], Any]) -> Any:
    """A greenlet that serves a connection; it has begun."""

    def served() -> Any:
        connection = Connection(server, clock)
        try:
            return work(connection)
        finally:
            connection.leave()

    greenlet = gevent.spawn(served)
    gevent.sleep(0.001)
    return greenlet


def test_what_has_come_is_received(ends: Any, clock: Clock) -> None:
    server, client = ends
    waiting = serve(server, clock, lambda connection: connection.receive_first(5))
    assert not waiting.ready()
    client.sendall(b"hello")
    assert waiting.get(timeout=5) == b"hello"
    assert clock.connections == set()


def test_the_end_of_a_client_is_received_as_nothing(ends: Any, clock: Clock) -> None:
    server, client = ends
    client.close()
    assert serve(server, clock, lambda connection: connection.receive_first(5)).get(timeout=5) == b""


def test_a_wait_ends_at_its_limit_and_no_sooner(ends: Any, clock: Clock) -> None:
    server, _ = ends
    waiting = serve(server, clock, lambda connection: connection.receive_first(5))
    clock.pass_s(4.9)
    assert not waiting.ready()
    clock.pass_s(0.2)
    assert waiting.get(timeout=5) == b""


def test_the_rest_has_one_limit_however_it_drips(ends: Any, clock: Clock) -> None:
    server, client = ends
    waiting = serve(server, clock, lambda connection: connection.receive_rest(b"a", 10, 2))
    for _ in range(2):
        client.sendall(b"b")
        clock.pass_s(0.9)
        assert not waiting.ready()
    client.sendall(b"b")
    clock.pass_s(0.9)
    assert waiting.get(timeout=5) in (b"abb", b"abbb")


def test_the_rest_is_what_was_asked_for_or_more(ends: Any, clock: Clock) -> None:
    server, client = ends
    waiting = serve(server, clock, lambda connection: connection.receive_rest(b"a", 3, 2))
    for sent in (b"b", b"cde"):
        client.sendall(sent)
        clock.pass_s(0.1)
    assert waiting.get(timeout=5) == b"abcde"


def test_an_application_at_work_is_not_disturbed(ends: Any, clock: Clock) -> None:
    server, client = ends
    go = event.Event()

    def work(connection: Connection) -> Any:
        first = connection.receive_first(5)
        go.wait()
        return first, connection.receive_first(5)

    client.sendall(b"one")
    working = serve(server, clock, work)
    clock.pass_s(3600)
    clock.end_idle(0)
    clock.pass_s(3600)
    assert not working.ready()
    client.sendall(b"two")
    go.set()
    assert working.get(timeout=5) == (b"one", b"two")


def test_a_wait_that_ended_in_time_is_not_ended_again(ends: Any, clock: Clock) -> None:
    """The sweep has seen it too late, and the hub is told of it when the bytes have come already."""
    server, client = ends
    seen: list[Any] = []

    def work(connection: Connection) -> None:
        seen.append(connection.receive_first(5))
        clock._end_wait(connection)
        seen.append(connection.receive_first(5))

    working = serve(server, clock, work)
    client.sendall(b"one")
    gevent.sleep(0.01)
    client.sendall(b"two")
    working.get(timeout=5)
    assert seen == [b"one", b"two"]


def test_only_idle_connections_end_at_a_stop(clock: Clock) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    idle = serve(pairs[0][0], clock, lambda connection: connection.receive_first(75))
    busy = serve(pairs[1][0], clock, lambda connection: connection.receive_rest(b"", 1, 75))
    clock.end_idle(1)
    clock.pass_s(0.9)
    clock.end_idle(1)
    assert not idle.ready()
    clock.pass_s(0.2)
    assert idle.get(timeout=5) == b""
    assert not busy.ready()
    pairs[1][1].sendall(b"x")
    assert busy.get(timeout=5) == b"x"
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_slow_reader_gets_all_of_it(ends: Any, clock: Clock) -> None:
    server, client = ends
    sending = serve(server, clock, lambda connection: connection.send(b"x" * BIG))
    received = 0
    while received < BIG:
        clock.pass_s(SEND_S - 1)  # each piece may take so long
        received += len(client.recv(1_000_000))
        gevent.sleep(0.001)  # the rest finds room
    sending.get(timeout=5)
    assert received == BIG


def test_a_client_that_reads_nothing_is_given_up(ends: Any, clock: Clock) -> None:
    server, _ = ends
    sending = serve(server, clock, lambda connection: connection.send(b"x" * BIG))
    clock.pass_s(SEND_S - 0.1)
    assert not sending.ready()
    clock.pass_s(0.2)
    sending.join(timeout=5)
    assert isinstance(sending.exception, BrokenPipeError)


def test_a_client_that_has_gone_is_told_by_the_system(ends: Any, clock: Clock) -> None:
    server, client = ends
    client.close()
    sending = serve(server, clock, lambda connection: [connection.send(b"x" * 1000) for _ in range(3)])
    sending.join(timeout=5)
    assert isinstance(sending.exception, ConnectionError)


def test_what_was_read_already_is_received_again(ends: Any) -> None:
    server, client = ends
    client.sendall(b"world")
    replayed = Replayed(server, b"hello ")
    assert [replayed.recv(4), replayed.recv(10), replayed.recv(10)] == [b"hell", b"o ", b"world"]
    replayed.sendall(b"answer")
    assert client.recv(10) == b"answer"
    replayed.close()
    assert client.recv(10) == b""
    assert server.fileno() == -1, "nothing is closed twice"


def test_new_connections_are_taken_in_proportion_to_those_there_are() -> None:
    listener = socket.socket()
    pool = Pool(10_000)
    door = _Door(listener, handle=lambda client, address: None, spawn=pool)
    taken = []
    for _ in range(4):
        taken.append(door.max_accept)
        for _ in range(16):
            pool.spawn(gevent.sleep, 60)
    pool.kill()
    listener.close()
    assert taken == [1, 3, 5, 7]
