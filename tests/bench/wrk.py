"""wrk as a closed loop: many requests for little CPU. It counts only connections that got answers, and hides stalls.

What must stay true: every answer's status and body were looked at; what wrk could not see (answers that never came) is
told where it is known.
"""

import json
import os
import resource
import secrets
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.figures import Missing, NotMeasured
from tests.bench.generator import Ask
from tests.servers import HOST

SCRIPT = Path(__file__).with_suffix(".lua")
MISSING = "wrk is not here (Debian, Ubuntu: apt-get install wrk)"
TIMEOUT_S = 10
BUSY = 0.9


@dataclass(frozen=True)
class WrkRun:
    """What wrk saw."""

    good: int
    bad: int
    seconds: float
    errors: int
    late: int  # answers that took longer than TIMEOUT_S
    p50_ms: float
    p99_ms: float
    cpu_share: float
    example: str = ""

    @property
    def per_s(self) -> float:
        return self.good / self.seconds

    def refusal(self, *, late_too: bool = True) -> str:
        """Why this run does not count; empty where every answer is the wanted one."""
        if self.bad:
            return f"{self.bad} wrong answers, the first: {self.example}"
        if self.errors:
            return f"{self.errors} connections failed"
        if late_too and self.late:
            return f"{self.late} answers took more than {TIMEOUT_S} s"
        return "" if self.good else "nothing was answered"

    @property
    def notes(self) -> list[str]:
        """What makes its figures doubtful."""
        found = [f"{self.late} answers took more than {TIMEOUT_S} s"] if self.late else []
        if self.cpu_share > BUSY:
            found.append(f"wrk was the bottleneck ({self.cpu_share:.0%} of a core)")
        return found

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "example"}


def run(port: int, ask: Ask, *, connections: int, seconds: float, again: int = 0) -> WrkRun:
    """Load the server for so long. `again`: instead of new keys, those that end in 0 to again - 1.

    Raises Missing, and NotMeasured where wrk fails.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Missing(MISSING)
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", f"{TIMEOUT_S}s"]
    before_s = _children_s()
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), f"http://{HOST}:{port}"],
        env=os.environ | _environment(ask, again),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("RESULT ", "EXAMPLE ")))
    if "RESULT" not in lines:
        raise NotMeasured(f"wrk failed: {(done.stderr or done.stdout).strip()[:300]}")
    found = json.loads(lines["RESULT"])
    share = (_children_s() - before_s) / found["seconds"]
    return WrkRun(**found, cpu_share=share, example=lines.get("EXAMPLE", ""))


def _environment(ask: Ask, again: int) -> dict[str, str]:
    [(status, text)] = ask.wanted.items()
    fresh = "" if again else secrets.token_hex(6) + "-"
    return {
        "BENCH_METHOD": ask.method,
        "BENCH_PATHS": ",".join(ask.paths),
        "BENCH_BODY": ask.body,
        "BENCH_KEYS": "" if not ask.key_prefix else "again" if again else "new",
        "BENCH_PREFIX": ask.key_prefix + fresh,
        "BENCH_AGAIN": str(again),
        "BENCH_STATUS": status,
        "BENCH_TEXT": text,
    }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
