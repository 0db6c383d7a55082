"""What a run does, as values: rounds, each with its events, its loop and the manners of its buyers.

What must stay true: a round says everything that a load process needs, so that all processes do the same.
"""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Loop(StrEnum):
    """When a buyer begins a purchase."""

    CLOSED = "closed"  # as soon as the last one has its answer: shows throughput, hides stalls
    OPEN = "open"  # by a fixed schedule, whatever the answers do: shows what buyers wait
    ONCE = "once"  # all at the same moment, and never again


@dataclass(frozen=True, slots=True)
class Round:
    """One stretch of selling."""

    name: str
    event_ids: tuple[str, ...]
    loop: Loop
    seconds: float = 0.0  # how long purchases are begun; nothing for Loop.ONCE
    rate: float = 0.0  # Loop.OPEN: purchases a second, of all processes together
    follow: float = 0.05  # share of purchases whose buyer polls for the receipt
    patience_s: float = 5.0  # how long such a buyer polls before giving up
    drop: float = 0.0  # share of first tries whose connection breaks before the answer
    repeat: float = 0.0  # share of purchases that are asked for again with their key, for nothing new
    give_up: float = 0.02  # share of buyers who leave after an error or a 503 instead of asking again
    tries: int = 6
    quantity: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Round":
        return cls(**{**told, "event_ids": tuple(told["event_ids"]), "loop": Loop(told["loop"])})

    def at_rate(self, rate: float) -> "Round":
        """The same, with this schedule."""
        return replace(self, rate=rate)


def share(total: int, parts: int, index: int) -> int:
    """The part of `total` that falls to number `index` of `parts`; all parts are together the total."""
    return total // parts + (index < total % parts)
