"""`python -m ticketing run`: every part back when it dies, nothing left after it, one message where it can't start."""

import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import HOST, ValkeyServer, run_module, wait_until
from tests.service import Service

POOLS = {"rock": 50}
KEY = "a key that is long enough"
BACK_S = 20.0
GONE_S = 40.0
PARTS = {
    "the store": ("valkey-server",),
    "a receipt worker": ("-m workers",),
    "the sweeper": ("ticketing sweep",),
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Not started yet; gone after the test."""
    service = Service(tmp_path)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests that leave it running."""
    service = Service(tmp_path_factory.mktemp("running"))
    service.start()
    service.seed(POOLS)
    yield service
    service.stop()


def run_again(service: Service, **settings: object) -> subprocess.CompletedProcess[str]:
    """Another `run` on the same folder, which is expected to end by itself."""
    return run_module("ticketing", "run", data_dir=service.data_dir, **{**service.settings, **settings})


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def none_lives(processes: list[psutil.Process]) -> bool:
    for process in processes:
        try:
            if lives(process):
                return False
        except psutil.NoSuchProcess:
            continue
    return True


def buy(service: Service) -> int:
    return service.request("POST", "/buy/rock").status


def sells(service: Service) -> bool:
    """Whether a purchase succeeds now; a connection to a process that was just killed breaks."""
    try:
        return buy(service) == 201
    except OSError:
        return False


@pytest.mark.parametrize("words", PARTS.values(), ids=PARTS)
def test_a_part_that_is_killed_comes_back(running: Service, words: tuple[str, ...]) -> None:
    before = running.find(*words)
    before[0].kill()
    wait_until(lambda: len(_others(running, before, words)) >= 1, BACK_S, "another one of it")
    wait_until(lambda: len(running.find(*words)) == len(before), BACK_S, "as many as before")
    wait_until(lambda: sells(running), BACK_S)


def test_the_web_comes_back_when_its_master_is_killed(running: Service) -> None:
    before = running.find("gunicorn")
    before[0].kill()
    wait_until(lambda: none_lives(before), BACK_S, "its processes end without it")
    wait_until(lambda: len(running.find("gunicorn")) == len(before), BACK_S)
    wait_until(lambda: sells(running), BACK_S)


def test_a_web_process_that_is_killed_is_replaced(running: Service) -> None:
    master, *before = running.find("gunicorn")
    before[-1].kill()
    wait_until(lambda: len(set(running.find("gunicorn")) - {master, *before}) == 1, BACK_S)
    wait_until(lambda: sells(running), BACK_S)
    assert running.find("gunicorn")[0] == master


def test_a_second_run_says_where_the_first_one_is(running: Service) -> None:
    second = run_again(running)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == f"It runs already: {running.url}/ (DATA_DIR {running.data_dir})\n"
    assert sells(running)


def test_no_secret_is_on_a_command_line_or_open_to_others(running: Service) -> None:
    url = running.data_dir / "run" / "store.url"
    password = url.read_text().partition("@")[0].rpartition(":")[2]
    assert len(password) >= 32
    assert not running.find(password)
    holders = [url, *(running.data_dir / "run").glob("*.conf"), *(running.data_dir / "secrets").iterdir()]
    with_password = [path for path in holders if path.name != "supervisord.conf"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in with_password} == {0o600}


def test_it_says_when_it_is_ready_and_what_to_try(running: Service) -> None:
    said = running.log.read_text()
    for line in ("store: ready on ", "web: ready, 2 processes", f"curl -X POST {running.url}/buy/1"):
        assert line in said
    assert "Traceback" not in said


def test_what_was_sold_is_still_sold_after_a_stop(service: Service) -> None:
    service.start()
    service.seed(POOLS)
    bought = service.request("POST", "/buy/rock", Idempotency_Key=KEY).json()
    family = service.processes()
    service.stop()
    assert none_lives(family)
    assert not (service.data_dir / "run" / "store.url").exists()

    service.start()
    again = service.request("POST", "/buy/rock", Idempotency_Key=KEY)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["tickets"] == bought["tickets"]
    assert service.request("GET", "/events/rock").json()["sold"] == 1
    service.audit()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_each_way_to_end_it_leaves_nothing(service: Service, how: signal.Signals) -> None:
    service.start()
    service.stop(how)
    assert service.log.read_text().endswith("stopped\n")


def test_a_second_signal_while_it_stops_leaves_nothing_either(service: Service) -> None:
    service.start()
    launcher = service.launcher
    launcher.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping ..." in service.log.read_text(), 10)
    launcher.send_signal(signal.SIGINT)
    service.stop()
    assert service.log.read_text().endswith("stopped\n")


def test_a_killed_launcher_takes_everything_with_it(service: Service) -> None:
    service.start()
    service.seed(POOLS)
    assert buy(service) == 201
    family = service.processes()
    service.launcher.kill()
    wait_until(lambda: none_lives(family), GONE_S, "every part ends")
    service.stop()
    service.start()
    assert service.request("GET", "/events/rock").json()["sold"] == 1


@pytest.mark.skipif(shutil.which("ps") is None, reason="what is left behind is found by ps")
def test_what_two_kills_left_behind_is_ended_by_the_next_start(service: Service) -> None:
    service.start()
    service.seed(POOLS)
    assert buy(service) == 201
    family = service.processes()
    (supervisor,) = service.find("launch.supervise")
    service.launcher.kill()
    supervisor.kill()
    left = [process for process in family if process not in {supervisor, family[0]}]
    wait_until(lambda: none_lives([supervisor]), 5)
    assert any(map(lives, left))
    assert service._process is not None
    service._process.wait()
    service.start()  # returns at once: the web that was left behind answers
    wait_until(lambda: none_lives(left), GONE_S, "what was left is ended")
    wait_until(lambda: service.log.read_text().count("Ready after") == 2, GONE_S, "it is ready")
    assert "ending what an earlier start left behind" in service.log.read_text()
    assert service.request("GET", "/events/rock").json()["sold"] == 1
    service.audit()


def test_the_end_of_the_supervisor_is_the_end_of_all(service: Service) -> None:
    service.start()
    family = service.processes()
    (supervisor,) = service.find("launch.supervise")
    supervisor.kill()
    wait_until(lambda: none_lives(family), GONE_S, "the launcher ends what is left, and itself")
    assert "The supervisor has ended" in service.log.read_text()


def test_a_port_in_use_is_said_before_anything_starts(service: Service) -> None:
    with socket.socket() as stranger:
        stranger.bind((HOST, service.port))
        stranger.listen()
        service.data_dir.mkdir()
        run = run_again(service)
    assert (run.returncode, run.stdout) == (1, "")
    assert (
        run.stderr == f"Port {service.port} of {HOST} is in use by another program. Set PORT to another, or end it.\n"
    )
    assert not list((service.data_dir / "logs").iterdir())


def test_a_part_that_can_not_start_is_told_of_with_its_log(service: Service) -> None:
    service.data_dir.mkdir()
    run = run_again(service, GEVENT_LOOP="libuv")
    assert run.returncode == 1
    assert "GEVENT_LOOP=libuv breaks answers" in run.stderr
    assert run.stderr.endswith("The web ended 3 times; these are its last lines.\n")
    assert run.stdout.endswith("stopped\n")


def test_a_store_of_ones_own_is_used_and_left_running(service: Service, tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "own")
    server.start()
    try:
        service.settings["REDIS_URL"] = server.url
        service.start()
        assert not service.find("valkey-server")
        assert "the one of REDIS_URL answers" in service.log.read_text()
        service.stop()
        store = server.store()
        store.ping()
        store.close()
    finally:
        server.stop()


def test_it_seeds_an_empty_store_once(service: Service) -> None:
    service.settings |= {"SEED_EVENTS": 2, "SEED_TICKETS": 30}
    service.start()
    assert [(event["event_id"], event["remaining"]) for event in service.events()] == [("1", 30), ("2", 30)]
    assert service.request("POST", "/buy/1").status == 201
    service.stop()
    service.settings["SEED_EVENTS"] = 3
    service.start()
    assert [(event["event_id"], event["remaining"]) for event in service.events()] == [("1", 29), ("2", 30)]


def test_seeds_that_were_cut_short_are_finished_by_the_next_start(service: Service) -> None:
    service.settings |= {"SEED_EVENTS": 2, "SEED_TICKETS": 30}
    service.start()
    service.stop()
    (service.data_dir / "run" / "seeding-began").touch()
    service.settings["SEED_EVENTS"] = 3
    service.start()
    assert [event["event_id"] for event in service.events()] == ["1", "2", "3"]
    assert not (service.data_dir / "run" / "seeding-began").exists()


def _others(service: Service, before: list[psutil.Process], words: tuple[str, ...]) -> list[psutil.Process]:
    return [process for process in service.find(*words) if process not in before]
