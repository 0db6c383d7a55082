"""What an operator decides about a halted event or a lost lease, and what the store shows of it first.

What must stay true: a decision is a compare-and-set on what the operator saw, so one that comes late or twice does
nothing; nothing here shows a purchase id.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ticketing.errors import StoreError
from ticketing.store import keys, scripts
from ticketing.store.connection import Command, Store
from ticketing.store.leases import JournalledPurchase
from ticketing.store.put_back import Report, parse_enrolled, parse_report

VERSION_RISE = 1_000_000_000  # above all that anybody can have seen; doubles are exact for millions of such decisions
LOOK_UP_AT_ONCE = 500
EVENTS_AT_ONCE = 200
NUMBER = re.compile(r"\d{1,15}")


@dataclass(frozen=True, slots=True)
class Lease:
    """What one holder may sell of an event."""

    holder: str
    token: str
    tickets: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A purchase that a buyer was answered, and that could not be put back."""

    purchase_id: str  # never shown whole
    why: str
    tickets: tuple[str, ...]
    has_contact: bool


@dataclass(frozen=True, slots=True)
class EventStanding:
    """How an event stands, as far as a decision about it matters."""

    event_id: str
    seed: str  # "" where the store knows no such event, but for a mark
    version: int
    halted: bool
    halted_why: str
    pool: int  # tickets
    records: int  # purchases and tombstones
    leases: tuple[Lease, ...]  # empty ones included
    reports: tuple[Report, ...] = ()  # of processes that have put back what they remember, in this halt
    conflicts: tuple[Conflict, ...] = ()  # of this halt
    lost: int = 0  # purchases that were conflicts when earlier halts ended

    @property
    def leased(self) -> int:
        """Tickets in all leases."""
        return sum(lease.tickets for lease in self.leases)

    @property
    def is_anything(self) -> bool:
        """Whether the store holds anything at all of the event."""
        return bool(self.seed or self.halted or self.pool or self.records or self.leases)


class Verdict(StrEnum):
    """What became of a decision."""

    ACCEPTED = "accepted"
    NOT_HALTED = "not_halted"
    MOVED_ON = "moved_on"  # it is not as the operator saw it
    REMAINS = "remains"  # the store knows no seed, and still holds tickets or purchases
    NO_EVENT = "no_event"
    WENT_BACK = "went_back"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class DecisionReply:
    """The verdict; where it is ACCEPTED, how many tickets are in the pool again, of how many leases."""

    verdict: Verdict
    tickets: int = 0
    leases: int = 0


class DecisionStore:
    """Decisions in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def event_ids(self) -> list[str]:
        """Every event that the store lists. Raises StoreError."""
        return list(self._store.one("SMEMBERS", keys.EVENTS))

    def why_unconfirmed(self) -> str:
        """Why what is written can't be confirmed, where too few replicas follow; else "". Raises StoreError."""
        wanted = self._store.confirmation.replicas
        for server in self._store.servers() if wanted else ():
            if (there := server.followers()) < wanted:
                return f"{there} of {wanted} replicas that must confirm follow {server.name or 'it'}"
        return ""

    def uptime_s(self) -> int | None:
        """How long the server has run; None where it does not tell."""
        try:
            told = str(self._store.one("INFO", "server"))
        except StoreError:  # some providers bar it
            return None
        found = re.search(r"uptime_in_seconds:(\d+)", told)
        return int(found[1]) if found else None

    def standings(self, event_ids: Sequence[str]) -> list[EventStanding]:
        """How the events stand; those of which the store holds nothing too. Raises StoreError."""
        found: list[EventStanding] = []
        for first in range(0, len(event_ids), EVENTS_AT_ONCE):
            found += self._standings_of_some(event_ids[first : first + EVENTS_AT_ONCE])
        return found

    def _standings_of_some(self, event_ids: Sequence[str]) -> list[EventStanding]:
        commands: list[Command] = []
        for event_id in event_ids:
            k = keys.of_event(event_id)
            commands += (
                ("HMGET", k.info, "seed", "version", "halted", "halted_why"),
                ("LLEN", k.tickets),
                ("HLEN", k.purchases),
                ("HGETALL", k.leases),
                ("HGETALL", k.put_back),
            )
        replies = self._store.read(*commands)
        return [_standing(event_id, *replies[5 * i : 5 * i + 5]) for i, event_id in enumerate(event_ids)]

    def enrolled(self) -> dict[str, int]:
        """Every web process that may have something to put back, and how many ms ago it said so. Raises StoreError."""
        now_ms = self._store.clock_ms()
        seen = parse_enrolled(self._store.one("HGETALL", keys.PROCESSES))
        return {process: max(0, now_ms - seen_ms) for process, seen_ms in sorted(seen.items())}

    def unwritten(self, event_id: str, purchases: Sequence[JournalledPurchase]) -> list[JournalledPurchase]:
        """Those that the store does not hold as they were journalled. Raises StoreError."""
        key, found = keys.of_event(event_id).purchases, []
        for first in range(0, len(purchases), LOOK_UP_AT_ONCE):
            asked = purchases[first : first + LOOK_UP_AT_ONCE]
            records = self._store.one("HMGET", key, *(purchase.request.purchase_id for purchase in asked))
            for purchase, record in zip(asked, records, strict=True):
                if not (record or "").startswith(f"{purchase.request.fingerprint}|"):
                    found.append(purchase)
        return found

    def accept_event(self, standing: EventStanding, highest_seen: int) -> DecisionReply:
        """The event as it stood then is the truth: not halted, every lease empty, no token that anybody expects.

        `highest_seen` is the highest version that the journals of this host say. Raises StoreError; sent again after
        that, it answers NOT_HALTED where it had run.
        """
        k = keys.of_event(standing.event_id)
        args = (standing.seed, standing.version, highest_seen, VERSION_RISE, _nonce())
        return _reply(scripts.run(self._store, "accept", (k.tickets, k.info, k.purchases, k.leases, k.put_back), args))

    def accept_lease(self, standing: EventStanding, lease: Lease, highest_seen: int) -> DecisionReply:
        """The holder's lease is empty, its tickets are in the pool. Raises StoreError; sent again it does nothing."""
        k = keys.of_event(standing.event_id)
        args = (standing.seed, highest_seen, lease.holder, lease.token, _nonce())
        return _reply(scripts.run(self._store, "accept_lease", (k.tickets, k.info, k.leases), args))


def _standing(
    event_id: str,
    info: Sequence[str | None],
    pool: int,
    records: int,
    leases: Sequence[str],
    put_back: Sequence[str],
) -> EventStanding:
    seed, version, halted, why = info
    held = tuple(sorted(map(_lease, leases[::2], leases[1::2]), key=lambda lease: lease.holder))
    fields = sorted(zip(put_back[::2], put_back[1::2], strict=True))
    reported = tuple(parse_report(process, text) for process, text in _of_kind("report:", fields))
    conflicts = tuple(_conflict(purchase_id, text) for purchase_id, text in _of_kind("conflict:", fields))
    lost = len(list(_of_kind("lost:", fields)))
    head = (event_id, seed or "", _number(version), halted == "1", why or "", pool, records, held)
    return EventStanding(*head, reported, conflicts, lost)


def _of_kind(kind: str, fields: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((name.removeprefix(kind), text) for name, text in fields if name.startswith(kind))


def _conflict(purchase_id: str, text: str) -> Conflict:
    why, _, __, tickets, ___, contact = text.split("|", 5)
    return Conflict(purchase_id, why, tuple(tickets.split(",")), bool(contact))


def _lease(holder: str, record: str) -> Lease:
    token, _, tickets = record.partition("|")
    return Lease(holder, token, tickets.count(",") + 1 if tickets else 0)


def _reply(reply: Any) -> DecisionReply:
    verdict = Verdict(reply[0])
    return DecisionReply(verdict, *reply[2:4]) if verdict is Verdict.ACCEPTED else DecisionReply(verdict)


def _nonce() -> str:
    return secrets.token_hex(8)


def _number(text: str | None) -> int:
    """0 where it is none: a decision about it is refused by the script then, not here."""
    return int(text) if text is not None and NUMBER.fullmatch(text) else 0
