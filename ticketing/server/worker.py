"""The gunicorn worker: gevent's, with an end to slow bodies, a stop that finishes what was begun, and our problems.

What must stay true: gunicorn decides what is refused and with which status; only the words are ours. A stop gives idle
connections a moment for a request that is under way, then closes them, so that `worker_exit` (the voids, the outbox)
runs before the master kills: with gunicorn's own worker one idle keep-alive connection keeps it from ever running.
"""

import contextlib
import errno
import secrets
import socket
import time
from types import FrameType, TracebackType
from typing import Any, cast

import gevent
from gunicorn.http.errors import ParseException, UnsupportedTransferCoding
from gunicorn.workers.ggevent import GeventWorker

from ticketing.server.connection import Replayed

BODY_S = 10.0  # for the whole body of a request
HEAD_S = 20.0  # for a whole head, from the first byte that is received of it
UNREAD_MAX = 1024 * 1024  # a body that may be longer is not read to its end for the sake of the connection
CODINGS = {"chunked", "identity"}  # gunicorn takes others, and hands the body on as it came
LINGER_S = 0.5
LINGER_BYTES = 64 * 1024
GRACE_S = 1.0  # shutting idle connections at once gave clients errors; a second gave none
EXIT_S = 4  # of graceful_timeout is left for what `worker_exit` does


class _Listener:
    """Stands in for the connection while gunicorn writes its page, to learn the status that it would send."""

    def __init__(self) -> None:
        self.written = b""

    def gettimeout(self) -> float:
        """Like a socket that does not block."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Keep what would be sent."""
        self.written += data

    @property
    def status(self) -> int:
        """The status of the answer; 500 where there is none."""
        words = self.written.partition(b"\r\n")[0].split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 500


class _BodyReader:
    """A body's reader that gives up after BODY_S in all, however slowly the bytes drip, and on what is malformed.

    Nobody knows then where the next request begins: the connection closes with the answer.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._reader = request.body.reader
        self.failed = False
        self._until_s = time.monotonic() + BODY_S

    def read(self, size: int) -> bytes:
        """Like the reader's. Raises OSError, which WSGI takes for a client that has gone."""
        left_s = self._until_s - time.monotonic()
        try:
            with gevent.Timeout(max(0.001, left_s), TimeoutError("the body came too slowly")):
                data: bytes = self._reader.read(size)
                return data
        except ParseException as error:
            self._give_up()
            raise BrokenPipeError(errno.EPIPE, f"the body is malformed: {error}") from None
        except OSError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self.failed = True
        self._request.force_close()


class _Wait:
    """The wait for a connection's next request, which a stop can end as if its time were over."""

    def __init__(self, waits: "dict[Any, _Wait]", seconds: float) -> None:
        self._waits = waits
        self._seconds = seconds
        self._timeout = _silent(seconds)

    def __enter__(self) -> None:
        self._waits[gevent.getcurrent()] = self
        self._timeout.__enter__()

    def heard(self) -> None:
        """The head has begun, and has HEAD_S: a client must not keep a connection by a byte now and then."""
        if self._seconds > HEAD_S:
            self._timeout.close()
            self._seconds = HEAD_S
            self._timeout = _silent(HEAD_S)
            self._timeout.start()

    def end(self, greenlet: Any) -> None:
        """As if its time were over."""
        greenlet.kill(exception=self._timeout, block=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._waits.pop(gevent.getcurrent(), None)
        return self._timeout.__exit__(kind, error, trace)


class ProblemWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's gevent worker, as above."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """In the master, before the fork: the first sign of life counts from here.

        gunicorn's file says the time of day until then, and its master compares it with a clock that begins at the
        machine's start: a worker that hung before its first sign of life was never replaced.
        """
        super().__init__(*args, **kwargs)
        self.tmp.notify()

    def init_process(self) -> None:
        """The worker waits for busy connections a little less long than its master waits for it."""
        self._waits: dict[Any, _Wait] = {}
        self.cfg.set("graceful_timeout", max(1, self.cfg.graceful_timeout - EXIT_S))
        super().init_process()

    def timeout_ctx(self) -> _Wait:
        """How long a connection may be silent."""
        return _Wait(self._waits, self.cfg.keepalive if self.alive else GRACE_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A stop begins: no more connections, and those without a request end soon."""
        super().handle_exit(sig, frame)
        gevent.spawn_later(GRACE_S, self._end_waits)

    def _end_waits(self) -> None:
        for greenlet, wait in list(self._waits.items()):
            wait.end(greenlet)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection to its end."""
        if not self.cfg.is_ssl:
            client = client if isinstance(client, Replayed) else Replayed(client, b"")
            client.heard = self._heard
        super().handle(listener, client, addr)

    def _heard(self) -> None:
        wait = self._waits.get(gevent.getcurrent())
        if wait is not None:
            wait.heard()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request."""
        _refuse_codings(req)
        too_long = getattr(req.body.reader, "length", 0) > UNREAD_MAX
        if too_long:
            req.force_close()
        reader = req.body.reader = _BodyReader(req)
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:
            if too_long or reader.failed:
                with contextlib.suppress(OSError), _silent(LINGER_S):
                    _take_leave(sock)
            raise

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be parsed or served."""
        from ticketing.api import (
            answers,
            problems,
        )  # not before: the master imports this module, and nothing of the app

        listener = _Listener()
        super().handle_error(req, listener, addr, exc)
        problem = problems.of_status(listener.status)
        body = problem.body()
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\n"
            "Connection: close\r\n"
            f"Content-Type: {problems.MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\n"
            f"{answers.REQUEST_ID_HEADER}: {secrets.token_hex(8)}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in answers.ON_EVERY_ANSWER.items())
            + "\r\n"
        )
        with contextlib.suppress(OSError), _silent(LINGER_S):  # it has gone, or takes its time
            client.sendall(head.encode("latin-1") + body)
            _take_leave(client)


def _refuse_codings(request: Any) -> None:
    """Raises UnsupportedTransferCoding where the body would have to be unpacked."""
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" and not {each.strip(" \t").lower() for each in value.split(",")} <= CODINGS:
            raise UnsupportedTransferCoding(value)


def _silent(seconds: float) -> gevent.Timeout:
    """A time limit whose end only ends the block; its stubs do not know that False means this."""
    return gevent.Timeout(seconds, cast(Any, False))


def _take_leave(client: Any) -> None:
    """Read a little of what the client still sends: closing on unread bytes would reset the answer away."""
    client.shutdown(socket.SHUT_WR)
    left = LINGER_BYTES
    while left > 0 and (data := client.recv(4096)):
        left -= len(data)
