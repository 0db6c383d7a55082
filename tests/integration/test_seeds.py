"""`python -m seeds` as people run it: real processes on a real server, two at once, killed, and repeated."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.seeded import SeededEvent
from tests.servers import ValkeyServer, run_module, start_module, wait_until
from ticketing.model import EventState, Outcome
from ticketing.sale.audit import audit
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.events import EventStore
from ticketing.store.sale import Versions

MANY = 200_000


class Seeds:
    """The command, in a folder of its own, on one server."""

    def __init__(self, server: ValkeyServer, folder: Path) -> None:
        self.folder = folder
        self.url = server.url

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return run_module("seeds", *args, data_dir=self.folder, REDIS_URL=self.url)

    def start(self, *args: str) -> subprocess.Popen[str]:
        return start_module("seeds", *args, data_dir=self.folder, REDIS_URL=self.url)

    def last_line(self, *args: str) -> str:
        done = self.run(*args)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()[-1]

    def file(self, **tickets: int) -> str:
        path = self.folder / "events.json"
        path.write_text(json.dumps([entry(event_id, count) for event_id, count in tickets.items()]))
        return str(path)


def entry(event_id: str, tickets: int, **more: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "name": f"Concert {event_id}",
        "venue": "Hall",
        "starts_at": "2031-06-18T19:30:00+01:00",
        "price": {"amount": "45.00", "currency": "GBP"},
        "tickets": tickets,
        **more,
    }


@pytest.fixture
def seeds(valkey_server: ValkeyServer, tmp_path: Path) -> Seeds:
    return Seeds(valkey_server, tmp_path)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


def states(store: Store) -> list[EventState]:
    events = EventStore(store, Versions())
    return events.read(events.ids())


def issued(store: Store) -> int:
    return sum(state.issued for state in states(store))


def assert_pool_is_exactly(store: Store, event_id: str, tickets: int) -> None:
    pool = store.one("LRANGE", keys.of_event(event_id).tickets, 0, -1)
    assert pool == [f"E{event_id}-{number:06d}" for number in range(1, tickets + 1)]


def test_the_five_demonstration_events_are_seeded_once(seeds: Seeds, real_store: Store) -> None:
    done = seeds.run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "event 1: 10,000 tickets issued (Aurora String Quartet: Songs from the North)"
    assert len(lines) == 6
    assert lines[-1] == "5 events, 50,000 tickets, 50,000 new"
    assert seeds.run().stdout == "5 events, 50,000 tickets, 0 new\n"
    for number in "12345":
        assert_pool_is_exactly(real_store, number, 10_000)
    assert seeds.last_line("7", "3") == "7 events, 50,006 tickets, 6 new"
    assert audit(real_store).ok


def test_settings_say_what_is_seeded_where_the_command_line_does_not(seeds: Seeds, tmp_path: Path) -> None:
    done = run_module("seeds", data_dir=tmp_path, REDIS_URL=seeds.url, SEED_EVENTS=2, SEED_TICKETS=30)
    assert done.stdout.splitlines()[-1] == "2 events, 60 tickets, 60 new"


def test_two_at_once_issue_every_ticket_once(seeds: Seeds, real_store: Store) -> None:
    both = [seeds.start("2", str(MANY)) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert out.splitlines()[-1].startswith("2 events, 400,000 tickets, ")
    assert_pool_is_exactly(real_store, "1", MANY)
    assert_pool_is_exactly(real_store, "2", MANY)
    assert audit(real_store).ok


def test_one_that_is_killed_halfway_and_repeated_ends_right(seeds: Seeds, real_store: Store) -> None:
    process = seeds.start("2", str(MANY))
    wait_until(lambda: issued(real_store) > 0, 30)
    process.kill()
    process.communicate(timeout=10)
    cut_short = issued(real_store)
    assert 0 < cut_short < 2 * MANY
    assert states(real_store)[0].state(0) == "upcoming"  # nothing is sold of half a pool
    assert seeds.last_line("2", str(MANY)) == f"2 events, 400,000 tickets, {2 * MANY - cut_short:,} new"
    assert_pool_is_exactly(real_store, "1", MANY)
    assert_pool_is_exactly(real_store, "2", MANY)


def test_ctrl_c_ends_it_with_one_line(seeds: Seeds, real_store: Store) -> None:
    process = seeds.start("1", "5000000")
    wait_until(lambda: issued(real_store) > 0, 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "stopped; the same command goes on from here\n")


def test_it_outlasts_a_server_that_is_killed_and_restarted(own_server: ValkeyServer, tmp_path: Path) -> None:
    process = Seeds(own_server, tmp_path).start("2", str(MANY))
    store = own_server.store()
    wait_until(lambda: issued(store) > 0, 30)
    own_server.kill()
    own_server.start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "2 events, 400,000 tickets, 400,000 new"
    assert_pool_is_exactly(store, "1", MANY)
    assert_pool_is_exactly(store, "2", MANY)
    store.close()


def test_a_file_that_grew_lifts_a_sold_out_and_doubles_nothing(seeds: Seeds, real_store: Store) -> None:
    assert seeds.last_line("--file", seeds.file(gala=3, late=2)) == "2 events, 5 tickets, 5 new"
    shop = SeededEvent(real_store, 0, "gala")
    shop.sell(3)
    assert shop.ask(1)[0][1].outcome is Outcome.SOLD_OUT
    assert seeds.last_line("--file", seeds.file(gala=5, late=2)) == "2 events, 7 tickets, 2 new"
    shop.sell(2)
    assert shop.ask(1)[0][1].outcome is Outcome.SOLD_OUT
    assert seeds.run("--file", seeds.file(gala=4, late=2)).stdout.splitlines() == [
        "event gala: keeps its 5 tickets; 4 are fewer, and what was issued is never taken back",
        "2 events, 7 tickets, 0 new",
    ]
    assert audit(real_store).ok


def test_a_million_tickets_are_issued_in_seconds(seeds: Seeds, real_store: Store) -> None:
    """Two seconds on a quiet machine; the deadline is for a busy one."""
    done = run_module("seeds", "1", "1000000", data_dir=seeds.folder, REDIS_URL=seeds.url, deadline_s=30)
    assert done.stdout.splitlines()[-1] == "1 event, 1,000,000 tickets, 1,000,000 new"
    assert states(real_store)[0].pool == 1_000_000


def test_an_event_begins_anew_only_by_its_name_and_while_nothing_is_sold(seeds: Seeds, real_store: Store) -> None:
    path = seeds.file(gala=10, late=10)
    seeds.last_line("--file", path)
    before = states(real_store)[0].seed
    assert seeds.last_line("--file", path, "--replace", "gala") == "1 event, 10 tickets, 10 new"
    assert states(real_store)[0].seed != before
    SeededEvent(real_store, 0, "late").sell(1)
    refused = seeds.run("--file", path, "--replace", "late")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "event late: tickets of it are sold, so it can't be replaced\n"
    unknown = seeds.run("--file", path, "--replace", "other")
    assert unknown.returncode == 2
    assert "event 'other' is not among the events of this run" in unknown.stderr
    assert seeds.run("--replace", "1").stderr == "event 1: is not in the store, so there is nothing to replace\n"
    assert [(state.event.event_id, state.issued, state.sold) for state in states(real_store)] == [
        ("gala", 10, 0),
        ("late", 10, 1),
    ]


@pytest.mark.parametrize(
    "args",
    [
        ("x",),
        ("-1",),
        ("1.5",),
        ("5", "0"),
        ("5", "10000001"),
        ("10001",),
        ("5", "5", "5"),
        ("--tickets", "5"),
        ("3", "--file", "events.json"),
        ("--file",),
        ("--file", "none.json"),
        ("9" * 5_000,),
    ],
)
def test_a_wrong_command_line_is_told_and_changes_nothing(
    seeds: Seeds, real_store: Store, args: tuple[str, ...]
) -> None:
    done = seeds.run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()
    assert real_store.one("DBSIZE") == 0


def test_a_wrong_file_is_told_whole_and_changes_nothing(seeds: Seeds, real_store: Store) -> None:
    path = seeds.folder / "events.json"
    path.write_text(json.dumps([entry("a", 5), entry("b", 0), entry("a", 5, accent="red")]))
    done = seeds.run("--file", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{path}: event 2 ('b'): tickets: must be 1 or more",
        f"{path}: event 3 ('a'): accent: must be a colour such as \"#1f4e79\"",
        f"{path}: event 3 ('a'): event_id: is used by event 1 already",
    ]
    assert real_store.one("DBSIZE") == 0


def test_without_a_store_one_line_says_so(tmp_path: Path) -> None:
    nothing_started = run_module("seeds", data_dir=tmp_path)
    assert (nothing_started.returncode, len(nothing_started.stderr.splitlines())) == (1, 1)
    assert nothing_started.stderr.startswith("No store: REDIS_URL is not set")
    nobody_listens = run_module("seeds", data_dir=tmp_path, REDIS_URL="redis://:secret@127.0.0.1:1/0")
    assert (nobody_listens.returncode, len(nobody_listens.stderr.splitlines())) == (1, 1)
    assert "can't connect to Redis" in nobody_listens.stderr
    assert "secret" not in nobody_listens.stderr
    bad_setting = run_module("seeds", data_dir=tmp_path, REDIS_URL="http://127.0.0.1", PORT="x")
    assert bad_setting.returncode == 2
    assert len(bad_setting.stderr.splitlines()) == 3
    assert "Traceback" not in nothing_started.stderr + nobody_listens.stderr + bad_setting.stderr


def test_help_says_what_it_does_without_a_store(tmp_path: Path) -> None:
    done = run_module("seeds", "--help", data_dir=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("EVENTS", "TICKETS", "--file", "--replace", "EVENT_ID"):
        assert word in done.stdout
