"""GET /events and /events/<event_id>: what is on sale, at most a second old, or the last known with its age."""

from typing import Any

import orjson
from flask import Blueprint, Response, request

from ticketing.api.pace import HEADER, Pace
from ticketing.api.times import rfc3339
from ticketing.errors import BadRequest, Fault, StoreError, Unavailable, UnknownEvent
from ticketing.model import EVENT_ID, EventState
from ticketing.sale.catalogue import Catalogue
from ticketing.store.events import in_order

LIMIT_DEFAULT, LIMIT_MAX = 100, 500
POLLS_PER_S = 50.0  # a process: what open pages are told to keep to, all together


def view(state: EventState, *, store_up: bool) -> dict[str, Any]:
    """An event as the API shows it."""
    event = state.event
    shown: dict[str, Any] = {
        "event_id": event.event_id,
        "name": event.name,
        "venue": event.venue,
        "starts_at": rfc3339(event.starts_at_ms),
        "timezone": event.timezone,
        "accent": event.accent,
        "price": {"amount": event.price_amount, "currency": event.price_currency},
        "sales": {
            "opens_at": None if event.opens_ms is None else rfc3339(event.opens_ms),
            "closes_at": None if event.closes_ms is None else rfc3339(event.closes_ms),
            "state": state.state(state.as_of_ms),
        },
        "limits": {"per_purchase": event.quantity_max, "per_buyer": event.buyer_max or None},
        "issued": state.issued,
        "sold": state.sold,
        "remaining": state.remaining,
    }
    if not store_up:
        shown["as_of"] = rfc3339(state.as_of_ms)
    return shown


def blueprint(catalogue: Catalogue) -> Blueprint:
    """The routes."""
    routes = Blueprint("events", __name__)
    pace = Pace(POLLS_PER_S)

    @routes.get("/events")
    def list_events() -> Response:
        limit = _limit(request.args.get("limit"))
        after = _after(request.args.get("after"))
        states = _states(catalogue)
        if after:
            states = [state for state in states if in_order(state.event.event_id) > in_order(after)]
        page = states[:limit]
        following = f"/events?limit={limit}&after={page[-1].event.event_id}" if len(states) > limit else None
        answer = _json({"events": [view(state, store_up=catalogue.store_up) for state in page], "next": following})
        answer.headers[HEADER] = str(pace.after_s())
        return answer

    @routes.get("/events/<text:event_id>")
    def one_event(event_id: str) -> Response:
        try:
            state = catalogue.find_fresh(event_id)
        except StoreError as error:
            raise Unavailable(str(error)) from error
        if state is None:
            raise UnknownEvent(event_id)
        return _json(view(state, store_up=catalogue.store_up))

    return routes


def _states(catalogue: Catalogue) -> list[EventState]:
    try:
        return catalogue.states()
    except StoreError as error:
        raise Unavailable(str(error)) from error


def _after(text: str | None) -> str:
    if text and EVENT_ID.fullmatch(text) is None:
        raise BadRequest(Fault("after", "must be an event id"))
    return text or ""


def _limit(text: str | None) -> int:
    if not text:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= LIMIT_MAX):
        raise BadRequest(Fault("limit", f"must be a whole number from 1 to {LIMIT_MAX}"))
    return int(text)


def _json(value: object) -> Response:
    return Response(
        orjson.dumps(value), headers={"Cache-Control": "public, max-age=1"}, content_type="application/json"
    )
