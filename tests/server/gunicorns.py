"""gunicorn, serving echo.py by one worker class or the other, and what raw bytes get from it."""

import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import HOST, environment, free_port, wait_until

WORKERS = {
    "express": "ticketing.server.express_worker.ExpressWorker",
    "gevent": "ticketing.server.worker.ProblemWorker",
}
PATIENCE_S = 20.0  # nothing takes so long; a test that waited for it has failed
GAP_S = 0.02  # nothing can be seen from here of what the server has read
LAST = b"GET /count HTTP/1.1\r\nHost: last\r\n\r\n"  # asked to learn whether a connection goes on
# What differs from one answer to the next.
CHANGING = re.compile(rb"(?m)^(Date|X-Request-ID): .*?\r$")


class Gunicorn:
    """One running gunicorn with a folder of its own."""

    def __init__(self, web_server: str, folder: Path, code: str = "", **settings: Any) -> None:
        """`code` is run where gunicorn reads its settings, before a worker is made."""
        self.folder = folder
        self.log = folder / "log"
        self.port = free_port()
        written = {
            "bind": f"{HOST}:{self.port}",
            "worker_class": WORKERS[web_server],
            "http_parser": "python",
            "keepalive": 75,
            "graceful_timeout": 8,
            "worker_connections": 10_000,
            "backlog": 4096,
            "control_socket_disable": True,
            "forwarded_allow_ips": HOST,
            "loglevel": "info",
            **settings,
        }
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name} = {value!r}" for name, value in written.items()]
        (folder / "settings.py").write_text("\n".join([*lines, code, ""]))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "settings.py", "tests.server.echo:app"],
                cwd=folder,
                env=environment(folder, ECHO_FOLDER=folder),
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.process.poll() is not None or self._listens(), PATIENCE_S, f"listens, see {self.log}")
        assert self.process.poll() is None, self.log.read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=PATIENCE_S)

    def ask(self, *parts: bytes, answers: int = 1) -> "Heard":
        """What comes back for these bytes, each part sent a moment after the one before."""
        with self.connect() as connection:
            for part in parts:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(part)
                if part is not parts[-1]:
                    time.sleep(GAP_S)
            return hear(connection, answers)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """It ended by itself after one signal."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()

    def refuses(self) -> bool:
        """Nobody listens."""
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    def _listens(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(LAST)
                return connection.recv(1024).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


@dataclass(frozen=True)
class Heard:
    """All that came back, without what changes by nature, and whether one more request was answered then."""

    said: bytes
    goes_on: bool

    @property
    def statuses(self) -> list[int]:
        return [int(found) for found in re.findall(rb"HTTP/1\.\d (\d{3})", self.said)]

    @property
    def body(self) -> bytes:
        return self.said.partition(b"\r\n\r\n")[2]


def hear(connection: socket.socket, answers: int = 1, *, head: bool = False) -> Heard:
    """The next answers, and whether the connection goes on."""
    said = b"".join(read_answer(connection, head=head) for _ in range(answers))
    goes_on = _goes_on(connection)
    return Heard(CHANGING.sub(rb"\1: ...", said), goes_on)


def read_answer(connection: socket.socket, *, head: bool = False) -> bytes:
    """One answer, or as much of it as came before the end; nothing where the connection ends instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = _receive(connection, 1)
        if not more:
            return data
        data += more
    status = int(data.split()[1])
    if 100 <= status < 200:
        return data + read_answer(connection, head=head)
    if head or status in (204, 304):
        return data
    if length := re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", data):
        return data + _receive_all(connection, int(length[1]))
    if re.search(rb"(?i)\r\ntransfer-encoding: chunked\r\n", data):
        return data + _read_chunks(connection)
    while more := _receive(connection, 65536):
        data += more
    return data


def _read_chunks(connection: socket.socket) -> bytes:
    data = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            more = _receive(connection, 1)
            if not more:
                return data + line
            line += more
        data += line + _receive_all(connection, int(line, 16) + 2)
        if int(line, 16) == 0:
            return data


def _receive_all(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := _receive(connection, min(65536, size - len(data)))):
        data += more
    return bytes(data)


def _receive(connection: socket.socket, size: int) -> bytes:
    """A reset is an end."""
    try:
        return connection.recv(size)
    except ConnectionError:
        return b""


def _goes_on(connection: socket.socket) -> bool:
    try:
        connection.sendall(LAST)
    except ConnectionError:
        return False
    return read_answer(connection).startswith(b"HTTP/1.1 200")
