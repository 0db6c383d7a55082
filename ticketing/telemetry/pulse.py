"""How the sale went in the last minutes: a reading of all counters every few seconds, and what follows from two.

What must stay true: one reading is one look at the counters' files and one at the catalogue, which is shared; the
number of readings is bounded; what nobody can know yet is None, not 0.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from loguru import logger

from ticketing.errors import StoreError
from ticketing.model import EventState
from ticketing.telemetry.metrics import Exposition, quantile, receipt_counts

STEP_S = 5.0
READINGS = 121  # ten minutes
WINDOW_READINGS = 6  # rates are those of the last half minute
BOUGHT = ("sold", "provisional")
LEVELS = {
    "outages": "ticketing_outages_total",
    "reserve_tickets": "ticketing_reserve_tickets",
    "journal_unsettled": "ticketing_journal_unsettled",
}
LOOK = {
    "ticketing_purchases_total": "outcome",
    "ticketing_purchase_duration_seconds_bucket": "le",
    "ticketing_outage": "",
    **dict.fromkeys(LEVELS.values(), ""),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was counted until `at_s` (monotonic), by all processes of this host, and how the store stood."""

    at_s: float
    outcomes: dict[str, float]
    buckets: dict[str, float]
    sold: dict[str, int]  # by event
    remaining: int | None  # None, as the next one, where no event is known
    receipts_pending: int | None
    outage: bool
    levels: dict[str, int]  # by the names of LEVELS

    @property
    def bought(self) -> float:
        """Purchases that were sold or promised."""
        return sum(self.outcomes.get(outcome, 0) for outcome in BOUGHT)


def take_reading(exposition: Exposition, states: Sequence[EventState], *, store_up: bool) -> Reading:
    """A reading, now."""
    found = exposition.read(LOOK)
    return Reading(
        at_s=time.monotonic(),
        outcomes=found["ticketing_purchases_total"],
        buckets=found["ticketing_purchase_duration_seconds_bucket"],
        sold={state.event.event_id: state.sold for state in states},
        remaining=sum(state.remaining for state in states) if states else None,
        receipts_pending=receipt_counts(states)["pending"] if states else None,
        outage=not store_up or any(found["ticketing_outage"].values()),
        levels={name: int(sum(found[metric].values())) for name, metric in LEVELS.items()},
    )


class Pulse:
    """The readings of the last ten minutes."""

    def __init__(
        self, exposition: Exposition, states: Callable[[], Sequence[EventState]], is_store_up: Callable[[], bool]
    ) -> None:
        self._exposition = exposition
        self._states = states
        self._is_store_up = is_store_up
        self._readings: deque[Reading] = deque(maxlen=READINGS)
        self._ended = threading.Event()

    def start(self) -> None:
        """From now on readings are taken. In a gevent worker the thread is a greenlet."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def stop(self) -> None:
        """No more readings."""
        self._ended.set()

    def read(self) -> Reading:
        """A reading, now, that is not kept."""
        try:
            states = self._states()
        except StoreError:
            states = []
        return take_reading(self._exposition, states, store_up=self._is_store_up())

    def keep(self, reading: Reading) -> None:
        """It is part of the last minutes."""
        self._readings.append(reading)

    def kept(self) -> list[Reading]:
        """Oldest first."""
        return list(self._readings)

    def web_processes(self) -> int:
        """The web processes of this host that live."""
        return self._exposition.web_processes()

    def _run(self) -> None:
        while True:
            try:
                self.keep(self.read())
            except Exception:  # a counters' file that a process has just begun, say
                logger.exception("the sale's pulse could not be read")
            if self._ended.wait(STEP_S):
                return


def rates(kept: Sequence[Reading], now: Reading) -> dict[str, Any]:
    """What follows from now and half a minute ago, or from what there is; None before there are two readings."""
    window = kept[-WINDOW_READINGS:]
    before = window[0] if window else now
    passed_s = now.at_s - before.at_s
    if passed_s < 1:
        return {"purchases_per_s": None, "refusals_per_s": None, "tickets_per_s": {}, "latency": None}
    asked = _grown(now.outcomes, before.outcomes)
    bought = sum(asked.get(outcome, 0) for outcome in BOUGHT)
    return {
        "purchases_per_s": bought / passed_s,
        "refusals_per_s": (sum(asked.values()) - bought - asked.get("replayed", 0)) / passed_s,
        "tickets_per_s": _tickets_per_s(window, now),
        "latency": latency_ms(_grown(now.buckets, before.buckets)),
    }


def _tickets_per_s(window: Sequence[Reading], now: Reading) -> dict[str, float]:
    """By event, since the first reading that knows it: what was sold before that was not sold in this moment."""
    going = {}
    for event_id, sold in now.sold.items():
        before = next((reading for reading in window if event_id in reading.sold), now)
        passed_s, grown = now.at_s - before.at_s, sold - before.sold[event_id]
        if passed_s >= 1 and grown > 0:
            going[event_id] = grown / passed_s
    return going


def latency_ms(buckets: dict[str, float]) -> dict[str, float | None] | None:
    """The bounds (ms) within which a half, 95 and 99 in a hundred answers came; None where nothing was asked."""
    if not any(buckets.values()):
        return None
    bounds = {"p50": quantile(buckets, 0.5), "p95": quantile(buckets, 0.95), "p99": quantile(buckets, 0.99)}
    return {name: None if bound is None else bound * 1000 for name, bound in bounds.items()}


def history(kept: Sequence[Reading]) -> dict[str, Any]:
    """The last minutes as lists of one length, oldest first: each value is of the step that ends there."""
    steps = list(pairwise(kept))
    slowest = [latency_ms(_grown(after.buckets, before.buckets)) for before, after in steps]
    return {
        "step_s": STEP_S,
        "purchases_per_s": [
            round(max(0.0, after.bought - before.bought) / (after.at_s - before.at_s), 2) for before, after in steps
        ],
        "latency_p99_ms": [None if bounds is None else bounds["p99"] for bounds in slowest],
        "receipts_pending": [after.receipts_pending for _, after in steps],
        "remaining": [after.remaining for _, after in steps],
        "outage": [after.outage for _, after in steps],
    }


def _grown(now: dict[str, Any], before: dict[str, Any]) -> dict[str, float]:
    """A counter that fell began anew: its process was replaced."""
    return {key: max(0.0, float(value - before.get(key, 0))) for key, value in now.items()}
