"""Who a holder is: a slot on this host. Its lock says that somebody lives who sells under its name.

What must stay true: two processes never hold one slot. The lock is a file of its own that is opened after the fork and
is never renamed or removed; the journal beside it can be read by whoever holds the lock. The host's id is random, made
once, and kept in the same folder, so that a copied folder is the only way to two hosts with one id.
"""

import contextlib
import fcntl
import os
import re
import secrets
from pathlib import Path

from ticketing.outage.journal import JournalError, sync_folder

HOST_ID_FILE = "host-id"
FINGERPRINT_FILE = "id-secret-fingerprint"
JOURNAL = re.compile(r"slot-[0-9]+\.journal")
HOST_ID = re.compile(r"[0-9a-f]{32}")
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
    found = _kept(folder / HOST_ID_FILE, new_host_id())
    if HOST_ID.fullmatch(found) is None:
        raise JournalError(f"{folder / HOST_ID_FILE}: that is no host id")
    return found


def new_host_id() -> str:
    """One that no host has."""
    return secrets.token_hex(16)


def check_secret(folder: Path, fingerprint: str) -> None:
    """The journals here were, and will be, written with this id secret. Raises JournalError where it was another.

    Without the store nothing else tells: an heir with another secret would sell a key that a journal holds once more.
    """
    if _kept(folder / FINGERPRINT_FILE, fingerprint) != fingerprint:
        raise JournalError(f"the journals in {folder} were written with another ID_SECRET")


def _kept(path: Path, text: str) -> str:
    """What the file says; it says `text` if it was not there. Raises JournalError."""
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(path, text)
        return path.read_text().strip()
    except OSError as error:
        raise JournalError(f"{path.parent}: {error.strerror}") from error


def write_whole(path: Path, text: str) -> None:
    """The file says this, or what it said before. Raises OSError."""
    _draft(path, text).replace(path)
    sync_folder(path.parent)


def _draft(path: Path, text: str) -> Path:
    """A file beside it, whole and on disk."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return draft


def _make(path: Path, text: str) -> None:
    """Whole and on disk before it has its name, so nobody reads half of it, and a power cut makes no second."""
    draft = _draft(path, text)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    sync_folder(path.parent)


def take_lowest(folder: Path, first: int = 0) -> Slot:
    """The lowest slot from `first` on that nobody holds, locked. Raises JournalError."""
    this_host = host_id(folder)
    for number in range(first, SLOTS_MAX):
        if (slot := _take(folder, number, this_host)) is not None:
            return slot
    raise JournalError(f"{folder}: all {SLOTS_MAX} slots are held")


def journals(folder: Path) -> list[Path]:
    """Every journal of this host, lowest slot first; an empty one too: a crash may have emptied it, not its lease.

    An empty list where there is no such folder. Raises JournalError where it can't be read.
    """
    try:
        paths = [path for path in folder.iterdir() if JOURNAL.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror}") from error
    return sorted(paths, key=_number)


def take(path: Path) -> Slot | None:
    """The slot of a journal, locked; None where somebody holds it. Raises JournalError."""
    return _take(path.parent, _number(path), host_id(path.parent))


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("slot-"))


def _take(folder: Path, number: int, this_host: str) -> Slot | None:
    try:
        lock = os.open(folder / f"slot-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError as error:  # a file system without locks, say
        os.close(lock)
        raise JournalError(f"{folder}: {error.strerror}") from error
    return Slot(folder, number, lock, this_host)
