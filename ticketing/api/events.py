"""GET /events and /events/<event_id>: what is on sale, at most a second old, or the last known with its age."""

import gzip
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
PAGES_MAX = 64
ZIPPED_FROM_BYTES = 1000
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
    shared = _SharedPages(catalogue)

    @routes.get("/events")
    def list_events() -> Response:
        limit = _limit(request.args.get("limit"))
        after = _after(request.args.get("after"))
        answer = shared.answer(limit, after)
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
        return _answer(orjson.dumps(view(state, store_up=catalogue.store_up)))

    return routes


class _SharedPages:
    """Pages of events, each made once for all who ask for it, until the catalogue is read again."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._as_of = catalogue.as_of
        self._made: dict[tuple[int, str], bytes] = {}
        self._zipped: dict[tuple[int, str], bytes] = {}

    def answer(self, limit: int, after: str) -> Response:
        """The page, zipped for whoever reads that where it is long. Raises Unavailable."""
        states = _states(self._catalogue)  # reads them again where they are a second old
        if self._as_of != self._catalogue.as_of or len(self._made) > PAGES_MAX:
            self._as_of = self._catalogue.as_of
            self._made, self._zipped = {}, {}
        name = limit, after
        if name not in self._made:
            self._made[name] = _page(states, limit, after, store_up=self._catalogue.store_up)
        body = self._made[name]
        zips = len(body) > ZIPPED_FROM_BYTES and request.accept_encodings["gzip"] > 0
        if zips and name not in self._zipped:
            self._zipped[name] = gzip.compress(body, compresslevel=3)
        answer = _answer(self._zipped[name] if zips else body)
        if zips:
            answer.headers["Content-Encoding"] = "gzip"
        answer.vary.add("Accept-Encoding")
        return answer


def _page(states: list[EventState], limit: int, after: str, *, store_up: bool) -> bytes:
    if after:
        states = [state for state in states if in_order(state.event.event_id) > in_order(after)]
    page = states[:limit]
    following = f"/events?limit={limit}&after={page[-1].event.event_id}" if len(states) > limit else None
    return orjson.dumps({"events": [view(state, store_up=store_up) for state in page], "next": following})


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


def _answer(body: bytes) -> Response:
    return Response(body, headers={"Cache-Control": "public, max-age=1"}, content_type="application/json")
