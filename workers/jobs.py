"""The RQ jobs, by the dotted names that the queue knows: thin, they hand on to the renderer of this process."""

from functools import cache
from typing import TYPE_CHECKING

from ticketing import config
from workers.rendering import Rendering, build

if TYPE_CHECKING:  # OpenTelemetry is imported only where traces are on
    from ticketing.telemetry.receipt_traces import ReceiptTraces

TRACES_END_S = 2.0


def render_receipts(event_id: str, purchase_ids: list[str], traces: list[dict[str, str] | None] | None = None) -> None:
    """Every receipt of these purchases that is still due is stored afterwards, or stays in the outbox.

    `traces` are the purchases' W3C trace contexts, from a web process that traces them.
    """
    if (tracing := _tracing()) is None or traces is None:
        _rendering().render(event_id, purchase_ids)
    else:
        with tracing.job(event_id, purchase_ids, traces):
            _rendering().render(event_id, purchase_ids)


def warm_up() -> None:
    """What the first job would have to wait for is done."""
    _rendering().warm_up()


def end() -> None:
    """What the jobs have left to say is said."""
    if (tracing := _tracing()) is not None:
        tracing.shut_down(TRACES_END_S)


@cache
def _rendering() -> Rendering:
    tracing = _tracing()
    return build(config.load()) if tracing is None else build(config.load(), tracing.receipt)


@cache
def _tracing() -> "ReceiptTraces | None":
    settings = config.load()
    if not settings.otel_exporter_otlp_endpoint:
        return None
    from ticketing.telemetry import receipt_traces, tracing

    return receipt_traces.ReceiptTraces(tracing.set_up(settings, "receipts"))
