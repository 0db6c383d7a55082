"""Slots: two processes never hold one, and the end of a process frees its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT
from ticketing.outage import slots
from ticketing.outage.journal import JournalError

HOLD = """
import sys
from pathlib import Path
from ticketing.outage import slots
slot = slots.take_lowest(Path(sys.argv[1]))
slot.journal_path.touch()
print(slot.number, slot.holder, flush=True)
sys.stdin.read()
"""


def holding(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def said(process: "subprocess.Popen[str]") -> tuple[int, str]:
    assert process.stdout is not None
    number, holder = process.stdout.readline().split()
    return int(number), holder


def end(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        process.kill()
        process.communicate()


def test_eight_processes_that_start_at_once_hold_eight_slots_of_one_host(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    processes = [holding(folder) for _ in range(8)]
    held = [said(process) for process in processes]
    assert sorted(number for number, _ in held) == list(range(8))
    assert {holder.rpartition("-")[0] for _, holder in held} == {slots.host_id(folder)}
    assert [slots.take(path) for path in slots.journals(folder)] == [None] * 8
    end(*processes)


def test_a_killed_process_frees_its_slot_and_the_next_one_takes_the_lowest(tmp_path: Path) -> None:
    processes = [holding(tmp_path) for _ in range(3)]
    by_number = {said(process)[0]: process for process in processes}
    end(by_number[1])
    slot = slots.take_lowest(tmp_path)
    assert slot.number == 1
    assert slots.take(slot.journal_path) is None  # held, by this process too
    slot.release()
    end(*processes)


def test_an_heir_takes_the_journal_of_a_killed_process(tmp_path: Path) -> None:
    process = holding(tmp_path)
    number, holder = said(process)
    [path] = slots.journals(tmp_path)
    assert slots.take(path) is None
    end(process)
    slot = slots.take(path)
    assert slot is not None
    assert (slot.number, slot.holder, slot.journal_path) == (number, holder, path)
    slot.release()


def test_the_host_id_is_made_once_and_is_128_random_bits(tmp_path: Path) -> None:
    made = slots.host_id(tmp_path / "a")
    assert slots.host_id(tmp_path / "a") == made
    assert slots.host_id(tmp_path / "b") != made
    assert (len(made), int(made, 16) >= 0) == (32, True)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["host-id"]
    assert (tmp_path / "a" / "host-id").stat().st_mode & 0o777 == 0o600


def test_a_host_id_that_is_none_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "host-id").write_text("")
    with pytest.raises(JournalError, match="no host id"):
        slots.take_lowest(tmp_path)


def test_journals_are_found_by_number_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("slot-10.journal", "slot-9.journal", "slot-x.journal", "slot-3.lock", "host-id"):
        (tmp_path / name).touch()
    assert [path.name for path in slots.journals(tmp_path)] == ["slot-9.journal", "slot-10.journal"]


def test_a_folder_that_can_not_be_made_is_a_journal_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError):
        slots.take_lowest(tmp_path / "file")
