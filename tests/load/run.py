"""One run: a crowd is opened, its rounds are played, receipts are waited for, the audit is asked; all of it kept.

What must stay true: what the service says is asked before the first purchase and after the last, never in between, so
that the two can be compared with what buyers were told.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.load.answers import Kind
from tests.load.crew import Crew, Watch
from tests.load.plan import Loop, Round
from tests.load.tally import Tally, now_s, sum_of
from tests.load.target import Audit, Receipts, Target

OPEN_SHARE = 0.5  # of what the closed loop reached, where no rate is given
SETTLE_S = 30.0
POLL_S = 0.5


class Watcher(Protocol):
    """Who sees how it goes."""

    def says(self, text: str) -> None: ...

    def begins(self, plan: Round, connections: int) -> None: ...

    def sees(self, tally: Tally) -> None: ...

    def ends(self, played: "Played") -> None: ...

    def receipts(self, now: Receipts) -> None: ...


@dataclass(slots=True)
class Played:
    """A round that is over."""

    plan: Round
    connections: int
    tally: Tally
    pace: list[tuple[float, int]] = field(default_factory=list)  # seconds since the start, purchases until then

    @property
    def purchases_per_s(self) -> float:
        return self._per_s(self.tally.bought)

    @property
    def sold_out_per_s(self) -> float:
        return self._per_s(self.tally.count(Kind.SOLD_OUT))

    @property
    def answered_per_s(self) -> float:
        """Buyers a second who got the answer that counts, whatever it was."""
        return self._per_s(self.tally.count(Kind.KNOWS))

    def _per_s(self, count: int) -> float:
        return count / self.tally.seconds if self.tally.seconds else 0.0


@dataclass(slots=True)
class Run:
    """Everything that a run came to."""

    host: str
    exclusive: bool
    connections: int
    opened: Tally = field(default_factory=Tally)
    rounds: list[Played] = field(default_factory=list)
    sold_before: dict[str, int] = field(default_factory=dict)
    receipts_before: Receipts = field(default_factory=lambda: Receipts(0, 0, 0))
    receipts_after: Receipts = field(default_factory=lambda: Receipts(0, 0, 0))
    receipts_s: float = 0.0  # waited for them after the last round
    audit: Audit | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> Tally:
        return sum_of(played.tally for played in self.rounds)

    @property
    def receipts_made(self) -> int:
        return self.receipts_after.ready - self.receipts_before.ready


def play(target: Target, crew: Crew, plans: Sequence[Round], watcher: Watcher, run: Run, receipts_s: float) -> None:
    """`run` has everything, one round after the other. Raises TargetError, CrewError."""
    event_ids = sorted({event_id for plan in plans for event_id in plan.event_ids})
    run.sold_before = {event_id: target.event(event_id)["sold"] for event_id in event_ids}
    run.receipts_before = target.receipts()
    began_s = now_s()
    run.opened = crew.open(target.host, event_ids[0], run.connections)
    run.connections = crew.connections
    watcher.says(f"{crew.connections:,} connections open after {now_s() - began_s:.1f} s")
    for plan in plans:
        run.rounds.append(_play(crew, _with_rate(plan, run.rounds), watcher))
    _settle(target, run)
    waited_s = time.monotonic()
    for receipts in target.wait_for_receipts(run.receipts_before.pending, receipts_s):
        watcher.receipts(receipts)
        run.receipts_after = receipts
    run.receipts_s = time.monotonic() - waited_s
    run.audit = target.audit()


def _play(crew: Crew, plan: Round, watcher: Watcher) -> Played:
    watcher.begins(plan, crew.connections)
    pace: list[tuple[float, int]] = []
    tally = crew.run(plan, _watch(watcher, pace))
    played = Played(plan, crew.connections, tally, pace)
    watcher.ends(played)
    return played


def _watch(watcher: Watcher, pace: list[tuple[float, int]]) -> Watch:
    began_s = now_s()

    def watch(tally: Tally) -> None:
        pace.append((now_s() - began_s, tally.bought))
        watcher.sees(tally)

    return watch


def _with_rate(plan: Round, before: Sequence[Played]) -> Round:
    """An open loop without a rate takes a share of what the closed one of the same events reached."""
    if plan.loop is not Loop.OPEN or plan.rate:
        return plan
    reached = [played.answered_per_s for played in before if played.plan.event_ids == plan.event_ids]
    return plan.at_rate(max(1.0, round(OPEN_SHARE * max(reached, default=0.0), 1)))


def _settle(target: Target, run: Run) -> None:
    """Wait a while for what buyers were told provisionally to be sold."""
    total = run.total
    until_s = time.monotonic() + SETTLE_S
    for event_id in total.provisional:
        wanted = run.sold_before[event_id] + total.told(event_id)
        while target.event(event_id)["sold"] < wanted and time.monotonic() < until_s:
            time.sleep(POLL_S)
