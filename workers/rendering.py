"""From a job to stored files: read what is due, draw it, store it, take it out of the outbox.

What must stay true: a receipt leaves the outbox only after its file is in its place; one that can't be drawn keeps no
other from being drawn; a file whose purchase was voided meanwhile is deleted. While storage is away no try is counted:
a receipt is given up for what is wrong with it, not for an outage of the bucket.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from loguru import logger
from prometheus_client import CollectorRegistry

from ticketing.config import Settings
from ticketing.errors import ReceiptsAway, StoreError, UnknownEvent
from ticketing.model import Event
from ticketing.receipts.opening import storage_of
from ticketing.receipts.seal import Sealer
from ticketing.receipts.storage import ReceiptStorage
from ticketing.store.connection import StoreClock
from ticketing.store.events import EventStore
from ticketing.store.opening import store_of
from ticketing.store.outbox import DueReceipt, OutboxStore
from ticketing.store.queue import JobTimeout
from ticketing.store.sale import Versions
from ticketing.telemetry.logs import short
from ticketing.telemetry.metrics import DELAY_BUCKETS_S, ReceiptMetrics
from workers.receipt_pdf import ReceiptRenderer

KINDS_SAID = 100
WARM_EVENTS = 20  # compiling a page takes about 80 ms
EVENT_FRESH_S = 1.0  # a change of an event shows on receipts that are drawn this much later

Watch = Callable[[str], AbstractContextManager[object]]  # around the making of one purchase's receipt


@dataclass(frozen=True, slots=True)
class _Put:
    """A receipt that was drawn, on its way into storage."""

    receipt: DueReceipt
    began_s: float
    outcome: "Future[None]"

    def is_stored(self) -> bool:
        """Whether it is by now. One that has not begun never will be."""
        return not self.outcome.cancel() and self.outcome.done() and self.outcome.exception() is None


class Rendering:
    """Draws and stores the receipts of this process's jobs."""

    def __init__(
        self,
        events: EventStore,
        outbox: OutboxStore,
        files: ReceiptStorage,
        renderer: ReceiptRenderer,
        metrics: ReceiptMetrics,
        watch: Watch = nullcontext,
    ) -> None:
        self._events = events
        self._outbox = outbox
        self._files = files
        self._renderer = renderer
        self._metrics = metrics
        self._watch = watch
        self._clock = StoreClock()  # this host's may be minutes off
        self._known: dict[str, tuple[float, Event]] = {}
        self._said: set[str] = set()  # kinds of failures whose traceback was logged

    def render(self, event_id: str, purchase_ids: list[str]) -> None:
        """What is due of these is stored afterwards, if storage takes it. Raises UnknownEvent, StoreError."""
        try:
            self._files.check()
        except ReceiptsAway:  # it has said so; the sweeper enqueues these again
            return
        began_s = time.perf_counter()
        event = self._event(event_id)
        due = self._outbox.begin(event_id, list(dict.fromkeys(purchase_ids)))  # twice in a job is one try
        puts: list[_Put] = []
        stored: list[DueReceipt] = []
        try:
            for receipt in due:
                if (put := self._begin(event, receipt)) is not None:
                    puts.append(put)
            for put in puts:
                self._await(put)
        finally:  # a job whose time is over keeps what it has stored
            stored = [put.receipt for put in puts if put.is_stored()]
            if stored:
                self._finish(event_id, stored)
            if due:
                logger.info(
                    "event {event_id}: {stored} receipts stored, {} not, in {duration_ms:.1f} ms",
                    len(due) - len(stored),
                    event_id=event_id,
                    stored=len(stored),
                    duration_ms=(time.perf_counter() - began_s) * 1000,
                )

    def warm_up(self) -> None:
        """The pages of the first events are compiled, so that their first buyers need not wait for it.

        A page that can't be compiled keeps neither this worker from starting nor the other pages from being ready.
        """
        try:
            states = self._events.read(self._events.ids()[:WARM_EVENTS])
        except StoreError as error:
            logger.warning("the events can't be read yet: {}", error)
            return
        for state in states:
            try:
                self._renderer.prepare(state.event)
            except Exception as error:  # the receipts of this event will tell the same, one by one
                logger.opt(exception=error).error("event {}: its page can't be compiled", state.event.event_id)

    def _finish(self, event_id: str, stored: list[DueReceipt]) -> None:
        voided = self._outbox.finish(event_id, [receipt.purchase.purchase_id for receipt in stored])
        try:
            self._files.delete_all(voided)  # while they were drawn: what holds no ticket has no receipt
        except ReceiptsAway as error:  # such a receipt is served in an outage of the store alone
            logger.error("{} receipts of voided purchases are left behind: {}", len(voided), error)
        self._observe_delay(stored)

    def _begin(self, event: Event, due: DueReceipt) -> "_Put | None":
        """The receipt is drawn, and stored or on its way."""
        began_s = time.perf_counter()
        try:
            with self._watch(due.purchase.purchase_id):
                pdf = self._renderer.render(event, due.purchase, due.contact)
                return _Put(due, began_s, self._files.put_soon(due.purchase.purchase_id, pdf))
        except JobTimeout:  # the job's time is over, not this receipt's fault: RQ must see it
            raise
        except Exception as error:  # whatever one receipt does, the job's others are drawn; the outbox has it again
            self._say_failed(due.purchase.purchase_id, error)
            return None

    def _await(self, put: "_Put") -> None:
        try:
            put.outcome.result()
        except JobTimeout:
            raise
        except ReceiptsAway:
            return
        except Exception as error:
            self._say_failed(put.receipt.purchase.purchase_id, error)
            return
        self._metrics.render.observe(time.perf_counter() - put.began_s)

    def _say_failed(self, purchase_id: str, error: Exception) -> None:
        """The whole traceback once a kind of error and worker: a fault of an event's page fails its every receipt."""
        kind = f"{type(error).__name__}: {error}"
        traceback = None if kind in self._said else error
        if len(self._said) < KINDS_SAID:
            self._said.add(kind)
        logger.opt(exception=traceback).error("the receipt of {} failed: {}", short(purchase_id), kind)

    def _observe_delay(self, stored: Iterable[DueReceipt]) -> None:
        """Not of an old receipt that was drawn again after a cleanup: nobody had waited for it since the sale."""
        now_ms = self._clock.best_ms()
        for receipt in stored:
            delay_s = max(0, now_ms - receipt.purchase.sold_at_ms) / 1000
            if delay_s <= DELAY_BUCKETS_S[-1] or receipt.first_try:
                self._metrics.delay.observe(delay_s)

    def _event(self, event_id: str) -> Event:
        read_at_s, event = self._known.get(event_id, (0.0, None))
        if event is None or time.monotonic() - read_at_s > EVENT_FRESH_S:
            states = self._events.read([event_id])
            if not states:
                raise UnknownEvent(event_id)
            event = states[0].event
            self._clock.saw(states[0].as_of_ms)
            self._known[event_id] = (time.monotonic(), event)
        return event


def build(settings: Settings, watch: Watch = nullcontext) -> Rendering:
    """The rendering of these settings. Connects with the first job."""
    store = store_of(settings, connections=2)
    metrics = ReceiptMetrics(CollectorRegistry())
    return Rendering(
        EventStore(store, Versions()),
        OutboxStore(
            store,
            tries=settings.receipt_tries,
            retry_base_ms=settings.receipt_retry_base_ms,
            on_given_up=lambda _: metrics.failed.inc(),
        ),
        storage_of(settings),
        ReceiptRenderer(Sealer(settings.signing_key)),
        metrics,
        watch,
    )
