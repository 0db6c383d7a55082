"""A load process: `python -m tests.bench.generator`, started by `crew`; raw sockets, one selector, no library.

What must stay true: every connection's whole answer is read and judged; a connection that got none is an error and
never left out; what is timed is timed from when the request was meant to be sent.
"""

import gc
import json
import re
import resource
import selectors
import socket
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from tests.servers import HOST

CONNECT_AT_ONCE = 100  # less than any accept queue
CONNECT_DEADLINE_S = 60.0
LINGER_S = 30.0  # how long after its end a run waits for the answers that are still missing
NAP_S = 0.0005  # the longest that an answer of the open loop lies unread
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass
class Ask:
    """What is asked for, and which answers are wanted: a text that must stand in the body, by status."""

    paths: list[str]
    wanted: dict[str, str]
    body: str = ""
    key_prefix: str = ""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)

    def requests(self) -> Iterator[bytes]:
        """Endless: the paths in turn, each request with a key of its own where keys are asked for."""
        heads = [self._head(path) for path in self.paths]
        tail = b"\r\n\r\n" + self.body.encode()
        if not self.key_prefix:
            yield from cycle([head + tail for head in heads])
        prefix = f"\r\nIdempotency-Key: {self.key_prefix}".encode()
        for number, head in enumerate(cycle(heads)):
            yield b"%b%b%d%b" % (head, prefix, number, tail)

    def _head(self, path: str) -> bytes:
        lines = [f"{self.method} {path} HTTP/1.1", f"Host: {HOST}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body.encode())}"]
        return "\r\n".join(lines).encode()


@dataclass
class Tally:
    """What a run came to; times in microseconds."""

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    example: str = ""
    errors: Counter[str] = field(default_factory=Counter)
    took_us: "array[int]" = field(default_factory=lambda: array("Q"))
    lag_us: "array[int]" = field(default_factory=lambda: array("Q"))
    last_us: dict[str, int] = field(default_factory=dict)  # from the start of the run, by status
    first_us: int = 0  # until the last connection had its first answer
    tickets: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"took_us": self.took_us.tolist(), "lag_us": self.lag_us.tolist()}


class Line:
    """One connection and the request that is under way on it."""

    __slots__ = ("answered", "due_s", "received", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = b""
        self.due_s = 0.0
        self.answered = False


class Generator:
    """Open connections to one server, and what is sent over them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lines: list[Line] = []

    def open(self, port: int, connections: int, sources: Sequence[str]) -> int:
        """So many connections are open, from these addresses in turn; the number that are."""
        self.close()
        source = cycle(sources)
        for first in range(0, connections, CONNECT_AT_ONCE):
            self._connect(port, [next(source) for _ in range(min(CONNECT_AT_ONCE, connections - first))])
        return len(self._lines)

    def close(self) -> int:
        """Every connection is closed."""
        for line in self._lines:
            line.socket.close()
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        self._lines = []
        return 0

    def wave(self, ask: Ask, starts_s: float) -> Tally:
        """Every connection sends one request at the same moment; every time is from that moment."""
        tally = Tally()
        requests = [request for request, _ in zip(ask.requests(), self._lines, strict=False)]
        bodies: list[bytes] = []
        _sleep_until(starts_s)
        began_cpu_s = time.process_time()
        for line, request in zip(self._lines, requests, strict=True):
            self._send(line, request, starts_s, tally)
        left = tally.sent
        while left and time.monotonic() < starts_s + LINGER_S:
            for line in self._ready(0.05):
                if (answer := self._take(line, tally)) is not None:
                    left -= 1
                    if answer:
                        bodies.append(answer)
                        self._judge(line, answer, ask, tally, starts_s)
        self._end(tally, left, starts_s, began_cpu_s)
        tally.tickets = [ticket for body in bodies for ticket in _tickets(body)]
        return tally

    def loop(self, ask: Ask, starts_s: float, seconds: float, count: int) -> Tally:
        """Every connection asks again as soon as it has its answer, until the time is over or so many were sent."""
        tally = Tally()
        requests = ask.requests()
        _sleep_until(starts_s)
        began_cpu_s = time.process_time()
        ends_s = starts_s + seconds
        for line in self._lines[:count]:
            self._send(line, next(requests), time.monotonic(), tally)
        left = tally.sent
        while left and time.monotonic() < ends_s + LINGER_S:
            for line in self._ready(0.05):
                answer = self._take(line, tally)
                if answer is None:
                    continue
                left -= 1
                if answer:
                    self._judge(line, answer, ask, tally, starts_s)
                    now_s = time.monotonic()
                    if now_s < ends_s and tally.sent < count and self._send(line, next(requests), now_s, tally):
                        left += 1
        self._end(tally, left, starts_s, began_cpu_s)
        return tally

    def schedule(self, ask: Ask, starts_s: float, seconds: float, rate: float) -> Tally:
        """Requests are due at equal distances, whatever became of the earlier ones, and timed from when they were due.

        One that finds no free connection waits for one, and its wait counts.
        """
        tally = Tally()
        requests = ask.requests()
        free = deque(self._lines)
        due, total = 0, int(rate * seconds)
        left = 0
        _sleep_until(starts_s)
        began_cpu_s = time.process_time()
        while (due < total or left) and time.monotonic() < starts_s + seconds + LINGER_S:
            now_s = time.monotonic()
            while free and due < total and (due_s := starts_s + due / rate) <= now_s:
                due += 1
                tally.lag_us.append(int((now_s - due_s) * 1e6))
                left += self._send(free.popleft(), next(requests), due_s, tally)
            for line in self._ready(0):
                answer = self._take(line, tally)
                if answer is not None:
                    left -= 1
                if answer:
                    self._judge(line, answer, ask, tally, starts_s)
                    free.append(line)
            wait_s = starts_s + due / rate - time.monotonic() if due < total else NAP_S
            if wait_s > 0:
                time.sleep(min(wait_s, NAP_S))
        self._end(tally, left + total - due, starts_s, began_cpu_s)
        return tally

    def _connect(self, port: int, sources: Sequence[str]) -> None:
        opening = set()
        for source in sources:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source != HOST:
                connection.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
                connection.bind((source, 0))
            connection.connect_ex((HOST, port))
            self._selector.register(connection, selectors.EVENT_WRITE, connection)
            opening.add(connection)
        until_s = time.monotonic() + CONNECT_DEADLINE_S
        while opening and time.monotonic() < until_s:
            for key, _ in self._selector.select(0.1):
                if isinstance(key.data, Line):  # a server that tires of one that is open already
                    self._forget(key.data)
                else:
                    opening.discard(key.data)
                    self._selector.unregister(key.data)
                    self._opened(key.data)
        for connection in opening:
            self._selector.unregister(connection)
            connection.close()

    def _opened(self, connection: socket.socket) -> None:
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            connection.close()
            return
        line = Line(connection)
        self._selector.register(connection, selectors.EVENT_READ, line)
        self._lines.append(line)

    def _forget(self, line: Line) -> None:
        self._selector.unregister(line.socket)
        self._lines.remove(line)
        line.socket.close()

    def _ready(self, wait_s: float) -> list[Line]:
        return [key.data for key, _ in self._selector.select(wait_s)]

    def _send(self, line: Line, request: bytes, due_s: float, tally: Tally) -> int:
        """1 when an answer is to come. A request is smaller than a socket's buffer: it goes out whole or not at all."""
        if line.socket.fileno() < 0:
            tally.errors["closed while idle"] += 1
            return 0
        line.due_s = due_s
        line.received = b""
        try:
            sent = line.socket.send(request)
        except OSError as error:
            tally.errors[type(error).__name__] += 1
            return 0
        tally.sent += 1
        assert sent == len(request)
        return 1

    def _take(self, line: Line, tally: Tally) -> bytes | None:
        """The whole answer; b"" where there will be none; None while more is to come."""
        try:
            data = line.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError as error:
            return self._lose(line, type(error).__name__, tally)
        if not data:
            return self._lose(line, "closed before the answer", tally)
        if line.received:
            data = line.received + data
        head = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, head) if head > 0 else None
        if length is None or len(data) < head + 4 + int(length[1]):
            line.received = data
            return None
        return data

    def _lose(self, line: Line, why: str, tally: Tally) -> bytes | None:
        """A server may close a connection that asks nothing. It is an error once something is to be asked on it."""
        self._selector.unregister(line.socket)
        line.socket.close()
        if not line.due_s:
            return None
        tally.errors[why] += 1
        return b""

    def _judge(self, line: Line, answer: bytes, ask: Ask, tally: Tally, starts_s: float) -> None:
        now_s = time.monotonic()
        status = answer[9:12].decode("latin-1")
        tally.statuses[status] += 1
        tally.took_us.append(int((now_s - line.due_s) * 1e6))
        tally.last_us[status] = int((now_s - starts_s) * 1e6)
        line.due_s = 0.0
        if not line.answered:
            line.answered = True
            tally.first_us = tally.last_us[status]
        text = ask.wanted.get(status)
        if text is None or text.encode() not in answer:
            tally.wrong += 1
            tally.example = tally.example or _short(answer)

    def _end(self, tally: Tally, missing: int, starts_s: float, began_cpu_s: float) -> None:
        tally.seconds = time.monotonic() - starts_s
        tally.cpu_share = (time.process_time() - began_cpu_s) / max(tally.seconds, 1e-9)
        if missing:
            tally.errors["no answer"] += missing
        for line in self._lines:
            line.answered = False


def _tickets(answer: bytes) -> list[str]:
    if not answer.startswith(b"HTTP/1.1 201"):
        return []
    return list(json.loads(answer.partition(b"\r\n\r\n")[2])["tickets"])


def _short(answer: bytes) -> str:
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    return f"{head.partition(chr(13))[0]} {' '.join(body.split())[:300]}"


def _sleep_until(moment_s: float) -> None:
    while (left_s := moment_s - time.monotonic()) > 0:
        time.sleep(left_s)


def main() -> None:
    """Do what each line on standard input says, until there are no more; a line of JSON answers each."""
    gc.disable()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    generator = Generator()
    for told in map(json.loads, sys.stdin):
        do = getattr(generator, told.pop("do"))
        if "ask" in told:
            told["ask"] = Ask(**told["ask"])
        said = do(**told)
        print(json.dumps(said.to_json() if isinstance(said, Tally) else said), flush=True)


if __name__ == "__main__":
    main()
