"""The hooks of tracing, each on its own: what is linked to what, what is carried on, and what is kept out of a span."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
import pytest
from loguru import logger
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.sales import a_request
from ticketing.config import Settings
from ticketing.errors import PurchaseUnavailable
from ticketing.model import Outcome, PurchaseRequest, SaleReply
from ticketing.sale.batch import BatchReport, SaleDesk
from ticketing.store.sale import EventBatch
from ticketing.telemetry import tracing, web_traces
from ticketing.telemetry.receipt_traces import ReceiptTraces
from ticketing.telemetry.web_traces import WebTraces

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
REQUEST, TICKETS = "POST /buy/{event_id}", "GET /tickets/{purchase_id}"
SECRET = "what an error's text holds"

Ask = Callable[[str, PurchaseRequest], SaleReply]


def provider_with(exporter: SpanExporter, **settings: Any) -> TracerProvider:
    made = tracing.provider_of(Settings(_env_file=None, **settings), "web")  # type: ignore[call-arg]
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> TracerProvider:
    return provider_with(spans)


@pytest.fixture
def traces(provider: TracerProvider) -> WebTraces:
    return WebTraces(provider)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(sink)


class Shop:
    """A desk whose store sells everything, or does as the test says; asked over WSGI, with tracing around all of it."""

    def __init__(self, traces: WebTraces) -> None:
        self.script: Callable[[PurchaseRequest], SaleReply] = lambda _: SaleReply(Outcome.SOLD)
        self.round_trips = 0
        self.too_late_s = 0.0
        self.in_log: list[str] = []  # whose batches each line would tell of, and the trace id that it would name
        self.purchase = traces.taking(self.purchase)  # type: ignore[method-assign]
        self.desk = SaleDesk(
            self,  # type: ignore[arg-type]
            batch_max=1000,
            pace_ms=0,
            on_round_trip=traces.reporting(self._note),
            on_failure=lambda _: None,
        )
        self._ask = traces.asking(self.desk.ask)
        self._app = traces.answering(self._answer)

    def purchase(self, batches: Sequence[EventBatch]) -> list[list[SaleReply]]:
        self.round_trips += 1
        return [[self.script(request) for request in batch.requests] for batch in batches]

    def buy(self, *requests: PurchaseRequest, **headers: str) -> None:
        """All of them at once, in one batch an event."""
        buyers = [gevent.spawn(self.request, request, **headers) for request in requests]
        gevent.sleep(0)  # each has asked
        self.desk.start()
        gevent.joinall(buyers, timeout=10, raise_error=True)

    def request(self, request: PurchaseRequest, **headers: str) -> None:
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": f"/buy/{request.event_id}", "request": request, **headers}
        list(self._app(environ, lambda *_: None))  # type: ignore[arg-type,return-value]

    def _answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self._ask("seed", environ["request"])
        start_response("201 CREATED", [("X-Request-ID", "r1")])
        return [b""]

    def _note(self, reports: Sequence[BatchReport]) -> None:
        record: dict[str, Any] = {"extra": {}}
        tracing._name_trace(record)  # type: ignore[arg-type]
        told = "+".join(report.event_id for report in reports)
        self.in_log.append(f"{told} {record['extra'].get('trace_id')}")


@pytest.fixture
def shop(traces: WebTraces) -> Iterator[Shop]:
    made = Shop(traces)
    yield made
    made.desk.stop()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def places(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def place(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


def hex_trace(span: ReadableSpan) -> str:
    return trace.format_trace_id(span.context.trace_id)


def test_the_purchases_of_one_batch_are_linked_from_its_one_span_and_each_to_it(
    shop: Shop, spans: InMemorySpanExporter
) -> None:
    shop.buy(*(a_request() for _ in range(1000)))
    [batch] = named(spans, "sale batch")
    requests = named(spans, REQUEST)
    assert shop.round_trips == 1
    assert len({hex_trace(span) for span in requests}) == 1000
    assert sorted(places(batch)) == sorted(place(span) for span in requests)
    assert batch.dropped_links == 0
    assert [places(sale) for sale in named(spans, "sale")] == [[place(batch)]] * 1000
    assert batch.attributes is not None
    assert batch.attributes["ticketing.sold"] == 1000


def test_each_event_of_a_round_trip_has_its_batch_and_its_log_line_names_it(
    shop: Shop, spans: InMemorySpanExporter
) -> None:
    shop.buy(a_request(), a_request(event_id="2"), a_request())
    batches = named(spans, "sale batch")
    assert [(span.attributes or {})["ticketing.event_id"] for span in batches] == ["1", "2"]
    assert [len(span.links) for span in batches] == [2, 1]
    assert shop.in_log == [f"1 {hex_trace(batches[0])}", f"2 {hex_trace(batches[1])}"]


def test_batches_that_are_not_traced_share_a_line(spans: InMemorySpanExporter) -> None:
    shop = Shop(WebTraces(provider_with(spans, otel_traces_sampler="parentbased_always_off")))
    chosen = a_request(event_id="2")
    buyers = [gevent.spawn(shop.request, a_request(event_id=name)) for name in ("1", "3")]
    buyers.append(gevent.spawn(shop.request, chosen, HTTP_TRACEPARENT=SAMPLED))
    gevent.sleep(0)
    shop.desk.start()
    gevent.joinall(buyers, timeout=10, raise_error=True)
    shop.desk.stop()
    [batch] = named(spans, "sale batch")
    assert shop.in_log == [f"2 {hex_trace(batch)}", "1+3 None"]


def test_a_batch_that_failed_says_so(shop: Shop, spans: InMemorySpanExporter) -> None:
    shop.script = lambda _: SaleReply(Outcome.UNKNOWN, SECRET)
    shop.buy(a_request())
    [batch] = named(spans, "sale batch")
    assert not batch.status.is_ok
    assert SECRET not in batch.to_json()


def test_a_store_that_raises_leaves_no_span_open(shop: Shop, spans: InMemorySpanExporter) -> None:
    def broken(_: PurchaseRequest) -> SaleReply:
        raise RuntimeError(SECRET)

    shop.script = broken
    shop.buy(a_request())
    [batch], [sale] = named(spans, "sale batch"), named(spans, "sale")
    assert not batch.status.is_ok
    assert (sale.attributes or {})["ticketing.outcome"] == "unknown"


def test_what_is_not_sampled_is_linked_to_nothing_and_carried_nowhere(spans: InMemorySpanExporter) -> None:
    traces = WebTraces(provider_with(spans, otel_traces_sampler="parentbased_always_off"))
    shop = Shop(traces)
    requests = [a_request() for _ in range(3)]
    shop.buy(*requests)
    shop.desk.stop()
    assert spans.get_finished_spans() == ()
    assert traces.carried([request.purchase_id for request in requests]) is None
    assert shop.in_log == ["1 None"]


def test_a_batch_is_linked_to_those_of_its_purchases_that_are_traced(spans: InMemorySpanExporter) -> None:
    traces = WebTraces(provider_with(spans, otel_traces_sampler="parentbased_always_off"))
    shop = Shop(traces)
    chosen, other = a_request(), a_request()
    buyers = [
        gevent.spawn(shop.request, chosen, HTTP_TRACEPARENT=SAMPLED),
        gevent.spawn(shop.request, other, HTTP_TRACEPARENT=NOT_SAMPLED),
    ]
    gevent.sleep(0)
    shop.desk.start()
    gevent.joinall(buyers, timeout=10, raise_error=True)
    shop.desk.stop()
    [batch], [request] = named(spans, "sale batch"), named(spans, REQUEST)
    assert places(batch) == [place(request)]
    assert (batch.attributes or {})["db.operation.batch.size"] == 2
    carriers = traces.carried([other.purchase_id, chosen.purchase_id])
    assert carriers == [None, {"traceparent": f"00-{TRACE}-{trace.format_span_id(request.context.span_id)}-01"}]
    assert traces.carried([chosen.purchase_id]) is None  # once


def test_a_purchase_that_came_to_nothing_is_not_carried(shop: Shop, traces: WebTraces) -> None:
    request = a_request()
    shop.script = lambda _: SaleReply(Outcome.SOLD_OUT)
    shop.buy(request)
    assert traces.carried([request.purchase_id]) is None


def test_a_purchase_from_the_reserve_is_carried_until_it_is_settled(shop: Shop, traces: WebTraces) -> None:
    request = a_request()
    shop.script = lambda _: SaleReply(Outcome.PROVISIONAL)
    shop.buy(request)
    assert traces.carried([request.purchase_id]) is not None


def test_a_key_that_is_sent_twice_keeps_the_trace_of_the_request_that_bought(shop: Shop, traces: WebTraces) -> None:
    first, again = a_request(purchase_id="1.same"), a_request(purchase_id="1.same")
    shop.script = lambda request: SaleReply(Outcome.SOLD if request is first else Outcome.REPLAYED)
    shop.buy(first, again)
    assert (carriers := traces.carried(["1.same"])) is not None
    assert carriers[0] is not None


def test_what_waits_for_the_queue_is_bounded(shop: Shop, traces: WebTraces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_traces, "CARRIED", 2)
    requests = [a_request() for _ in range(5)]
    shop.buy(*requests)
    carriers = traces.carried([request.purchase_id for request in requests])
    assert carriers is not None
    assert [carrier is not None for carrier in carriers] == [False, False, False, True, True]


def answered_by(traces: WebTraces, app: Any, method: str, path: str, **headers: str) -> None:
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, **headers}
    traces.answering(app)(environ, lambda *_: None)  # type: ignore[arg-type,return-value]


def answer(status: str) -> Any:
    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [])
        return []

    return app


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/buy/1", REQUEST),
        ("POST", "/buy/", REQUEST),
        ("GET", "/tickets/1.0123456789", TICKETS),
        ("GET", "/events", "GET /events"),
        ("GET", "/buy/1", None),
        ("GET", "/metrics", None),
        ("GET", "/health/ready", None),
        ("BREW", "/", None),
        ("OPTIONS", "*", None),
        ("GET", "", None),
    ],
)
def test_a_span_is_named_by_its_route(
    traces: WebTraces, spans: InMemorySpanExporter, method: str, path: str, name: str | None
) -> None:
    answered_by(traces, answer("200 OK"), method, path)
    assert [span.name for span in spans.get_finished_spans()] == ([] if name is None else [name])
    assert all("0123456789" not in span.to_json() for span in spans.get_finished_spans())


@pytest.mark.parametrize(("status", "failed"), [("200 OK", False), ("409 CONFLICT", False), ("503 NO", True)])
def test_only_a_fault_of_the_service_is_an_error(
    traces: WebTraces, spans: InMemorySpanExporter, status: str, failed: bool
) -> None:
    answered_by(traces, answer(status), "POST", "/buy/1")
    [span] = spans.get_finished_spans()
    assert (not span.status.is_ok) is failed
    assert (span.attributes or {})["http.response.status_code"] == int(status[:3])


@pytest.mark.parametrize(
    ("given", "trace_id"),
    [
        (SAMPLED, TRACE),
        (SAMPLED.upper(), None),
        ("00-" + "0" * 32 + f"-{CALLER}-01", None),
        ("ff" + SAMPLED[2:], None),
        ("nonsense, \xe9", None),
        ("", None),
    ],
)
def test_a_traceparent_is_taken_on_where_it_is_one(
    traces: WebTraces, spans: InMemorySpanExporter, given: str, trace_id: str | None
) -> None:
    answered_by(traces, answer("200 OK"), "POST", "/buy/1", HTTP_TRACEPARENT=given, HTTP_TRACESTATE="a=1")
    [span] = spans.get_finished_spans()
    if trace_id is None:
        assert span.parent is None
    else:
        assert hex_trace(span) == trace_id
        assert tracing.carrier_of(trace.NonRecordingSpan(span.context))["tracestate"] == "a=1"


def test_a_tracestate_that_is_too_long_is_not_carried(traces: WebTraces, spans: InMemorySpanExporter) -> None:
    long = ",".join(f"vendor{number}={'x' * 200}" for number in range(5))
    answered_by(traces, answer("200 OK"), "POST", "/buy/1", HTTP_TRACEPARENT=SAMPLED, HTTP_TRACESTATE=long)
    [span] = spans.get_finished_spans()
    assert list(tracing.carrier_of(trace.NonRecordingSpan(span.context))) == ["traceparent"]


def test_an_error_is_named_by_its_type_and_its_text_left_out(traces: WebTraces, spans: InMemorySpanExporter) -> None:
    def ask(seed: str, request: PurchaseRequest) -> SaleReply:
        raise PurchaseUnavailable(SECRET, keyed=False)

    def app(environ: dict[str, Any], _: Any) -> list[bytes]:
        traces.asking(ask)("seed", a_request())
        return []

    with pytest.raises(PurchaseUnavailable):
        answered_by(traces, app, "POST", "/buy/1")
    found = spans.get_finished_spans()
    assert [span.name for span in found] == ["sale", REQUEST]
    for span in found:
        assert (span.attributes or {})["error.type"] == "PurchaseUnavailable"
        assert SECRET not in span.to_json()
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("name", tracing.SAMPLERS)
def test_each_name_of_a_sampler_is_a_setting(name: str) -> None:
    settings = Settings(_env_file=None, otel_traces_sampler=name, otel_traces_sampler_arg=0.5)  # type: ignore[call-arg, arg-type]
    said = tracing.provider_of(settings, "web").sampler.get_description().lower()
    assert said.startswith(("parentbased" if name.startswith("parentbased") else "always", "traceid"))
    assert ("0.5" in said) is name.endswith("ratio")


def receipts_of(spans: InMemorySpanExporter) -> ReceiptTraces:
    return ReceiptTraces(provider_with(spans, otel_traces_sampler="parentbased_always_off"))


def test_a_receipt_continues_its_purchases_trace_and_its_job_is_linked(spans: InMemorySpanExporter) -> None:
    receipts = receipts_of(spans)
    with receipts.job(
        "1",
        ["1.traced-one", "1.not-traced", "1.unsampled"],
        [{"traceparent": SAMPLED}, None, {"traceparent": NOT_SAMPLED}],
    ):
        for purchase_id in ("1.traced-one", "1.not-traced", "1.unsampled"):
            with receipts.receipt(purchase_id):
                pass
    receipt, job = spans.get_finished_spans()
    assert (receipt.name, job.name) == ("receipt", "receipts job")
    assert hex_trace(receipt) == TRACE
    assert receipt.parent is not None
    assert trace.format_span_id(receipt.parent.span_id) == CALLER
    assert [trace.format_trace_id(trace_id) for trace_id, _ in places(job)] == [TRACE]
    assert places(receipt) == [place(job)]
    assert (receipt.attributes or {})["ticketing.purchase"] == "1.traced…"


def test_a_job_that_carries_no_trace_has_none(spans: InMemorySpanExporter) -> None:
    receipts = receipts_of(spans)
    with receipts.job("1", ["1.a"], [None]), receipts.receipt("1.a"):
        pass
    with receipts.job("1", ["1.b"], [{"traceparent": "nonsense"}]), receipts.receipt("1.b"):
        pass
    assert spans.get_finished_spans() == ()


def test_a_receipt_that_fails_says_so_and_the_jobs_others_are_told_apart(spans: InMemorySpanExporter) -> None:
    receipts = receipts_of(spans)
    with receipts.job("1", ["1.a", "1.b"], [{"traceparent": SAMPLED}] * 2):
        with pytest.raises(ValueError, match=SECRET), receipts.receipt("1.a"):
            raise ValueError(SECRET)
        with receipts.receipt("1.b"):
            pass
    failed, stored, job = spans.get_finished_spans()
    assert [span.status.is_ok for span in (failed, stored, job)] == [False, True, True]
    assert (failed.attributes or {})["error.type"] == "ValueError"
    assert SECRET not in failed.to_json()


class Moody(SpanExporter):
    """Takes spans, or does not."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self.result


def test_spans_that_do_not_arrive_are_said_once_and_counted(provider: TracerProvider, logged: list[str]) -> None:
    moody = Moody()
    posting = tracing.Posting(moody)
    some: Any = [None] * 3
    for result in ("SUCCESS", "FAILURE", "FAILURE", "SUCCESS", "SUCCESS"):
        moody.result = SpanExportResult[result]
        assert posting.export(some) is moody.result
    assert logged == [
        "WARNING traces don't arrive at OTEL_EXPORTER_OTLP_ENDPOINT: spans are dropped\n",
        "INFO traces arrive again; 6 spans or more were lost\n",
    ]


def test_an_exit_does_not_wait_for_a_receiver_that_hangs(spans: InMemorySpanExporter) -> None:
    begun, over = threading.Event(), threading.Event()

    class Hanging(InMemorySpanExporter):
        def shutdown(self) -> None:
            begun.set()
            over.wait(60)

    provider = provider_with(Hanging())
    tracing.shut_down(provider, 0.01)
    assert begun.wait(10)
    assert not over.is_set()
    over.set()
