"""What an answer of the service means to a buyer: one kind for each, and what is wrong with it.

What must stay true: an answer that the contract does not have is an error, whatever its status; a kind says all that
the closing table tells apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

RETRY_AFTER_DEFAULT_S = 1.0
RETRY_AFTER_MOST_S = 30.0


class Kind(StrEnum):
    """What came back. The last three are no answers of the service."""

    LOOKED = "looked"  # the event's page
    SOLD = "sold"
    REPLAYED = "replayed"
    PROVISIONAL = "provisional"
    SOLD_OUT = "sold_out"
    NOT_ENOUGH = "not_enough"
    UNAVAILABLE = "unavailable"  # a 503: ask again
    RECEIPT_PENDING = "receipt_pending"
    RECEIPT = "receipt"
    ERROR = "error"
    DROPPED = "dropped"  # the buyer broke the connection before the answer, on purpose
    KNOWS = "buyer_knows"  # from the first try to the answer that counts, retries and waits included
    RECEIPT_HELD = "receipt_held"  # from the purchase's answer to the PDF in the buyer's hand


BOUGHT = frozenset({Kind.SOLD, Kind.REPLAYED, Kind.PROVISIONAL})
REFUSALS = {"/problems/sold-out": Kind.SOLD_OUT, "/problems/not-enough-tickets": Kind.NOT_ENOUGH}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as the buyer understands it."""

    kind: Kind
    wrong: str = ""  # what is wrong with an error
    retry_after_s: float = RETRY_AFTER_DEFAULT_S
    purchase: Mapping[str, Any] | None = None


def of_purchase(status: int, headers: Mapping[str, str], body: bytes, event_id: str, quantity: int) -> Answer:
    """What POST /buy answered to this purchase."""
    if status in {200, 201}:
        return _bought(status, body, event_id, quantity)
    if status == 503:
        return Answer(Kind.UNAVAILABLE, retry_after_s=retry_after_s(headers))
    problem = _json(body).get("type", "")
    if status == 409 and problem in REFUSALS:
        return Answer(REFUSALS[problem])
    return Answer(Kind.ERROR, f"POST /buy: {status} {problem}".rstrip())


def of_receipt(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What GET /tickets answered."""
    if status == 200:
        is_pdf = body.startswith(b"%PDF-")
        return Answer(Kind.RECEIPT) if is_pdf else Answer(Kind.ERROR, "GET /tickets: 200, and no PDF")
    if status == 303:  # it is in a bucket, whole; fetching it from there is no work of the service
        return Answer(Kind.RECEIPT)
    if status == 202:
        return Answer(Kind.RECEIPT_PENDING, retry_after_s=retry_after_s(headers))
    problem = _json(body).get("type", "")
    if status == 503 and problem != "/problems/receipt-failed":
        return Answer(Kind.UNAVAILABLE, retry_after_s=retry_after_s(headers))
    return Answer(Kind.ERROR, f"GET /tickets: {status} {problem}".rstrip())


def of_look(status: int, event_id: str, body: bytes) -> Answer:
    """What GET /events/<event_id> answered."""
    right = status == 200 and _json(body).get("event_id") == event_id
    return Answer(Kind.LOOKED) if right else Answer(Kind.ERROR, f"GET /events: {status}")


def same(bought: Mapping[str, Any], again: Mapping[str, Any]) -> bool:
    """Whether both are told of one purchase; one that is provisional has no tickets yet."""
    tickets = [one["tickets"] for one in (bought, again) if "tickets" in one]
    return bought["purchase_id"] == again.get("purchase_id") and tickets[1:] in ([], tickets[:1])


def retry_after_s(headers: Mapping[str, str]) -> float:
    """How long the service asks to wait; a second where it does not say, and half a minute at most."""
    said = str(headers.get("retry-after") or "")
    return min(float(said), RETRY_AFTER_MOST_S) if said.isascii() and said.isdecimal() else RETRY_AFTER_DEFAULT_S


def _bought(status: int, body: bytes, event_id: str, quantity: int) -> Answer:
    purchase = _json(body)
    provisional = purchase.get("status") == "provisional"
    tickets = purchase.get("tickets", [])
    if purchase.get("event_id") != event_id or purchase.get("quantity") != quantity or not purchase.get("purchase_id"):
        return Answer(Kind.ERROR, f"POST /buy: {status}, and another purchase than was asked for")
    if len(tickets) != (0 if provisional else quantity):
        return Answer(Kind.ERROR, f"POST /buy: {status} {purchase.get('status')} with {len(tickets)} tickets")
    if status == 200:
        return Answer(Kind.REPLAYED, purchase=purchase)
    return Answer(Kind.PROVISIONAL if provisional else Kind.SOLD, purchase=purchase)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
