"""What the doctor makes of a machine, its settings and its events: each fault is found, and says what to do."""

import errno
import os
import re
import resource
import shlex
import threading
from collections.abc import Iterable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.servers import ROOT, free_port
from tests.unit.test_counter import a_state
from ticketing.__main__ import _parser
from ticketing.config import Settings
from ticketing.doctor import machine, sale, secrets, server
from ticketing.doctor.finding import Finding, Level, carried_out, ok
from ticketing.errors import StoreRefused
from ticketing.store.queue import QueueLevel

GOOD = "k7VvQ2m9XwT4uYb1ZrN8cH5jLs3DfGpA"
MOUNTS = """\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:26 / {tmp}/memory rw,nosuid - tmpfs tmpfs rw
31 22 0:40 / {tmp}/far rw - nfs4 server:/export rw
32 22 0:41 / {tmp}/container rw - overlay overlay rw
33 32 259:3 / {tmp}/container/volume rw - xfs /dev/sdb rw
34 22 0:42 / {tmp}/with\\040space rw - tmpfs tmpfs rw
"""


def settings(tmp_path: Path, **said: Any) -> Settings:
    defaults = {"data_dir": tmp_path / "data", "id_secret": GOOD, "admin_token": GOOD, "redis_url": "redis://x"}
    return Settings(_env_file=None, **(defaults | said))


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """The worst of each check; what is not all right says what to do."""
    found: dict[str, Level] = {}
    for finding in findings:
        assert finding.found
        assert finding.level is Level.OK or (finding.means and finding.do)
        found[finding.check] = max(found.get(finding.check, Level.OK), finding.level, key=list(Level).index)
    return found


@pytest.mark.parametrize(
    ("hard", "level"),
    [
        (resource.RLIM_INFINITY, Level.OK),
        (20_256, Level.OK),
        (20_255, Level.WARN),
        (1_256, Level.WARN),
        (1_024, Level.FAIL),
    ],
)
def test_connections_need_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard: int, level: Level) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    (finding,) = machine.open_files(settings(tmp_path))
    assert levels([finding]) == {"open files": level}
    if hard == 20_255:
        assert "WORKER_CONNECTIONS=19999" in finding.do


@pytest.mark.parametrize(("allowed", "level"), [("4096\n", Level.OK), ("128\n", Level.WARN), (None, Level.WARN)])
def test_the_kernel_lets_as_many_wait_as_backlog_says(tmp_path: Path, allowed: str | None, level: Level) -> None:
    somaxconn = tmp_path / "somaxconn"
    if allowed is not None:
        somaxconn.write_text(allowed)
    assert levels(machine.backlog(settings(tmp_path), somaxconn)) == {"backlog": level}


class Usage(NamedTuple):
    """As shutil.disk_usage gives it."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("free", "tickets", "level"),
    [(10 << 30, 1_000, Level.OK), (1 << 30, 1_000_000, Level.WARN), (100 << 20, 0, Level.FAIL)],
)
def test_receipts_need_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, tickets: int, level: Level
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(0, 0, free))
    found = levels(machine.disk(settings(tmp_path), tickets))
    assert found[f"disk of {tmp_path / 'data' / 'receipts'}"] is level


@pytest.mark.parametrize(
    ("folder", "level"),
    [
        ("disk", Level.OK),
        ("memory/journal", Level.FAIL),
        ("far", Level.FAIL),
        ("container/journal", Level.FAIL),
        ("container/volume/journal", Level.OK),
        ("with space/journal", Level.FAIL),
        ("memory-not/journal", Level.OK),
    ],
)
def test_the_journal_needs_a_disk_that_stays(tmp_path: Path, folder: str, level: Level) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(tmp=tmp_path))
    (tmp_path / folder).mkdir(parents=True)
    found = levels(machine.journal(settings(tmp_path, journal_folder=tmp_path / folder), mounts=mounts))
    assert found["journal's disk"] is level
    assert found["journal"] is Level.OK


def test_the_journal_is_written_to_and_nothing_is_left(tmp_path: Path) -> None:
    synced: list[int] = []
    found = levels(machine.journal(settings(tmp_path), fsync=synced.append))
    assert found["journal"] is Level.OK
    assert len(synced) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_or_does_not_answer_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    finding = next(f for f in machine.journal(settings(tmp_path), fsync=full) if f.check == "journal")
    assert finding.level is Level.FAIL
    assert "No space left" in finding.found
    going_on = threading.Event()
    monkeypatch.setattr(machine, "FSYNC_GIVE_UP_S", 0.05)
    finding = next(
        f for f in machine.journal(settings(tmp_path), fsync=lambda _: going_on.wait(10)) if f.check == "journal"
    )
    going_on.set()
    assert finding.level is Level.FAIL
    assert "did not answer" in finding.found


def test_a_slow_disk_and_a_journal_that_is_not_synced_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FSYNC_SLOW_S", -1.0)
    found = levels(machine.journal(settings(tmp_path, journal_fsync=False)))
    assert (found["journal"], found["journal fsync"]) == (Level.WARN, Level.FAIL)


@pytest.mark.parametrize(
    ("token", "level"),
    [(GOOD, Level.OK), ("change-me-change-me", Level.FAIL), ("aaaaaaaaaaaaaaaaaaaa", Level.FAIL), ("", Level.OK)],
)
def test_a_secret_that_can_be_guessed_fails_and_is_not_shown(tmp_path: Path, token: str, level: Level) -> None:
    findings = list(secrets.secrets(settings(tmp_path, admin_token=token)))
    assert levels(findings)["ADMIN_TOKEN"] is level
    assert not token or token not in str(findings)


def test_a_kept_secret_that_others_can_read_fails(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "secrets" / "admin_token"
    kept.parent.mkdir(parents=True)
    kept.write_text(GOOD)
    for mode, level in ((0o600, Level.OK), (0o640, Level.FAIL), (0o604, Level.FAIL)):
        kept.chmod(mode)
        assert levels(secrets.secrets(settings(tmp_path)))["ADMIN_TOKEN"] is level


def test_settings_that_are_a_mistake_on_the_night_are_said(tmp_path: Path) -> None:
    assert set(levels(secrets.exposure(settings(tmp_path))).values()) == {Level.OK}
    odd = settings(tmp_path, forwarded_allow_ips="*", log_level="DEBUG", reserve_tickets=0)
    assert levels(secrets.exposure(odd)) == dict.fromkeys(
        ("FORWARDED_ALLOW_IPS", "LOG_LEVEL", "RESERVE_TICKETS"), Level.WARN
    )


@pytest.mark.parametrize(("status", "level"), [(200, Level.WARN), (401, Level.OK)])
def test_grafana_with_its_default_password_is_said(status: int, level: Level) -> None:
    asked: list[str] = []

    class Grafana(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Grafana) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert levels(secrets.grafana(f"http://127.0.0.1:{server.server_port}")) == {"Grafana": level}
        thread.join(10)
    assert asked == ["Basic YWRtaW46YWRtaW4="]


def test_no_grafana_is_all_right() -> None:
    assert levels(secrets.grafana(f"http://127.0.0.1:{free_port()}")) == {"Grafana": Level.OK}
    assert levels(secrets.grafana("not an address")) == {"Grafana": Level.OK}


def test_events_that_can_not_be_sold_as_planned_are_said() -> None:
    good = a_state("1")
    assert levels(sale.events([good], set())) == {"events": Level.OK}
    for states, damaged, level in (
        ([], set(), Level.FAIL),
        ([good], {"2"}, Level.FAIL),
        ([good, replace(good, planned=11)], set(), Level.FAIL),
        ([good, replace(good, halted=True)], set(), Level.FAIL),
        ([good, replace(good, paused=True)], set(), Level.WARN),
        ([good, replace(good, event=replace(good.event, closes_ms=0))], set(), Level.WARN),
    ):
        assert levels(sale.events(states, damaged)) == {"events": level}, states


def test_receipts_that_failed_or_wait_are_said() -> None:
    good = a_state("1")
    assert levels(sale.receipts([good])) == {"receipts": Level.OK}
    assert levels(sale.receipts([replace(good, receipts_failed=1)])) == {"receipts": Level.WARN}
    late = replace(good, receipts_pending=1, oldest_pending_ms=0, as_of_ms=61_000)
    assert levels(sale.receipts([late])) == {"receipts": Level.WARN}


def test_a_check_that_breaks_is_a_failure_and_the_others_go_on() -> None:
    def breaks() -> Iterable[Finding]:
        yield ok("first", "well")
        raise StoreRefused("it went away")

    found = list(carried_out([("broken", breaks), ("other", lambda: [ok("other", "well")])]))
    assert levels(found) == {"broken": Level.FAIL, "other": Level.OK}
    assert "it went away" in found[0].found


@pytest.mark.parametrize(("alive", "level"), [(2, Level.OK), (1, Level.WARN), (0, Level.FAIL)])
def test_receipts_need_workers(alive: int, level: Level) -> None:
    assert server._workers(QueueLevel(0, 0, alive), 2).level is level


def test_a_service_that_runs_and_can_not_sell_fails(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Unready) as unready:
        thread = threading.Thread(target=unready.handle_request)
        thread.start()
        (finding,) = sale.web(settings(tmp_path, port=unready.server_port))
        thread.join(10)
    assert levels([finding]) == {"web": Level.FAIL}
    assert "why it can't" in finding.found


class Unready(BaseHTTPRequestHandler):
    """A web process that can't sell."""

    def do_GET(self) -> None:
        body = b'{"detail": "why it can\'t"}'
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_every_command_of_the_text_for_operators_is_one() -> None:
    text = (ROOT / "ops" / "doctor.md").read_text()
    commands = {found.strip() for found in re.findall(r"python -m ticketing ([a-z][^`#\n]*)", text)}
    assert {"doctor", "audit", "event pause gala", "receipts retry", "outage show"} <= commands
    for command in commands:
        assert callable(_parser().parse_args(shlex.split(command)).command), command
