"""Putting back what was answered into a store that went back in time, and who has done so.

What must stay true: a purchase comes back with its own tickets, as the very record that was answered, or not at all;
each call may be sent again, by anybody who holds the same records.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ticketing.errors import ScriptFailed
from ticketing.model import Outcome
from ticketing.store import keys, scripts
from ticketing.store.connection import Command, Store
from ticketing.store.sale import Versions

SEARCH_MOST = 1_000_000  # tickets: a script that looks through so many takes 20 ms or so

# Purchase id, record, contact, and whether this process sold it: else others may put it back as well. A plain tuple,
# since 50,000 of any other kind would be looked through by Python's garbage collector again and again.
Told = tuple[str, str, str, bool]


class PutBack(StrEnum):
    """What became of one purchase that was to be put back."""

    KNOWN = "known"
    PUT_BACK = "put_back"
    LATER = "later"  # not judged: the call had no time left for it
    TAKEN = "taken"
    OTHER = "other"
    VOIDED = "voided"


CONFLICTS = frozenset({PutBack.TAKEN, PutBack.OTHER, PutBack.VOIDED})


@dataclass(frozen=True, slots=True)
class Report:
    """What one process has put back of one event."""

    process: str
    mark: str  # of this halt, in this process: with another the report is of an earlier one
    put_back: int  # purchases
    known: int
    conflicts: int
    whole: bool  # what it remembers reaches back beyond what was lost
    evidence: bool  # and the store holds a purchase that shows it

    def text(self) -> str:
        """As it is stored."""
        numbers = (self.put_back, self.known, self.conflicts, int(self.whole), int(self.evidence))
        return "|".join((self.mark, *map(str, numbers)))


def parse_report(process: str, text: str) -> Report:
    """The report in a stored text."""
    mark, put_back, known, conflicts, whole, evidence = text.split("|")
    return Report(process, mark, int(put_back), int(known), int(conflicts), whole == "1", evidence == "1")


@dataclass(frozen=True, slots=True)
class ReportAsk:
    """What a process wants to know of a halted event."""

    event_id: str
    purchase_id: str  # one that shows, where the store holds it, that the process remembers all that was lost


@dataclass(frozen=True, slots=True)
class ReportStanding:
    """The answer to that."""

    report: Report | None
    record: str | None
    replayed: bool  # the purchase may have been put back by another process, and so shows nothing


class PutBackStore:
    """Putting back in the store."""

    def __init__(self, store: Store, versions: Versions, *, due_ms: int, search_most: int = SEARCH_MOST) -> None:
        self._store = store
        self._versions = versions
        self._due_ms = due_ms
        self._search_most = search_most

    def put_back(
        self, event_id: str, seed: str, told: Sequence[Told], report: Report | None = None
    ) -> list[PutBack] | Outcome:
        """What became of each; `report` is this process's, where it is done.

        NO_EVENT where there is none of this seed, or where it is not halted: nothing was done. Raises StoreError.
        """
        k = keys.of_event(event_id)
        said = ("", "") if report is None else (report.process, report.text())
        args: list[str | int] = [seed, self._due_ms, self._search_most, *said]
        for purchase_id, record, contact, own in told:
            args += (purchase_id, record, contact, "1" if own else "")
        touched = (k.tickets, k.info, k.purchases, k.receipts, k.buyers, k.contacts, k.leases, k.put_back)
        reply = scripts.run(self._store, "put_back", touched, args)
        if reply[0] != "ok":
            return Outcome.NO_EVENT
        self._versions.saw(event_id, seed, reply[1])
        return [PutBack(outcome) for outcome in reply[2]]

    def reports_of(self, process: str, asks: Sequence[ReportAsk]) -> list[ReportStanding | ScriptFailed]:
        """How this process's reports stand. Raises StoreError."""
        commands: list[Command] = []
        for ask in asks:
            k = keys.of_event(ask.event_id)
            commands += (
                ("HGET", k.put_back, f"report:{process}"),
                ("HGET", k.purchases, ask.purchase_id),
                ("HEXISTS", k.put_back, f"replayed:{ask.purchase_id}"),
            )
        replies = self._store.read_each(*commands) if commands else []
        return [_standing(process, replies[at : at + 3]) for at in range(0, len(replies), 3)]

    def enrol(self, process: str) -> int:
        """The process has something to put back, should the store go back; the store's time. Raises StoreError."""
        now_ms = self._store.clock_ms()
        self._store.one("HSET", keys.PROCESSES, process, now_ms)
        return now_ms

    def leave(self, *processes: str) -> None:
        """These have nothing to put back, or ended long ago. Raises StoreError."""
        if processes:
            self._store.one("HDEL", keys.PROCESSES, *processes)

    def enrolled(self) -> dict[str, int]:
        """Every process that may have something to put back, and when (ms) it last said so. Raises StoreError."""
        return parse_enrolled(self._store.one("HGETALL", keys.PROCESSES))


def _standing(process: str, replies: Sequence[Any]) -> ReportStanding | ScriptFailed:
    for reply in replies:
        if isinstance(reply, ScriptFailed):
            return reply
    text, record, replayed = replies
    return ReportStanding(parse_report(process, text) if text else None, record, bool(replayed))


def holds(ask: Callable[[Sequence[Command]], list[Any]], newest: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a server that can be asked holds these purchases (event id, purchase id, record) as they were answered.

    What it answers with an error is no proof against it: a node of a cluster serves only some events.
    """
    if not newest:
        return True
    found = ask([("HGET", keys.of_event(event_id).purchases, purchase_id) for event_id, purchase_id, _ in newest])
    return all(reply == told[2] or isinstance(reply, Exception) for reply, told in zip(found, newest, strict=True))


def parse_enrolled(flat: Sequence[str]) -> dict[str, int]:
    """The reply to HGETALL."""
    return {process: int(seen_ms) for process, seen_ms in zip(flat[::2], flat[1::2], strict=True)}
