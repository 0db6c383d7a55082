"""The journal: an append-only file of one holder, on this host's disk, safe before anything in it is answered.

Rules, before the code:

1. A line is on disk (fsync) before `append` returns; what was appended together shares one fsync.
2. Lines are never changed. The file is truncated on the same inode, and only when nothing in it is open.
3. A failing write or fsync poisons the journal: nothing is appended any more, since nobody knows what the disk holds.
   `truncate` ends that only by a truncation that is itself safe.
4. A torn last line is what a power cut leaves, and is cut off. Damage elsewhere parks the file: nothing touches it
   until a human has looked at it.
5. The count of tickets that may be sold without Redis is the last snapshot's `sellable` less what was sold after it.
   After a truncation it is 0 until a new snapshot is written.

    <CRC-32, 8 hex characters> <JSON>\\n
    {"kind": "format", "version": 1}                                                     the first line
    {"kind": "event", "event_id", "seed", "tokens", "sellable", "version", "quantity_max", "opens_ms", "closes_ms",
     "paused"}                                                                           a snapshot of an event
    {"kind": "purchase", "seed", "event_id", "purchase_id", "quantity", "fingerprint", "buyer_tag", "contact", "keyed",
     "sold_at_ms"}
    {"kind": "void", "seed", "event_id", "purchase_id"}
"""

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from ticketing.errors import TicketingError
from ticketing.model import PurchaseRequest
from ticketing.store.leases import JournalledPurchase

FORMAT = 1


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
    tokens: tuple[str, ...]  # that its lease may carry: the known one, those of unanswered changes; () if unknown
    sellable: int  # tickets
    version: int  # the highest seen
    quantity_max: int
    opens_ms: int | None
    closes_ms: int | None
    paused: bool

    def of_a_copy(self) -> "Snapshot":
        """The same for who has no part in its lease."""
        return replace(self, tokens=(), sellable=0)


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

    @property
    def size_bytes(self) -> int:
        """How long the file is."""
        return os.fstat(self._file).st_size

    def read(self) -> Content:
        """What the file holds. A torn last line is cut off; raises JournalDamaged for anything else."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error
        whole, content = parse(data)
        if whole < len(data):
            self._guarded(lambda: os.ftruncate(self._file, whole))
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
        self._guarded(lambda: self._append(lines))

    def truncate(self, entries: Iterable[Entry] = ()) -> None:
        """Nothing but these entries is in the file, and it is no longer poisoned. Raises JournalPoisoned.

        The empty file is on disk before the entries are, so that a crash in between leaves less, never something else.
        """
        lines = b"".join(map(_line, entries))
        self._guarded(lambda: os.ftruncate(self._file, 0))
        self._guarded(lambda: self._append(lines))
        self.poisoned = False

    def close(self) -> None:
        """Close the file; what was written stays."""
        os.close(self._file)

    def _append(self, lines: bytes) -> None:
        rest = memoryview(lines if self.size_bytes else FORMAT_LINE + lines)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def _guarded(self, work: Callable[[], None]) -> None:
        """The work is done and on disk, or the journal is poisoned."""
        try:
            work()
            if self._fsync:
                os.fsync(self._file)
        except OSError as error:
            self.poisoned = True
            raise JournalPoisoned(f"{self.path}: {error.strerror}") from error


def _open(path: Path) -> int:
    try:
        existed = path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if not existed:
            sync_folder(path.parent)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error
    return file


def sync_folder(folder: Path) -> None:
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
    return {"kind": "purchase", "seed": entry.seed, "sold_at_ms": entry.sold_at_ms, **entry.request._asdict()}


FORMAT_LINE = _line({"kind": "format", "version": FORMAT})


def parse(data: bytes) -> tuple[int, Content]:
    """How many bytes of a journal are whole, and what they say. Raises JournalDamaged."""
    content = Content()
    lines = _whole_lines(data)
    if lines and lines[0] + b"\n" != FORMAT_LINE:
        raise JournalDamaged(f"it does not begin as a journal of version {FORMAT}")
    for line in lines[1:]:
        content.take(_entry(line))
    return sum(len(line) + 1 for line in lines), content


def salvage(data: bytes) -> Content:
    """What those lines say that are whole, damaged ones left out: for people, never to settle or sell from."""
    content = Content()
    for line in filter(_is_whole, data.split(b"\n")):
        with contextlib.suppress(JournalDamaged):  # the first line has no meaning of its own
            content.take(_entry(line))
    return content


def _whole_lines(data: bytes) -> list[bytes]:
    """The lines without a torn end. Raises JournalDamaged where a line before the end is not whole."""
    *lines, rest = data.split(b"\n")
    broken = [number for number, line in enumerate(lines) if not _is_whole(line)]
    if not broken:
        return lines
    # The last line may end in a newline and still be torn: a disk writes its blocks in any sequence.
    if broken == [len(lines) - 1] and not rest:
        return lines[:-1]
    raise JournalDamaged(f"line {broken[0] + 1} of {len(lines)} is damaged")


def _is_whole(line: bytes) -> bool:
    checksum, _, text = line.partition(b" ")
    return checksum == b"%08x" % zlib.crc32(text)


def _entry(line: bytes) -> Entry:
    kind = None
    try:
        members = orjson.loads(line.partition(b" ")[2])
        kind = members.pop("kind")
        entry: Entry = READERS[kind](members)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JournalDamaged(f"a line of an unknown kind or version: {kind!r}, {error!r}") from error
    return entry


def _purchase(members: dict[str, Any]) -> JournalledPurchase:
    seed, sold_at_ms = members.pop("seed"), members.pop("sold_at_ms")
    return JournalledPurchase(PurchaseRequest(**members), seed, sold_at_ms)


READERS: dict[str, Callable[[dict[str, Any]], Entry]] = {
    "event": lambda members: Snapshot(**{**members, "tokens": tuple(members["tokens"])}),
    "void": lambda members: VoidIntent(**members),
    "purchase": _purchase,
}
