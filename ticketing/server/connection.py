"""A connection on the short way: what is read and sent, and how long that may take.

What must stay true: every wait has a limit; a limit ends a wait and nothing else, least of all an application at work.
Limits are looked at twice a second, all in one pass: a timer for each wait would cost more than what it waits for.
"""

import errno
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket

SWEEP_S = 0.5
SEND_S = 30.0  # a client that takes nothing for so long is gone
RECEIVED_MAX = 64 * 1024
READABLE, WRITABLE = 1, 2
NEVER = float("inf")


class _Late(Exception):
    """The wait has taken too long."""


class Deadlines:
    """The open connections, and those of their waits that have a limit."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()  # as of the last sweep
        self.connections: set[Connection] = set()

    def sweep(self) -> None:
        """Waits that have lasted too long end."""
        self.now_s = time.monotonic()
        for connection in self.connections:
            if connection.until_s < self.now_s:
                gevent.get_hub().loop.run_callback(self._end_wait, connection)

    def end_idle(self, grace_s: float) -> None:
        """Connections between two requests have no more than so long for the next."""
        until_s = self.now_s + grace_s
        for connection in self.connections:
            if connection.idle:
                connection.until_s = min(connection.until_s, until_s)

    def _end_wait(self, connection: "Connection") -> None:
        """Runs in the hub, so that the connection still waits when it is told."""
        if connection.until_s < self.now_s:
            connection.until_s = NEVER
            connection.greenlet.throw(_Late)


class Connection:
    """One client's connection, served by the greenlet that makes this."""

    __slots__ = ("_client", "_deadlines", "_readable", "_recv", "_send", "_wait", "greenlet", "idle", "until_s")

    def __init__(self, client: Any, deadlines: Deadlines) -> None:
        hub = gevent.get_hub()
        client.setblocking(0)
        self._client = client
        raw = client._sock  # gevent's own methods look at timeouts, and wait where nothing here is to
        self._recv, self._send = raw.recv, raw.send
        self._deadlines = deadlines
        self._readable = hub.loop.io(client.fileno(), READABLE)
        self._wait = hub.wait
        self.greenlet: Any = gevent.getcurrent()
        self.until_s = NEVER
        self.idle = False
        deadlines.connections.add(self)

    def receive_first(self, within_s: float) -> bytes:
        """The first bytes of a request. Nothing where the client ended, or where nothing came in time."""
        self.idle = True
        received = self._receive(self._deadlines.now_s + within_s)
        self.idle = False
        return received

    def receive_rest(self, data: bytes, size: int, within_s: float) -> bytes:
        """`data` and what follows it, `size` bytes or more. Less where the client ended, or all of it took too long."""
        until_s = self._deadlines.now_s + within_s
        while len(data) < size and (more := self._receive(until_s)):
            data += more
        return data

    def give_way(self) -> None:
        """The client has room for an answer, and every connection that was ready before has had its turn.

        gevent.sleep(0) would not do: it may come back many times before the loop looks at other sockets.
        Raises OSError where the client takes nothing for SEND_S.
        """
        writable = gevent.get_hub().loop.io(self._client.fileno(), WRITABLE)
        self.until_s = self._deadlines.now_s + SEND_S
        try:
            self._wait(writable)
        except _Late:
            raise BrokenPipeError(errno.EPIPE, "the client does not read its answers") from None
        finally:
            self.until_s = NEVER
            writable.close()

    def send(self, data: bytes) -> None:
        """All of it is on its way. Raises OSError where the client has gone, or takes nothing for SEND_S."""
        sent = self._send_some(data)
        if sent < len(data):
            self._send_slowly(memoryview(data)[sent:])

    def leave(self) -> None:
        """Give the client's socket back, as it was."""
        self.until_s = NEVER
        self._deadlines.connections.discard(self)
        self._readable.close()
        self._client.setblocking(1)

    def _receive(self, until_s: float) -> bytes:
        """Waits before it reads, always: clients that always have more would keep all others waiting."""
        while True:
            self.until_s = until_s
            try:
                self._wait(self._readable)
            except _Late:
                return b""
            self.until_s = NEVER
            try:
                received: bytes = self._recv(RECEIVED_MAX)
            except BlockingIOError:
                continue
            return received

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            sent: int = self._send(data)
        except BlockingIOError:
            return 0
        return sent

    def _send_slowly(self, data: memoryview) -> None:
        while data:
            self.give_way()
            data = data[self._send_some(data) :]


class Replayed(socket.socket):
    """A connection some of whose bytes were read already: they are received again. `heard` is called for all bytes."""

    heard: Callable[[], None] | None = None

    def __init__(self, client: Any, received: bytes) -> None:
        """Takes the connection over from `client`, which is of no use then."""
        super().__init__(client.family, client.type, client.proto, fileno=client.detach())
        self._received = received

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Like a socket's."""
        if self._received:
            data, self._received = self._received[:bufsize], self._received[bufsize:]
        else:
            data = super().recv(bufsize, flags)
        if data and self.heard is not None:
            self.heard()
        return data
