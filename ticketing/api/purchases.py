"""POST /buy/<event_id>: a purchase as a plain function of what was sent, and the Flask route that calls it.

What must stay true: `Purchases.answer` needs no Flask: express_lane.py calls it too, before there is any.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from flask import Blueprint, Response, g, request
from loguru import logger
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from ticketing.api import problems
from ticketing.api.bodies import is_json, parse_key, parse_purchase, read_whole
from ticketing.api.rate_limit import RateLimit
from ticketing.api.times import rfc3339
from ticketing.errors import (
    BadQuantity,
    BadRequest,
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
from ticketing.model import NOBODY, QUANTITY_MAX, Buyer, Purchase, ReceiptStatus, is_event_id
from ticketing.receipts.status import ReceiptDesk
from ticketing.sale.counter import Counter
from ticketing.telemetry.answer_counts import AnswerCounts
from ticketing.telemetry.logs import Shortened, Throttle

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
    lines: str  # these headers, the body's type and length, as they are sent: every value is ours


def answer_of(status: int, body: bytes, media_type: str, headers: Mapping[str, str]) -> Answer:
    """An answer, its header lines made: some answers are made once and sent often."""
    own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    lines = f"{own}Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
    return Answer(status, body, media_type, headers, lines)


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
    return answer_of(problem.status, problem.body(), problems.MEDIA_TYPE, problem.all_headers())


@lru_cache(maxsize=QUANTITY_MAX)
def _of_sold_out(requested: int) -> Answer:
    """Made once: after the last ticket nearly every answer is this one."""
    return of_problem(problems.of_error(SoldOut(requested)))


class Purchases:
    """Answers POST /buy."""

    def __init__(
        self,
        counter: Counter,
        receipts: ReceiptDesk,
        counts: AnswerCounts,
        limit: RateLimit | None = None,
        *,
        says_all: bool = False,
    ) -> None:
        """`says_all`: a line a purchase. It costs a little even where nobody writes it."""
        self._counter = counter
        self._receipts = receipts
        self._counts = counts
        self._limit = limit
        self._says_all = says_all
        self._troubles = Throttle()

    def answer(
        self, event_id: str, content_type: str | None, key: str | None, body: bytes, request_id: str = ""
    ) -> Answer:
        """The answer to one purchase; counts, times and logs it, under the request's id."""
        began_s = time.perf_counter()
        trouble = None  # and not the error itself, which would hold this frame that holds it: a cycle an answer
        try:
            answer, outcome = self._bought(event_id, content_type, key, body)
        except TicketingError as error:
            outcome = OUTCOME_OF.get(type(error), "invalid")
            answer = _of_sold_out(error.requested) if type(error) is SoldOut else of_problem(problems.of_error(error))
            if isinstance(error, Unavailable):
                trouble = str(error)
        except Exception:  # whoever called answers 500 and logs it; nobody else counts it
            self._counts.answered("failed", time.perf_counter() - began_s)
            raise
        took_s = time.perf_counter() - began_s
        self._counts.answered(outcome, took_s)
        if self._says_all or trouble is not None:
            location = answer.headers.get("Location", "")
            self._log(event_id, outcome, location.rpartition("/")[2], trouble, took_s, request_id)
        return answer

    def turned_away(self, environ: Mapping[str, Any]) -> Answer | None:
        """The answer to a client that asks too often, before anything is read of what it sent; None to all others.

        `environ` is WSGI's: it has the address at the other end of the connection, and the header X-Forwarded-For.
        """
        if self._limit is None:
            return None
        wait_s = self._limit.wait_s(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR"))
        if not wait_s:
            return None
        self._counts.answered("rate_limited")
        return of_problem(problems.rate_limited(wait_s))

    def refuse(self, status: int) -> Answer:
        """The answer to what can't be read as a purchase, by its HTTP status; counts it."""
        self._counts.answered("invalid")
        return of_problem(problems.of_status(status))

    def _log(
        self,
        event_id: str,
        outcome: str,
        purchase_id: str,
        trouble: str | None,
        took_s: float,
        request_id: str,
    ) -> None:
        """A line a purchase for who looks closely; and one, in any case, where the refusal is a fault on our side.

        Of a refusal that the buyer caused nothing but its name: its text may repeat what the buyer sent.
        """
        level, reason = "DEBUG", ""
        if trouble is not None:
            level, reason = "WARNING" if self._troubles.admits() else "DEBUG", f": {trouble}"
        logger.log(
            level,
            "event {event_id}: {outcome} {purchase} in {duration_ms:.1f} ms, request {request_id}{}",
            reason,
            event_id=event_id if is_event_id(event_id) else "?",
            outcome=outcome,
            purchase=Shortened(purchase_id),
            duration_ms=took_s * 1000,
            request_id=request_id,
        )

    def _bought(self, event_id: str, content_type: str | None, key: str | None, body: bytes) -> tuple[Answer, str]:
        if not is_event_id(event_id):
            raise UnknownEvent
        if body and not is_json(content_type):
            return of_problem(problems.of_status(415)), "invalid"
        quantity, buyer = self._parsed(event_id, body) if body else (1, NOBODY)
        if key is None and self._counter.is_sold_out(event_id):
            return _of_sold_out(quantity), "sold_out"
        purchase = self._counter.buy(event_id, quantity, buyer, parse_key(key))
        sent = orjson.dumps(view(purchase, self._receipts.receipt_of(purchase)))
        location = {"Location": f"/tickets/{purchase.purchase_id}", "Cache-Control": "no-store"}
        if purchase.replayed:
            return answer_of(200, sent, JSON, location | {"Idempotency-Replayed": "true"}), "replayed"
        return answer_of(201, sent, JSON, location), purchase.status

    def _parsed(self, event_id: str, body: bytes) -> tuple[int, Buyer]:
        """What is asked for. An unknown event comes before a bad body, whose answer tells what the event allows."""
        try:
            return parse_purchase(body)
        except BadRequest as error:
            limit = self._counter.quantity_max(event_id)
            if isinstance(error, BadQuantity):
                raise BadQuantity(limit) from None
            raise


def blueprint(purchases: Purchases) -> Blueprint:
    """The route."""
    routes = Blueprint("purchases", __name__)

    @routes.post(ROUTE)
    def buy(event_id: str) -> Response:
        headers = request.headers
        answer = purchases.turned_away(request.environ)
        if answer is None:
            try:
                body = read_whole(request)
            except RequestEntityTooLarge:
                answer = purchases.refuse(413)
            except UnsupportedMediaType:
                answer = purchases.refuse(415)
            else:
                answer = purchases.answer(
                    event_id, headers.get("Content-Type"), headers.get("Idempotency-Key"), body, g.request_id
                )
        return Response(answer.body, answer.status, answer.headers, content_type=answer.media_type)

    return routes
