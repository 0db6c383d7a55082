"""What a receipt worker says in traces: a span a job, linked to its purchases, and one a receipt, in its purchase's.

What must stay true: only what the queue carried is traced. A purchase whose job came from the sweeper (its web process
or its job died, or the queue was away) has a trace that ends with the sale.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanKind

from ticketing.telemetry import tracing
from ticketing.telemetry.logs import short
from ticketing.telemetry.tracing import Carrier, context_of, current


class ReceiptTraces:
    """The traces of one receipt worker, which does one job at a time."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("ticketing")
        self._purchases: dict[str, Context] = {}  # of the job that is under way, by purchase id

    @contextmanager
    def job(self, event_id: str, purchase_ids: Sequence[str], carriers: Sequence[Carrier | None]) -> Iterator[None]:
        """While this lasts a job is under way, with what the queue carried for each of its purchases."""
        found = {
            purchase_id: context_of(carrier)
            for purchase_id, carrier in zip(purchase_ids, carriers, strict=False)
            if carrier
        }
        self._purchases = {purchase_id: purchase for purchase_id, purchase in found.items() if _is_traced(purchase)}
        if not self._purchases:
            yield
            return
        links = [Link(trace.get_current_span(purchase).get_span_context()) for purchase in self._purchases.values()]
        span = self._tracer.start_span("receipts job", Context(), SpanKind.CONSUMER, links=links)
        span.set_attributes(
            {
                "messaging.system": "rq",
                "messaging.operation.type": "process",
                "messaging.batch.message_count": len(purchase_ids),
                "ticketing.event_id": event_id,
            }
        )
        with current(span):
            yield

    @contextmanager
    def receipt(self, purchase_id: str) -> Iterator[None]:
        """While this lasts one receipt is drawn and stored."""
        purchase = self._purchases.get(purchase_id)
        if purchase is None:
            yield
            return
        span = self._tracer.start_span("receipt", purchase)
        span.set_attribute("ticketing.purchase", short(purchase_id))
        span.add_link(trace.get_current_span().get_span_context())
        with current(span):
            yield

    def shut_down(self, within_s: float) -> None:
        """What waits was sent, if the receiver took it within this time."""
        tracing.shut_down(self._provider, within_s)


def _is_traced(purchase: Context) -> bool:
    return trace.get_current_span(purchase).get_span_context().trace_flags.sampled
