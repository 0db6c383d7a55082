"""What an operator does to a running sale, whoever asks for it: HTTP or the command line.

What must stay true: each deed leaves one line in the log that says who did what, a warning: LOG_LEVEL=ERROR alone hides
it; each is safe to repeat, adding tickets with the number that was issued before.
"""

from dataclasses import asdict
from typing import Any

from loguru import logger

from ticketing.errors import IssuedMismatch, StoreError, UnknownEvent
from ticketing.model import EventState
from ticketing.receipts.storage import Offload, ReceiptStorage, directly, offloaded
from ticketing.sale import audit
from ticketing.store.connection import Store
from ticketing.store.events import EventStore
from ticketing.store.outbox import OutboxStore
from ticketing.store.queue import ReceiptQueue
from ticketing.telemetry.metrics import Exposition, oldest_pending_s, quantile, receipt_counts

RETRY_AT_ONCE = 1_000


def _record(by: str, verb: str, done: str, event_id: str | None = None) -> None:
    of_event = {} if event_id is None else {"event_id": event_id}
    logger.bind(operator=by, verb=verb, **of_event).warning("operator, {}: {}", by, done)


def _refuse_above(issued: int, issued_before: int) -> None:
    if issued_before > issued:
        raise IssuedMismatch(issued)


class Operations:
    """The operator's verbs, and what an operator asks first."""

    def __init__(
        self,
        store: Store,
        events: EventStore,
        outbox: OutboxStore,
        queue: ReceiptQueue,
        files: ReceiptStorage,
        exposition: Exposition,
        offload: Offload = directly,
    ) -> None:
        self._store = store
        self._events = events
        self._outbox = outbox
        self._queue = queue
        self._files = files
        self._exposition = exposition
        self._offload = offload

    def receipt_stats(self) -> dict[str, Any]:
        """Receipts, their storage, how long drawing one takes, and the queue; null what can't be asked."""
        states = self._states_or_none()
        buckets = self._exposition.values("ticketing_receipt_render_seconds_bucket", "le")
        counted = receipt_counts(states or [])
        return {
            "receipts": {**counted, "oldest_pending_s": oldest_pending_s(states or [])} if states is not None else None,
            "storage": self._usage_or_none(),
            "render_s": {"p50": quantile(buckets, 0.5), "p99": quantile(buckets, 0.99)},
            "queue": self._queue_or_none(),
        }

    def cleanup(self, older_than_s: int, *, by: str) -> dict[str, Any]:
        """Delete stored receipts that are older, some thousands at most; their purchases stay. Raises OSError."""
        cleanup = offloaded(self._offload, lambda: self._files.cleanup(older_than_s))
        _record(by, "cleanup", f"{cleanup.deleted} receipts older than {older_than_s} s deleted")
        return asdict(cleanup)

    def audit(self) -> dict[str, Any]:
        """The invariants, checked now. Raises StoreError."""
        # Not whether each receipt's file exists: one that was cleaned up is no fault.
        report = audit.audit(self._store)
        events, violations = map(asdict, report.events), map(asdict, report.violations)
        return {"ok": report.ok, "events": list(events), "violations": list(violations)}

    def retry_failed_receipts(self, *, by: str) -> int:
        """Receipts that were given up are due again; how many. Raises StoreError."""
        retried = 0
        for event_id in self._events.ids():
            while again := self._outbox.retry_failed(event_id, RETRY_AT_ONCE):
                retried += again
        _record(by, "retry", f"{retried} failed receipts are due again")
        return retried

    def set_paused(self, event_id: str, *, paused: bool, by: str) -> dict[str, Any]:
        """The sale of the event is paused, or goes on. Raises UnknownEvent, StoreError."""
        self._events.set_paused(event_id, self._state(event_id).seed, paused)
        verb, done = ("pause", "paused") if paused else ("resume", "taken up")
        _record(by, verb, f"the sale of event {event_id} is {done}", event_id)
        now = self._state(event_id)
        return {"event_id": event_id, "state": now.state(now.as_of_ms)}

    def add_tickets(self, event_id: str, more: int, issued_before: int | None = None, *, by: str) -> dict[str, Any]:
        """`more` tickets are issued beside those there are. Raises UnknownEvent, IssuedMismatch, StoreError.

        With `issued_before` it is safe to repeat: the event then has `issued_before + more` tickets, or more already.
        A number above those that are issued now is refused: it would issue all that lie between.
        Without it a repetition adds them again; where it raises in the middle, `issued` shows what was added.
        """
        state = self._state(event_id)
        if issued_before is None:
            issued = self._events.add_more(event_id, state.seed, state.issued, more)
        else:
            _refuse_above(state.issued, issued_before)
            issued = self._events.add_up_to(event_id, state.seed, state.issued, issued_before + more)
        added = more if issued_before is None else max(0, issued - state.issued)
        _record(by, "add", f"{added} tickets added to event {event_id}, {issued} issued", event_id)
        return {"event_id": event_id, "added": added, "issued": issued}

    def _state(self, event_id: str) -> EventState:
        states = self._events.read([event_id])
        if not states:
            raise UnknownEvent(event_id)
        return states[0]

    def _states_or_none(self) -> list[EventState] | None:
        try:
            return self._events.read(self._events.ids())
        except StoreError:
            return None

    def _usage_or_none(self) -> dict[str, Any] | None:
        try:
            return asdict(offloaded(self._offload, self._files.usage))
        except OSError:  # the bucket's or the disk's
            return None

    def _queue_or_none(self) -> dict[str, Any] | None:
        try:
            level = self._queue.level()
        except StoreError:
            return None
        return {"depth": level.depth, "workers": level.workers}
