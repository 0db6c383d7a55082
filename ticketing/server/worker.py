"""The gunicorn worker: gevent's, except that what gunicorn refuses by itself is told as a problem, too.

What must stay true: gunicorn decides what is refused and with which status; only the words are ours. It closes the
connection afterwards, as it would.
"""

import contextlib
import secrets
import socket
from typing import Any

from gunicorn.workers.ggevent import GeventWorker

LINGER_S = 0.5
LINGER_BYTES = 64 * 1024


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


class ProblemWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's gevent worker with our words."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be parsed or served."""
        from ticketing.api import problems  # not before: the master imports this module, and nothing of the app

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
            "X-Content-Type-Options: nosniff\r\n"
            f"X-Request-ID: {secrets.token_hex(8)}\r\n"
            "\r\n"
        )
        with contextlib.suppress(OSError):  # it has gone already
            client.sendall(head.encode("latin-1") + body)
            _take_leave(client)


def _take_leave(client: Any) -> None:
    """Read a little of what the client still sends: closing on unread bytes would reset the answer away."""
    client.shutdown(socket.SHUT_WR)
    client.settimeout(LINGER_S)
    left = LINGER_BYTES
    while left > 0 and (data := client.recv(4096)):
        left -= len(data)
