"""GET /tickets/<purchase_id>: the receipt, or what it is doing. The purchase id is the buyer's secret.

What must stay true: a stored receipt is served without asking the store; nobody learns from here whether a made-up id
exists; nothing of an answer may be kept by a shared cache.
"""

import orjson
from flask import Blueprint, Response, request

from ticketing.api import problems, purchases
from ticketing.model import PurchaseStatus, ReceiptStatus
from ticketing.receipts.status import ReceiptDesk, Standing
from ticketing.receipts.storage import StoredReceipt

RETRY_AFTER_S = "1"
FROM_HERE = "here"
PRIVATE = "private, no-cache"


def blueprint(receipts: ReceiptDesk, redirect_s: int) -> Blueprint:
    """The route. Above 0, `redirect_s` is how long the address is good for that a buyer is sent to."""
    routes = Blueprint("receipts", __name__)

    @routes.get("/tickets/<text:purchase_id>")
    def ticket(purchase_id: str) -> Response:
        wants_json = request.accept_mimetypes.best_match(["application/pdf", "application/json"]) == "application/json"
        if not wants_json and redirect_s and not _wants_it_from_here():
            link = receipts.link(purchase_id, request.method, redirect_s)
            if link is not None:
                return _elsewhere(link)
        if not wants_json and (stored := receipts.stored(purchase_id)) is not None:
            return _pdf(purchase_id, stored)
        standing = receipts.standing(purchase_id)
        if standing is None:
            return problems.respond(problems.unknown_purchase())
        if standing.receipt is ReceiptStatus.FAILED and not wants_json:
            return problems.respond(problems.receipt_failed())
        # A receipt that was stored between the two looks is told as ready; the next poll serves it.
        return _state(purchase_id, standing, wants_json=wants_json)

    return routes


def _wants_it_from_here() -> bool:
    """The page for buyers does, whose policy lets it show nothing of another host; so does who has a copy of ours."""
    return request.args.get(FROM_HERE) == "1" or "If-None-Match" in request.headers


def _elsewhere(link: str) -> Response:
    """To the storage, by an address that nobody may keep and that no other site is told."""
    answer = Response(status=303, headers={"Location": link, "Cache-Control": "no-store", "Vary": "Accept"})
    answer.headers["Referrer-Policy"] = "no-referrer"
    del answer.headers["Content-Type"]
    return answer


def _pdf(purchase_id: str, stored: StoredReceipt) -> Response:
    answer = Response(stored.pdf, content_type="application/pdf")
    # The file's name holds no part of the id that could fetch it again from a shared computer's downloads.
    event_id = purchase_id.partition(".")[0]
    answer.headers["Content-Disposition"] = f'inline; filename="tickets-{event_id}.pdf"'
    answer.headers["Cache-Control"] = PRIVATE
    answer.headers["Vary"] = "Accept"
    # The page for buyers shows it in a frame; no other site may.
    answer.headers["X-Frame-Options"] = "SAMEORIGIN"
    answer.headers["Content-Security-Policy"] = "frame-ancestors 'self'"
    answer.set_etag(stored.etag)
    answer.make_conditional(request)
    return answer


def _state(purchase_id: str, standing: Standing, *, wants_json: bool) -> Response:
    shown: dict[str, object] = {
        "purchase_id": purchase_id,
        "status": standing.status,
        "receipt": {"status": standing.receipt, "url": f"/tickets/{purchase_id}"},
    }
    if wants_json and standing.purchase is not None:
        shown = purchases.view(standing.purchase, standing.receipt)
    known = wants_json and standing.status is PurchaseStatus.SOLD
    answer = Response(orjson.dumps(shown), 200 if known else 202, content_type="application/json")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Vary"] = "Accept"
    if answer.status_code == 202 or standing.receipt is ReceiptStatus.PENDING:
        answer.headers["Retry-After"] = RETRY_AFTER_S
    return answer
