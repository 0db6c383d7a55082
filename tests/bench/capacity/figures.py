"""What the model is made of: costs from the newest raw results, and what nobody measured, named as such.

What must stay true: each figure is the median of the runs that count (the first turn and refused runs don't), and knows
the file that it came from; where no file has it, the model says so instead of going on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tests.bench.figures import NotMeasured, median

SERVICE = "service"
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Sought:
    """Where a figure stands in a report: the runs of a contest of a series, and a value of each."""

    series: str
    contest: str = ""
    value: str = "app_us"
    name: str = SERVICE  # what the contestant's name begins with
    says: str = ""

    def found_in(self, report: Report) -> float | None:
        """The median of the runs that count; None without any."""
        found = [_value(run, self.value) for run in report["runs"] if self._counts(run)]
        values = [value for value in found if value is not None]
        return median(values) if values else None

    def _counts(self, run: Mapping[str, Any]) -> bool:
        if run["series"] != self.series or run.get("refused"):
            return False
        if not self.contest:
            return True
        named = str(run.get("name", "")).startswith(self.name)
        return run.get("contest") == self.contest and named and run["turn"] > 0


def _value(run: Mapping[str, Any], path: str) -> float | None:
    found: Any = run
    for part in path.split("."):
        found = found.get(part, {})
    return float(found) if found != {} else None


BUSY = "5,000", "1 process"
EASE = "half of it", "1 process"
REFUSED = "sold out", "a key and body"
SOUGHT = {
    "busy_us": Sought(*BUSY, says="CPU of a purchase, web process busy with 5,000 connections"),
    "busy_store_us": Sought(*BUSY, "store_us", says="the store's CPU of it"),
    "busy_per_s": Sought(*BUSY, "per_s", says="purchases a second of one process, 5,000 connections"),
    "few_per_s": Sought("64", "ours", "per_s", says="the same, 64 connections"),
    "ease_us": Sought(*EASE, says="CPU of a purchase at half of what a process can do"),
    "ease_store_us": Sought(*EASE, "store_us", says="the store's CPU of it"),
    "ease_per_s": Sought(*EASE, "per_s", says="purchases a second of that process"),
    "ease_p99_ms": Sought(*EASE, "p99_ms", says="how long it takes then, p99"),
    "refused_us": Sought(*REFUSED, says="CPU of a sold-out answer under a key"),
    "refused_store_us": Sought(*REFUSED, "store_us", says="the store's CPU of it"),
    "script_us": Sought("script", "64s", "more.script_us", "store", "script time of a ticket, sold in 64s"),
    "receipt_us": Sought("receipts", "ours", name="ours", says="CPU of a receipt in its worker"),
    "receipt_store_us": Sought("receipts", "ours", "store_us", "ours", "the store's CPU of it"),
    "receipts_per_s": Sought("receipts", "ours", "per_s", "ours", "receipts a second of one worker, by the clock"),
    "poll_us": Sought("polls", "pending", says="CPU of GET /tickets, receipt pending"),
    "poll_store_us": Sought("polls", "pending", "store_us", says="the store's CPU of it"),
    "file_us": Sought("polls", "stored", says="CPU of GET /tickets, receipt stored"),
    "idle_kb": Sought("memory", value="idle_kb", says="memory of an idle connection"),
    "busy_kb": Sought("memory", value="busy_kb", says="memory of a busy connection"),
    "base_mb": Sought("memory", value="base_mb", says="memory of a web process before its crowd"),
}
UNITS = {"us": "us", "kb": "KB", "mb": "MB", "ms": "ms", "s": "/s"}


@dataclass(frozen=True)
class Measured:
    """Every figure of SOUGHT, by its name; `sources` says which file each is from."""

    busy_us: float
    busy_store_us: float
    busy_per_s: float
    few_per_s: float
    ease_us: float
    ease_store_us: float
    ease_per_s: float
    ease_p99_ms: float
    refused_us: float
    refused_store_us: float
    script_us: float
    receipt_us: float
    receipt_store_us: float
    receipts_per_s: float
    poll_us: float
    poll_store_us: float
    file_us: float
    idle_kb: float
    busy_kb: float
    base_mb: float
    sources: Mapping[str, str]

    def lines(self) -> list[str]:
        """Each with what it says and where it is from."""
        return [
            f"{getattr(self, name):>10,.1f} {_unit(name):3} {sought.says} ({self.sources[name]})"
            for name, sought in SOUGHT.items()
        ]


def _unit(name: str) -> str:
    return UNITS[name.rpartition("_")[2]]


@dataclass(frozen=True)
class Assumed:
    """What no benchmark of ours measures. Each can be given on the command line; WHY says what it rests on."""

    polls: float = 1.0
    poll_every_s: float = 1.0
    open_s: float = 10.0
    handshake_us: float = 300.0
    proxy_us: float = 40.0
    tls_kb: float = 40.0
    handshake_bytes: float = 5_000.0
    purchase_bytes: float = 2_000.0
    poll_bytes: float = 1_200.0
    receipt_bytes: float = 32_000.0

    def lines(self) -> list[str]:
        """Each with its reason."""
        return [f"{getattr(self, field.name):>10,.1f}     {field.name}: {WHY[field.name]}" for field in fields(self)]


WHY = {
    "polls": "of a purchase whose receipt is in time, before the file is fetched",
    "poll_every_s": "how often a buyer asks whose receipt is not there: Retry-After of GET /tickets",
    "open_s": "a buyer's connection stays open, where the proxy closes it early; browsers would keep it for minutes",
    "handshake_us": "CPU of a full TLS 1.3 handshake in the proxy, ECDSA P-256; RSA 2048 costs three times that",
    "proxy_us": "CPU of a request through nginx, TLS records included",
    "tls_kb": "memory of a TLS connection in the proxy",
    "handshake_bytes": "both ways, with a chain of two certificates",
    "purchase_bytes": "both ways: a browser's request, our answer, TCP, IP and TLS records",
    "poll_bytes": "both ways, without the file",
    "receipt_bytes": "a receipt of one ticket; a test draws one and compares",
}


def read(paths: Sequence[Path]) -> Measured:
    """Each figure from the newest of these reports that has it. Raises NotMeasured."""
    reports = {path.name: json.loads(path.read_text()) for path in paths}
    newest = sorted(reports.items(), key=lambda named: str(named[1]["machine"]["date"]), reverse=True)
    whole = [(name, report) for name, report in newest if not report["plan"]["quick"]]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, sought in SOUGHT.items():
        values[name], sources[name] = _newest(sought, whole)
    return Measured(**values, sources=sources)


def _newest(sought: Sought, reports: Sequence[tuple[str, Report]]) -> tuple[float, str]:
    for name, report in reports:
        if (value := sought.found_in(report)) is not None:
            return value, name
    raise NotMeasured(f"no result has runs of {sought.series!r}, {sought.contest!r}: {sought.says}")
