"""How a run goes, while it goes: a moving line on a terminal, a plain line a round elsewhere.

What must stay true: what is shown is at most a second old, and costs the load processes nothing beside a line of JSON
twice a second.
"""

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tests.load.answers import Kind
from tests.load.plan import Loop, Round
from tests.load.run import Played
from tests.load.table import ms, name_of
from tests.load.tally import Tally
from tests.load.target import Receipts

PACE_OVER_S = 2.0


class Show:
    """A watcher that tells people."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[said]}"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._began_s = 0.0
        self._pace: deque[tuple[float, int]] = deque()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._progress.stop()

    def says(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, highlight=False)

    def begins(self, plan: Round, connections: int) -> None:
        """A round begins."""
        rate = f" at {plan.rate:,.0f}/s" if plan.loop is Loop.OPEN else ""
        self._began_s = time.monotonic()
        self._pace.clear()
        self._replace(f"{plan.name}{rate}", plan.seconds or None, f"{connections:,} connections")

    def sees(self, tally: Tally) -> None:
        """It goes on."""
        if self._task is not None:
            elapsed_s = time.monotonic() - self._began_s
            self._progress.update(self._task, completed=elapsed_s, said=self._line(tally, elapsed_s))

    def ends(self, played: Played) -> None:
        """It is over: a line of it stays."""
        self._remove()
        tally = played.tally
        self.says(
            f"{name_of(played)}: {played.purchases_per_s:,.0f} purchases/s, {tally.bought:,} sold, "
            f"{tally.count(Kind.SOLD_OUT):,} told sold out, {tally.errors.total():,} errors"
        )

    def receipts(self, now: Receipts) -> None:
        """Receipts are waited for."""
        said = f"{now.ready:,} ready, {now.pending:,} pending, {now.failed:,} failed"
        if self._task is None:
            self._replace("receipts", now.ready + now.pending, said)
        elif not self._progress.finished:
            self._progress.update(self._task, completed=now.ready, said=said)

    def _line(self, tally: Tally, elapsed_s: float) -> str:
        bought = tally.bought
        self._pace.append((elapsed_s, bought))
        while self._pace[-1][0] - self._pace[0][0] > PACE_OVER_S:
            self._pace.popleft()
        over_s = self._pace[-1][0] - self._pace[0][0]
        per_s = (bought - self._pace[0][1]) / over_s if over_s else 0.0
        times = tally.times.get(Kind.SOLD)
        p99 = ms(times.percentile_s(0.99) if times else None)
        return (
            f"{per_s:,.0f} purchases/s, {bought:,} bought, {tally.count(Kind.SOLD_OUT):,} sold out, "
            f"{tally.errors.total():,} errors, p99 {p99} ms"
        )

    def _replace(self, description: str, total: float | None, said: str) -> None:
        self._remove()
        self._task = self._progress.add_task(description, total=total, said=said)

    def _remove(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = None
