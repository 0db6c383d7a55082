"""One sitting: what is measured in turn, in one go, on one machine; and all that was found in it.

What must stay true: the first turn of each series counts for nothing; a run counts only if every answer was the wanted
one and as many tickets left the pool as were answered; what was refused is kept, with its reason.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import wrk
from tests.bench.contestants import Contestant, Product
from tests.bench.crew import Crew, Load
from tests.bench.figures import Missing, NotMeasured, median
from tests.bench.generator import Ask
from tests.bench.machine import cpu_us
from tests.bench.targets import Found
from ticketing.errors import StoreError

BODY = '{"quantity": 1}'
SOLD = {"201": '"status":"sold"'}
POOL = 2_000_000
SETTLED_S = 0.3  # nothing more was sold for so long: what was under way when the load ended is over
SETTLE_DEADLINE_S = 30.0
KNOWN_S = 1.5  # a process reads what events there are once a second
TRIES = 2  # a refused turn is repeated once


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 8.0
    quick: bool = False

    def scaled(self, amount: int) -> int:
        """Less where it has to be quick."""
        return amount // 5 if self.quick else amount


@dataclass
class Run:
    """One run of one contestant: what it cost, by the ticket or answer, and how long answers took."""

    name: str
    count: int = 0  # tickets sold, or answers
    app_us: float = 0.0
    store_us: float = 0.0
    per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    refused: str = ""
    notes: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def us(self) -> float:
        """CPU of application and store."""
        return self.app_us + self.store_us


class Series(list[Run]):
    """The runs of one contest that count, of so many rounds, and why the last other one did not."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.refused = ""


@dataclass
class Sitting:
    """The plan, a folder for what is started, and all that was found."""

    plan: Plan
    folder: Path
    say: Callable[[str], None] = print
    found: dict[str, Found] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _folders: int = 0

    def new_folder(self) -> Path:
        """A path that does not exist yet."""
        self._folders += 1
        return self.folder / str(self._folders)

    def record(self, target: str, value: float, detail: str = "") -> None:
        """This was measured for a target."""
        self.found[target] = Found(value, detail)

    def lacks(self, targets: Sequence[str], why: object) -> None:
        """These can't be measured in this sitting, unless they were already."""
        for target in targets:
            self.found.setdefault(target, Found(None, str(why)))

    def in_turn(
        self, series: str, contests: Mapping[str, Callable[[], Run]], rounds: int | None = None
    ) -> dict[str, Series]:
        """Each contest once a round, one after the other, after a round that does not count; the runs that count.

        Raises Missing.
        """
        wanted = rounds or self.plan.rounds
        counted = {name: Series(wanted) for name in contests}
        for turn in range(wanted + 1):
            for name, contest in contests.items():
                run = self._one(series, turn, name, contest)
                if run.refused:
                    counted[name].refused = run.refused
                elif turn:
                    counted[name].append(run)
        return counted

    def _one(self, series: str, turn: int, name: str, contest: Callable[[], Run]) -> Run:
        for _ in range(TRIES):
            began_s = time.monotonic()
            try:
                run = contest()
            except Missing:
                raise
            except (NotMeasured, StoreError, AssertionError) as why:
                run = Run(name, refused=str(why))
            self.runs.append({"series": series, "turn": turn, "contest": name, **_shown(run)})
            self.say(_line(series, turn, name, run, time.monotonic() - began_s))
            if not run.refused or not turn:
                break
        return run


def _shown(run: Run) -> dict[str, Any]:
    made = {name: round(value, 3) if isinstance(value, float) else value for name, value in vars(run).items()}
    return {name: value for name, value in made.items() if value not in ("", [], {})}


def _line(series: str, turn: int, name: str, run: Run, seconds: float) -> str:
    cpu = f"{run.app_us:7.1f} + {run.store_us:5.1f} us"
    times = f"p50 {run.p50_ms:6.1f}  p99 {run.p99_ms:7.1f} ms" if run.p99_ms else ""
    said = f"{cpu}  {run.per_s:8,.0f}/s  {times}"
    if run.refused:
        said = f"refused: {run.refused[:300]}"
    notes = "".join(f"  [{note}]" for note in run.notes)
    return f"  {series:12} turn {turn}  {name:24} {said}{notes}  ({seconds:.0f} s)"


def middle(runs: Series, of: Callable[[Run], float] = lambda run: run.us) -> float:
    """The median of the runs that count. Raises NotMeasured where a round had none."""
    try:
        return median([of(run) for run in runs], runs.rounds)
    except NotMeasured as why:
        raise NotMeasured(f"{why}; {runs.refused[:160]}") from None


def cost(runs: Series) -> str:
    """App and store apart, in words."""
    return f"{middle(runs, lambda run: run.app_us):.1f} + {middle(runs, lambda run: run.store_us):.1f} us"


class Meter:
    """What a contestant's processes use from now on."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._app_us, self._store_us = self._now()

    def used_us(self) -> tuple[float, float]:
        """Application and store."""
        app_us, store_us = self._now()
        return app_us - self._app_us, store_us - self._store_us

    def _now(self) -> tuple[float, float]:
        return cpu_us(self._contestant.pid), cpu_us(self._contestant.store_pid)


def put_on_sale(event_id: str, tickets: int, contestants: Sequence[Contestant]) -> None:
    """So many tickets of a new event, which every process of them knows."""
    for contestant in contestants:
        contestant.fill(event_id, tickets)
    time.sleep(KNOWN_S)


def settled(contestant: Contestant, event_ids: Sequence[str]) -> int:
    """Tickets sold, once nothing more is. Raises NotMeasured where that does not end."""
    until_s = time.monotonic() + SETTLE_DEADLINE_S
    before = contestant.sold(event_ids)
    while time.monotonic() < until_s:
        time.sleep(SETTLED_S)
        now = contestant.sold(event_ids)
        if now == before:
            return now
        before = now
    raise NotMeasured("it went on selling after the load had ended")


def purchase(event_ids: Sequence[str], *, body: str = BODY, key: bool = True) -> Ask:
    """What a buyer sends, and that a purchase is what it wants."""
    return Ask([f"/buy/{event_id}" for event_id in event_ids], SOLD, body, "bench-" if key else "")


def bought_by_wrk(contestant: Contestant, event_ids: Sequence[str], connections: int, seconds: float) -> Run:
    """A closed loop of purchases. The cost of a purchase is by the tickets that were sold, those included whose answers
    wrk did not wait for at its end: at most one a connection.
    """
    before = settled(contestant, event_ids)
    meter = Meter(contestant)
    seen = wrk.run(contestant.port, purchase(event_ids), connections=connections, seconds=seconds)
    sold = settled(contestant, event_ids) - before
    app_us, store_us = meter.used_us()
    refused = seen.refusal(late_too=isinstance(contestant, Product))
    if not refused and not seen.good <= sold <= seen.good + connections:
        refused = f"{sold} tickets left the pool, {seen.good} were answered, on {connections} connections"
    more = seen.to_json() | {"connections": connections, "sold": sold}
    return _run(contestant, sold, app_us, store_us, seen, refused, more)


def answered_by_wrk(contestant: Contestant, ask: Ask, connections: int, seconds: float, again: int = 0) -> Run:
    """A closed loop of requests that sell nothing; the cost is by the answer."""
    meter = Meter(contestant)
    seen = wrk.run(contestant.port, ask, connections=connections, seconds=seconds, again=again)
    app_us, store_us = meter.used_us()
    return _run(contestant, seen.good, app_us, store_us, seen, seen.refusal(), seen.to_json())


def bought_by_crew(
    contestant: Contestant, crew: Crew, event_ids: Sequence[str], *, count: int = 1 << 60, seconds: float = 600.0
) -> Run:
    """A closed loop of purchases on the connections that the crew has open: exactly so many, or for so long."""
    before = settled(contestant, event_ids)
    meter = Meter(contestant)
    return _accounted(
        contestant, event_ids, before, meter, crew.loop(purchase(event_ids), count=count, seconds=seconds)
    )


def bought_on_schedule(
    contestant: Contestant, crew: Crew, event_ids: Sequence[str], rate: float, seconds: float
) -> Run:
    """An open loop of so many purchases a second, on the connections that the crew has open."""
    before = settled(contestant, event_ids)
    meter = Meter(contestant)
    run = _accounted(
        contestant, event_ids, before, meter, crew.schedule(purchase(event_ids), rate=rate, seconds=seconds)
    )
    run.more["rate"] = rate
    return run


def _accounted(contestant: Contestant, event_ids: Sequence[str], before: int, meter: Meter, seen: Load) -> Run:
    """Every request was waited for: the pool must have lost exactly what was answered."""
    sold = settled(contestant, event_ids) - before
    app_us, store_us = meter.used_us()
    refused = seen.refusal or ("" if sold == seen.answers else f"{sold} tickets left the pool, {seen.answers} answered")
    return _run(contestant, sold, app_us, store_us, seen, refused, seen.to_json())


def _run(
    contestant: Contestant, count: int, app_us: float, store_us: float, seen: Any, refused: str, more: dict[str, Any]
) -> Run:
    each = max(1, count)
    return Run(
        contestant.name,
        count,
        app_us / each,
        store_us / each,
        seen.per_s,
        seen.p50_ms,
        seen.p99_ms,
        refused,
        seen.notes,
        more,
    )
