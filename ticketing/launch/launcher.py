"""Starts every part in order, waits until tickets can be bought, shows the logs, and stops everything at one signal.

What must stay true: whichever way `run` ends, no process is left and the store has everything on disk; a start that
fails says why in one message, with the last lines of the log that matters.
"""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from ticketing.config import Settings
from ticketing.errors import StoreError
from ticketing.launch import parts, processes, store_server
from ticketing.launch.faults import LaunchError, Stopped
from ticketing.launch.follow import LogFile, tail
from ticketing.launch.lock import only_launcher
from ticketing.launch.reload import CodeWatch
from ticketing.launch.store_server import StoreServer
from ticketing.launch.supervision import Supervision
from ticketing.launch.terminal import Terminal, complain, ready_block, say
from ticketing.outage import inspection
from ticketing.outage.journal import JournalError
from ticketing.store import opening
from ticketing.store.events import EventStore
from ticketing.store.sale import Versions

TURN_S = 0.1
CODE_LOOK_S = 1.0
STORE_DEADLINE_S = 120.0  # a large append-only file is read first
OTHER_STORE_PATIENCE_S = 3.0
WEB_DEADLINE_S = 60.0
SEEDS_GRACE_S = 10.0
MARGIN_S = 10.0
FAILURES_MAX = 3
TAIL_LINES = 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDED = re.compile(r"\S+ \S+ \w+ (?P<how>exited|stopped): (?P<process>\S+) \((?P<why>.*)\)")


def run(settings: Settings, dev: bool = False) -> int:
    """Run every part until a signal comes. 0 when a signal ended it, 1 when it could not start or go on.

    The parts read the environment and .env themselves: settings that were given to `config.load` by hand, DATA_DIR
    excepted, don't reach them.
    """
    settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
    launcher = Launcher(settings, dev=dev)
    with _signals_call(launcher.ask_to_stop):
        try:
            _make_folders(settings)
            with only_launcher(settings.run_dir / "launcher.lock", f"{settings.local_url}/"):
                launcher.run()
        except LaunchError as error:
            complain(*error.details, str(error))
            return 1
        except Stopped:
            pass
    return 0


class Launcher:
    """One run, from the first process to the last."""

    def __init__(self, settings: Settings, *, dev: bool) -> None:
        self._settings = settings
        self._dev = dev
        self._mark = processes.mark_of(settings.data_dir)
        self._signals = 0
        self._supervision: Supervision | None = None
        self._supervisor_log = LogFile(self._log("supervisor"))
        self._logs: list[LogFile] = []
        self._parts: list[parts.Part] = []
        self._failures: Counter[str] = Counter()
        self._terminal = Terminal()

    def ask_to_stop(self) -> None:
        """The end has begun, even if the terminal stands still and holds up everything else here."""
        self._signals += 1
        if self._supervision:
            self._supervision.let_go()

    def run(self) -> None:
        """Start, then show the logs until a signal. Raises LaunchError, or Stopped once everything is stopped."""
        try:
            self._start()
            self._watch()
        finally:
            self._stop()

    def _start(self) -> None:
        begun = time.monotonic()
        self._clear_leftovers()
        self._check_port()
        store = store_server.configure(self._settings, self._mark) if self._settings.runs_own_store else None
        self._supervise(store)
        self._await_store(store)
        self._seed()
        self._start_the_rest()
        self._show_logs()
        say(*ready_block(self._settings, time.monotonic() - begun))

    def _clear_leftovers(self) -> None:
        left = processes.find(self._mark)
        if left:
            say(f"ending what an earlier start left behind ({len(left)} processes) ...")
            processes.end_all(self._mark)

    def _check_port(self) -> None:
        host, port = self._settings.host, self._settings.port
        try:
            free = store_server.is_free(host, port)
        except OSError as error:
            raise LaunchError(f"HOST {host}: {error.strerror}.") from None
        if not free:
            raise LaunchError(f"Port {port} of {host} is in use by another program. Set PORT to another, or end it.")

    def _supervise(self, store: StoreServer | None) -> None:
        for folder in self._settings.metrics_dirs:
            for counters in folder.rglob("*.db"):  # one a process; those of earlier runs count no more
                counters.unlink(missing_ok=True)
        self._parts = parts.parts(self._settings, self._mark, store.command if store else None, dev=self._dev)
        configuration = self._settings.run_dir / "supervisord.conf"
        configuration.write_text(parts.configuration(self._parts))
        self._logs = [
            LogFile(self._settings.data_dir / "logs" / log)
            for part in self._parts
            if part.name != "store"  # it tells of every connection and every fork; its log file has it all
            for log in part.logs
        ]
        command = parts.python(self._mark, processes.SUPERVISOR, configuration.name, str(Path.cwd()))
        environment = self._environment()
        self._supervision = Supervision(command, self._settings.run_dir, environment, self._log("supervisor"))

    def _await_store(self, store: StoreServer | None) -> None:
        if store is None:
            self._await_other_store()
            return
        self._wait_until(store.answers, "store", STORE_DEADLINE_S)
        store_server.write_private(self._settings.store_url_file, store.url + "\n")
        say(f"store: ready on {store_server.HOST}:{store.port}")

    def _await_other_store(self) -> None:
        """One that is away is no reason not to start: what this host leased before is sold without it."""
        until_s = time.monotonic() + OTHER_STORE_PATIENCE_S
        while not self._store_answers():
            if time.monotonic() > until_s:
                say("WARNING: the store of REDIS_URL does not answer; this starts without it, and waits for it")
                return
            self._turn()
        say("store: the one of REDIS_URL answers")

    def _seed(self) -> None:
        settings = self._settings
        begun = settings.run_dir / "seeding-began"  # so that one that was killed halfway is finished by the next start
        if settings.seed_events == 0 or not self._is_to_seed(begun):
            return
        say(f"seeds: {settings.seed_events} events of {settings.seed_tickets:,} tickets ...")
        begun.touch()
        seeds = subprocess.Popen(  # noqa: S603 - the command is ours
            parts.python(self._mark, "seeds"), env=self._environment(), stdin=subprocess.DEVNULL
        )
        try:
            while seeds.poll() is None:
                self._turn()
        finally:
            _end(seeds)
        if seeds.returncode:
            raise LaunchError("The events could not be put on sale; the lines above say why.")
        begun.unlink()

    def _start_the_rest(self) -> None:
        if self._supervision:
            self._supervision.start_the_rest()
        # Without a store of ours it is enough to serve: a web process may have nothing to sell from until it is back.
        path = "/health/ready" if self._settings.runs_own_store else "/health/live"
        self._wait_until(lambda: self._answers(path), "web", WEB_DEADLINE_S)
        receipts = self._settings.receipt_workers
        say(f"web: ready, {self._settings.web_workers} processes", f"receipts: {receipts} workers, and the sweeper")

    def _watch(self) -> None:
        code = CodeWatch(parts.ROOT) if self._dev else None
        look_s = time.monotonic()
        while True:
            self._turn()
            if code and time.monotonic() - look_s >= CODE_LOOK_S:
                look_s = time.monotonic()
                if code.has_changed():
                    self._restart_background()

    def _restart_background(self) -> None:
        """gunicorn reloads its own workers; the supervisor starts these anew as soon as they end."""
        say("code changed: receipts and sweeper begin anew")
        ours = [
            one for one in processes.find(self._mark) if one.command.endswith((" -m workers", " -m ticketing sweep"))
        ]
        processes.signal_all(ours, signal.SIGTERM)

    def _stop(self) -> None:
        if self._supervision:
            say("stopping ...")
            self._supervision.let_go()
            self._await_supervisor(self._supervision)
            processes.end_all(self._mark)
            self._show_logs()
            for log in (*self._logs, self._supervisor_log):
                log.close()
            if self._settings.runs_own_store:
                self._settings.store_url_file.unlink(missing_ok=True)
            say("stopped")

    def _await_supervisor(self, supervision: Supervision) -> None:
        until_s = time.monotonic() + sum(part.stop_wait_s for part in self._parts) + MARGIN_S
        signals = self._signals
        while not supervision.has_ended():
            self._show_logs()
            if self._signals > signals:
                signals = self._signals
                say("still stopping: each part ends what it has begun")
            if time.monotonic() > until_s:
                supervision.kill()
            time.sleep(TURN_S)

    def _wait_until(self, condition: Callable[[], bool], part: str, deadline_s: float) -> None:
        until_s = time.monotonic() + deadline_s
        while not condition():
            self._turn()
            if self._failures[part] >= FAILURES_MAX:
                raise LaunchError(f"The {part} ended {FAILURES_MAX} times; these are its last lines.", self._tail(part))
            if time.monotonic() > until_s:
                raise LaunchError(f"The {part} was not ready within {deadline_s:.0f} s.", self._tail(part))

    def _turn(self) -> None:
        """A tenth of a second of waiting. Raises Stopped, and LaunchError where nobody restarts parts any more."""
        if self._signals or self._terminal.has_gone():
            raise Stopped
        if self._supervision and self._supervision.has_ended():
            raise LaunchError(
                "The supervisor has ended; so everything does.", tail(self._log("supervisor"), TAIL_LINES)
            )
        self._show_logs()
        time.sleep(TURN_S)

    def _show_logs(self) -> None:
        for log in self._logs:
            if lines := log.new_lines():
                self._terminal.show(lines)
        for ended in filter(None, map(ENDED.match, self._supervisor_log.new_lines())):
            if ended["how"] == "exited":
                self._failures[ended["process"]] += 1
                say(f"{ended['process']} ended ({ended['why'].partition(';')[0]}), and is started again")

    def _store_answers(self) -> bool:
        return opening.answers(self._settings)

    def _is_to_seed(self, begun: Path) -> bool:
        """Whether there is no event yet, or a seeding to be finished."""
        if not self._store_is_empty():
            return begun.exists() and self._store_answers()
        # Whoever makes anew the events that a store has lost sells their keys and tickets a second time.
        if self._journals_know_events():
            say("seeds: none, for the store has lost events that this host sold; see: python -m ticketing outage show")
            return False
        return True

    def _journals_know_events(self) -> bool:
        with contextlib.suppress(JournalError):  # without a folder that can be read nothing was sold from it
            return any(journal.content.snapshots for journal in inspection.journals(self._settings.journal_dir))
        return False

    def _store_is_empty(self) -> bool:
        settings = self._settings
        store = opening.store_of(settings, connections=1)
        try:
            return not EventStore(store, Versions()).ids()
        except StoreError as error:
            if settings.runs_own_store:
                raise LaunchError(f"The store does not say which events it has: {error}") from None
            say("seeds: none now, since the store does not say which events it has; later: python -m seeds")
            return False
        finally:
            store.close()

    def _answers(self, path: str) -> bool:
        address = urlsplit(self._settings.local_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self, part: str) -> Sequence[str]:
        return tail(self._log(part), TAIL_LINES)

    def _log(self, name: str) -> Path:
        return self._settings.data_dir / "logs" / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        """Ours, and what makes the parts find the same code and the same folder from any working directory."""
        code = os.pathsep.join(filter(None, (str(parts.ROOT), os.environ.get("PYTHONPATH"))))
        own = {"DATA_DIR": str(self._settings.data_dir), "PYTHONPATH": code, "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **own}


def _make_folders(settings: Settings) -> None:
    try:
        for folder in (settings.data_dir, settings.run_dir, settings.data_dir / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(f"DATA_DIR {settings.data_dir} can't be used: {error.strerror}.") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SEEDS_GRACE_S)
        process.kill()
    process.wait()


@contextmanager
def _signals_call(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        ask_to_stop()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
