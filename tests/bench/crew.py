"""The load processes of one run, led together: they start at one moment, and what they found is added up.

What must stay true: a generator that was too busy to be believed is named; every process is ended here, by its own pid.
"""

import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Self

from tests.bench.figures import NotMeasured, percentile
from tests.bench.generator import Ask
from tests.servers import HOST, ROOT

START_S = 0.2  # enough for each process to have read what it is to do
BUSY = 0.9  # of a core: what is measured then is the generator
SOURCES = tuple(f"127.0.0.{number}" for number in range(1, 5)) if sys.platform == "linux" else (HOST,)


@dataclass
class Load:
    """What all processes of a run saw; times in ms."""

    sent: int
    answers: int
    statuses: dict[str, int]
    wrong: int
    errors: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    lag_p99_ms: float
    first_ms: float  # when the last connection had its first answer
    last_ms: dict[str, float]
    cpu_share: float  # of the busiest generator process
    example: str = ""
    tickets: list[str] = field(default_factory=list, repr=False)

    @property
    def per_s(self) -> float:
        return self.answers / self.seconds

    @property
    def refusal(self) -> str:
        """Why this run does not count; empty where every answer is the wanted one."""
        if self.errors:
            return f"errors: {self.errors}"
        if self.wrong:
            return f"{self.wrong} wrong answers, the first: {self.example}"
        if self.answers == 0:
            return "nothing was answered"
        if len(set(self.tickets)) != len(self.tickets):
            return "a ticket was sold twice"
        return ""

    @property
    def notes(self) -> list[str]:
        """What makes its times doubtful."""
        if self.cpu_share > BUSY:
            return [f"the load generator was the bottleneck ({self.cpu_share:.0%} of a core)"]
        return []

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in {"tickets", "example"}}


class Crew:
    """Load processes with connections to one server."""

    def __init__(self, processes: int = 1) -> None:
        command = [sys.executable, "-m", "tests.bench.generator"]
        pipe = subprocess.PIPE
        self._processes = [
            subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(processes)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def open(self, port: int, connections: int, sources: Sequence[str] = (HOST,)) -> int:
        """How many of these connections are open now."""
        told = [{"do": "open", "port": port, "connections": n, "sources": sources} for n in self._shares(connections)]
        return sum(self._tell(told))

    def close(self) -> None:
        """No connection is open any more."""
        self._tell([{"do": "close"}] * len(self._processes))

    def wave(self, ask: Ask) -> Load:
        """One request a connection, all at once."""
        return self._run("wave", ask)

    def loop(self, ask: Ask, *, seconds: float = 600.0, count: int = 1 << 60, own_keys: bool = True) -> Load:
        """A closed loop for so long, or so many requests. Without `own_keys` the keys are the prefix and 0, 1, 2 ..."""
        more = [{"seconds": seconds, "count": share} for share in self._shares(count)]
        return self._run("loop", ask, more, own_keys)

    def schedule(self, ask: Ask, *, seconds: float, rate: float) -> Load:
        """An open loop: so many a second."""
        each = rate / len(self._processes)
        return self._run("schedule", ask, [{"seconds": seconds, "rate": each}] * len(self._processes))

    def _run(self, do: str, ask: Ask, more: Sequence[dict[str, Any]] = (), own_keys: bool = True) -> Load:
        starts_s = time.monotonic() + START_S
        told = []
        for number in range(len(self._processes)):
            own = asdict(ask)
            if ask.key_prefix and own_keys:
                own["key_prefix"] = f"{ask.key_prefix}-{secrets.token_hex(6)}-"
            told.append({"do": do, "ask": own, "starts_s": starts_s, **(more[number] if more else {})})
        return _sum(self._tell(told))

    def _tell(self, told: Sequence[dict[str, Any]]) -> list[Any]:
        for process, line in zip(self._processes, told, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in self._processes if process.stdout]
        if not all(said):
            raise NotMeasured("a load process failed")
        return [json.loads(line) for line in said]

    def _shares(self, count: int) -> list[int]:
        processes = len(self._processes)
        return [count // processes + (number < count % processes) for number in range(processes)]


def _sum(tallies: Sequence[dict[str, Any]]) -> Load:
    took = sorted(chain.from_iterable(tally["took_us"] for tally in tallies))
    lag = sorted(chain.from_iterable(tally["lag_us"] for tally in tallies))
    statuses = sum((Counter(tally["statuses"]) for tally in tallies), Counter[str]())
    last = {status: max(tally["last_us"].get(status, 0) for tally in tallies) / 1000 for status in statuses}
    return Load(
        sent=sum(tally["sent"] for tally in tallies),
        answers=sum(statuses.values()),
        statuses=dict(statuses),
        wrong=sum(tally["wrong"] for tally in tallies),
        errors=dict(sum((Counter(tally["errors"]) for tally in tallies), Counter[str]())),
        seconds=max(tally["seconds"] for tally in tallies),
        p50_ms=percentile(took, 0.5) / 1000,
        p99_ms=percentile(took, 0.99) / 1000,
        most_ms=took[-1] / 1000 if took else 0.0,
        lag_p99_ms=percentile(lag, 0.99) / 1000,
        first_ms=max(tally["first_us"] for tally in tallies) / 1000,
        last_ms=last,
        cpu_share=max(tally["cpu_share"] for tally in tallies),
        example=next((tally["example"] for tally in tallies if tally["example"]), ""),
        tickets=[ticket for tally in tallies for ticket in tally["tickets"]],
    )
