"""The closing tables, for a terminal; as rows, which the HTML report shows too.

What must stay true: every figure has its unit in the heading; a time that was not measured is a dash, not a nought.
"""

from collections.abc import Iterator, Sequence

from rich.table import Table

from tests.load.answers import Kind
from tests.load.plan import Loop
from tests.load.run import Played, Run

ROUND_HEADINGS = (
    "round",
    "s",
    "purchases/s",
    "sold",
    "provisional",
    "sold out/s",
    "503",
    "errors",
    "tool CPU",
    "late ms",
)
ANSWER_HEADINGS = ("round", "answer", "count", "p50 ms", "p95 ms", "p99 ms", "most ms")
TIMED = {
    Loop.CLOSED: "from sending",
    Loop.OPEN: "from the intended start",
    Loop.ONCE: "from the common start",
}


def round_rows(run: Run) -> Iterator[tuple[str, ...]]:
    """A row for each round."""
    for played in run.rounds:
        tally = played.tally
        late_s = max(tally.lag.percentile_s(0.99) or 0.0, tally.late.percentile_s(0.99) or 0.0)
        yield (
            name_of(played),
            f"{tally.seconds:.1f}",
            f"{played.purchases_per_s:,.0f}",
            f"{max(0, tally.bought - tally.count(Kind.PROVISIONAL)):,}",
            f"{tally.count(Kind.PROVISIONAL):,}",
            f"{played.sold_out_per_s:,.0f}",
            f"{tally.count(Kind.UNAVAILABLE):,}",
            f"{tally.errors.total():,}",
            " ".join(f"{share:.0%}" for share in tally.cpu_share),
            f"{late_s * 1000:.1f}",
        )


def answer_rows(run: Run) -> Iterator[tuple[str, ...]]:
    """A row for each kind of answer in each round."""
    for played in run.rounds:
        name = f"{played.plan.name} ({TIMED[played.plan.loop]})"
        for kind in Kind:
            histogram = played.tally.times.get(kind)
            if histogram is None:
                continue
            times = (histogram.percentile_s(0.5), histogram.percentile_s(0.95), histogram.percentile_s(0.99))
            row = (str(kind).replace("_", " "), f"{histogram.count:,}", *map(ms, (*times, histogram.most_s)))
            yield name, *row
            name = ""


def closing_lines(run: Run) -> Iterator[str]:
    """What stands below the tables: receipts, the audit."""
    made, pending = run.receipts_made, run.receipts_after.pending - run.receipts_before.pending
    failed = run.receipts_after.failed - run.receipts_before.failed
    yield f"receipts: {made:,} ready, {max(0, pending):,} still being made, {max(0, failed):,} failed"
    if run.audit is None:
        yield "audit: not asked"
    else:
        found = "every invariant holds" if run.audit.ok else f"{len(run.audit.violations)} violations"
        yield f"audit: {found}; told to buyers: {sum(map(run.total.told, run.sold_before)):,} tickets"


def rounds_table(run: Run) -> Table:
    return _table(ROUND_HEADINGS, 1, round_rows(run))


def answers_table(run: Run) -> Table:
    return _table(ANSWER_HEADINGS, 2, answer_rows(run))


def name_of(played: Played) -> str:
    """The round's name; of an open loop its rate too."""
    rate = f" {played.plan.rate:,.0f}/s" if played.plan.loop is Loop.OPEN else ""
    return f"{played.plan.name}{rate}"


def ms(seconds: float | None) -> str:
    """A time in milliseconds with three digits or so."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:,.{0 if seconds >= 0.1 else 1}f}"


def _table(headings: Sequence[str], words: int, rows: Iterator[tuple[str, ...]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < words else "right", no_wrap=number > 0)
    for row in rows:
        table.add_row(*row)
    return table
