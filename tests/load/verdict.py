"""The verdict on a run: which promises were broken, what failed, and what to know when reading its figures.

What must stay true: a run is well only if something was sold, every buyer got an answer that counts, and nothing that
buyers were told contradicts the store; a tool that was too slow says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.load.answers import Kind
from tests.load.plan import Loop
from tests.load.run import Played, Run
from tests.load.tally import Tally

CPU_SHARE_MOST = 0.85  # of a core: above it a load process has no time to measure
LATE_MOST_S = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, a sentence each."""

    broken: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return not self.broken and not self.errors

    @property
    def exit_code(self) -> int:
        return 0 if self.well else 1

    def sentence(self) -> str:
        """All of it in a few words."""
        if self.broken:
            return f"BROKEN: {len(self.broken)} promises were not kept"
        return f"FAILED: {len(self.errors)} kinds of errors" if self.errors else "every promise was kept, no errors"


def judge(run: Run) -> Verdict:
    """The verdict on a whole run."""
    total = run.total
    return Verdict(
        broken=[*total.broken, *_audited(run), *_miscounted(run, total), *_sold_out_too_soon(run, total)],
        errors=[*_failed(run, total)],
        notes=[*run.notes, *_remarks(run, total), *(text for played in run.rounds for text in bottleneck(played))],
    )


def bottleneck(played: Played) -> Iterator[str]:
    """What of the round's figures is the tool's own doing."""
    name, tally = played.plan.name, played.tally
    busiest = max(tally.cpu_share, default=0.0)
    if busiest >= CPU_SHARE_MOST:
        yield (
            f"{name}: the load tool was the bottleneck: one of its processes used {busiest:.0%} of a core; "
            "the service can do more (--processes, or another machine with --host)"
        )
    late_s = max(tally.lag.percentile_s(0.99) or 0.0, tally.late.percentile_s(0.99) or 0.0)
    if late_s >= LATE_MOST_S:
        yield f"{name}: the load tool itself was late by {late_s * 1000:,.0f} ms (p99): its times contain that"


def _audited(run: Run) -> Iterator[str]:
    if run.audit is None:
        return
    yield from run.audit.violations
    if not run.audit.ok and not run.audit.violations:
        yield "the audit is not ok, and names no violation"


def _miscounted(run: Run, total: Tally) -> Iterator[str]:
    """Tickets that buyers were told are theirs, against those that the store sold meanwhile."""
    if run.audit is None:
        return
    for event_id, before in run.sold_before.items():
        sold, told = run.audit.sold.get(event_id, 0) - before, total.told(event_id)
        if sold < told:
            yield f"event {event_id}: buyers were told {told:,} tickets, and the store sold {sold:,}"
        elif run.exclusive and sold > told + total.unknown[event_id]:
            yield f"event {event_id}: the store sold {sold:,} tickets, and buyers were told {told:,}"


def _sold_out_too_soon(run: Run, total: Tally) -> Iterator[str]:
    """Where nobody else buys and nothing failed, whoever was told "sold out" must find the event sold out."""
    if run.audit is None or not run.exclusive or total.errors or total.count(Kind.UNAVAILABLE):
        return
    for played in run.rounds:
        if len(played.plan.event_ids) > 1 or not played.tally.count(Kind.SOLD_OUT):
            continue
        event_id = played.plan.event_ids[0]
        left = run.audit.issued.get(event_id, 0) - run.audit.sold.get(event_id, 0)
        if left:
            yield f"event {event_id}: buyers were told that it is sold out, and {left:,} tickets are left"


def _failed(run: Run, total: Tally) -> Iterator[str]:
    for what, count in (run.opened.errors + total.errors).most_common():
        yield f"{count:,} x {what}"
    if not total.bought:
        yield "nothing was sold"
    failed = run.receipts_after.failed - run.receipts_before.failed
    if failed > 0:
        yield f"{failed:,} receipts failed"


def _remarks(run: Run, total: Tally) -> Iterator[str]:
    if run.audit is None:
        yield "not audited: give --admin-token"
    if unavailable := total.count(Kind.UNAVAILABLE):
        yield f"{unavailable:,} answers were 503, and were asked again as Retry-After says"
    if total.gave_up:
        yield f"{total.gave_up:,} buyers gave up after an error or a 503"
    pending = run.receipts_after.pending - run.receipts_before.pending
    if pending > 0:
        yield f"{pending:,} receipts were still being made after {run.receipts_s:.0f} s"
    for played in run.rounds:
        mixed = played.plan.loop is not Loop.ONCE and played.purchases_per_s and played.tally.count(Kind.SOLD_OUT)
        if mixed:
            yield f"{played.plan.name}: sold out midway, so its purchases/s are of a part of it"
