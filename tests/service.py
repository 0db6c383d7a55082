"""The whole service as a person starts it: `python -m ticketing run`, on free ports, in a folder of its own.

What must stay true: what was started is gone afterwards, every process of it, whatever a test did to it.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.servers import HOST, environment, free_port, run_module, wait_until
from ticketing.store.connection import Store, open_store

ADMIN_TOKEN = "an admin token of tests"
READY_DEADLINE_S = 60.0
STOP_DEADLINE_S = 40.0
CATALOGUE_FRESH_S = 1.1


@dataclass(frozen=True)
class Reply:
    """One answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A running service."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.settings = {
            "PORT": self.port,
            "STORE_PORT": free_port(),
            "ADMIN_TOKEN": ADMIN_TOKEN,
            "SEED_EVENTS": 0,
            "WEB_WORKERS": 2,
            "RECEIPT_WORKERS": 2,
            **settings,
        }
        self.log = folder / "output.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._family: dict[int, psutil.Process] = {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def launcher(self) -> psutil.Process:
        assert self._process is not None, "the service does not run"
        return psutil.Process(self._process.pid)

    def start(self, path: str = "/health/ready") -> None:
        """It answers that it can sell, or whatever this path asks."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ticketing", "run"],
                cwd=self.folder,
                env=environment(self.data_dir, **self.settings),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_until(lambda: self._ended() or self.answers(path), READY_DEADLINE_S, f"ready, see {self.log}")
        assert not self._ended(), self.log.read_text()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """It ended by itself after one signal, and left no process."""
        if self._process is None:
            return
        self.processes()
        if not self._ended():
            self._process.send_signal(how)
        try:
            self._process.wait(STOP_DEADLINE_S)
        finally:
            left = [process for process in self._family.values() if _lives(process)]
            for process in left:
                process.kill()
            self._process = None
            self._family = {}
        assert not left, f"left behind: {left}, see {self.log}"

    def kill(self) -> None:
        """Every process of it ends at once, as in a power cut: first all are stopped, so that none can tell another."""
        family = self.processes()
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for process in family:
                process.send_signal(how)
        wait_until(lambda: not self.processes(), STOP_DEADLINE_S, "every process has ended")
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """Every process of the service that lives now; remembered, so that `stop` finds those that were orphaned."""
        found = [self.launcher, *self.launcher.children(recursive=True)]
        self._family |= {process.pid: process for process in found}
        return [process for process in self._family.values() if _lives(process)]

    def find(self, *words: str) -> list[psutil.Process]:
        """The living processes whose command line has all these words, parents before children."""
        lines = [(process, _command_line(process)) for process in self.processes()]
        return sorted(
            (process for process, line in lines if all(word in line for word in words)), key=psutil.Process.create_time
        )

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One call over a connection of its own."""
        sent = None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent is not None:
            named.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, sent, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())

    def answers(self, path: str) -> bool:
        try:
            return self.request("GET", path).status == 200
        except OSError:
            return False

    def seed(self, pools: dict[str, int], **more: Any) -> None:
        """These events exist, with so many tickets each."""
        path = self.folder / "events.json"
        path.write_text(json.dumps([event_of(event_id, tickets, **more) for event_id, tickets in pools.items()]))
        done = run_module("seeds", "--file", str(path), data_dir=self.data_dir, **self.settings)
        assert done.returncode == 0, done.stderr
        time.sleep(CATALOGUE_FRESH_S)  # what a web process knows of events is at most this old, and there are several
        assert set(pools) <= {event["event_id"] for event in self.events()}

    def events(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.request("GET", "/events?limit=500").json()["events"]
        return listed

    def audit(self) -> None:
        """Every invariant holds on the running store."""
        done = run_module("ticketing", "audit", "--receipts", data_dir=self.data_dir, **self.settings)
        assert done.returncode == 0, done.stdout + done.stderr

    def admin(self, method: str, path: str, body: Any = None) -> Reply:
        return self.request(method, path, body, Authorization=f"Bearer {ADMIN_TOKEN}")

    def store(self) -> Store:
        """The running store; the caller closes it."""
        url = (self.data_dir / "run" / "store.url").read_text().strip()
        return open_store(url, timeout_s=10, connect_timeout_s=2, connections=4)

    def wait_for_receipts(self, purchase_ids: Iterable[str], deadline_s: float) -> None:
        """Each purchase has its PDF."""
        pending = set(purchase_ids)

        def all_ready() -> bool:
            for purchase_id in list(pending):
                try:
                    reply = self.request("GET", f"/tickets/{purchase_id}")
                except OSError:
                    return False  # the process that had accepted this connection was killed
                assert reply.status in {200, 202}, reply
                if reply.status == 202:
                    return False
                assert reply.body.startswith(b"%PDF-")
                pending.discard(purchase_id)
            return True

        wait_until(all_ready, deadline_s, "every receipt is ready")

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


def event_of(event_id: str, tickets: int, **more: Any) -> dict[str, Any]:
    """An event of a file for `python -m seeds`."""
    return {
        "event_id": event_id,
        "name": f"Concert {event_id}",
        "venue": "Royal Albert Hall",
        "starts_at": "2031-06-18T19:30:00+01:00",
        "timezone": "Europe/London",
        "price": {"amount": "45.00", "currency": "GBP"},
        "tickets": tickets,
        **more,
    }


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
