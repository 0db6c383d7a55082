"""Store.exchange: what a broken or odd answer means. A server of canned bytes stands in for Redis."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest
import redis

from tests.servers import HOST, free_port
from ticketing.errors import OutcomeUnknown, ScriptFailed, StoreRefused
from ticketing.store.connection import Store, open_store, translate

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
PINGS = [("PING",)] * 3


class CannedServer:
    """Answers each connection's first bytes with the next of its scripts, then hangs up or stays silent."""

    def __init__(self) -> None:
        self.scripts: list[tuple[bytes, bool]] = []  # bytes, and whether to hang up after them
        self.received: list[bytes] = []
        self._listener = socket.create_server((HOST, 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def store(self, connections: int = 2) -> Store:
        url = f"redis://{HOST}:{self._listener.getsockname()[1]}/0"
        return open_store(url, timeout_s=0.2, connect_timeout_s=0.2, connections=connections)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in self._open:
            connection.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self.received.append(connection.recv(1 << 16))
                answer, hangs_up = self.scripts.pop(0)
                connection.sendall(answer)
                if hangs_up:
                    connection.close()


@pytest.fixture
def server() -> Iterator[CannedServer]:
    made = CannedServer()
    yield made
    made.stop()


@pytest.fixture
def store(server: CannedServer) -> Iterator[Store]:
    made = server.store()
    yield made
    made.close()


def answered(store: Store, server: CannedServer, answer: bytes, *, hangs_up: bool = False) -> Sequence[object]:
    server.scripts.append((answer, hangs_up))
    return store.exchange(PINGS)


def test_all_commands_go_out_in_one_write_and_each_gets_its_reply(store: Store, server: CannedServer) -> None:
    assert answered(store, server, b"+PONG\r\n:5\r\n$-1\r\n") == ["PONG", 5, None]
    assert server.received == [b"*1\r\n$4\r\nPING\r\n" * 3]


def test_an_error_reply_stands_in_its_place(store: Store, server: CannedServer) -> None:
    first, second, third = answered(store, server, b"+PONG\r\n-ERR no\r\n+PONG\r\n")
    assert (first, third) == ("PONG", "PONG")
    assert isinstance(second, redis.ResponseError)


def test_a_server_that_is_loading_refuses_each_command_of_a_round_trip(store: Store, server: CannedServer) -> None:
    replies = answered(store, server, LOADING * 3)
    assert [type(translate(reply)) for reply in replies] == [StoreRefused] * 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "hangs_up"),
    [
        (b"", True),
        (b"", False),
        (b"+PONG\r\n", True),
        (b"+PONG\r\n+PO", True),
        (b"+PONG\r\n+PO", False),
        (LOADING, True),
        (b"?what is this\r\n", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
        (b"$2\r\n\xff\xfe\r\n+PONG\r\n+PONG\r\n", False),
        (b"-ERR max number of clients reached\r\n", True),
    ],
)
def test_replies_that_do_not_come_or_can_not_be_understood_leave_the_outcome_unknown(
    store: Store, server: CannedServer, answer: bytes, hangs_up: bool
) -> None:
    with pytest.raises(OutcomeUnknown):
        answered(store, server, answer, hangs_up=hangs_up)
    # Whatever comes late on the broken connection is never read as the reply to something else.
    assert answered(store, server, b"+A\r\n+B\r\n+C\r\n") == ["A", "B", "C"]


def test_replies_that_nobody_asked_for_are_not_taken_for_those_to_the_next_commands(
    store: Store, server: CannedServer
) -> None:
    assert answered(store, server, b"+PONG\r\n+PONG\r\n+PONG\r\n+LEFT OVER\r\n") == ["PONG"] * 3
    assert answered(store, server, b"+A\r\n+B\r\n+C\r\n") == ["A", "B", "C"]


def test_a_server_that_is_not_there_was_certainly_told_nothing() -> None:
    store = open_store(f"redis://{HOST}:{free_port()}/0", timeout_s=0.2, connect_timeout_s=0.2, connections=1)
    for _ in range(3):  # a connection that could not be made is given back
        with pytest.raises(StoreRefused, match="can't connect"):
            store.exchange(PINGS)
    store.close()


def test_no_free_connection_means_that_nothing_was_sent(server: CannedServer) -> None:
    store = server.store(connections=1)
    server.scripts.append((b"", False))
    failures: list[type[Exception]] = []

    def exchange() -> None:
        try:
            store.exchange(PINGS)
        except (StoreRefused, OutcomeUnknown) as error:
            failures.append(type(error))

    holder = store._pool.get_connection()
    exchange()
    assert failures == [StoreRefused]
    store._pool.release(holder)
    exchange()
    assert failures == [StoreRefused, OutcomeUnknown]
    store.close()


def test_a_caller_who_is_killed_leaves_no_unread_replies_behind(store: Store, server: CannedServer) -> None:
    class Killed(BaseException):
        """As gevent kills a greenlet."""

    connection = store._pool.get_connection()
    reading = connection.read_response
    connection.read_response = lambda **_: (_ for _ in ()).throw(Killed())  # type: ignore[method-assign]
    store._pool.release(connection)
    server.scripts.append((b"+OLD\r\n+OLD\r\n+OLD\r\n", False))
    with pytest.raises(Killed):
        store.exchange(PINGS)
    connection.read_response = reading  # type: ignore[method-assign]
    assert answered(store, server, b"+A\r\n+B\r\n+C\r\n") == ["A", "B", "C"]


def test_a_ping_that_fails_left_nothing_behind(store: Store, server: CannedServer) -> None:
    server.scripts.append((b"", True))
    with pytest.raises(StoreRefused):
        store.ping()


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (redis.exceptions.OutOfMemoryError("command not allowed", status_code="OOM"), StoreRefused),
        (redis.exceptions.ReadOnlyError("You can't write", status_code="READONLY"), StoreRefused),
        (redis.exceptions.ClusterCrossSlotError("Keys in request", status_code="CROSSSLOT"), StoreRefused),
        (redis.exceptions.MovedError("1 host:1", status_code="MOVED"), StoreRefused),
        (redis.ResponseError("MISCONF Errors writing to the AOF file"), StoreRefused),
        (redis.ResponseError("NOREPLICAS Not enough good replicas"), StoreRefused),
        (redis.ResponseError("BUSY Redis is busy running a script."), StoreRefused),
        (redis.ResponseError("WRONGTYPE Operation against a key script: on @user_script:1."), ScriptFailed),
        (redis.ResponseError("READONLY You can't write script: 5d41, on @user_script:30."), ScriptFailed),
        (redis.exceptions.NoPermissionError("ACL failure in script: no", status_code="NOPERM"), ScriptFailed),
        (redis.exceptions.OutOfMemoryError("not allowed script: 5d41, on", status_code="OOM"), ScriptFailed),
        (redis.ResponseError("BUSYGROUP Consumer Group name already exists"), ScriptFailed),
        (redis.ResponseError("no such key", status_code="ERR"), ScriptFailed),
    ],
)
def test_an_error_reply_is_a_refusal_only_where_nothing_can_have_been_done(
    error: redis.RedisError, meaning: type[Exception]
) -> None:
    assert type(translate(error)) is meaning
