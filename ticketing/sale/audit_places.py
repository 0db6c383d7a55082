"""Where the tickets of one event were seen: 4 bytes a ticket, so that a million sold ones fit into little memory.

What must stay true: a ticket that was seen in two places is remembered with both; a purchase that the store's scan
gives twice counts once. Pure: it is told what was read, and asks nobody.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ticketing.model import EVENT_ID, ticket_id
from ticketing.sale.audit_report import shortened

POOL = 0xFFFF_FFFF
LEASE_LAST = POOL - 1
LEASES_MAX = 1_000_000
DIGITS_MAX = 12
FOREIGN = re.compile(rf"E({EVENT_ID.pattern})-\d{{6,}}", re.ASCII)


class Place(NamedTuple):
    """A place that holds tickets: the pool, the lease of a holder, or a purchase."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        """The place in a sentence."""
        if self.kind == "purchase":
            return f"purchase {shortened(self.name)}"
        return f"the lease of {self.name[:80]!a}" if self.kind == "lease" else "the pool"


class Double(NamedTuple):
    """A ticket that was seen in two places."""

    ticket: str
    first: Place
    second: Place


class Stray(NamedTuple):
    """An id that can't be a ticket of this event, and where it was."""

    ticket: str
    place: Place
    is_foreign: bool  # it looks like a ticket of another event


class Places:
    """What was seen of one event. Purchases are told first, then leases, then the pool."""

    def __init__(self, event_id: str, issued: int) -> None:
        self._event_id = event_id
        self._prefix = f"E{event_id}-"
        self._issued = issued
        self._seen = array("I", [0]) * (issued + 1)  # by number: 0, or the code of the place where it was first seen
        self._purchase_ids: list[str] = []
        self._holders: list[str] = []
        self._odd: set[str] = set()  # purchases that no ticket of theirs can be recognised by
        self.doubles: list[Double] = []
        self.pool_twice: set[str] = set()
        self.strays: list[Stray] = []
        self.beyond: list[tuple[int, Stray]] = []  # numbers above what was issued when the audit began
        self.tickets_sold = 0

    def purchase(self, purchase_id: str, tickets: Sequence[str]) -> bool:
        """A purchase holds these tickets. False if it was told before, and so is left out."""
        if self._is_known(purchase_id, tickets[0]):
            return False
        self._purchase_ids.append(purchase_id)
        self.tickets_sold += len(tickets)
        self._see(tickets, len(self._purchase_ids))
        return True

    def lease(self, holder: str, tickets: Sequence[str]) -> None:
        """A lease grants these tickets."""
        self._holders.append(holder)
        self._see(tickets, LEASE_LAST - len(self._holders) + 1)

    def pool(self, tickets: Iterable[str]) -> None:
        """The pool holds these tickets, among others."""
        self._see(tickets, POOL)

    def unseen(self) -> set[str]:
        """The issued tickets that were seen nowhere."""
        missing = self._seen.count(0) - 1
        if missing == 0:
            return set()
        return {ticket_id(self._event_id, n) for n in range(1, self._issued + 1) if self._seen[n] == 0}

    def _see(self, tickets: Iterable[str], code: int) -> None:
        seen, issued = self._seen, self._issued
        for ticket in tickets:
            number = self._number(ticket)
            if number is None:
                self.strays.append(self._stray(ticket, code))
            elif number > issued:
                self.beyond.append((number, self._stray(ticket, code)))
            elif seen[number] == 0:
                seen[number] = code
            else:
                self._note_double(ticket, seen[number], code)

    def _note_double(self, ticket: str, first: int, second: int) -> None:
        if first == second == POOL:
            self.pool_twice.add(ticket)
        else:
            self.doubles.append(Double(ticket, self._place(first), self._place(second)))

    def _stray(self, ticket: str, code: int) -> Stray:
        named = FOREIGN.fullmatch(ticket)
        return Stray(ticket, self._place(code), named is not None and named[1] != self._event_id)

    def _number(self, ticket: str) -> int | None:
        digits = ticket[len(self._prefix) :]
        if not ticket.startswith(self._prefix) or not digits.isdecimal() or len(digits) > DIGITS_MAX:
            return None
        number = int(digits)
        return number if number > 0 and ticket == ticket_id(self._event_id, number) else None

    def _is_known(self, purchase_id: str, ticket: str) -> bool:
        number = self._number(ticket)
        if number is None or number > self._issued:
            is_known = purchase_id in self._odd
            self._odd.add(purchase_id)
            return is_known
        code = self._seen[number]
        return 0 < code <= len(self._purchase_ids) and self._purchase_ids[code - 1] == purchase_id

    def _place(self, code: int) -> Place:
        if code == POOL:
            return Place("pool")
        if code > LEASE_LAST - LEASES_MAX:
            return Place("lease", self._holders[LEASE_LAST - code])
        return Place("purchase", self._purchase_ids[code - 1])


def ranges(tickets: Iterable[str]) -> Iterator[str]:
    """Ticket ids that follow one another, as "first to last"."""
    ordered = sorted(tickets, key=lambda ticket: (len(ticket), ticket))
    first = last = None
    for ticket in ordered:
        if last is not None and _number_of(ticket) == _number_of(last) + 1:
            last = ticket
            continue
        if first is not None:
            yield _range(first, str(last))
        first = last = ticket
    if first is not None:
        yield _range(first, str(last))


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _number_of(ticket: str) -> int:
    return int(ticket.rpartition("-")[2])
