"""What a web process says in traces: a span a request, one for its sale, and one a batch, linked to its requests'.

What must stay true: each hook wraps a function that is whole without it, so that where tracing is off none of this
exists; what is not traced (not sampled) passes through at once; what is remembered for the queue is bounded.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from ticketing.model import EVENT_ID, Outcome, PurchaseRequest, SaleReply
from ticketing.telemetry import tracing
from ticketing.telemetry.logs import short
from ticketing.telemetry.tracing import Carrier, carrier_of, context_of, current

CARRIED = 10_000  # purchases whose receipts are not enqueued yet; of older ones the trace ends with the sale
NEW = frozenset({Outcome.SOLD, Outcome.PROVISIONAL})  # what a receipt is enqueued for by this process
FAILED = frozenset({Outcome.UNKNOWN, Outcome.REFUSED, Outcome.SCRIPT_FAILED, Outcome.NODE_FAILED, Outcome.NODE_AWAY})
# What is traced, by method and first part of the path. A path itself is never said: it may hold a purchase id.
ROUTES = {
    ("POST", "buy"): "/buy/{event_id}",
    ("GET", "tickets"): "/tickets/{purchase_id}",
    ("GET", "events"): "/events",
}

Ask = Callable[[str, PurchaseRequest], SaleReply]
Purchase = Callable[[Sequence[Any]], list[list[SaleReply]]]
Report = Callable[[Sequence[Any]], None]


class Batch(Protocol):
    """Purchases of one event that go in one script call."""

    @property
    def event_id(self) -> str:
        """Whose tickets they are."""

    @property
    def requests(self) -> Sequence[PurchaseRequest]:
        """What is asked for: the very objects that the sale was asked with."""


class WebTraces:
    """The hooks of one web process, each a function around one of the service's."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("ticketing")
        self._asked: dict[int, tuple[Span, SpanContext]] = {}  # a sale's span and its request's, by id(request)
        self._sold: dict[str, Carrier] = {}  # by purchase id, oldest first
        self._flushed: deque[tuple[str, Span | None]] = deque()  # the batches of the last round trip

    def answering(self, app: WSGIApplication) -> WSGIApplication:
        """`app` with a span a request. It ends with the answer's head: a body may be a file that is sent later."""

        def traced(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            span = self._request_span(environ)
            if span is None:
                return app(environ, start_response)
            with current(span):
                return app(environ, _telling(span, start_response) if span.is_recording() else start_response)

        return traced

    def asking(self, ask: Ask) -> Ask:
        """`ask` with a span for each sale of a request that is traced, until it is known what became of it."""

        def traced(seed: str, request: PurchaseRequest) -> SaleReply:
            request_span = trace.get_current_span()
            if not request_span.is_recording():
                return ask(seed, request)
            carrier = self._carry(request.purchase_id, request_span)
            outcome = None
            try:
                with self._sale(request, request_span) as span:
                    reply = ask(seed, request)
                    span.set_attribute("ticketing.outcome", str(reply.outcome))
                outcome = reply.outcome
            finally:
                if outcome not in NEW and self._sold.get(request.purchase_id) is carrier:
                    del self._sold[request.purchase_id]
            return reply

        return traced

    def taking(self, purchase: Purchase) -> Purchase:
        """`purchase`, one round trip, with a span for each batch in it that holds a traced request."""

        def traced(batches: Sequence[Batch]) -> list[list[SaleReply]]:
            self._flushed.clear()
            if not self._asked:
                return purchase(batches)
            spans = [self._batch_span(batch) for batch in batches]
            replies: list[list[SaleReply]] = [[]] * len(batches)
            try:
                replies = purchase(batches)
            finally:
                for span, batch, answers in zip(spans, batches, replies, strict=True):
                    self._flushed.append((batch.event_id, span))
                    if span is not None:
                        _end_batch(span, answers)
            return replies

        return traced

    def reporting(self, on_round_trip: Report) -> Report:
        """`on_round_trip`, told of each traced batch by itself, in its trace: the log line about it names that."""

        def traced(reports: Sequence[Any]) -> None:
            untraced = []
            for report in reports:
                event_id, span = self._flushed.popleft() if self._flushed else ("", None)
                if span is None or event_id != report.event_id:
                    untraced.append(report)
                    continue
                with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                    on_round_trip([report])
            if untraced:
                on_round_trip(untraced)

        return traced

    def carried(self, purchase_ids: Sequence[str]) -> list[Carrier | None] | None:
        """What the queue carries along for these purchases; None where none of them is traced. Forgotten then."""
        if not self._sold:
            return None
        carriers = [self._sold.pop(purchase_id, None) for purchase_id in purchase_ids]
        return carriers if any(carriers) else None

    def shut_down(self, within_s: float) -> None:
        """What waits was sent, if the receiver took it within this time."""
        tracing.shut_down(self._provider, within_s)

    def _request_span(self, environ: WSGIEnvironment) -> Span | None:
        method = environ["REQUEST_METHOD"]
        _, _, path = environ["PATH_INFO"].partition("/")
        first, _, rest = path.partition("/")
        route = ROUTES.get((method, first))
        if route is None:
            return None
        span = self._tracer.start_span(f"{method} {route}", _parent(environ), SpanKind.SERVER)
        if span.is_recording():
            span.set_attributes({"http.request.method": method, "http.route": route})
            event_id = rest.partition(".")[0]
            if EVENT_ID.fullmatch(event_id) is not None:
                span.set_attribute("ticketing.event_id", event_id)
        return span

    def _carry(self, purchase_id: str, span: Span) -> Carrier:
        """Before it is sold: the batch may be enqueued before its buyer's greenlet runs again."""
        carrier = carrier_of(span)
        self._sold.setdefault(purchase_id, carrier)
        if len(self._sold) > CARRIED:
            del self._sold[next(iter(self._sold))]
        return carrier

    @contextmanager
    def _sale(self, request: PurchaseRequest, request_span: Span) -> Iterator[Span]:
        """While this lasts the sale is asked for, perhaps in several batches."""
        span = self._tracer.start_span("sale")
        span.set_attributes(
            {
                "ticketing.event_id": request.event_id,
                "ticketing.purchase": short(request.purchase_id),
                "ticketing.quantity": request.quantity,
            }
        )
        self._asked[id(request)] = span, request_span.get_span_context()
        try:
            with current(span):
                yield span
        finally:
            del self._asked[id(request)]

    def _batch_span(self, batch: Batch) -> Span | None:
        traced = [self._asked[id(request)] for request in batch.requests if id(request) in self._asked]
        if not traced:
            return None
        links = [Link(request_context) for _, request_context in traced]
        span = self._tracer.start_span("sale batch", Context(), SpanKind.CLIENT, links=links)
        span.set_attributes(
            {
                "db.system.name": "redis",
                "db.operation.name": "EVALSHA",
                "db.operation.batch.size": len(batch.requests),
                "ticketing.event_id": batch.event_id,
            }
        )
        for sale, _ in traced:
            sale.add_link(span.get_span_context())
        return span


def _parent(environ: WSGIEnvironment) -> Context:
    if "HTTP_TRACEPARENT" not in environ:
        return Context()
    given = {"traceparent": environ["HTTP_TRACEPARENT"], "tracestate": environ.get("HTTP_TRACESTATE", "")}
    return context_of(given)


def _telling(span: Span, start_response: StartResponse) -> StartResponse:
    """`start_response`, which tells the span as well what was answered."""

    def telling(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        code = int(status[:3])
        span.set_attribute("http.response.status_code", code)
        if code >= 500:
            span.set_status(Status(StatusCode.ERROR))
        for name, value in headers:
            if name == "X-Request-ID":
                span.set_attribute("ticketing.request_id", value)
        return start_response(status, headers, exc_info)

    return telling


def _end_batch(span: Span, replies: Sequence[SaleReply]) -> None:
    span.set_attribute("ticketing.sold", sum(reply.outcome is Outcome.SOLD for reply in replies))
    if not replies or any(reply.outcome in FAILED for reply in replies):
        span.set_status(Status(StatusCode.ERROR))
    span.end()
