"""The processes of one DATA_DIR, found by a mark in their command lines, and their end.

What must stay true: nothing is signalled but what carries the mark of this DATA_DIR. A recorded pid would not do: by
the next start it may belong to somebody else. Works with the ps of Linux and of macOS; without one, nothing is found.
"""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

POLL_S = 0.05
SUPERVISOR_GRACE_S = 60.0
PART_GRACE_S = 10.0
STORE_GRACE_S = 60.0
SUPERVISOR = "ticketing.launch.supervise"


class Process(NamedTuple):
    """A process that lives, and its command line."""

    pid: int
    command: str


def mark_of(data_dir: Path) -> str:
    """What the processes of this DATA_DIR, and no others, have in their command lines. ASCII: ps may not know more."""
    return "ticketing-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]


def find(mark: str) -> list[Process]:
    """Every living process that was started for the DATA_DIR of this mark."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        listed = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=", "-o", "args="],  # noqa: S607 - where it lies differs between systems
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        lines = listed.stdout.decode(errors="replace").splitlines()
        ours = re.compile(rf"\s*(\d+) (.*(?: -X {mark} |-server .*{mark}\.conf$).*)")
        return [Process(int(match[1]), match[2]) for match in map(ours.match, lines) if match]
    return []


def end_all(mark: str) -> None:
    """No process of this mark is left. The store goes last, so that the others can finish what they have begun."""
    _end(lambda: [one for one in find(mark) if SUPERVISOR in one.command], SUPERVISOR_GRACE_S)
    _end(lambda: [one for one in find(mark) if " -X " in one.command], PART_GRACE_S)
    _end(lambda: find(mark), STORE_GRACE_S)


def signal_all(processes: list[Process], how: signal.Signals) -> None:
    """Each of them was sent the signal, unless it had ended or belongs to somebody else."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, how)


def _end(living: Callable[[], list[Process]], grace_s: float) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        signal_all(living(), how)
        until_s = time.monotonic() + grace_s
        while time.monotonic() < until_s:
            if not living():
                return
            time.sleep(POLL_S)
