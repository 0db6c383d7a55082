"""The machine: what it is, what processes on it use, and how quiet it was.

What must stay true: CPU is counted for a whole tree of processes, by the kernel, and never estimated.
"""

import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.servers import ROOT, valkey_binary

PACKAGES = ("gunicorn", "gevent", "flask", "redis", "hiredis", "rq", "fpdf2")
SAMPLE_S = 0.05


def describe() -> dict[str, Any]:
    """What a figure must be read with."""
    memory_gb = psutil.virtual_memory().total / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_gb, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "store": _said(valkey_binary(), "--version"),
        "node": _said("node", "--version"),
        "wrk": _said("wrk", "-v").partition(" [")[0],
        **{name: version(name) for name in PACKAGES},
    }


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that descends from it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_us(pid: int | None) -> float:
    """User and system time of a living tree, in microseconds."""
    if pid is None:
        return 0.0
    used = [process.cpu_times() for process in tree(pid)]
    return sum(times.user + times.system for times in used) * 1e6


def rss(pids: Sequence[int]) -> int:
    """Resident memory of these processes, in bytes."""
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in pids)


class Peak:
    """The most that a figure was while the block ran."""

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.value = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.value = max(self.value, self._look())


class Quiet:
    """How much of the machine others used since this was made: what makes times, and less so CPU, doubtful."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s, self._own_s = self._now()

    def others(self) -> float:
        """A share of all cores. Every process that was started since must have been waited for."""
        busy_s, own_s = self._now()
        room_s = (time.monotonic() - self._began_s) * (os.cpu_count() or 1)
        return max(0.0, busy_s - self._busy_s - (own_s - self._own_s)) / room_s

    @staticmethod
    def _now() -> tuple[float, float]:
        times, own = psutil.cpu_times(), os.times()
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        whole_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return whole_s - idle_s, own.user + own.system + own.children_user + own.children_system


def _commit() -> str:
    found = _said("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = _said("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{found}{', with changes' if changed else ''}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or sys.platform
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _said(*command: str) -> str:
    """The first line of what a command says; empty where it is not here."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]
