"""One thing that was looked at, how it is, and what to do about it.

What must stay true: what is not all right says what it means for the sale and what to do. A check that could not be
made is never all right.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ticketing.errors import TicketingError


class Level(StrEnum):
    """How serious it is."""

    OK = "ok"
    WARN = "warn"  # the sale works, less well or for less long than it could
    FAIL = "fail"  # the sale does not work, or what it promises does not hold


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    found: str
    means: str = ""
    do: str = ""


def ok(check: str, found: str) -> Finding:
    """It is as it should be."""
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, means: str, do: str) -> Finding:
    """The sale works all the same."""
    return Finding(check, Level.WARN, found, means, do)


def fail(check: str, found: str, means: str, do: str) -> Finding:
    """The doors should stay closed."""
    return Finding(check, Level.FAIL, found, means, do)


Check = Callable[[], Iterable[Finding]]


def carried_out(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """What all of them find; one that breaks is a finding too."""
    for name, check in checks:
        try:
            yield from list(check())
        except (TicketingError, OSError) as error:
            yield fail(
                name,
                f"could not be looked at: {error}",
                "Nobody knows how this is.",
                "Mend what it says, and run the doctor again.",
            )
