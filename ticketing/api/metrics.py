"""GET /metrics: Prometheus text, or JSON for people and scripts that ask for it.

What must stay true: it stays quick while thousands buy: the store and the processes' counters are read at most once
a second for it, however many ask.
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ticketing.api.shared_look import SharedLook
from ticketing.errors import StoreError
from ticketing.model import EventState
from ticketing.sale.catalogue import Catalogue
from ticketing.store.leases import Settled
from ticketing.telemetry.metrics import PURCHASE_OUTCOMES, Exposition, Levels, receipt_counts

HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}


def blueprint(exposition: Exposition, catalogue: Catalogue, halted: Callable[[], Iterable[str]]) -> Blueprint:
    """The route. `halted`: the events that this process knows to be halted."""
    routes = Blueprint("metrics", __name__)

    def levels() -> Levels:
        return Levels(known_states(catalogue), store_up=catalogue.store_up, halted=halted())

    text = SharedLook(lambda: exposition.text(levels()))
    shown = SharedLook(lambda: orjson.dumps(as_json(exposition, known_states(catalogue), store_up=catalogue.store_up)))

    @routes.get("/metrics")
    def metrics() -> Response:
        if _wants_json():
            return Response(shown.get(), headers=HEADERS, content_type="application/json")
        return Response(text.get(), headers=HEADERS, content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes


def known_states(catalogue: Catalogue) -> list[EventState]:
    """The events as far as they are known; none before the store first answered."""
    try:
        return catalogue.states()
    except StoreError:
        return []


def as_json(exposition: Exposition, states: list[EventState], *, store_up: bool) -> dict[str, Any]:
    """The JSON form of the metrics."""
    counted = exposition.values("ticketing_purchases_total", "outcome")
    by_status = exposition.values("flask_http_request_total", "status")
    settled = exposition.values("ticketing_settled_total", "outcome")
    failed = sum(count for status, count in by_status.items() if status.startswith("5"))
    return {
        "events": [
            {
                "event_id": state.event.event_id,
                "issued": state.issued,
                "sold": state.sold,
                "remaining": state.remaining,
            }
            for state in states
        ],
        "tickets_sold": sum(state.sold for state in states),
        "tickets_remaining": sum(state.remaining for state in states),
        "purchases": {outcome: int(counted.get(outcome, 0)) for outcome in PURCHASE_OUTCOMES},
        "errors": int(failed + counted.get("unavailable", 0)),
        "receipts": receipt_counts(states),
        "outage": {
            "active": not store_up or _gauge(exposition, "ticketing_outage") > 0,
            "outages": int(_gauge(exposition, "ticketing_outages_total")),
            "reserve_tickets": int(_gauge(exposition, "ticketing_reserve_tickets")),
            "leased_tickets": sum(state.leased for state in states),
            "journal_unsettled": int(_gauge(exposition, "ticketing_journal_unsettled")),
            "settled": {str(outcome): int(settled.get(outcome, 0)) for outcome in Settled},
        },
    }


def _gauge(exposition: Exposition, name: str) -> float:
    """A sample without labels of its own, 0 where no process has it yet."""
    return sum(exposition.values(name, "").values())


def _wants_json() -> bool:
    if "format" in request.args:
        return request.args["format"] == "json"
    return request.accept_mimetypes.best_match(["text/plain", "application/json"]) == "application/json"
