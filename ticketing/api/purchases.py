"""POST /buy/<event_id>: a purchase as a plain function of what was sent, and the Flask route that calls it.

What must stay true: `Purchases.answer` needs no Flask: express_lane.py calls it too, before there is any.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from flask import Blueprint, Response, request
from loguru import logger
from werkzeug.exceptions import RequestEntityTooLarge

from ticketing.api import problems
from ticketing.api.bodies import is_json, parse_key, parse_purchase, read_whole
from ticketing.api.times import rfc3339
from ticketing.errors import (
    BuyerLimit,
    KeyReused,
    NotEnoughTickets,
    NotOnSale,
    PurchaseUnavailable,
    SoldOut,
    TicketingError,
    Unavailable,
    UnknownEvent,
)
from ticketing.model import EVENT_ID, NOBODY, Purchase, ReceiptStatus
from ticketing.receipts.status import ReceiptDesk
from ticketing.sale.counter import Counter
from ticketing.telemetry.answer_counts import AnswerCounts

JSON = "application/json"
ROUTE = "/buy/<text:event_id>"
OUTCOME_OF: dict[type[TicketingError], str] = {
    SoldOut: "sold_out",
    NotEnoughTickets: "not_enough",
    BuyerLimit: "buyer_limit",
    NotOnSale: "not_on_sale",
    KeyReused: "key_reused",
    Unavailable: "unavailable",
    PurchaseUnavailable: "unavailable",
}


class Answer(NamedTuple):
    """What goes back over HTTP, apart from the headers that every answer has."""

    status: int
    body: bytes
    media_type: str
    headers: Mapping[str, str]


def view(purchase: Purchase, receipt: ReceiptStatus) -> dict[str, Any]:
    """A purchase as the API shows it to whoever holds its id."""
    known = {"tickets": purchase.ticket_ids} if purchase.ticket_ids else {}  # they are final only when it is settled
    return {
        "purchase_id": purchase.purchase_id,
        "event_id": purchase.event_id,
        "status": purchase.status,
        "quantity": purchase.quantity,
        **known,
        "sold_at": rfc3339(purchase.sold_at_ms),
        "receipt": {"status": receipt, "url": f"/tickets/{purchase.purchase_id}"},
    }


def of_problem(problem: problems.Problem) -> Answer:
    """A problem as an answer."""
    return Answer(problem.status, problem.body(), problems.MEDIA_TYPE, problem.all_headers())


class Purchases:
    """Answers POST /buy."""

    def __init__(self, counter: Counter, receipts: ReceiptDesk, counts: AnswerCounts) -> None:
        self._counter = counter
        self._receipts = receipts
        self._counts = counts

    def answer(self, event_id: str, content_type: str | None, key: str | None, body: bytes) -> Answer:
        """The answer to one purchase; counts and times it."""
        began_s = time.perf_counter()
        try:
            answer, outcome = self._bought(event_id, content_type, key, body)
        except TicketingError as error:
            outcome = OUTCOME_OF.get(type(error), "invalid")
            answer = of_problem(problems.of_error(error))
        self._counts.answered(outcome, time.perf_counter() - began_s)
        return answer

    def refuse(self, status: int) -> Answer:
        """The answer to what can't be read as a purchase, by its HTTP status; counts it."""
        self._counts.answered("invalid", 0.0)
        return of_problem(problems.of_status(status))

    def _bought(self, event_id: str, content_type: str | None, key: str | None, body: bytes) -> tuple[Answer, str]:
        if EVENT_ID.fullmatch(event_id) is None:
            raise UnknownEvent
        if body and not is_json(content_type):
            return of_problem(problems.of_status(415)), "invalid"
        quantity, buyer = parse_purchase(body, self._counter.quantity_max(event_id)) if body else (1, NOBODY)
        purchase = self._counter.buy(event_id, quantity, buyer, parse_key(key))
        sent = orjson.dumps(view(purchase, self._receipts.receipt_of(purchase)))
        logger.debug("event {}: {} tickets, replayed: {}", event_id, purchase.quantity, purchase.replayed)
        location = {"Location": f"/tickets/{purchase.purchase_id}", "Cache-Control": "no-store"}
        if purchase.replayed:
            return Answer(200, sent, JSON, location | {"Idempotency-Replayed": "true"}), "replayed"
        return Answer(201, sent, JSON, location), purchase.status


def blueprint(purchases: Purchases) -> Blueprint:
    """The route."""
    routes = Blueprint("purchases", __name__)

    @routes.post(ROUTE)
    def buy(event_id: str) -> Response:
        headers = request.headers
        try:
            body = read_whole(request)
        except RequestEntityTooLarge:
            answer = purchases.refuse(413)
        else:
            answer = purchases.answer(event_id, headers.get("Content-Type"), headers.get("Idempotency-Key"), body)
        return Response(answer.body, answer.status, answer.headers, content_type=answer.media_type)

    return routes
