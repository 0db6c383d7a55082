"""Who a holder is: a slot on this host. Its lock says that somebody lives who sells under its name.

What must stay true: two processes never hold one slot. The lock is a file of its own that is opened after the fork and
is never renamed or removed; the journal beside it can be read by whoever holds the lock. The host's id is random, made
once, and kept in the same folder, so that a copied folder is the only way to two hosts with one id.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ticketing.outage.journal import JournalError

HOST_ID_FILE = "host-id"
SLOTS_MAX = 1_000


class Slot:
    """A locked slot. `release` unlocks it; so does the end of the process, whatever ends it."""

    def __init__(self, folder: Path, number: int, lock: int, host_id: str) -> None:
        self.number = number
        self.holder = f"{host_id}-{number}"
        self.journal_path = folder / f"slot-{number}.journal"
        self._lock = lock

    def release(self) -> None:
        """Somebody else may hold it."""
        os.close(self._lock)


def host_id(folder: Path) -> str:
    """This host's id, made now if it is the first time. Raises JournalError."""
    path = folder / HOST_ID_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            draft = folder / f".{HOST_ID_FILE}.{secrets.token_hex(8)}"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(16))
                file.flush()
                os.fsync(descriptor)
            try:
                os.link(draft, path)
            finally:
                draft.unlink()
        return path.read_text().strip()
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror}") from error


def take_lowest(folder: Path) -> Slot:
    """The lowest slot that nobody holds, locked. Raises JournalError."""
    this_host = host_id(folder)
    for number in range(SLOTS_MAX):
        if (slot := _take(folder, number, this_host)) is not None:
            return slot
    raise JournalError(f"{folder}: all {SLOTS_MAX} slots are held")


def abandoned(folder: Path) -> Iterator[Slot]:
    """Each slot that has a journal and that nobody holds, locked; the caller releases it."""
    this_host = host_id(folder)
    for path in sorted(folder.glob("slot-*.journal")):
        number = path.stem.removeprefix("slot-")
        if number.isdecimal() and path.stat().st_size and (slot := _take(folder, int(number), this_host)) is not None:
            yield slot


def _take(folder: Path, number: int, this_host: str) -> Slot | None:
    try:
        lock = os.open(folder / f"slot-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return Slot(folder, number, lock, this_host)
