"""Who is measured: our service as it runs in production, the Express peer, and bare workers; each with its own store.

What must stay true: all stores have the same settings; receipt workers, the sweeper and the peer's consumers do not run
unless a section asks for them; what is started here is ended here, by its own pid.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import psutil

from tests.bench.figures import Missing, NotMeasured
from tests.sales import an_event
from tests.servers import HOST, ROOT, ValkeyServer, environment, free_port, wait_until
from ticketing.config import Settings
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.events import EventStore, create
from ticketing.store.sale import Versions

PEER = Path(__file__).parent / "peers" / "express"
READY_S = 30.0
STOP_S = 30.0
# A rewrite of the append-only file in the middle of a run would be measured too: in production it waits for 512 MB.
STORE_OPTIONS = ("--auto-aof-rewrite-percentage", "0", "--maxclients", "1000")
SEED = "seed-of-the-benchmark"
EXPRESS, GEVENT = "express", "gevent"  # of WEB_SERVER
NODE_MISSING = "node and npm are not here (Node 20 or later), which the Express peer needs"


@dataclass
class Contestant:
    """A running server. `port` is where it listens, `pid` the root of its processes."""

    name: str
    port: int
    pid: int
    server: ValkeyServer | None = None
    sold_out_text: str = ""
    parts: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def store_pid(self) -> int | None:
        return self.server.pid if self.server else None

    def fill(self, event_id: str, tickets: int) -> None:
        """An event with so many tickets is on sale."""
        raise NotMeasured(f"{self.name} sells nothing")

    def sold(self, event_ids: Sequence[str]) -> int:
        """Tickets that left these pools for good."""
        raise NotMeasured(f"{self.name} sells nothing")

    def fsync(self, policy: str) -> None:
        """From now on the store's file is synced so: always, everysec."""
        with self.store() as store:
            store.one("CONFIG", "SET", "appendfsync", policy)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """A way to its store."""
        assert self.server is not None
        store = self.server.store(timeout_s=60.0, connections=4)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def hasty_store(self) -> Iterator[Store]:
        """The store while it is filled: nothing depends on that being on disk."""
        with self.store() as store:
            store.one("CONFIG", "SET", "appendfsync", "no")
            yield store
            store.one("CONFIG", "SET", "appendfsync", "always")


@dataclass
class Product(Contestant):
    """Our service."""

    sold_out_text: str = "/problems/sold-out"
    data_dir: Path = Path()

    def fill(self, event_id: str, tickets: int) -> None:
        """It can be bought within a second: each process reads the events that often."""
        with self.hasty_store() as store:
            seed = create(store, an_event(event_id), seed=SEED, planned=tickets).seed
            EventStore(store, Versions()).add_up_to(event_id, seed, 0, tickets)

    def fill_more(self, event_id: str, tickets: int) -> None:
        """So many more of it are on sale."""
        with self.hasty_store() as store:
            events = EventStore(store, Versions())
            events.add_more(event_id, SEED, events.read([event_id])[0].issued, tickets)

    def sold(self, event_ids: Sequence[str]) -> int:
        """By the event's own count. Raises NotMeasured where a ticket is missing or twice."""
        with self.store() as store:
            states = EventStore(store, Versions()).read(event_ids)
        for state in states:
            if state.pool + state.leased + state.sold != state.issued:
                raise NotMeasured(f"event {state.event.event_id}: {state.issued} issued, but {state}")
        return sum(state.sold for state in states)

    @property
    def workers(self) -> list[int]:
        """The pids of its web processes, without their master."""
        return [child.pid for child in psutil.Process(self.pid).children()]


@dataclass
class Express(Contestant):
    """The peer in Node."""

    sold_out_text: str = "sold out"

    def fill(self, event_id: str, tickets: int) -> None:
        fill = "for i = ARGV[1], ARGV[2] do redis.call('RPUSH', KEYS[1], string.format(ARGV[3], i)) end"
        with self.hasty_store() as store:
            for first in range(1, tickets + 1, 10_000):
                last = min(tickets, first + 9_999)
                store.one("EVAL", fill, 1, f"event:{{{event_id}}}:tickets", first, last, f"E{event_id}-%06d")

    def sold(self, event_ids: Sequence[str]) -> int:
        with self.store() as store:
            return sum(int(store.one("GET", f"event:{{{event_id}}}:sold") or 0) for event_id in event_ids)


@contextmanager
def product(
    folder: Path, *, web_workers: int = 1, server: str = "", receipts: bool = False, **more: Any
) -> Iterator[Product]:
    """Our service with so many web processes, started as in production; `receipts`: its receipt worker and sweeper too.

    `server` is a choice of the setting WEB_SERVER, left out where the service has no such setting.
    """
    folder.mkdir(parents=True)
    data_dir = folder / "data"
    data_dir.mkdir()
    with _store(folder) as store:
        port = free_port()
        settings: dict[str, Any] = {
            "PORT": port,
            "REDIS_URL": store.url,
            "WEB_WORKERS": web_workers,
            "LOG_LEVEL": "INFO",
            "METRICS_DIR": folder / "metrics",
            **({"WEB_SERVER": server} if server else {}),
            **more,
        }
        env = environment(data_dir, **settings)
        gunicorn = ["gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "ticketing.server.wsgi:app"]
        commands = [gunicorn, *([["workers"], ["ticketing", "sweep"]] if receipts else [])]
        started = [
            _start([sys.executable, "-m", *words], data_dir, env, folder / f"{words[0]}.log") for words in commands
        ]
        name = f"service ({server})" if server else "service"
        made = Product(name, port, started[0].pid, store, data_dir=data_dir, parts=started[1:])
        try:
            _await_listener(started[0], port, folder / "gunicorn.log")
            yield made
        finally:
            _end(started)


@contextmanager
def express(folder: Path, *, processes: int = 1) -> Iterator[Express]:
    """The peer with so many processes. Raises NotMeasured where Node is missing."""
    prepare_express()
    folder.mkdir(parents=True)
    with _store(folder) as store:
        port = free_port()
        env = {"PATH": os.environ["PATH"], "NODE_ENV": "production", "PORT": str(port)}
        env |= {"REDIS_PORT": str(store.port), "PROCESSES": str(processes)}
        started = _start(["node", str(PEER / "server.js")], folder, env, folder / "node.log")
        try:
            _await_listener(started, port, folder / "node.log")
            yield Express("Express", port, started.pid, store)
        finally:
            _end([started])


@contextmanager
def hello(folder: Path, *, server: str = "", plain: bool = False) -> Iterator[Contestant]:
    """A bare app under the service's worker, with all its settings, or under gunicorn's own gevent worker."""
    folder.mkdir(parents=True)
    data_dir = folder / "data"
    data_dir.mkdir()
    port = free_port()
    ours = ["-c", str(ROOT / "gunicorn.conf.py")]
    theirs = ["-k", "gevent", "-b", f"{HOST}:{port}", "--keep-alive", "75", "--worker-connections", "20000"]
    words = [sys.executable, "-m", "gunicorn", *(theirs if plain else ours), "tests.bench.peers.hello:app"]
    settings = {"PORT": port, "REDIS_URL": f"redis://{HOST}:1", "WEB_WORKERS": 1, "METRICS_DIR": folder / "metrics"}
    env = environment(data_dir, **settings, **({"WEB_SERVER": server} if server else {}))
    started = _start(words, data_dir, env, folder / "gunicorn.log")
    try:
        _await_listener(started, port, folder / "gunicorn.log")
        yield Contestant("bare app, stock gevent worker" if plain else "bare app, our worker", port, started.pid)
    finally:
        _end([started])


def web_servers() -> tuple[str, ...]:
    """The choices of WEB_SERVER; none where the service has no such setting."""
    found = Settings.model_fields.get("web_server")
    return get_args(found.annotation) if found is not None else ()


def our_server() -> str:
    """The worker that stands for the service: the express worker where there is one."""
    return EXPRESS if EXPRESS in web_servers() else ""


def prepare_express() -> None:
    """The peer's packages are here, fetched now if it is the first time. Raises NotMeasured."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing(NODE_MISSING)
    if (PEER / "node_modules" / ".package-lock.json").exists():
        return
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=PEER,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotMeasured(f"npm ci failed for the Express peer: {done.stderr.strip()[-300:]}")


def stored_sold_at_ms(store: Store, event_id: str) -> dict[str, int]:
    """When each purchase of an event was sold."""
    flat = store.one("HGETALL", keys.of_event(event_id).purchases)
    return {purchase_id: int(record.split("|")[1]) for purchase_id, record in zip(flat[::2], flat[1::2], strict=True)}


@contextmanager
def _store(folder: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(folder / "store")
    server.start(*STORE_OPTIONS)
    try:
        yield server
    finally:
        server.stop()


def _start(command: Sequence[str], folder: Path, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def _await_listener(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def listens() -> bool:
        if process.poll() is not None:
            raise NotMeasured(f"a server ended at once: {log.read_text()[-600:]}")
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    wait_until(listens, READY_S, f"a server listens, see {log}")


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
