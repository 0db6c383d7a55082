"""Processes are found by the mark of their DATA_DIR, and nothing else is touched."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import wait_until
from ticketing.launch import processes
from ticketing.launch.processes import end_all, find, mark_of

WAIT = "import time; print('here', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"


class Crowd:
    """Processes that a test starts, all of them gone after it."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def add(self, code: str, *options: str, executable: str = sys.executable) -> subprocess.Popen[bytes]:
        """A Python process that has begun to run the code."""
        process = subprocess.Popen([executable, *options, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        self.started.append(process)
        assert process.stdout.readline() == b"here\n"
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.end()


@pytest.fixture
def mark(tmp_path: Path) -> str:
    return mark_of(tmp_path)


def reaped(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def test_a_folder_has_one_mark_of_its_own(tmp_path: Path) -> None:
    assert mark_of(tmp_path) == mark_of(tmp_path)
    assert mark_of(tmp_path) != mark_of(tmp_path / "other")
    assert mark_of(Path("/home/zoë/%s #;")).isascii()


def test_only_what_carries_the_mark_is_found(crowd: Crowd, mark: str, tmp_path: Path) -> None:
    ours = crowd.add(WAIT, "-X", mark)
    crowd.add(WAIT, "-X", mark_of(tmp_path / "other"))
    crowd.add(f"'{mark}'; {WAIT}")
    assert [process.pid for process in find(mark)] == [ours.pid]


def test_what_was_left_is_ended_and_nothing_else(crowd: Crowd, mark: str) -> None:
    ours, stranger = crowd.add(WAIT, "-X", mark), crowd.add(WAIT)
    end_all(mark)
    wait_until(lambda: reaped(ours), 5)
    assert ours.returncode == -signal.SIGTERM
    assert not reaped(stranger)
    assert find(mark) == []


def test_what_does_not_hear_is_killed(crowd: Crowd, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PART_GRACE_S", 0.2)
    deaf = crowd.add(DEAF, "-X", mark)
    end_all(mark)
    wait_until(lambda: reaped(deaf), 5)
    assert deaf.returncode == -signal.SIGKILL


def test_a_machine_without_ps_has_nothing_to_find(crowd: Crowd, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd.add(WAIT, "-X", mark)
    monkeypatch.setenv("PATH", "/nowhere")
    assert find(mark) == []
