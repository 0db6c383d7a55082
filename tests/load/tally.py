"""What one round came to: answers by kind with their times, errors by what they were, tickets that buyers were told.

What must stay true: tallies of several processes add up to the round's; a ticket that two purchases were told is kept
as twice told, however the purchases were spread.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.load.answers import Kind
from tests.load.histogram import Histogram

ERRORS_TOLD_APART = 50  # more are counted together
BROKEN_KEPT = 20


@dataclass(slots=True)
class Tally:
    """Counts and times of one round."""

    times: dict[Kind, Histogram] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)  # promises that a buyer saw broken
    tickets: dict[str, set[str]] = field(default_factory=dict)  # by event, as buyers were told
    provisional: Counter[str] = field(default_factory=Counter)  # by event, tickets told as bought, not yet by name
    unknown: Counter[str] = field(default_factory=Counter)  # by event, tickets whose buyers never learnt
    bought: int = 0  # purchases whose buyers know that they have them, by whichever answer
    gave_up: int = 0  # buyers who left before an answer that counts, by their own choice
    late: Histogram = field(default_factory=Histogram)  # open loop: the tool's own lateness with a start
    lag: Histogram = field(default_factory=Histogram)  # how late the tool's own clock ticks
    cpu_share: list[float] = field(default_factory=list)  # of a core, by load process
    first_s: float = 0.0  # time.monotonic() of the first purchase's start and of the last answer
    last_s: float = 0.0

    def note(self, kind: Kind, seconds: float) -> None:
        """One more answer of this kind."""
        histogram = self.times.get(kind)
        if histogram is None:
            histogram = self.times[kind] = Histogram()
        histogram.add(seconds)

    def note_error(self, what: str, seconds: float) -> None:
        """One more error; of many kinds only the first are told apart."""
        self.note(Kind.ERROR, seconds)
        known = what in self.errors or len(self.errors) < ERRORS_TOLD_APART
        self.errors[what if known else "other errors"] += 1

    def note_tickets(self, event_id: str, tickets: Iterable[str]) -> None:
        """A new purchase was told these tickets."""
        told = self.tickets.setdefault(event_id, set())
        for ticket in tickets:
            if ticket in told:
                self.note_broken(f"event {event_id}: ticket {ticket} was sold to two buyers")
            told.add(ticket)

    def note_broken(self, what: str) -> None:
        """A promise of the service that was not kept."""
        if len(self.broken) < BROKEN_KEPT:
            self.broken.append(what)

    def count(self, *kinds: Kind) -> int:
        """Answers of these kinds."""
        return sum(self.times[kind].count for kind in kinds if kind in self.times)

    @property
    def seconds(self) -> float:
        """From the first start to the last answer to a purchase."""
        return max(0.0, self.last_s - self.first_s)

    def told(self, event_id: str) -> int:
        """Tickets that buyers of this event were told are theirs."""
        return len(self.tickets.get(event_id, ())) + self.provisional[event_id]

    def merge(self, other: "Tally") -> None:
        """What another process, or another round, counted too."""
        for kind, histogram in other.times.items():
            self.times.setdefault(kind, Histogram()).merge(histogram)
        for event_id, tickets in other.tickets.items():
            self.note_tickets(event_id, tickets)
        for what in other.broken:
            self.note_broken(what)
        self.errors += other.errors
        self.provisional += other.provisional
        self.unknown += other.unknown
        self.bought += other.bought
        self.gave_up += other.gave_up
        self.late.merge(other.late)
        self.lag.merge(other.lag)
        self.cpu_share += other.cpu_share
        self.first_s = min(filter(None, (self.first_s, other.first_s)), default=0.0)
        self.last_s = max(self.last_s, other.last_s)

    def to_json(self, *, with_tickets: bool = True) -> dict[str, Any]:
        return {
            "times": {kind.value: histogram.to_json() for kind, histogram in self.times.items()},
            "errors": self.errors,
            "broken": self.broken,
            "tickets": {event: list(told) for event, told in self.tickets.items()} if with_tickets else {},
            "provisional": self.provisional,
            "unknown": self.unknown,
            "bought": self.bought,
            "gave_up": self.gave_up,
            "late": self.late.to_json(),
            "lag": self.lag.to_json(),
            "cpu_share": self.cpu_share,
            "first_s": self.first_s,
            "last_s": self.last_s,
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Tally":
        return cls(
            times={Kind(kind): Histogram.from_json(times) for kind, times in told["times"].items()},
            errors=Counter(told["errors"]),
            broken=list(told["broken"]),
            tickets={event: set(tickets) for event, tickets in told["tickets"].items()},
            provisional=Counter(told["provisional"]),
            unknown=Counter(told["unknown"]),
            bought=told["bought"],
            gave_up=told["gave_up"],
            late=Histogram.from_json(told["late"]),
            lag=Histogram.from_json(told["lag"]),
            cpu_share=list(told["cpu_share"]),
            first_s=told["first_s"],
            last_s=told["last_s"],
        )


def sum_of(tallies: Iterable[Tally]) -> Tally:
    """One tally of them all."""
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def now_s() -> float:
    """The clock of every process on this machine."""
    return time.monotonic()
