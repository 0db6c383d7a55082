"""Which rounds a command plays, and the pools that they need.

What must stay true: a pool outlasts the rounds that must not sell it out, and the rush's is half of its crowd: then
each figure is of one kind of answer, and the rush has exact totals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.load.plan import Loop, Round

PER_S_MOST = 12_000  # purchases a second: more than a service and this tool reach on one machine
RUSH_SHARE = 0.5  # of the crowd gets a ticket
RECEIPTS_MOST = 2_000  # buyers whose receipts are followed from the first to the last
RECEIPTS_PATIENCE_S = 60.0
SINGLE, SEVERAL, RUSH, FOLLOWED, RETRIED = "single", ("first", "second", "third"), "rush", "followed", "retried"


@dataclass(frozen=True, slots=True)
class Suite:
    """Rounds, and for a service of our own the tickets of each event."""

    plans: list[Round]
    pools: Mapping[str, int]


def of_events(event_ids: Sequence[str], connections: int, seconds: float, rate: float, loops: str) -> Suite:
    """These events, closed loop and then open loop."""
    name = f"event {event_ids[0]}" if len(event_ids) == 1 else f"{len(event_ids)} events"
    plans = _both(name, tuple(event_ids), seconds, rate, loops)
    return Suite(plans, _pools(plans, connections))


def of_rush(event_id: str, connections: int) -> Suite:
    """Everybody at once, for tickets that half of them get; then those who did not believe it."""
    plans = rush(event_id, connections, 2.0)
    return Suite(plans, {event_id: max(1, int(connections * RUSH_SHARE))})


def full(connections: int, seconds: float, rate: float) -> Suite:
    """Everything, each with an event of its own."""
    followed = min(1.0, RECEIPTS_MOST / connections)
    retried = Round("retries with keys", (RETRIED,), Loop.CLOSED, seconds, drop=0.3, repeat=0.3)
    plans = [
        Round("receipts", (FOLLOWED,), Loop.ONCE, follow=followed, patience_s=RECEIPTS_PATIENCE_S),
        *_both("single event", (SINGLE,), seconds, rate, "both"),
        *_both("several events", SEVERAL, seconds, rate, "both"),
        retried,
    ]
    sold_out = of_rush(RUSH, connections)
    return Suite([*plans, *sold_out.plans], {**_pools(plans, connections), **sold_out.pools})


def full_elsewhere(event_ids: Sequence[str], connections: int, seconds: float, rate: float) -> Suite:
    """The same on events of a service that runs, without the rush: nothing is to be sold out by the way."""
    first = tuple(event_ids[:1])
    followed = min(1.0, RECEIPTS_MOST / connections)
    several = _both("several events", tuple(event_ids), seconds, rate, "both") if len(event_ids) > 1 else []
    plans = [
        Round("receipts", first, Loop.ONCE, follow=followed, patience_s=RECEIPTS_PATIENCE_S),
        *_both("single event", first, seconds, rate, "both"),
        *several,
        Round("retries with keys", first, Loop.CLOSED, seconds, drop=0.3, repeat=0.3),
    ]
    return Suite(plans, {})


def rush(event_id: str, connections: int, seconds: float) -> list[Round]:
    """Everybody at once; then they press again and are told that it is sold out."""
    return [
        Round(f"rush of {connections:,}", (event_id,), Loop.ONCE, follow=0.0),
        Round("after the rush", (event_id,), Loop.CLOSED, seconds, follow=0.0),
    ]


def _both(name: str, event_ids: tuple[str, ...], seconds: float, rate: float, loops: str) -> list[Round]:
    closed = Round(f"{name}, closed", event_ids, Loop.CLOSED, seconds)
    opened = Round(f"{name}, open", event_ids, Loop.OPEN, seconds, rate=rate)
    return {"closed": [closed], "open": [opened], "both": [closed, opened]}[loops]


def _pools(plans: Sequence[Round], connections: int) -> dict[str, int]:
    """What they could sell at most: a ticket a connection at once, and then as fast as anything is."""
    pools: dict[str, int] = {}
    for plan in plans:
        most = connections + int(plan.seconds * PER_S_MOST)
        for event_id in plan.event_ids:
            pools[event_id] = pools.get(event_id, 0) + most
    return pools
