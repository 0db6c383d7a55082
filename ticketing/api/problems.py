"""One table: from an error to the RFC 9457 problem that the caller gets.

What must stay true: a problem says what the caller can do about it, and nothing of the inside.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from flask import Response
from loguru import logger

from ticketing.api.times import rfc3339
from ticketing.errors import (
    BadBuyer,
    BadKey,
    BadQuantity,
    BadRequest,
    BuyerLimit,
    IssuedMismatch,
    KeyReused,
    NotEnoughTickets,
    NotOnSale,
    PurchaseUnavailable,
    SoldOut,
    TicketingError,
    Unavailable,
    UnknownEvent,
)
from ticketing.telemetry.logs import Throttle

MEDIA_TYPE = "application/problem+json"


_bugs = Throttle()


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, ready to be sent."""

    kind: str  # the last part of its type, a stable URI reference
    status: int
    title: str
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The JSON text."""
        return orjson.dumps(
            {
                "type": f"/problems/{self.kind}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
                **self.members,
            }
        )

    def all_headers(self) -> dict[str, str]:
        """Its headers; no cache may keep a problem, since it tells of one moment."""
        return {"Cache-Control": "no-store", **self.headers}


# What Flask and werkzeug refuse by themselves, by HTTP status.
BY_STATUS: dict[int, tuple[str, str, str]] = {
    400: ("malformed-request", "Malformed request", "The request can't be understood."),
    401: ("unauthorized", "Unauthorized", "This call needs the admin token."),
    403: ("forbidden", "Forbidden", "This is not the admin token."),
    404: ("not-found", "Not found", "There is nothing at this path."),
    405: ("method-not-allowed", "Method not allowed", "This path does not know this method; see Allow."),
    413: ("body-too-large", "Body too large", "A body may have 16 KiB."),
    415: ("unsupported-media-type", "Unsupported media type", "Send JSON, with Content-Type: application/json."),
    414: ("uri-too-long", "URI too long", "The request line is longer than this server reads."),
    417: ("expectation-failed", "Expectation failed", "This server meets no such expectation."),
    431: ("headers-too-large", "Headers too large", "The headers are more than this server reads."),
    500: ("internal-error", "Internal error", "Something failed here; the request id finds it in the log."),
    501: ("not-implemented", "Not implemented", "This server does not know that transfer coding."),
    503: ("temporarily-unavailable", "Temporarily unavailable", "The service can't answer now. Try again soon."),
}


def respond(problem: Problem) -> Response:
    """A problem as Flask's answer."""
    return Response(problem.body(), problem.status, problem.all_headers(), content_type=MEDIA_TYPE)


def of_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem of a bare HTTP status; 500 for one that is not in the table."""
    kind, title, detail = BY_STATUS.get(status, BY_STATUS[500])
    return Problem(kind, status if status in BY_STATUS else 500, title, detail, {}, headers or {})


def of_bug(error: Exception, method: str, route: object, request_id: str) -> Problem:
    """The problem of a fault of ours; what failed is in the log, under the request's id, and nowhere else.

    Whoever has found one could fill the log with it: not each is told.
    """
    if _bugs.admits():
        logger.opt(exception=error).error("{} {} failed, request {request_id}", method, route, request_id=request_id)
    return of_status(500)


def other_site() -> Problem:
    """A browser was sent here by a page of somebody else, and holds the admin token."""
    return Problem("forbidden", 403, "Forbidden", "Another site's page may not ask for this.")


def not_ready() -> Problem:
    """This process can't sell now."""
    kind, title, _ = BY_STATUS[503]
    return Problem(kind, 503, title, "This process can't sell now; GET /health says why.", {}, {"Retry-After": "1"})


def rate_limited(wait_s: int) -> Problem:
    """This client asks more often than it may; after so many seconds it may again."""
    detail = "Too many purchases were asked for from this address. Nothing was sold by this call."
    return Problem("rate-limited", 429, "Rate limited", detail, {}, {"Retry-After": str(wait_s)})


def unknown_purchase() -> Problem:
    """No purchase of this id, or none any more."""
    return Problem("unknown-purchase", 404, "Unknown purchase", "There is no purchase of this id.")


def receipt_failed() -> Problem:
    """The receipt was given up after its last try."""
    detail = "The receipt could not be made. The purchase stands; the operator can have it made again."
    return Problem("receipt-failed", 503, "Receipt failed", detail, {}, {"Retry-After": "60"})


def _malformed(error: BadRequest) -> Problem:
    return _bad("malformed-request", "Malformed request", error)


def _bad(kind: str, title: str, error: BadRequest, **members: Any) -> Problem:
    errors = [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.faults]
    return Problem(kind, 400, title, str(error), {"errors": errors, **members})


def _bad_quantity(error: BadQuantity) -> Problem:
    return _bad("invalid-quantity", "Invalid quantity", error, limit=error.limit)


def _bad_buyer(error: BadBuyer) -> Problem:
    return _bad("invalid-buyer", "Invalid buyer", error)


def _bad_key(error: BadKey) -> Problem:
    return _bad("invalid-idempotency-key", "Invalid idempotency key", error)


def _unknown_event(_: UnknownEvent) -> Problem:
    return Problem("unknown-event", 404, "Unknown event", "There is no event of this id.")


def _sold_out(error: SoldOut) -> Problem:
    members = {"remaining": error.remaining, "requested": error.requested}
    return Problem("sold-out", 409, "Sold out", "No tickets are left.", members)


def _not_enough(error: NotEnoughTickets) -> Problem:
    detail = f"Only {error.remaining} tickets are left; a purchase is all or nothing."
    members = {"remaining": error.remaining, "requested": error.requested}
    return Problem("not-enough-tickets", 409, "Not enough tickets", detail, members)


def _buyer_limit(error: BuyerLimit) -> Problem:
    detail = f"One buyer may hold {error.limit} tickets of this event."
    return Problem("buyer-limit", 409, "Buyer limit", detail, {"limit": error.limit, "held": error.held})


def _not_on_sale(error: NotOnSale) -> Problem:
    opens_at = None if error.opens_at_ms is None else rfc3339(error.opens_at_ms)
    detail = f"The sale of this event is {error.state}."
    return Problem("not-on-sale", 409, "Not on sale", detail, {"state": error.state, "opens_at": opens_at})


def _key_reused(_: KeyReused) -> Problem:
    detail = "This idempotency key stands for another purchase of this event: use a new key for a new purchase."
    return Problem("idempotency-key-reused", 422, "Idempotency key reused", detail)


def _issued_mismatch(error: IssuedMismatch) -> Problem:
    detail = f"`issued` must be the number before, and only {error.issued} tickets are issued now. None was added."
    return Problem("issued-mismatch", 409, "Issued mismatch", detail, {"issued": error.issued})


def _purchase_unavailable(error: PurchaseUnavailable) -> Problem:
    kind, title, _ = BY_STATUS[503]
    of_key = "It is not known yet whether this was bought. Repeat it with the same key, which buys it once."
    without = "This call holds no ticket: what it may have begun is undone. Try again soon."
    detail = of_key if error.keyed else without
    return Problem(kind, 503, title, detail, {}, {"Retry-After": str(math.ceil(error.retry_after_s))})


def _unavailable(error: Unavailable) -> Problem:
    return of_status(503, {"Retry-After": str(math.ceil(error.retry_after_s))})


TABLE: dict[type[TicketingError], Callable[[Any], Problem]] = {
    BadQuantity: _bad_quantity,
    BadBuyer: _bad_buyer,
    BadKey: _bad_key,
    BadRequest: _malformed,
    UnknownEvent: _unknown_event,
    SoldOut: _sold_out,
    NotEnoughTickets: _not_enough,
    BuyerLimit: _buyer_limit,
    NotOnSale: _not_on_sale,
    KeyReused: _key_reused,
    IssuedMismatch: _issued_mismatch,
    PurchaseUnavailable: _purchase_unavailable,
    Unavailable: _unavailable,
}


def of_error(error: TicketingError) -> Problem:
    """The problem of an error of ours; an error that has no row is an internal one."""
    make = TABLE.get(type(error))
    return make(error) if make is not None else of_status(503, {"Retry-After": "1"})
