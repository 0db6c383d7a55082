"""/admin: what an operator sees and does. Every call needs the admin token, the dashboard too.

What must stay true: the token is compared in constant time; a browser that knows it can't be made to act by another
site; no answer names a purchase.
"""

import hmac
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
import rq_dashboard
from flask import Blueprint, Flask, Response, request
from rq_dashboard import web as dashboard

from ticketing.api import problems
from ticketing.api.bodies import is_json, parse_object, refuse_unknown
from ticketing.errors import BadRequest, Fault, StoreError, Unavailable, UnknownEvent
from ticketing.model import EVENT_ID
from ticketing.operations import Operations
from ticketing.store.queue import SERIALIZER

T = TypeVar("T")

RQ_PATH = "/admin/rq"
ADD_MAX = 1_000_000
SAFE_METHODS = frozenset({"GET", "HEAD"})
SAME_SITE = frozenset({"same-origin", "none"})


def blueprint(operations: Operations, token: str) -> Blueprint:
    """The routes of /admin, apart from the dashboard."""
    routes = Blueprint("admin", __name__, url_prefix="/admin")
    routes.before_request(lambda: refuse_strangers(token))

    @routes.get("/pdf-stats")
    def pdf_stats() -> Response:
        return _json(operations.receipt_stats())

    @routes.post("/cleanup-tickets")
    def cleanup() -> Response:
        older_than_s = _whole_number(_body({"older_than_s"}), "older_than_s", 0, 10**10)
        return _json(operations.cleanup(older_than_s))

    @routes.get("/audit")
    def audit() -> Response:
        return _json(_or_unavailable(operations.audit))

    @routes.post("/receipts/retry")
    def retry() -> Response:
        return _json({"retried": _or_unavailable(operations.retry_failed_receipts)})

    @routes.post("/events/<path:event_id>/pause")
    def pause(event_id: str) -> Response:
        return _json(_or_unavailable(lambda: operations.set_paused(_known_form(event_id), paused=True)))

    @routes.post("/events/<path:event_id>/resume")
    def resume(event_id: str) -> Response:
        return _json(_or_unavailable(lambda: operations.set_paused(_known_form(event_id), paused=False)))

    @routes.post("/events/<path:event_id>/tickets")
    def add(event_id: str) -> Response:
        more = _whole_number(_body({"add"}), "add", 1, ADD_MAX)
        return _json(_or_unavailable(lambda: operations.add_tickets(_known_form(event_id), more)))

    return routes


def refuse_strangers(token: str) -> Response | None:
    """None for whoever holds the admin token; else the answer: 401 without one, 403 with a wrong one."""
    authorization = request.authorization
    given = None
    if authorization is not None:
        given = authorization.token if authorization.type == "bearer" else authorization.password
    if given is None:
        return _problem(problems.of_status(401, {"WWW-Authenticate": 'Basic realm="ticketing", Bearer'}))
    if not hmac.compare_digest(given.encode(), token.encode()):
        return _problem(problems.of_status(403))
    if request.method not in SAFE_METHODS and request.headers.get("Sec-Fetch-Site", "none") not in SAME_SITE:
        return _problem(problems.of_status(403))  # a page of another site, in a browser that knows the password
    return None


def add_dashboard(app: Flask, queue_client: Any, token: str) -> None:
    """rq-dashboard at /admin/rq, on our own client: its own would have no timeout, and connect at each request."""
    board = dashboard.blueprint
    board.before_request_funcs = {None: [lambda: _guard_dashboard(token)]}
    dashboard.config.serializer = SERIALIZER
    # The original shows a job's arguments, which are purchase ids: their buyers' secrets.
    dashboard.serialize_current_job = _current_job
    app.config.from_object(rq_dashboard.default_settings)
    app.config["RQ_DASHBOARD_REDIS_URL"] = ("the queue",)
    app.redis_conn = queue_client  # type: ignore[attr-defined]  # where rq-dashboard looks for it
    app.register_blueprint(board, url_prefix=RQ_PATH)


def _guard_dashboard(token: str) -> Response | None:
    refused = refuse_strangers(token)
    if refused is not None:
        return refused
    changes = request.url_rule is not None and "POST" in (request.url_rule.methods or ())
    if changes and request.method != "POST":
        return _problem(problems.of_status(405, {"Allow": "POST"}))
    return None


def _current_job(job: Any) -> Any:
    if job is None:
        return "idle"
    return {
        "job_id": job.id,
        "description": job.description,
        "created_at": dashboard.serialize_date(job.created_at),
        "call_string": job.description,
    }


def _body(known: set[str]) -> dict[str, Any]:
    body = request.get_data(cache=False)
    if body and not is_json(request.headers.get("Content-Type")):
        raise BadRequest(Fault("Content-Type", "must be application/json"))
    members = parse_object(body)
    refuse_unknown(members, known, "")
    return members


def _whole_number(members: dict[str, Any], name: str, least: int, most: int) -> int:
    value = members.get(name)
    if type(value) is not int or not least <= value <= most:
        raise BadRequest(Fault(f"/{name}", f"must be a whole number from {least} to {most}"))
    return value


def _known_form(event_id: str) -> str:
    if EVENT_ID.fullmatch(event_id) is None:
        raise UnknownEvent
    return event_id


def _or_unavailable(operation: Callable[[], T]) -> T:
    try:
        return operation()
    except StoreError as error:
        raise Unavailable(str(error)) from error


def _json(value: object) -> Response:
    answer = Response(orjson.dumps(value), content_type="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _problem(problem: problems.Problem) -> Response:
    return Response(problem.body(), problem.status, dict(problem.headers), content_type=problems.MEDIA_TYPE)
