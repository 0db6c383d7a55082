"""Folders that processes claim for their counters: one process at a time, and the next goes on where one ended."""

import subprocess
import sys
from pathlib import Path

from ticketing.telemetry.claims import claim

COUNTING = """
import os, sys
from pathlib import Path
from ticketing.telemetry.claims import claim
claimed = claim(Path(sys.argv[1]))
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(claimed.folder)
from prometheus_client import CollectorRegistry, Counter, values
values.ValueClass = values.MultiProcessValue(lambda: claimed.number)
counter = Counter("kept_total", "Kept", registry=CollectorRegistry())
counter.inc()
print(claimed.number, int(counter._value.get()), flush=True)
sys.stdin.read()
"""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COUNTING, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def test_a_process_goes_on_counting_where_a_killed_one_ended(tmp_path: Path) -> None:
    with start(tmp_path) as first, start(tmp_path) as second:
        assert sorted([said(first), said(second)]) == [[0, 1], [1, 1]]
        first.kill()
        second.kill()
    with start(tmp_path) as third:
        assert said(third) == [0, 2]
        with start(tmp_path) as fourth:
            assert said(fourth) == [1, 2]
            fourth.kill()
        third.kill()
    assert {path.name for path in tmp_path.iterdir()} == {"0", "0.lock", "1", "1.lock"}


def test_the_lowest_folder_that_is_free_is_taken(tmp_path: Path) -> None:
    assert [claim(tmp_path / "workers").number for _ in range(3)] == [0, 1, 2]
