"""Folders for counters that several containers share: each process claims one, and none of them is ever removed.

What must stay true: two living processes never hold one folder, whichever container they are in (flock knows no
containers, and process ids differ only within one). A process that starts takes over the lowest folder that nobody
holds and goes on counting in it: so no counter falls, and there are never more folders than processes at one time.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

CLAIMS_MAX = 1_000


@dataclass(frozen=True)
class Claim:
    """A folder that is this process's own until it ends, whatever ends it."""

    folder: Path
    number: int
    lock: int


def claim(parent: Path) -> Claim:
    """The lowest folder of `parent` that no living process holds. Raises OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(CLAIMS_MAX):
        lock = os.open(parent / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        folder = parent / str(number)
        folder.mkdir(exist_ok=True)
        return Claim(folder, number, lock)
    raise OSError(f"{parent}: all {CLAIMS_MAX} folders are held")
