"""Everything that buyers asked and were told: who, where, when, and which answer.

What must stay true: an entry is written for each request that was begun, whatever became of it; times are seconds since
the run began, so that faults and answers can be laid side by side.
"""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Told(StrEnum):
    """What an answer means to a buyer."""

    SOLD = "sold"
    REPLAYED = "replayed"
    PROVISIONAL = "provisional"
    REFUSED = "refused"
    KEY_REUSED = "key reused"
    UNAVAILABLE = "unavailable"
    BROKEN = "broken"  # sent, and nobody knows
    UNSENT = "unsent"  # nobody listened
    LATE = "no answer in time"
    UNEXPECTED = "unexpected"


BOUGHT = frozenset({Told.SOLD, Told.REPLAYED, Told.PROVISIONAL})
COUNTS = BOUGHT | {Told.REFUSED}
A_MOMENT_S = 0.3
OPEN = frozenset({Told.BROKEN, Told.LATE})


@dataclass(frozen=True, slots=True)
class Wish:
    """One purchase that somebody wants. `buyer_id` belongs to this wish alone, except at an event with a limit."""

    name: str
    event_id: str
    quantity: int
    buyer_id: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Try:
    """One request for it, and its answer."""

    wish: Wish
    host: int
    asked_s: float
    answered_s: float
    told: Told
    status: int
    body: dict[str, Any]
    error: str = ""
    other_content: bool = False  # it asked for another quantity under the same key, on purpose

    @property
    def purchase_id(self) -> str:
        return str(self.body.get("purchase_id", ""))

    def __str__(self) -> str:
        said = self.error or {name: self.body[name] for name in SHOWN if name in self.body}
        what = " (other content)" if self.other_content else ""
        return (
            f"{self.asked_s:8.3f} - {self.answered_s:8.3f} s host {self.host}{what}: {self.status} {self.told} {said}"
        )


SHOWN = ("purchase_id", "status", "quantity", "tickets", "sold_at", "type", "detail")


class History:
    """Every try of a run. Fit for threads."""

    def __init__(self, hosts: int) -> None:
        self.tries: list[Try] = []
        self._began_s = time.monotonic()
        self._lock = threading.Lock()
        self._in_flight = [0] * hosts
        self._last_sold_s = [0.0] * hosts

    def now_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began_s

    def asks(self, host: int) -> None:
        """A purchase is being asked for at a host."""
        with self._lock:
            self._in_flight[host] += 1

    def add(self, tried: Try) -> None:
        """It has its answer, or none."""
        with self._lock:
            self._in_flight[tried.host] -= 1
            self.tries.append(tried)
            if tried.told in {Told.SOLD, Told.REPLAYED}:
                self._last_sold_s[tried.host] = tried.answered_s

    def in_flight(self, host: int | None) -> int:
        """Purchases that were asked for and not answered, at one host or at all, now."""
        return sum(self._in_flight) if host is None else self._in_flight[host]

    def sells_from_the_store(self, host: int) -> bool:
        """Whether a host has told somebody of tickets a moment ago."""
        return self.now_s() - self._last_sold_s[host] < A_MOMENT_S

    def by_wish(self) -> dict[Wish, list[Try]]:
        """The tries of each wish, in the sequence of their answers."""
        found = defaultdict(list)
        for tried in sorted(self.tries, key=lambda one: one.answered_s):
            found[tried.wish].append(tried)
        return dict(found)

    def met(self, host: int | None, began_s: float) -> int:
        """How many purchases were in flight at a moment."""
        return sum(one.asked_s <= began_s < one.answered_s and one.told is not Told.UNSENT for one in self._at(host))

    def provisional(self, host: int | None, began_s: float, ended_s: float) -> int:
        """How many provisional answers were given in a time."""
        return sum(one.told is Told.PROVISIONAL and began_s <= one.answered_s <= ended_s for one in self._at(host))

    def misled(self) -> set[str]:
        """Ids that were sold from a reserve a second time, with other content, which an operator will find parked."""
        return {one.purchase_id for one in self.tries if one.other_content and one.told is Told.PROVISIONAL}

    def counts(self) -> Counter[str]:
        """How often each answer was given."""
        return Counter(str(one.told) for one in self.tries)

    def _at(self, host: int | None) -> list[Try]:
        return [one for one in self.tries if host is None or one.host == host]
