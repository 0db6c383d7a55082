"""The targets of issue 5, what pages (12) and polls (13) cost, each bound as a number, and how it is judged. Pure.

What must stay true: every target has its row, measured or not; what is not measured is never met.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One bound: at most, or at least, so much."""

    name: str  # the number of the target in issue 5, and a letter where it has several bounds
    says: str
    bound: float | None  # None: shown beside the others, judged by nobody
    unit: str = ""
    at_least: bool = False
    stretch: float | None = None
    section: str = ""

    @property
    def wanted(self) -> str:
        """The bound in words."""
        if self.bound is None:
            return ""
        words = f"{'>=' if self.at_least else '<='} {self._text(self.bound)}"
        return words if self.stretch is None else f"{words} (stretch {self._text(self.stretch)})"

    def show(self, value: float) -> str:
        """A value with its unit."""
        return self._text(value)

    def _text(self, value: float) -> str:
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
        number = f"{value:,.{digits}f}"
        number = number.rstrip("0").rstrip(".") if "." in number else number
        return f"{number} {self.unit}".strip()


@dataclass(frozen=True)
class Found:
    """What was found for a target: a value and what it was made of, or why there is none."""

    value: float | None
    detail: str = ""


UNASKED = Found(None)
NOT_ASKED = "not asked for"


def verdict(target: Target, found: Found) -> str:
    """met, met (stretch), missed, shown, or not measured because of something."""
    if found.value is None:
        return f"not measured: {found.detail}" if found.detail else NOT_ASKED
    if target.bound is None:
        return "shown"
    if not _within(target, found.value, target.bound):
        return "MISSED"
    if target.stretch is not None and _within(target, found.value, target.stretch):
        return "met (stretch too)"
    return "met"


def missed(found: Mapping[str, Found]) -> list[Target]:
    """The targets that were measured and missed."""
    return [target for target in TARGETS if verdict(target, found.get(target.name, UNASKED)) == "MISSED"]


def _within(target: Target, value: float, bound: float) -> bool:
    return value >= bound if target.at_least else value <= bound


def rows(found: Mapping[str, Found]) -> list[dict[str, Any]]:
    """The table: a row a target."""
    made = []
    for target in TARGETS:
        one = found.get(target.name, UNASKED)
        measured = "-" if one.value is None else target.show(one.value)
        detail = "" if one.value is None else one.detail
        made.append(
            {
                "target": target.name,
                "what": target.says,
                "wanted": target.wanted,
                "measured": measured,
                "detail": detail,
                "verdict": verdict(target, one),
            }
        )
    return made


def _targets() -> tuple[Target, ...]:
    us, ms, to = "us", "ms", "x"
    return (
        Target("1a", "CPU of a purchase, to Express, 64 connections", 0.35, to, stretch=0.27, section="purchase"),
        Target("1b", "CPU of a purchase, to Express, 5,000 connections", 0.30, to, stretch=0.27, section="purchase"),
        Target("1c", "CPU of a purchase at 3,000/s, open loop", 200, us, section="purchase"),
        Target("1d", "as 1a with fsync everysec", None, to, section="purchase"),
        Target("1e", "as 1a on the stock gevent worker", None, to, section="purchase"),
        Target("2a", "sold out, no body, to bare hello", 1.4, to, section="soldout"),
        Target("2b", "sold out, with a body", 1.8, to, section="soldout"),
        Target("2c", "sold out, with a key and body", 3.0, to, section="soldout"),
        Target("2d", "a replay", 4.0, to, section="soldout"),
        Target("3a", "bare hello, our worker to the stock gevent worker", 0.2, to, section="hello"),
        Target("3b", "p99 to p50 at 1,500 busy connections", 10, to, section="hello"),
        Target("3c", "every probe answered as by the stock worker", None, section="tests"),
        Target("4", "POST /buy before Flask's routing, not to be told apart", None, section="tests"),
        Target("5a", "5,000 connections, 2 processes: last first answer", 2_000, ms, section="connections"),
        Target("5b", "the same: p99 of all answers", 500, ms, section="connections"),
        Target("5c", "CPU of a purchase, 2 processes to 1", 1.10, to, section="connections"),
        Target("5d", "throughput, 2 processes to 1", 1.5, to, at_least=True, section="connections"),
        Target("5e", "last first answer of Express, 2 processes", None, ms, section="connections"),
        Target("6a", "20,000 at once for 10,000 tickets: last ticket", 1_500, ms, section="rush"),
        Target("6b", "the same: last answer", 2_000, ms, section="rush"),
        Target("6c", "the same: last answer of Express", None, ms, section="rush"),
        Target("7a", "receipts a second of CPU", 1_500, "/s", at_least=True, stretch=2_500, section="receipts"),
        Target("7b", "the same, to one RQ job each, plain fpdf2", 30, to, at_least=True, section="receipts"),
        Target("8a", "open loop at half of capacity, 1 process: p99", 15, ms, section="openloop"),
        Target("8b", "the same, 2 processes", 25, ms, section="openloop"),
        Target("8c", "purchase to stored receipt: p99", 1_000, ms, section="openloop"),
        Target("9a", "script time of a ticket, sold in 64s", 2.5, us, section="store"),
        Target("9b", "memory of a sold ticket, outbox drained", 130, "bytes", section="store"),
        Target("10a", "pools of 10^4, 10^6, and 10^6 sold: spread", 15, "%", section="growth"),
        Target("10b", "5 events to 1", 1.30, to, section="growth"),
        Target("10c", "500 events to 1, 64 connections", 2.2, to, section="growth"),
        Target("10d", "500 events to 1, 1,000 connections", 1.6, to, section="growth"),
        Target("11a", "memory of an idle connection", 12, "KB", section="memory"),
        Target("11b", "memory of a busy connection", 30, "KB", section="memory"),
        Target("11c", "memory of a web process before its crowd", 60, "MB", section="memory"),
        Target("11d", "memory of an RQ worker", 150, "MB", section="memory"),
        Target("12a", "CPU of a purchase at 1,000/s, pages open to none", None, to, section="pages"),
        Target("12b", "the same, pages open: p99", None, ms, section="pages"),
        Target("13a", "CPU of a poll, receipt pending", None, us, section="polls"),
        Target("13b", "CPU of a receipt that is fetched", None, us, section="polls"),
    )


TARGETS = _targets()
