"""Whether a journal folder was made on this machine, or copied to it: then its original may sell under its host id.

What must stay true: nobody is asked but this machine, since a copy that is started while Redis is away would sell the
count that its original sells; and a folder that stays where it is keeps its id, in containers that are made anew too.

A file beside the host id says which file that is (a copy is another, whoever copied it) and which network devices of
its own the machine has (an image of a disk is started on others). Containers have none; so the image of a container's
volume can't be told from its original: presence.py finds it once Redis answers.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loguru import logger

from ticketing.outage import inspection, slots
from ticketing.outage.journal import Journal, JournalError, parse

FILE, LOCK = "machine", "machine.lock"
DEVICES = Path("/sys/class/net")
PERMANENT = "0"  # an address that the device came with: not one that a user, or nobody, chose


def keep_apart(folder: Path, devices: Path = DEVICES) -> None:
    """A folder that was copied here has a host id of its own afterwards, and nothing to sell. Raises JournalError.

    What its journals promised stays in them, to be settled: settling twice does no harm. Called before a slot is taken.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            host_id = slots.host_id(folder)
            if _is_elsewhere(_told(folder / FILE), _told_now(folder, devices)) and not _is_in_use(folder):
                _begin_anew(folder, host_id)
            now = _told_now(folder, devices)
            if _told(folder / FILE) != now:
                slots.write_whole(folder / FILE, json.dumps(now))
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror}") from error


def _begin_anew(folder: Path, host_id: str) -> None:
    """The counts go first: a crash in between leaves a folder that is still a copy, and sells nothing."""
    for path in slots.journals(folder):
        _sell_nothing_of(path)
    slots.write_whole(folder / slots.HOST_ID_FILE, slots.new_host_id())
    logger.critical(
        "{} was copied from another machine, or put back from a backup: this host has an id of its own now, and sells "
        "nothing of the leases of {}. If that host is gone for good: python -m ticketing outage release-host {}",
        folder,
        host_id,
        host_id,
    )


def _sell_nothing_of(path: Path) -> None:
    """The journal's leases are the original's. Raises JournalError; one that is damaged is parked as it is."""
    with contextlib.suppress(JournalError):
        parse(path.read_bytes())
        journal = Journal(path)
        try:
            content = journal.read()
            journal.write([snapshot.of_a_copy() for snapshot in content.snapshots.values()])
        finally:
            journal.close()


def _is_in_use(folder: Path) -> bool:
    """Whether a process of this machine holds a slot: it knows the folder as its own, and the id must not change."""
    return any(inspection.is_held(path.with_suffix(".lock")) for path in slots.journals(folder))


def _told_now(folder: Path, devices: Path) -> dict[str, Any]:
    return {"file": (folder / slots.HOST_ID_FILE).stat().st_ino, "devices": sorted(_addresses(devices))}


def _told(path: Path) -> dict[str, Any]:
    """What the file says; nothing where there is none, or it is damaged: then it is written anew."""
    try:
        told = json.loads(path.read_text())
        return {"file": int(told["file"]), "devices": [str(one) for one in told["devices"]]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _is_elsewhere(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """One of several devices may come and go; all others at once are another machine's."""
    if not before:
        return False
    others = bool(before["devices"] and now["devices"]) and not set(before["devices"]) & set(now["devices"])
    return others or before["file"] != now["file"]


def _addresses(devices: Path) -> Iterator[str]:
    """Of network devices that are the machine's own, not a container's or a bridge's."""
    with contextlib.suppress(OSError):
        for path in devices.iterdir():
            with contextlib.suppress(OSError):
                if (path / "device").exists() and (path / "addr_assign_type").read_text().strip() == PERMANENT:
                    yield (path / "address").read_text().strip()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Processes that start at once do it one after the other."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
