"""This host's journals as an operator may look at them: without touching anything.

What must stay true: nothing is written or made; a slot's lock is let go at once, so that a process that starts in this
very moment takes the next slot at worst, and heirs find this one. What is read of a journal may be a moment old.
"""

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketing.outage import slots
from ticketing.outage.journal import Content, JournalDamaged, JournalError, parse, salvage
from ticketing.store.leases import JournalledPurchase

Unwritten = Callable[
    [str, Sequence[JournalledPurchase]], Sequence[JournalledPurchase]
]  # by event id; raises StoreError


@dataclass(frozen=True, slots=True)
class FoundJournal:
    """One journal of this host."""

    path: Path
    holder: str
    held: bool  # by a living process
    size_bytes: int
    content: Content  # of the lines that can be read
    damage: str = ""  # why not all can be

    @property
    def name(self) -> str:
        """The slot's name."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Owed:
    """Journalled purchases of one event that are not settled, and tickets that may be sold without Redis."""

    event_id: str
    purchases: int
    tickets: int  # of these purchases
    sellable: int  # tickets


def everything(_: str, purchases: Sequence[JournalledPurchase]) -> Sequence[JournalledPurchase]:
    """What is not settled as far as the journal alone tells: it may be less."""
    return purchases


def host_id(folder: Path) -> str:
    """This host's id, or "" where it has none yet."""
    try:
        return (folder / slots.HOST_ID_FILE).read_text().strip()
    except OSError:
        return ""


def journals(folder: Path) -> list[FoundJournal]:
    """Every journal of this host, lowest slot first. Raises JournalError where one can't be opened."""
    this_host = host_id(folder)
    return [_found(path, this_host) for path in slots.journals(folder)]


def is_held(lock: Path) -> bool:
    """Whether a living process holds the slot of this lock. Raises JournalError."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise JournalError(f"{lock}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise JournalError(f"{lock}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return False


def is_slot_held(folder: Path, holder: str) -> bool:
    """The same for a holder of this host."""
    return is_held(folder / f"slot-{holder.rpartition('-')[2]}.lock")


def owed(found: FoundJournal, unwritten: Unwritten = everything) -> list[Owed]:
    """What the journal says of each event, in the order of their ids. Raises what `unwritten` raises."""
    purchases: dict[str, list[JournalledPurchase]] = defaultdict(list)
    sellable: dict[str, int] = defaultdict(int)
    for purchase in found.content.purchases.values():
        purchases[purchase.request.event_id].append(purchase)
    for (event_id, _), tickets in found.content.sellable.items():
        sellable[event_id] += tickets
    rows = []
    for event_id in sorted(purchases.keys() | sellable.keys()):
        left = unwritten(event_id, purchases[event_id]) if purchases[event_id] else ()
        tickets = sum(purchase.request.quantity for purchase in left)
        rows.append(Owed(event_id, len(left), tickets, sellable[event_id]))
    return rows


def event_ids(found: Iterable[FoundJournal]) -> set[str]:
    """Every event that a journal speaks of."""
    named: set[str] = set()
    for journal in found:
        content = journal.content
        named |= {event_id for event_id, _ in content.sellable}
        named |= {intent.event_id for intent in content.voids.values()}
    return named


def highest_version(found: Iterable[FoundJournal], event_id: str, seed: str | None = None) -> int:
    """The highest version of the event that a journal says, of this seed or of any; 0 without one."""
    snapshots = [snapshot for journal in found for snapshot in journal.content.snapshots.values()]
    of_it = [one for one in snapshots if one.event_id == event_id and seed in (None, one.seed)]
    return max((snapshot.version for snapshot in of_it), default=0)


def _found(path: Path, this_host: str) -> FoundJournal:
    held = is_held(path.with_suffix(".lock"))
    holder = f"{this_host}-{path.stem.removeprefix('slot-')}"
    try:
        data = path.read_bytes()
        return FoundJournal(path, holder, held, len(data), parse(data)[1])
    except OSError as error:
        return FoundJournal(path, holder, held, _size(path), Content(), error.strerror or repr(error))
    except JournalDamaged as error:
        return FoundJournal(path, holder, held, len(data), salvage(data), str(error))


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
