"""The journal: an append-only file of one holder, on this host's disk, safe before anything in it is answered.

Rules, before the code:

1. A line is on disk (fsync) before `append` returns; what was appended together shares one fsync.
2. Lines are never changed. The file is truncated on the same inode, and only when nothing in it is open.
3. A failing write or fsync poisons the journal: nothing is appended any more, since nobody knows what the disk holds.
   `recover` ends that only by a truncation that is itself safe.
4. A torn last line is what a power cut leaves, and is cut off. Damage elsewhere parks the file: nothing touches it
   until a human has looked at it.
5. The count of tickets that may be sold without Redis is the last snapshot's `sellable` less what was sold after it.
   After a truncation it is 0 until a new snapshot is written.

    <CRC-32, 8 hex characters> <JSON>\\n
    {"kind": "format", "version": 1}                                                     the first line
    {"kind": "event", "event_id", "seed", "token", "sellable", "version", "quantity_max", "buyer_max", "opens_ms",
     "closes_ms", "name"...}                                                             a snapshot of an event
    {"kind": "purchase", "seed", "event_id", "purchase_id", "quantity", "fingerprint", "buyer_tag", "contact", "keyed",
     "sold_at_ms"}
    {"kind": "void", "seed", "event_id", "purchase_id"}
"""

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ticketing.errors import TicketingError
from ticketing.model import PurchaseRequest
from ticketing.store.leases import JournalledPurchase

FORMAT = 1
LINE_MAX_BYTES = 64 * 1024


class JournalError(TicketingError):
    """The journal can't be used: its folder, its disk or its content is not as it must be."""


class JournalDamaged(JournalError):
    """A line before the last is not what was written, or the format is unknown: nothing of the file may be dropped."""


class JournalPoisoned(JournalError):
    """A write or fsync failed: what the file holds is not known, and nothing may be answered from it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a holder knows of an event when it may sell it without Redis."""

    event_id: str
    seed: str
    token: str  # of its lease, as far as it is known; "" without one
    pending_token: str  # of a change that was sent and not answered; "" without one
    sellable: int  # tickets
    version: int  # the highest seen
    quantity_max: int
    opens_ms: int | None
    closes_ms: int | None
    paused: bool


@dataclass(frozen=True, slots=True)
class VoidIntent:
    """A purchase id that must end up holding no ticket."""

    event_id: str
    seed: str
    purchase_id: str


Entry = Snapshot | JournalledPurchase | VoidIntent


@dataclass(slots=True)
class Content:
    """What a journal holds, as its lines add up."""

    snapshots: dict[tuple[str, str], Snapshot] = field(default_factory=dict)  # by event and seed: the last of each
    sellable: dict[tuple[str, str], int] = field(default_factory=dict)  # tickets, rule 5
    purchases: dict[str, JournalledPurchase] = field(default_factory=dict)
    voids: dict[str, VoidIntent] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Add one line's meaning."""
        if isinstance(entry, Snapshot):
            self.snapshots[entry.event_id, entry.seed] = entry
            self.sellable[entry.event_id, entry.seed] = entry.sellable
        elif isinstance(entry, VoidIntent):
            self.voids[entry.purchase_id] = entry
        else:
            sale = (entry.request.event_id, entry.seed)
            self.purchases[entry.request.purchase_id] = entry
            self.sellable[sale] = max(0, self.sellable.get(sale, 0) - entry.request.quantity)


class Journal:
    """One open journal. Its caller holds the slot's lock, and calls `write` from one place at a time."""

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self.path = path
        self._fsync = fsync
        self.poisoned = False
        self._file = _open(path)

    def read(self) -> Content:
        """What the file holds. A torn last line is cut off; raises JournalDamaged for anything else."""
        content = Content()
        data = self.path.read_bytes()
        whole = _whole_lines(data)
        for line in whole.splitlines():
            entry = _entry(line)
            if entry is not None:
                content.take(entry)
        if len(whole) < len(data):
            self._guarded(lambda: os.ftruncate(self._file, len(whole)))
        if not whole:
            self.write([])
        return content

    def write(self, entries: Iterable[Entry]) -> None:
        """The entries are on disk afterwards. Blocks for the fsync: call it in a real thread.

        Raises JournalPoisoned: then nobody knows, and this journal takes nothing more.
        """
        if self.poisoned:
            raise JournalPoisoned(f"{self.path} is poisoned")
        lines = b"".join(map(_line, entries))
        if os.fstat(self._file).st_size == 0:
            lines = _line({"kind": "format", "version": FORMAT}) + lines
        self._guarded(lambda: self._append(lines))

    def truncate(self) -> None:
        """The file is empty but for its format, and no longer poisoned. Raises JournalPoisoned where that failed."""
        self.poisoned = False
        self._guarded(lambda: os.ftruncate(self._file, 0))
        self.write([])

    def close(self) -> None:
        """Close the file; what was written stays."""
        os.close(self._file)

    def _append(self, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._sync()

    def _sync(self) -> None:
        if self._fsync:
            os.fsync(self._file)

    def _guarded(self, work: Any) -> None:
        try:
            work()
            self._sync()
        except OSError as error:
            self.poisoned = True
            raise JournalPoisoned(f"{self.path}: {error.strerror}") from error


def _open(path: Path) -> int:
    try:
        existed = path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if not existed:
            _sync_folder(path.parent)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error
    return file


def _sync_folder(folder: Path) -> None:
    """A new file is found again after a power cut only when its folder was synced too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(entry: Entry | dict[str, Any]) -> bytes:
    text = orjson.dumps(entry if isinstance(entry, dict) else _as_members(entry))
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _as_members(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Snapshot):
        return {"kind": "event", **asdict(entry)}
    if isinstance(entry, VoidIntent):
        return {"kind": "void", **asdict(entry)}
    return {"kind": "purchase", "seed": entry.seed, "sold_at_ms": entry.sold_at_ms, **asdict(entry.request)}


def _whole_lines(data: bytes) -> bytes:
    """The data without a torn end. Raises JournalDamaged where a line before the end is not whole."""
    end = data.rfind(b"\n") + 1
    lines = data[:end].splitlines(keepends=True)
    broken = [number for number, line in enumerate(lines) if not _is_whole(line)]
    if not broken:
        return data[:end]
    # The last line may end in a newline and still be torn: a disk writes its blocks in any order.
    if broken == [len(lines) - 1] and end == len(data):
        return b"".join(lines[:-1])
    raise JournalDamaged(f"line {broken[0] + 1} of {len(lines)} is damaged")


def _is_whole(line: bytes) -> bool:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return checksum == b"%08x" % zlib.crc32(text)


def _entry(line: bytes) -> Entry | None:
    members = orjson.loads(line.partition(b" ")[2])
    kind = members.pop("kind", None)
    if kind == "format" and members == {"version": FORMAT}:
        return None
    try:
        entry: Entry = READERS[kind](members)
    except (KeyError, TypeError) as error:
        raise JournalDamaged(f"a line of an unknown kind or version: {kind!r}, {error}") from error
    return entry


def _purchase(members: dict[str, Any]) -> JournalledPurchase:
    seed, sold_at_ms = members.pop("seed"), members.pop("sold_at_ms")
    return JournalledPurchase(PurchaseRequest(**members), seed, sold_at_ms)


READERS: dict[str, Any] = {
    "event": lambda members: Snapshot(**members),
    "void": lambda members: VoidIntent(**members),
    "purchase": _purchase,
}


def entries_of(content: Content) -> Iterator[Entry]:
    """Everything in a journal that is still to be done."""
    yield from content.purchases.values()
    yield from content.voids.values()
