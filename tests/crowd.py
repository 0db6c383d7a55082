"""A crowd of buyers, a connection each, all of them open before the first one asks: raw sockets on one epoll loop.

What must stay true: every connection's whole answer is read and kept; one that got none is an error, never left out.
"""

import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.servers import HOST

CONNECT_AT_ONCE = 200


@dataclass
class Answer:
    """What one buyer got: a status, or what went wrong."""

    status: int = 0
    body: bytes = b""
    error: str = ""
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class _Buyer:
    connection: socket.socket
    to_send: bytes = b""
    received: bytearray = field(default_factory=bytearray)
    answer: Answer = field(default_factory=Answer)


class Crowd:
    """Open connections to one server on loopback."""

    def __init__(self, port: int, connections: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._buyers: list[_Buyer] = []
        for first in range(0, connections, CONNECT_AT_ONCE):
            self._connect(port, min(CONNECT_AT_ONCE, connections - first))

    def __len__(self) -> int:
        return len(self._buyers)

    def close(self) -> None:
        for buyer in self._buyers:
            buyer.connection.close()
        self._selector.close()

    def ask(self, requests: Sequence[bytes], deadline_s: float) -> list[Answer]:
        """Each buyer sends its request at once; the answers in the same order."""
        assert len(requests) == len(self._buyers)
        began_s = time.monotonic()
        waiting = 0
        for buyer, request in zip(self._buyers, requests, strict=True):
            buyer.to_send, buyer.received, buyer.answer = request, bytearray(), Answer()
            self._selector.register(buyer.connection, selectors.EVENT_WRITE, buyer)
            waiting += 1
        while waiting and time.monotonic() - began_s < deadline_s:
            for key, _ in self._selector.select(timeout=0.1):
                waiting -= self._serve(key.data, began_s)
        for buyer in self._buyers:
            if not buyer.answer.status and not buyer.answer.error:
                self._selector.unregister(buyer.connection)
                buyer.answer.error = f"no answer within {deadline_s} s"
        return [buyer.answer for buyer in self._buyers]

    def _connect(self, port: int, count: int) -> None:
        opened = []
        for _ in range(count):
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            connection.connect_ex((HOST, port))
            self._selector.register(connection, selectors.EVENT_WRITE, connection)
            opened.append(connection)
        pending = set(opened)
        until_s = time.monotonic() + 30
        while pending and time.monotonic() < until_s:
            for key, _ in self._selector.select(timeout=0.1):
                connection = key.data
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                self._selector.unregister(connection)
                pending.discard(connection)
        assert not pending, f"{len(pending)} connections did not open"
        self._buyers += [_Buyer(connection) for connection in opened]

    def _serve(self, buyer: _Buyer, began_s: float) -> int:
        """1 when this buyer has its answer, or never will."""
        try:
            if buyer.to_send:
                sent = buyer.connection.send(buyer.to_send)
                buyer.to_send = buyer.to_send[sent:]
                if not buyer.to_send:
                    self._selector.modify(buyer.connection, selectors.EVENT_READ, buyer)
                return 0
            data = buyer.connection.recv(65536)
            if not data:
                buyer.answer.error = "closed before the answer"
            buyer.received += data
        except BlockingIOError:
            return 0
        except OSError as error:
            buyer.answer.error = repr(error)
        if buyer.answer.error or _read(buyer):
            buyer.answer.seconds = time.monotonic() - began_s
            self._selector.unregister(buyer.connection)
            return 1
        return 0


def purchase_request(event_id: str, quantity: int = 1, key: str | None = None) -> bytes:
    """A whole POST /buy, as a buyer sends it."""
    body = json.dumps({"quantity": quantity}).encode()
    lines = [
        f"POST /buy/{event_id} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if key is not None:
        lines.append(f"Idempotency-Key: {key}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _read(buyer: _Buyer) -> bool:
    head, found, body = bytes(buyer.received).partition(b"\r\n\r\n")
    if not found:
        return False
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    if len(body) < int(headers["content-length"]):
        return False
    buyer.answer.status = int(lines[0].split()[1])
    buyer.answer.body = body
    return True
