"""Connections to Redis, with every default that matters written out, and the one place where its errors are translated.

What must stay true: no command is ever sent twice by the library, and a command that may have run is never reported as
refused. That is why commands go out through `Store.exchange` alone: it connects first (a failure there did nothing),
then sends and reads once (a failure there leaves the outcome unknown). Where replicas are to confirm what is written,
nothing that they have not confirmed is reported as done.
"""

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ticketing.errors import OutcomeUnknown, ScriptFailed, StoreError, StoreRefused, StoreShut
from ticketing.store import keys

Command = tuple[str | int | bytes, ...]

# What a server answers when it did nothing of what was asked: the first word of its error.
REFUSALS = frozenset(
    {"LOADING", "READONLY", "OOM", "MISCONF", "BUSY", "NOSCRIPT", "NOREPLICAS", "NOAUTH", "NOPERM", "WRONGPASS"}
    | {"MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "CROSSSLOT", "DENIED"}
)
REFUSAL_TYPES = (
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.NoScriptError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.MasterDownError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.AskError,
    redis.exceptions.AuthenticationError,
)
# No reply came, or none that can be understood.
BROKEN = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.InvalidResponse,
    UnicodeDecodeError,
    OSError,
)
# No connection to be had, and so nothing sent. redis-py lets others run while it looks whether an idle one stands;
# where one of them closes it meanwhile (`forget_all`), its poll complains of a socket that is None.
UNCONNECTED = (redis.RedisError, OSError, ValueError, TypeError)
# A write that changes no key, and goes to every replica all the same. (Not so on a cluster, where messages go their own
# way.)
OWN_WRITE: Command = ("PUBLISH", keys.CONFIRM, "")
# How a server ends an error that a command inside a script raised. What it refuses as a whole has no such ending.
FROM_WITHIN = re.compile(r" script: |^ACL failure in script")


class Connection(Protocol):
    """The part of a redis-py connection that is used here."""

    def pack_commands(self, commands: Sequence[Command]) -> list[bytes]: ...  # noqa: D102
    def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None: ...  # noqa: D102
    def read_response(self, *, disconnect_on_error: bool) -> Any: ...  # noqa: D102
    def disconnect(self) -> None: ...  # noqa: D102


class PlainConnection(redis.Connection):
    """redis-py's over TCP, for commands whose names are one word, at half of its cost."""

    def pack_commands(self, commands: Iterable[Command]) -> list[bytes]:
        """The commands as they are sent, all in one write."""
        return [b"".join([hiredis.pack_command(command) for command in commands])]  # type: ignore[arg-type]  # any length

    def can_read(self, timeout: float = 0) -> bool:
        """Whether something came that nobody asked for. Raises redis.ConnectionError where the server has gone.

        redis-py makes a selector and a poll for it, at each round trip; gevent's socket has one within that never
        waits. Nor can another greenlet close the connection in the middle of this.
        """
        never_waits = getattr(self._sock, "_sock", None)
        if never_waits is None or timeout:
            return bool(super().can_read(timeout))
        try:
            if never_waits.recv(1, socket.MSG_PEEK):
                return True
        except BlockingIOError:
            return False
        except OSError as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.ConnectionError(f"the connection broke: {error}") from error
        raise redis.ConnectionError("the server has closed the connection")


class Pool(Protocol):
    """The part of a redis-py connection pool that is used here."""

    connection_kwargs: dict[str, Any]

    def get_connection(self) -> Connection: ...  # noqa: D102
    def release(self, connection: Connection) -> None: ...  # noqa: D102
    def disconnect(self, inuse_connections: bool = True) -> None: ...  # noqa: D102


def no_retry() -> Retry:
    """redis-py retries 10 times by default: one timed-out script ran 11 times. Here nothing is sent twice."""
    return Retry(NoBackoff(), 0)


def open_client(url: str, *, timeout_s: float, connect_timeout_s: float, connections: int) -> redis.Redis:
    """A client for a library that speaks Redis itself: connects when it is first used, and sends each command once."""
    limits = patience(timeout_s, connect_timeout_s, connections, decode=False)
    return redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(url, **limits))


def patience(timeout_s: float, connect_timeout_s: float, connections: int, *, decode: bool) -> dict[str, Any]:
    """What every blocking pool and its connections are made with."""
    return {
        "max_connections": connections,  # the plain pool raises at 100; this one waits
        "timeout": connect_timeout_s,  # for a free connection
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connect_timeout_s,
        "socket_keepalive": True,
        "retry": no_retry(),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "protocol": 2,
        "decode_responses": decode,
        "driver_info": None,  # no CLIENT SETINFO: connecting sends nothing but AUTH
    }


class Confirmation(NamedTuple):
    """How many replicas must have what is written before it counts, and how long that is waited for. 0: none."""

    replicas: int = 0
    timeout_ms: int = 0


UNCONFIRMED_COUNTS = Confirmation()


Judge = Callable[[Callable[[Sequence[Command]], list[Any]]], bool]


class Store:
    """The Redis that holds the sale: commands in, replies out."""

    has_clocks = False  # whether a Deadline is told to each server in its own time

    def __init__(
        self,
        pool: Pool,
        *,
        shebang: bool = True,
        confirmation: Confirmation = UNCONFIRMED_COUNTS,
        name: str = "",
    ) -> None:
        """`name` tells servers of one store apart."""
        self._pool = pool
        self.name = name
        self.confirmation = confirmation
        # Whether the server knows `#!lua`: a real one does, and then refuses a script before its first write when
        # it is out of memory, read-only or can't persist. fakeredis can't parse the line.
        self.shebang = shebang

    def servers(self) -> "Sequence[Store]":
        """Each server that holds a part of the store: this one. Raises StoreRefused where nobody tells."""
        return (self,)

    def nodes_away(self) -> Sequence[str]:
        """Servers of a cluster that did not answer lately; their events are not sold by it meanwhile."""
        return ()

    def forget_idle(self) -> None:
        """Connections that nobody uses are closed: after an outage each may be half open, and would cost a timeout."""
        self._pool.disconnect(inuse_connections=False)

    def forget_all(self) -> None:
        """The same with those in use: of what was sent over them nobody knows."""
        self._pool.disconnect()

    def judge_connections(self, judge: Judge) -> None:
        """From now on a connection is used only where `judge`, which may ask over it first, finds nothing wrong."""

        def on_connect(connection: Any) -> None:
            connection.on_connect()
            if not judge(lambda commands: _ask(connection, commands)):
                raise redis.ConnectionError("it leads to a store that is older than it was")

        self._pool.connection_kwargs["redis_connect_func"] = on_connect

    def sell_behind(self, keeper: "Store") -> None:
        """From now on a server that took over sells nothing before this keeper has met it."""

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands in one write and read a reply each. An error reply is returned in its place, not raised.

        Raises StoreRefused where nothing was sent, and OutcomeUnknown where the connection broke afterwards.
        """
        try:
            connection = self._pool.get_connection()
        except UNCONNECTED as error:
            raise StoreRefused(f"can't connect to Redis: {error}") from error
        try:
            return _ask(connection, commands)
        except BROKEN as error:
            connection.disconnect()
            raise OutcomeUnknown(f"Redis did not answer: {error}") from error
        except BaseException:
            connection.disconnect()  # a killed greenlet leaves replies unread; nobody else may read them as theirs
            raise
        finally:
            self._pool.release(connection)

    def exchange_confirmed(self, commands: Sequence[Command]) -> list[Any]:
        """Like exchange, and what the replies say is on as many replicas as are to confirm it: whoever wrote it.

        OutcomeUnknown for all of them otherwise; also of a refusal, which a primary that was deposed is free to make
        up. Refusals of every command stay what they are: such a server does nothing for anybody.
        """
        wanted, timeout_ms = self.confirmation
        if not wanted:
            return self.exchange(commands)
        # WAIT waits for this connection's own last write. Replies that wrote nothing (a purchase that is there already,
        # a refusal) would be confirmed by whatever it wrote before, minutes ago: so it writes now.
        replies = self.exchange([*commands, OWN_WRITE, ("WAIT", wanted, timeout_ms)])
        confirmed = replies.pop()
        replies.pop()
        if isinstance(confirmed, int) and confirmed >= wanted:
            return replies
        self.forget_idle()  # who is asked next must be found anew
        if all(map(is_refusal, replies)):
            return replies
        raise OutcomeUnknown(f"not confirmed by {wanted} replicas within {timeout_ms} ms: {confirmed}")

    def read(self, *commands: Command) -> list[Any]:
        """Like exchange, and raises the first error reply as a StoreError."""
        return _without_errors(self.exchange(commands))

    def write(self, *commands: Command) -> list[Any]:
        """Like exchange_confirmed, and raises the first error reply as a StoreError."""
        return _without_errors(self.exchange_confirmed(commands))

    def read_each(self, *commands: Command) -> list[Any]:
        """Like exchange; an error reply is in its place as a ScriptFailed. Raises StoreRefused where one is refused."""
        replies = self.exchange(commands)
        errors = {at: error for at, reply in enumerate(replies) if (error := error_of(reply)) is not None}
        for error in errors.values():
            if not isinstance(error, ScriptFailed):
                raise error
        return [errors.get(at, reply) for at, reply in enumerate(replies)]

    def one(self, *command: str | int | bytes) -> Any:
        """The reply to one command. Raises StoreError."""
        return self.read(command)[0]

    def ping(self) -> None:
        """Returns when Redis answers. Raises StoreRefused otherwise, since a PING leaves nothing behind."""
        try:
            self.one("PING")
        except StoreError as error:
            raise StoreRefused(str(error)) from error

    def clock_ms(self) -> int:
        """The server's time. Raises StoreError."""
        seconds, micros = self.one("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def followers(self) -> int:
        """How many replicas follow this server now, and so can confirm. Raises StoreError."""
        role, *rest = self.one("ROLE")
        return len(rest[1]) if role == "master" else 0

    def replicas(self) -> int:
        """How many servers could take over, as far as this one knows. Raises StoreError."""
        return self.followers()

    def close(self) -> None:
        """Close every connection."""
        self._pool.disconnect()


class GuardedStore(Store):
    """The same store for callers who are refused at once, and so wait for no timeout, while `is_shut` says so."""

    def __init__(self, store: Store, is_shut: Callable[[], bool]) -> None:
        super().__init__(store._pool, shebang=store.shebang, confirmation=store.confirmation)
        self.has_clocks = store.has_clocks
        self._store = store
        self._is_shut = is_shut

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Like that of the store."""
        self._refuse_while_shut()
        return self._store.exchange(commands)

    def exchange_confirmed(self, commands: Sequence[Command]) -> list[Any]:
        """Like that of the store."""
        self._refuse_while_shut()
        return self._store.exchange_confirmed(commands)

    def servers(self) -> Sequence[Store]:
        """Like those of the store."""
        self._refuse_while_shut()
        return self._store.servers()

    def replicas(self) -> int:
        """Like that of the store."""
        self._refuse_while_shut()
        return self._store.replicas()

    def _refuse_while_shut(self) -> None:
        if self._is_shut():
            raise StoreShut("an outage is under way")


def open_store(
    url: str,
    *,
    timeout_s: float,
    connect_timeout_s: float,
    connections: int,
    confirmation: Confirmation = UNCONFIRMED_COUNTS,
) -> Store:
    """The store at the URL of one server. Connects when it is first used."""
    pool = open_pool(url, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, connections=connections)
    return Store(pool, confirmation=confirmation)


def open_pool(url: str, *, timeout_s: float, connect_timeout_s: float, connections: int) -> Pool:
    """The connections to one server of a store. The URL's own kind of them counts: TLS, or a Unix socket."""
    limits = patience(timeout_s, connect_timeout_s, connections, decode=True)
    return cast(Pool, redis.BlockingConnectionPool.from_url(url, connection_class=PlainConnection, **limits))


def _without_errors(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if (error := error_of(reply)) is not None:
            raise error from (reply if reply is not error else None)
    return replies


def error_of(reply: Any) -> StoreError | None:
    """What a reply means, if it is an error; of a cluster a whole node's, too."""
    if isinstance(reply, redis.RedisError):
        return translate(reply)
    return reply if isinstance(reply, StoreError) else None


def is_refusal(reply: Any) -> bool:
    """Whether nothing was done for it."""
    return isinstance(error_of(reply), StoreRefused)


def _ask(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    connection.send_packed_command(connection.pack_commands(commands))
    return [reply_of(connection) for _ in commands]


def reply_of(connection: Connection) -> Any:
    """The next reply, or the error reply. Raises what BROKEN lists."""
    try:
        # redis-py would hang up at LOADING, though the replies to the other commands are on their way.
        return connection.read_response(disconnect_on_error=False)
    except REFUSAL_TYPES as error:  # some of these derive from ConnectionError, and are answers all the same
        return error
    except redis.ResponseError as error:
        return error


def code_of(error: redis.RedisError) -> str:
    """The first word of an error reply."""
    return error.status_code or str(error).partition(" ")[0]  # redis-py cuts off those that it knows


def translate(error: redis.RedisError) -> StoreError:
    """An error reply as what it means for the command: refused before anything was done, or nobody knows.

    Whatever a command inside a script is refused for (by an ACL, say), the script may have written before it.
    """
    if code_of(error) in REFUSALS and not FROM_WITHIN.search(str(error)):
        return StoreRefused(f"Redis refused: {error}")
    return ScriptFailed(f"Redis failed: {error}")


class Deadline(int):
    """A moment of this process's monotonic clock, in ms, that is told to each server in that server's own time."""


class StoreClock:
    """The store's time between its answers: the last TIME seen, plus this process's own monotonic time since."""

    def __init__(self) -> None:
        self._offset_ms: int | None = None

    def saw(self, store_ms: int) -> None:
        """Take over a time that the store has just told."""
        self._offset_ms = store_ms - time.monotonic_ns() // 1_000_000

    def now_ms(self) -> int | None:
        """The store's time now, or None where it was never told."""
        return None if self._offset_ms is None else self._offset_ms + time.monotonic_ns() // 1_000_000

    def at(self, moment: Deadline) -> int:
        """The store's time at a moment of this process. Its time must have been told."""
        assert self._offset_ms is not None
        return self._offset_ms + moment

    def best_ms(self) -> int:
        """The same, or this host's own clock where it was never told: that may be minutes off."""
        known_ms = self.now_ms()
        return time.time_ns() // 1_000_000 if known_ms is None else known_ms


@contextmanager
def as_store_errors() -> Iterator[None]:
    """Calls of libraries that speak Redis themselves (RQ) raise StoreError instead of redis-py's errors."""
    try:
        yield
    except redis.exceptions.ResponseError as error:
        raise translate(error) from error
    except (redis.RedisError, OSError) as error:
        raise OutcomeUnknown(f"Redis did not answer: {error}") from error
