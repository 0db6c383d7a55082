"""The rehearsal: a shadow of a real event is sold under load, on the service that will sell the real one; go or no-go.

What must stay true: no ticket of the real event is touched: the shadow is an event of its own, with an id and a name
that say so, its codes are its own, and it is paused afterwards, so that nobody can buy of it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.load.answers import Kind
from tests.load.plan import Loop, Round
from tests.load.run import Run
from tests.load.suite import rush
from tests.load.table import ms
from tests.load.target import Target, TargetError
from tests.load.verdict import Verdict
from tests.servers import ROOT

ID_PREFIX = "rehearsal-"
SEEN_DEADLINE_S = 5.0
NEEDS = """What it needs: the admin token (--admin-token, or ADMIN_TOKEN in the environment), and, where it runs, the
service's settings (.env, or REDIS_URL, or DATA_DIR of `make run`), to put the shadow event into the service's store."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is good enough for the night."""

    p99_s: float = 1.0
    last_answer_s: float = 5.0
    receipts_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be so."""

    what: str
    found: str
    wanted: str
    ok: bool


def rounds(shadow_id: str, connections: int, seconds: float, rate: float) -> list[Round]:
    """The night in short: everybody at once, then as fast as they can, then at the rate that is expected."""
    first, _ = rush(shadow_id, connections, seconds)
    closed = Round("the night, closed", (shadow_id,), Loop.CLOSED, seconds, follow=0.1)
    return [first, closed, Round("the night, open", (shadow_id,), Loop.OPEN, seconds, rate=rate, follow=0.1)]


def put_on_sale(target: Target, event_id: str, tickets: int | None) -> str:
    """The id of a new shadow of the event, as many tickets by default. Raises TargetError."""
    real = target.event(event_id)
    shadow = shadow_of(real, tickets or int(real["issued"]), datetime.now(UTC))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shadow.json"
        path.write_text(json.dumps([shadow]))
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        seeds = subprocess.run(
            [sys.executable, "-m", "seeds", "--file", str(path)],
            env={**os.environ, "PYTHONPATH": paths},
            check=False,
            capture_output=True,
            text=True,
        )
    if seeds.returncode:
        raise TargetError(f"the shadow event could not be seeded: {seeds.stderr.strip()}\n{NEEDS}")
    _wait_until_seen(target, shadow["event_id"])
    return str(shadow["event_id"])


def shadow_of(real: Mapping[str, Any], tickets: int, now: datetime) -> dict[str, Any]:
    """An event for a file of seeds: like the real one, on sale now, and never to be taken for it."""
    starts = datetime.fromisoformat(real["starts_at"])
    limits = {name: limit for name, limit in real["limits"].items() if limit}
    return {
        "event_id": f"{ID_PREFIX}{real['event_id'][:32]}-{now:%y%m%d%H%M%S}",
        "name": f"REHEARSAL, NOT VALID: {real['name']}"[:200],
        "venue": real["venue"],
        "starts_at": max(starts, now + timedelta(days=1)).isoformat(),
        "timezone": real["timezone"],
        "price": real["price"],
        "accent": real["accent"],
        "tickets": tickets,
        "limits": limits,
    }


def checks(run: Run, verdict: Verdict, shadow_id: str, bounds: Bounds) -> Iterator[Check]:
    """Everything that has to be so for a go."""
    yield Check("promises kept", f"{len(verdict.broken)} broken", "none broken", not verdict.broken)
    yield Check("errors", f"{run.total.errors.total() + run.opened.errors.total():,}", "0", not verdict.errors)
    yield _audit_check(run)
    yield _all_sold(run, shadow_id)
    first, opened = run.rounds[0].tally, run.rounds[-1].tally
    yield _time("rush: the last answer", _most(first.times, Kind.KNOWS), bounds.last_answer_s)
    for kind in (Kind.SOLD, Kind.SOLD_OUT):
        if kind in opened.times:
            p99_s = opened.times[kind].percentile_s(0.99)
            yield _time(f"open loop: {kind.replace('_', ' ')}, p99", p99_s, bounds.p99_s)
    pending = max(0, run.receipts_after.pending - run.receipts_before.pending)
    found = f"{pending:,} not ready after {run.receipts_s:.0f} s" if pending else f"all, after {run.receipts_s:.0f} s"
    yield Check("receipts", found, f"all within {bounds.receipts_s:.0f} s", not pending)


def checks_table(found: list[Check]) -> Table:
    """The checks for people."""
    table = Table("check", "found", "wanted", "", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for check in found:
        table.add_row(check.what, check.found, check.wanted, "ok" if check.ok else "[bold red]NO[/]")
    return table


def go(found: list[Check]) -> bool:
    """Whether the night can come."""
    return all(check.ok for check in found)


def _audit_check(run: Run) -> Check:
    if run.audit is None:
        return Check("audit", "not asked", "every invariant holds", ok=False)
    found = "every invariant holds" if run.audit.ok else f"{len(run.audit.violations):,} violations"
    return Check("audit", found, "every invariant holds", run.audit.ok)


def _all_sold(run: Run, shadow_id: str) -> Check:
    """Whoever was told "sold out" was told the truth, to the last ticket."""
    audit = run.audit
    sold, issued = (audit.sold.get(shadow_id, 0), audit.issued.get(shadow_id, 0)) if audit else (0, 0)
    all_gone = run.total.count(Kind.SOLD_OUT) > 0
    wanted = f"all {issued:,}, as buyers were told" if all_gone else "some"
    return Check("tickets sold", f"{sold:,}", wanted, sold == issued if all_gone else sold > 0)


def _time(what: str, found_s: float | None, most_s: float) -> Check:
    return Check(what, f"{ms(found_s)} ms", f"{ms(most_s)} ms at most", found_s is not None and found_s <= most_s)


def _most(times: Mapping[Kind, Any], kind: Kind) -> float | None:
    return times[kind].most_s if kind in times else None


def _wait_until_seen(target: Target, shadow_id: str) -> None:
    until_s = time.monotonic() + SEEN_DEADLINE_S
    while target.events().get(shadow_id, {}).get("sales", {}).get("state") != "open":
        if time.monotonic() > until_s:
            raise TargetError(
                f"the shadow event was seeded, and {target.host} does not sell it: another store?\n{NEEDS}"
            )
        time.sleep(0.2)
    time.sleep(1.1)  # what each of several web processes knows of events is at most a second old
