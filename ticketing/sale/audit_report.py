"""What an audit found, as values, as sentences and as a table.

What must stay true: a full purchase id is its buyer's secret, so none is shown here; ticket ids may be.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_OF_A_KIND = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must never be, and is. `invariant` is its number in sale.md (1 to 6)."""

    event_id: str
    invariant: int
    detail: str


@dataclass(frozen=True, slots=True)
class EventAudit:
    """An event's counters at the moment at which its audit began, in tickets, purchases and receipts."""

    event_id: str
    issued: int
    sold: int
    pool: int
    leased: int
    remaining: int
    purchases: int  # tombstones not counted
    receipts_pending: int
    receipts_failed: int
    undecided: int = 0  # tickets and buyers that never stood still; the counters hold for them all the same


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Every event that was looked at, and everything that is wrong."""

    events: list[EventAudit]
    violations: list[Violation]

    @property
    def ok(self) -> bool:
        """Whether every invariant holds, as far as the store shows it."""
        return not self.violations

    def sentences(self) -> Iterator[str]:
        """A line for each violation, and a last one that sums up."""
        for violation in self.violations:
            yield f"event {violation.event_id}: invariant {violation.invariant} is broken: {violation.detail}"
        for event in self.events:
            if event.undecided:
                yield f"event {event.event_id}: {event.undecided:,} tickets or buyers moved all the time; ask again"
        events = f"{len(self.events):,} event{'' if len(self.events) == 1 else 's'}"
        broken = f"{len(self.violations):,} violation{'' if len(self.violations) == 1 else 's'}"
        yield f"{events}: {'every invariant holds' if self.ok else broken}"


@dataclass(slots=True)
class Findings:
    """The violations of one event while they are gathered: each once, and of each kind only the first few."""

    event_id: str
    _violations: list[Violation] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _kinds: Counter[tuple[int, str]] = field(default_factory=Counter)

    def add(self, invariant: int, kind: str, detail: str) -> None:
        """Note a violation; `kind` names it where too many are alike to show them all."""
        if detail in self._known:
            return
        self._kinds[invariant, kind] += 1
        if self._kinds[invariant, kind] <= SHOWN_OF_A_KIND:
            self._known.add(detail)
            self._violations.append(Violation(self.event_id, invariant, detail))

    def all(self) -> list[Violation]:
        """The violations in the order of their invariants."""
        more = [
            Violation(self.event_id, invariant, f"{count - SHOWN_OF_A_KIND:,} more: {kind}")
            for (invariant, kind), count in self._kinds.items()
            if count > SHOWN_OF_A_KIND
        ]
        return sorted(self._violations + more, key=lambda violation: violation.invariant)


def shortened(purchase_id: str) -> str:
    """Enough of a purchase id to find it in the store, too little to fetch its receipt."""
    event_id, dot, rest = purchase_id.partition(".")
    return ascii(f"{event_id[:64]}.{rest[:6]}" if dot else purchase_id[:6])[1:-1] + "…"


def render(report: AuditReport) -> "Table":
    """The events as a table for people, receipts as due and failed; `sentences` says what is broken."""
    from rich.table import Table  # noqa: PLC0415 - a web process audits too, and shows no table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("event", overflow="fold")
    for heading in ("issued", "sold", "remaining", "pool", "leased", "purchases", "due", "failed", "broken"):
        table.add_column(heading, justify="right", no_wrap=True)
    broken = Counter(violation.event_id for violation in report.violations)
    for event in report.events:
        numbers = (event.issued, event.sold, event.remaining, event.pool, event.leased, event.purchases)
        receipts = (event.receipts_pending, event.receipts_failed, broken[event.event_id])
        style = "bold red" if broken[event.event_id] else None
        table.add_row(event.event_id, *(f"{number:,}" for number in numbers + receipts), style=style)
    return table
