"""Group commit: what waits goes with the next round trip, one script call an event, whoever asked for it.

What must stay true: a purchase is sent once; its caller gets the reply of the very call that carried it; a failure is
told (`on_failure`, which shuts the store) before the next round trip, so that a store that does not answer holds the
purchases of one in doubt at most.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import gevent
from gevent.event import Event as Signal
from loguru import logger

from ticketing.model import Outcome, PurchaseRequest, SaleReply
from ticketing.store.sale import EventBatch, SaleStore

NO_REPLY = SaleReply(Outcome.UNKNOWN)
STOPPED = SaleReply(Outcome.REFUSED, "this process is stopping")
FAILED = frozenset({Outcome.UNKNOWN, Outcome.REFUSED})
WITHOUT_ANSWER = FAILED | {Outcome.SCRIPT_FAILED, Outcome.NODE_FAILED, Outcome.NODE_AWAY}

Asked = tuple[str, PurchaseRequest]  # the event's seed, and what is asked for


@dataclass(slots=True)
class _Waiting:
    """What is gathered for one round trip: the requests, their replies, and the signal that they are there."""

    requests: list[Asked] = field(default_factory=list)
    replies: list[SaleReply] = field(default_factory=list)
    done: Signal = field(default_factory=Signal)


class BatchReport(NamedTuple):
    """What one script call did: for the log, the metrics and the outbox."""

    event_id: str
    purchases: int
    outcomes: Mapping[Outcome, int]
    sold_ids: list[str]
    tickets: int
    seconds: float  # of the round trip that it shared
    reason: str = ""  # why nothing was sold, where the store could not be asked or said no


class SaleDesk:
    """Where every purchase of this process is handed in."""

    def __init__(
        self,
        store: SaleStore,
        *,
        batch_max: int,
        pace_ms: int,
        on_round_trip: Callable[[Sequence[BatchReport]], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._store = store
        self._batch_max = batch_max
        self._pace_s = pace_ms / 1000
        self._on_round_trip = on_round_trip
        self._on_failure = on_failure
        self._gathering = _Waiting()
        self._wake = Signal()
        self._began_s = 0.0
        self._stopping = False
        self._flusher: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """From now on purchases are taken to the store."""
        if self._flusher is None:
            self._flusher = gevent.spawn(self._run)

    def stop(self) -> None:
        """What waits is taken to the store, then no more: who asks later is refused."""
        self._stopping = True
        self._wake.set()
        if self._flusher is not None:
            self._flusher.join()
            self._flusher = None

    def ask(self, seed: str, request: PurchaseRequest) -> SaleReply:
        """The store's reply to one purchase; waits for the round trip that carries it. Never raises a StoreError."""
        if self._stopping:
            return STOPPED
        waiting = self._gathering
        place = len(waiting.requests)
        waiting.requests.append((seed, request))
        if place == 0:
            self._wake.set()
        waiting.done.wait()
        return waiting.replies[place]

    @property
    def too_late_s(self) -> float:
        """From then on (monotonic) no purchase that was sent so far can be sold by the store any more."""
        return self._store.too_late_s

    def _run(self) -> None:
        while not self._stopping or self._gathering.requests:
            self._wake.wait()
            self._wake.clear()
            # At light load a pause makes batches of what would be single calls.
            pause_s = self._began_s + self._pace_s - time.monotonic()
            if pause_s > 0:
                gevent.sleep(pause_s)
            if self._gathering.requests:
                self._flush()

    def _flush(self) -> None:
        waiting, self._gathering = self._gathering, _Waiting()
        self._began_s = time.monotonic()
        try:
            waiting.replies, reports = self._take_to_store(waiting.requests)
        except Exception:  # whatever is wrong with one batch, its callers must not wait for ever, nor the next ones
            logger.exception("a batch failed")
            waiting.replies, reports = [NO_REPLY] * len(waiting.requests), []
        waiting.done.set()
        try:
            self._on_round_trip(reports)
        except Exception:  # a disk that is full of metrics must not end the sale; the outbox has the receipts
            logger.exception("a round trip could not be reported")

    def _take_to_store(self, requests: Sequence[Asked]) -> tuple[list[SaleReply], list[BatchReport]]:
        grouped = list(self._by_event(requests))
        answered = self._store.purchase([batch for _, batch in grouped])
        seconds = time.monotonic() - self._began_s
        replies, reports = [NO_REPLY] * len(requests), []
        for (places, batch), answers in zip(grouped, answered, strict=True):
            for place, answer in zip(places, answers, strict=True):
                replies[place] = answer
            reports.append(_report(batch, answers, seconds))
        if failed := next((report for report in reports if not FAILED.isdisjoint(report.outcomes)), None):
            self._on_failure(failed.reason)
        return replies, reports

    def _by_event(self, requests: Sequence[Asked]) -> Iterator[tuple[list[int], EventBatch]]:
        """The requests an event (and seed), in calls of at most `batch_max`, with their places."""
        grouped: dict[tuple[str, str], list[int]] = {}
        for place, (seed, request) in enumerate(requests):
            grouped.setdefault((request.event_id, seed), []).append(place)
        for (event_id, seed), all_places in grouped.items():
            for first in range(0, len(all_places), self._batch_max):
                places = all_places[first : first + self._batch_max]
                yield places, EventBatch(event_id, seed, [requests[place][1] for place in places])


def _report(batch: EventBatch, replies: Sequence[SaleReply], seconds: float) -> BatchReport:
    outcomes: dict[Outcome, int] = {}
    sold_ids, tickets, reason = [], 0, ""
    for request, reply in zip(batch.requests, replies, strict=True):
        outcome = reply.outcome
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if outcome is Outcome.SOLD:
            sold_ids.append(request.purchase_id)
            tickets += request.quantity
        elif not reason and outcome in WITHOUT_ANSWER:
            reason = reply.detail
    return BatchReport(batch.event_id, len(replies), outcomes, sold_ids, tickets, seconds, reason)
