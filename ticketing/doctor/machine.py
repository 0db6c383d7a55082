"""The machine: open files, the queue for new connections, disks, and where the journal lies.

What must stay true: a disk that hangs does not hang the doctor; nothing is left behind, and no folder is made (it would
belong to whoever runs the doctor).
"""

import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ticketing.config import FILES_BESIDE_CONNECTIONS, Settings
from ticketing.doctor.finding import Finding, fail, ok, warn

CONNECTIONS_LEAST = 1_000
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
MOUNTS = Path("/proc/self/mountinfo")
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
OVER_THE_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.sshfs"})
OF_A_CONTAINER = frozenset({"overlay", "aufs"})
FSYNC_GIVE_UP_S = 5.0
FSYNC_SLOW_S = 0.1
LEAST_FREE_BYTES = 200 << 20
RECEIPT_BYTES = 40 << 10  # of one, roughly


def open_files(settings: Settings) -> Iterator[Finding]:
    """A connection is an open file, of the web process."""
    needed = settings.worker_connections + FILES_BESIDE_CONNECTIONS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        yield ok("open files", f"{needed:,} are needed a web process, this shell allows as many")
        return
    level = fail if hard < CONNECTIONS_LEAST + FILES_BESIDE_CONNECTIONS else warn
    yield level(
        "open files",
        f"{needed:,} are needed a web process, this shell allows {hard:,}",
        f"A web process that is started from here can't take more than {max(0, hard - FILES_BESIDE_CONNECTIONS):,} "
        "buyers at once; the others get no answer.",
        f"Raise the hard limit (ulimit -Hn {needed}, LimitNOFILE= of a unit, ulimits: of a container), or set "
        f"WORKER_CONNECTIONS={max(1, hard - FILES_BESIDE_CONNECTIONS)}.",
    )


def backlog(settings: Settings, somaxconn: Path = SOMAXCONN) -> Iterator[Finding]:
    """Connections that come faster than they are accepted wait in the kernel, if it lets them."""
    try:
        allowed = int(somaxconn.read_text())
    except (OSError, ValueError):
        yield warn(
            "backlog",
            "this system does not tell how many connections may wait",
            f"When the doors open, connections may be dropped before BACKLOG={settings.backlog:,} of them wait.",
            "Look it up (macOS: sysctl kern.ipc.somaxconn), and raise it to BACKLOG.",
        )
        return
    if allowed >= settings.backlog:
        yield ok("backlog", f"{settings.backlog:,} connections may wait to be accepted")
        return
    yield warn(
        "backlog",
        f"BACKLOG is {settings.backlog:,}, the kernel lets {allowed:,} wait",
        "When the doors open, connections beyond that are dropped, and their buyers try again after a second or more.",
        f"sysctl -w net.core.somaxconn={settings.backlog} (in a container: sysctls: net.core.somaxconn)",
    )


def disk(settings: Settings, tickets: int) -> Iterator[Finding]:
    """Room for the receipts of so many tickets, and for everything else that is written."""
    folders = [] if settings.receipts_url else [(settings.receipts_dir, tickets * RECEIPT_BYTES)]
    for folder, needed in (*folders, (settings.journal_dir, 0), (settings.data_dir, 0)):
        there = _nearest(folder)
        free = shutil.disk_usage(there).free
        name, found = f"disk of {folder}", f"{_size(free)} free"
        if free < LEAST_FREE_BYTES:
            yield fail(
                name,
                found,
                "A full disk ends receipts, the reserve, and (where the store's file is on it) the sale.",
                "Make room, or put this folder elsewhere.",
            )
        elif free < needed:
            yield warn(
                name,
                f"{found}, {tickets:,} receipts take up to {_size(needed)}",
                "Receipts stop when it is full; purchases go on, and the receipts come when there is room.",
                "Make room, or delete old ones during the night: POST /admin/cleanup-tickets.",
            )
        else:
            yield ok(name, found)


def journal(settings: Settings, fsync: Callable[[int], None] = os.fsync, mounts: Path = MOUNTS) -> Iterator[Finding]:
    """What is sold while Redis is away is kept here alone."""
    folder, there = settings.journal_dir, _nearest(settings.journal_dir)
    yield _kind_of_disk(folder, mounts)
    if not settings.journal_fsync:
        yield fail(
            "journal fsync",
            "JOURNAL_FSYNC is off",
            "A power cut during an outage loses purchases whose buyers were told 201.",
            "Take JOURNAL_FSYNC out of the settings.",
        )
    took_s, why_not = _written(there, fsync)
    if why_not:
        yield fail(
            "journal",
            f"{there} can't be written: {why_not}",
            "There is no reserve: while Redis is away every purchase is answered 503.",
            "Make the folder writable for the service's user, on a disk that answers. Run the doctor as that user.",
        )
    elif took_s > FSYNC_SLOW_S:
        yield warn(
            "journal",
            f"fsync in {there} took {took_s * 1000:.0f} ms",
            "Sales from the reserve wait for it, each batch as long.",
            "Put JOURNAL_FOLDER on a quicker disk, or find out what keeps this one busy.",
        )
    else:
        yield ok("journal", f"{there} takes an entry in {took_s * 1000:.1f} ms")


def _kind_of_disk(folder: Path, mounts: Path) -> Finding:
    kind = _file_system(folder, mounts)
    found = f"{folder} is on {kind or 'a disk of unknown kind'}"
    do = "Set JOURNAL_FOLDER to a folder on a local disk that stays (in a container: a volume)."
    if kind in IN_MEMORY:
        means = "What was sold in an outage is gone when this machine restarts, and its buyers were told 201."
        return fail("journal's disk", found, means, do)
    if kind in OVER_THE_NETWORK:
        means = "A network that is away takes the reserve with it; and two hosts must never share a journal."
        return fail("journal's disk", found, means, do)
    if kind in OF_A_CONTAINER:
        means = "What was sold in an outage is gone with the container, and its buyers were told 201."
        return fail("journal's disk", found, means, do)
    return ok("journal's disk", found)


def _file_system(folder: Path, mounts: Path) -> str:
    """The kind of file system that the folder is or will be on; "" where the system does not tell."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    there, kind, longest = str(_nearest(folder).resolve()), "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        inside = there == point or there.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # the last of several at one place covers the others
            kind, longest = after.split()[0], len(point)
    return kind


def _written(folder: Path, fsync: Callable[[int], None]) -> tuple[float, str]:
    """How long writing to the disk took, in seconds; or why it can't be done."""
    outcome: list[tuple[float, str]] = []
    thread = threading.Thread(target=lambda: outcome.append(_write(folder, fsync)), daemon=True)
    thread.start()
    thread.join(FSYNC_GIVE_UP_S)
    return outcome[0] if outcome else (FSYNC_GIVE_UP_S, f"its disk did not answer within {FSYNC_GIVE_UP_S:.0f} s")


def _write(folder: Path, fsync: Callable[[int], None]) -> tuple[float, str]:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            began_s = time.monotonic()
            file.write(b"an entry of a journal")
            file.flush()
            fsync(file.fileno())
            return time.monotonic() - began_s, ""
    except OSError as error:
        return 0.0, error.strerror or str(error)


def _nearest(folder: Path) -> Path:
    """The folder, or the one above it in which it will be made."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 10_000:
            return f"{count:,} {unit}"
        count //= 1000
    return f"{count:,} GB"
