"""From what an application says by WSGI (PEP 3333) to the bytes of an HTTP/1.1 answer.

What must stay true: the same application gets the same answer from gunicorn's own `Response`, byte by byte but for the
date, and for where one send ends and the next begins: here the head leaves with the first bytes of the body.
"""

import re
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Protocol

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")
STATUS = re.compile(r"[0-9]{3}(?: [ \t\x21-\x7e\x80-\xff]*)?")
# They concern the connection, which is the server's: what an application says of it is dropped.
HOPS = {
    "connection",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "server",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
}
CHUNKED = "Transfer-Encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Alive(Protocol):
    """A worker: once it is not alive, connections close with their next answer."""

    alive: bool


class Answer:
    """One answer, which the application gets as start_response; `begun` says whether bytes have left.

    An application that knows `whole` may call it instead. Whoever stands between and wants to see an answer gives the
    application a start_response of his own, which has no `whole`.
    """

    __slots__ = (
        "_chunked",
        "_fields",
        "_head_only",
        "_left",
        "_mute",
        "_send",
        "_status",
        "_worker",
        "begun",
        "closes",
    )

    def __init__(self, send: Callable[[bytes], object], worker: Alive, *, head_only: bool, closes: bool) -> None:
        self._send = send
        self._worker = worker
        self._head_only = head_only
        self.closes = closes
        self.begun = False
        self._status = ""

    def __call__(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        """PEP 3333's start_response. Raises ValueError and TypeError for what must not be sent."""
        if exc_info:
            _reraise_if(self.begun, exc_info)
        elif self._status:
            raise AssertionError("Response headers already set!")
        code = _code(status)
        self._left: int | None = None
        fields = []
        for name, value in headers:
            kind = _kind(name)
            if not (value.isprintable() or VALUE.fullmatch(value)):
                raise ValueError(f"a header that must not be sent: {name!r}")  # the value may be a secret
            if kind == "hop":
                continue
            value = value.strip(" \t")  # noqa: PLW2901 - the same value, without what surrounds it
            if kind == "length":
                if code == 204 or code < 200:
                    continue
                self._left = int(value)
            fields.append(f"{name}: {value}\r\n")
        self._mute = self._head_only or code in (204, 304) or code < 200
        self._chunked = self._left is None and not self._mute
        self._fields = "".join(fields)
        self._status = status
        return self.write

    def write(self, block: bytes) -> None:
        """The next bytes of the body. No more leave than Content-Length promised, and none where none may."""
        if not isinstance(block, bytes):
            raise TypeError(f"{block!r} is not bytes")
        if not self._status:
            raise AssertionError("start_response was not called")
        if self._left is not None:
            block = block[: max(0, self._left)]
            self._left -= len(block)
        if self._mute or not block:
            if self._mute and not self.begun:
                self._send(self._head())
            return
        if self._chunked:
            block = b"%X\r\n%b\r\n" % (len(block), block)
        self._send(block if self.begun else self._head() + block)

    def whole(self, status: str, fields: str, body: bytes) -> None:
        """All of an answer in one call, instead of start_response and blocks: nothing of it is looked at.

        `fields` are header lines as they are sent, each with its end, Content-Length among them and none of HOPS.
        """
        self._status, self._fields, self._chunked = status, fields, False
        self._send(self._head() if self._head_only else self._head() + body)

    def finish(self) -> None:
        """The answer is complete."""
        if not self._status:
            raise AssertionError("start_response was not called")
        end = LAST_CHUNK if self._chunked else b""
        if not self.begun:
            self._send(self._head() + end)
        elif end:
            self._send(end)

    def _head(self) -> bytes:
        self.closes = self.closes or not self._worker.alive  # asked late: a stop that came meanwhile is told
        head = (
            f"HTTP/1.1 {self._status}\r\nServer: gunicorn\r\nDate: {_date(int(time.time()))}\r\n"
            f"Connection: {'close' if self.closes else 'keep-alive'}\r\n"
            f"{CHUNKED if self._chunked else ''}{self._fields}\r\n"
        ).encode("latin-1")  # raises where an application's text does not fit: nothing has left then
        self.begun = True
        return head


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=256)
def _code(status: str) -> int:
    """The number of a status line. Raises ValueError where it is none."""
    if not STATUS.fullmatch(status):
        raise ValueError(f"Invalid status {status!r}")
    return int(status[:3])


@lru_cache(maxsize=256)
def _kind(name: str) -> str:
    """What a header is to the answer. Raises ValueError where it must not be sent."""
    if not TOKEN.fullmatch(name):
        raise ValueError(f"Invalid header name {name!r}")
    lower = name.lower()
    return "length" if lower == "content-length" else "hop" if lower in HOPS else "plain"


def _reraise_if(begun: bool, exc_info: Any) -> None:
    if begun:
        raise exc_info[1].with_traceback(exc_info[2])
