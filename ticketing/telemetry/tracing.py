"""Traces: OpenTelemetry set up for one process. Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set.

What must stay true: it is set up after the fork, and under gevent after the patch, so that the thread which posts spans
is a greenlet there; a receiver that is away or hangs costs spans, and nothing else: the queue is bounded, a post has a
time limit, an exit waits no longer than it says; no span holds a buyer's data or a purchase id that fetches a receipt.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loguru import logger
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from ticketing.config import Settings

if TYPE_CHECKING:
    from loguru import Record

Carrier = dict[str, str]  # the W3C headers of one span: traceparent, and tracestate where there is one

WAITING_SPANS = 2048
SPANS_A_POST = 128  # encoding them keeps a gevent hub busy for about 4 ms
POST_EVERY_MS = 1_000
POST_TIMEOUT_S = 2.0
LINKS_A_SPAN = 1_000  # as many as BATCH_MAX allows; OpenTelemetry's own limit is 128
STATE_CHARACTERS = 512  # what W3C asks to carry on of a tracestate

SAMPLERS: dict[str, Callable[[float], Sampler]] = {
    "always_on": lambda _: ALWAYS_ON,
    "always_off": lambda _: ALWAYS_OFF,
    "traceidratio": TraceIdRatioBased,
    "parentbased_always_on": lambda _: ParentBased(ALWAYS_ON),
    "parentbased_always_off": lambda _: ParentBased(ALWAYS_OFF),
    "parentbased_traceidratio": lambda ratio: ParentBased(TraceIdRatioBased(ratio)),
}

_w3c = TraceContextTextMapPropagator()


def set_up(settings: Settings, part: str) -> TracerProvider:
    """The provider whose spans go to the receiver; from now on each log line names the trace in which it was written.

    End it with `shut_down`: nothing is registered to run at the exit, where it would wait half a minute.
    """
    endpoint = settings.otel_exporter_otlp_endpoint.rstrip("/") + "/v1/traces"
    # Its own lines would be one a post, or one a span that is dropped; what matters is said here.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = provider_of(settings, part)
    provider.add_span_processor(
        BatchSpanProcessor(
            Posting(OTLPSpanExporter(endpoint, timeout=POST_TIMEOUT_S)),
            max_queue_size=WAITING_SPANS,
            schedule_delay_millis=POST_EVERY_MS,
            max_export_batch_size=SPANS_A_POST,
        )
    )
    logger.configure(patcher=_name_trace)
    logger.info("traces are on, sampled by {}", provider.sampler.get_description())
    return provider


def provider_of(settings: Settings, part: str) -> TracerProvider:
    """A provider that samples as the settings say; its spans go nowhere yet."""
    resource = Resource.create(
        {"service.name": f"ticketing-{part}", "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    )
    sampler = SAMPLERS[settings.otel_traces_sampler](settings.otel_traces_sampler_arg)
    limits = SpanLimits(max_links=LINKS_A_SPAN)
    return TracerProvider(LinkedSampler(sampler), resource, shutdown_on_exit=False, span_limits=limits)


def shut_down(provider: TracerProvider, within_s: float) -> None:
    """What waits was sent, if the receiver took it within this time."""
    ending = threading.Thread(target=provider.shutdown, daemon=True)
    ending.start()
    ending.join(within_s)


def carrier_of(span: trace.Span) -> Carrier:
    """What another process needs to go on with the span's trace."""
    carrier: Carrier = {}
    _w3c.inject(carrier, trace.set_span_in_context(span, Context()))
    if len(carrier.get("tracestate", "")) > STATE_CHARACTERS:
        del carrier["tracestate"]
    return carrier


def context_of(carrier: Carrier) -> Context:
    """The context that was carried here; an empty one where it can't be read."""
    return _w3c.extract(carrier, Context())


@contextmanager
def current(span: trace.Span) -> Iterator[None]:
    """While this lasts all that is begun belongs to the span; then it ends, and says by what kind of error it failed.

    The error's text and traceback may hold what a span must not.
    """
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__name__)
            raise


class LinkedSampler(Sampler):
    """Decides on all spans as `other` does, but takes each that begins with links: only traced spans are linked to."""

    def __init__(self, other: Sampler) -> None:
        self._other = other

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision."""
        if links:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._other.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """The other's."""
        return self._other.get_description()


class Posting(SpanExporter):
    """Sends spans by `inner`, and says once when they no longer arrive and once when they do again."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Whether they arrived."""
        result = self._inner.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                logger.warning("traces don't arrive at OTEL_EXPORTER_OTLP_ENDPOINT: spans are dropped")
            self._lost += len(spans)
        elif self._lost:
            logger.info("traces arrive again; {} spans or more were lost", self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Nothing more is sent."""
        self._inner.shutdown()


def _name_trace(record: "Record") -> None:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record["extra"]["trace_id"] = trace.format_trace_id(context.trace_id)
