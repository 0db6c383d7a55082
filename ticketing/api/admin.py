"""/admin: what an operator sees and does. Every call needs the admin token, the dashboard too.

What must stay true: the token is compared in constant time; a browser that knows it can't be made to act by another
site; no answer names a purchase.
"""

import hmac
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import orjson
from flask import Blueprint, Flask, Response, g, request
from loguru import logger
from werkzeug.exceptions import NotFound, UnsupportedMediaType

from ticketing.api import problems
from ticketing.api.bodies import is_json, parse_object, read_whole, refuse_unknown
from ticketing.api.dashboard import default_settings
from ticketing.api.dashboard import web as dashboard
from ticketing.api.sessions import Sessions
from ticketing.errors import BadRequest, Fault, StoreError, Unavailable, UnknownEvent
from ticketing.model import EVENT_ID
from ticketing.operations import Operations
from ticketing.store.connection import as_store_errors
from ticketing.store.queue import SERIALIZER, NoSuchJob, ShownWorker
from ticketing.telemetry.logs import BY_STRANGERS, Throttle

T = TypeVar("T")

RQ_PATH = "/admin/rq"
SHOWN_OF_A_HEADER = 100
ADD_MAX = 1_000_000
ISSUED_MAX = 1_000_000_000
# Its pages have their scripts within, and templates that are compiled where they are shown.
DASHBOARD_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SAFE_METHODS = frozenset({"GET", "HEAD"})
SAME_SITE = frozenset({"same-origin", "none"})
REGISTRIES = frozenset({"queued", "failed", "deferred", "started", "finished", "scheduled", "canceled"})
PURCHASE_ID = re.compile(rb"(?<![A-Za-z0-9_-])([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])")

_strangers = Throttle()


def blueprint(operations: Operations, token: str, sessions: Sessions) -> Blueprint:
    """The routes of /admin, apart from the dashboard and the page for the operator."""
    routes = Blueprint("admin", __name__, url_prefix="/admin")
    routes.before_request(lambda: refuse_strangers(token, sessions))

    @routes.get("/pdf-stats")
    def pdf_stats() -> Response:
        return _json(operations.receipt_stats())

    @routes.post("/cleanup-tickets")
    def cleanup() -> Response:
        older_than_s = _whole_number(_body({"older_than_s"}), "older_than_s", 0, 10**10)
        return _json(operations.cleanup(older_than_s, by=caller()))

    @routes.get("/audit")
    def audit() -> Response:
        return _json(_or_unavailable(operations.audit))

    @routes.post("/receipts/retry")
    def retry() -> Response:
        return _json({"retried": _or_unavailable(lambda: operations.retry_failed_receipts(by=caller()))})

    @routes.post("/events/<text:event_id>/pause")
    def pause(event_id: str) -> Response:
        return _json(_or_unavailable(lambda: operations.set_paused(_known_form(event_id), paused=True, by=caller())))

    @routes.post("/events/<text:event_id>/resume")
    def resume(event_id: str) -> Response:
        return _json(_or_unavailable(lambda: operations.set_paused(_known_form(event_id), paused=False, by=caller())))

    @routes.post("/events/<text:event_id>/tickets")
    def add(event_id: str) -> Response:
        members = _body({"add", "issued"})
        more = _whole_number(members, "add", 1, ADD_MAX)
        before = _whole_number(members, "issued", 0, ISSUED_MAX) if "issued" in members else None
        return _json(_or_unavailable(lambda: operations.add_tickets(_known_form(event_id), more, before, by=caller())))

    return routes


def refuse_strangers(token: str, sessions: Sessions, *, of_dashboard: bool = False) -> Response | None:
    """None for whoever holds the admin token, or a session; else the answer: 401 without one, 403 with a wrong one."""
    given = _given_token()
    if given is None and (session := sessions.find(request)) is not None:
        return _refuse_other_pages(sessions, session, of_dashboard=of_dashboard)
    if given is None:
        return problems.respond(problems.of_status(401, {"WWW-Authenticate": 'Basic realm="ticketing", Bearer'}))
    if not is_token(given, token):
        tell_of_wrong_token()
        return problems.respond(problems.of_status(403))
    if request.method not in SAFE_METHODS and from_other_site():
        return problems.respond(problems.other_site())
    return None


def tell_of_wrong_token() -> None:
    """A line in the log, and not more of them than strangers may cause."""
    if _strangers.admits():
        line = logger.bind(**{BY_STRANGERS: True})
        line.warning("{} {} was refused: another admin token, {}", request.method, request.url_rule, caller())


def caller() -> str:
    """Who asks, for the log: the other end of the connection, what a proxy says of it, and the request's id."""
    peer, told = request.remote_addr, request.headers.get("X-Forwarded-For", "")
    # Printable, and short: what a stranger sends stands in a line of ours.
    told = "".join(filter(str.isprintable, told[-SHOWN_OF_A_HEADER:]))
    return f"{peer}{f' for {told}' if told else ''}, request {g.request_id}"


def _refuse_other_pages(sessions: Sessions, session: str, *, of_dashboard: bool) -> Response | None:
    """A cookie goes with whatever a browser sends: what changes something must come from a page of this session."""
    if request.method in SAFE_METHODS:
        return None
    if from_other_site() or not (of_dashboard or sessions.has_csrf_token(request, session)):
        return problems.respond(problems.other_site())
    # The dashboard's own pages know of no token: its browser must say that one of them asks.
    if of_dashboard and not {"Sec-Fetch-Site", "Origin"} & set(request.headers.keys()):
        return problems.respond(problems.other_site())
    return None


def is_token(given: str, token: str) -> bool:
    """Whether it is the admin token, in a time that does not tell how nearly."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _given_token() -> str | None:
    """What stands for the token in the request: as it was sent (werkzeug's parser takes `a=b` for a parameter)."""
    scheme, _, rest = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and rest:
        return rest.strip()
    try:
        basic = request.authorization
    except ValueError:  # werkzeug's, for bytes beyond ASCII: no Basic, like all else that can't be decoded
        return None
    return basic.password or None if basic is not None else None


def from_other_site() -> bool:
    """Whether a browser, which may know the password, was made to ask this by a page of another site."""
    fetch_site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if fetch_site is not None:
        return fetch_site not in SAME_SITE
    return origin is not None and origin.partition("://")[2] != request.host  # browsers of before 2023


def add_dashboard(app: Flask, queue_client: Any, token: str, sessions: Sessions) -> None:
    """rq-dashboard at /admin/rq, on our own client: its own would have no timeout, and connect at each request."""
    board = dashboard.blueprint
    board.before_request_funcs = {None: [lambda: _guard_dashboard(token, sessions)]}
    board.after_request_funcs = {None: [_without_purchase_ids, _kept_close]}
    dashboard.config.serializer = SERIALIZER
    # The original shows a job's arguments, which are purchase ids: their buyers' secrets.
    dashboard.serialize_current_job = _current_job
    dashboard.Worker = ShownWorker
    dashboard.RedisConnectionError = ()  # one of its views would answer 200 while the queue is away; see below
    app.config.from_object(default_settings)
    app.config["RQ_DASHBOARD_REDIS_URL"] = ("the queue",)
    app.redis_conn = queue_client  # type: ignore[attr-defined]  # where rq-dashboard looks for it
    app.register_blueprint(board, url_prefix=RQ_PATH)
    for endpoint, view in app.view_functions.items():
        if endpoint.startswith(f"{board.name}."):
            app.view_functions[endpoint] = _with_our_errors(view)


def _guard_dashboard(token: str, sessions: Sessions) -> Response | None:
    refused = refuse_strangers(token, sessions, of_dashboard=True)
    if refused is not None:
        return refused
    changes = request.url_rule is not None and "POST" in (request.url_rule.methods or ())
    if changes and request.method != "POST":
        return problems.respond(problems.of_status(405, {"Allow": "POST"}))
    if not _names_a_page(request.view_args or {}):
        raise NotFound
    return None


def _names_a_page(names: dict[str, Any]) -> bool:
    """Whether rq-dashboard's view can make something of its path: it takes what it is given for granted."""
    numbers = [str(names[name]) for name in ("page", "per_page") if name in names]
    counted = all(text.isascii() and text.isdecimal() and 0 < int(text) < 10_000 for text in numbers)
    return counted and names.get("registry_name", "queued") in REGISTRIES


def _with_our_errors(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view, with the answers of ours where the queue is away (503) or knows no such job (404)."""

    @wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            with as_store_errors():
                return view(*args, **kwargs)
        except NoSuchJob:
            raise NotFound from None

    return answer


def _without_purchase_ids(response: Response) -> Response:
    """A failed job's traceback may name a purchase; what is shown of it fetches no receipt."""
    if response.mimetype == "application/json":
        response.set_data(PURCHASE_ID.sub(rb"\1.(hidden)", response.get_data()))
    return response


def _kept_close(response: Response) -> Response:
    """No cache keeps a page or its data, and a page talks to this service alone."""
    if response.mimetype == "text/html":
        response.headers["Content-Security-Policy"] = DASHBOARD_POLICY
    if request.endpoint != f"{dashboard.blueprint.name}.static":
        response.headers["Cache-Control"] = "no-store"
    return response


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
    body = read_whole(request)
    if body and not is_json(request.headers.get("Content-Type")):
        raise UnsupportedMediaType
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
