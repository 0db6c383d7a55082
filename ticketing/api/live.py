"""/admin/live: the page for the operator, its session, and the one answer a second that all open pages share.

What must stay true: a thousand open pages cost the sale no more than a few: the snapshot is made once a second and sent
as it is, and pages are told to ask less often the more of them there are. No snapshot names a purchase.
"""

import gzip
from typing import Any

import orjson
from flask import Blueprint, Response, request
from markupsafe import escape
from werkzeug.exceptions import RequestEntityTooLarge

from ticketing.api import admin, problems
from ticketing.api.health import Health
from ticketing.api.metrics import known_states
from ticketing.api.pace import HEADER, Pace
from ticketing.api.pages import PAGE_HEADERS, Pages, wants_page
from ticketing.api.rate_limit import TrustedProxies, bucket_of
from ticketing.api.sessions import Sessions, Tries, set_cookie
from ticketing.api.shared_look import SharedLook
from ticketing.api.times import rfc3339
from ticketing.config import Settings
from ticketing.model import EventState
from ticketing.sale.catalogue import Catalogue
from ticketing.telemetry.faults import Faults
from ticketing.telemetry.pulse import Pulse, Reading, history, rates

NO_STORE = {"Cache-Control": "no-store"}
FAULTS_SHOWN = 12
RATE_DECIMALS = 2
POLLS_PER_S = 10.0  # a process
LIVE = "/admin/live"
MISSING, WRONG, TOO_MANY = (
    "Please give the admin token.",
    "This is not the admin token.",
    "Too many wrong tokens from your address. Wait a minute.",
)


def links(settings: Settings) -> dict[str, str]:
    """What there is to look at besides, by its name."""
    known = {"Prometheus": settings.prometheus_url, "Grafana": settings.grafana_url, "Jaeger": settings.jaeger_url}
    return {"Queue": f"{admin.RQ_PATH}/"} | {name: address for name, address in known.items() if address}


class Live:
    """What the page shows, as JSON; the same for all who ask within a second."""

    def __init__(
        self, pulse: Pulse, catalogue: Catalogue, health: Health, faults: Faults, shown_links: dict[str, str]
    ) -> None:
        self._pulse = pulse
        self._catalogue = catalogue
        self._health = health
        self._faults = faults
        self._links = shown_links
        self._shared = SharedLook(self._look)

    def snapshot(self) -> tuple[bytes, bytes]:
        """The JSON text, as it is and zipped."""
        return self._shared.get()

    def _look(self) -> tuple[bytes, bytes]:
        text = orjson.dumps(self.view())
        return text, gzip.compress(text, compresslevel=3)

    def view(self) -> dict[str, Any]:
        """The snapshot, made now."""
        now, states, health = self._pulse.read(), known_states(self._catalogue), self._health.look()
        kept = self._pulse.kept()
        going = rates(kept, now)
        per_event = going.pop("tickets_per_s")
        as_of_ms = max((state.as_of_ms for state in states), default=None)
        return {
            "as_of": None if as_of_ms is None else rfc3339(as_of_ms),
            "status": health["status"],
            "store": health["checks"]["store"],
            "queue": health["checks"]["queue"],
            "receipts": health["checks"]["receipts"],
            "outage": _outage(now, states),
            "web_processes": self._pulse.web_processes(),
            "sale": going | _sums(states, per_event),
            "outcomes": {outcome: int(count) for outcome, count in now.outcomes.items() if count},
            "history": history(kept),
            "events": [_row(state, per_event.get(state.event.event_id, 0.0)) for state in states],
            "faults": self._faults.last(FAULTS_SHOWN),
            "links": self._links,
        }


def _sums(states: list[EventState], per_event: dict[str, float]) -> dict[str, Any]:
    remaining = sum(state.remaining for state in states)
    per_s = sum(per_event.values())
    return {
        "issued": sum(state.issued for state in states),
        "sold": sum(state.sold for state in states),
        "remaining": remaining,
        "tickets_per_s": round(per_s, RATE_DECIMALS),
        "sold_out_in_s": _sold_out_in_s(remaining, per_s),
    }


def _outage(now: Reading, states: list[EventState]) -> dict[str, Any]:
    return {"active": now.outage, **now.levels, "leased_tickets": sum(state.leased for state in states)}


def _row(state: EventState, per_s: float) -> dict[str, Any]:
    return {
        "event_id": state.event.event_id,
        "name": state.event.name,
        "accent": state.event.accent,
        "state": state.state(state.as_of_ms),
        "halted": state.halted,
        "issued": state.issued,
        "sold": state.sold,
        "remaining": state.remaining,
        "leased": state.leased,
        "receipts_pending": state.receipts_pending,
        "receipts_failed": state.receipts_failed,
        "tickets_per_s": round(per_s, RATE_DECIMALS),
        "sold_out_in_s": _sold_out_in_s(state.remaining, per_s),
    }


def _sold_out_in_s(remaining: int, per_s: float) -> int | None:
    """At this rate; None where nothing is left, or so little is sold that the rate is shown as 0."""
    return round(remaining / per_s) if round(per_s, RATE_DECIMALS) > 0 and remaining else None


def blueprint(live: Live, pages: Pages, token: str, sessions: Sessions, proxies: TrustedProxies) -> Blueprint:
    """The routes."""
    routes = Blueprint("live", __name__, url_prefix="/admin")
    tries, pace = Tries(), Pace(POLLS_PER_S)

    @routes.get("/live")
    def page() -> Response:
        refused = admin.refuse_strangers(token, sessions)
        if refused is not None:
            asks = refused.status_code == 401 and wants_page()
            return _login(pages, "", 401) if asks else refused
        session = sessions.find(request) or ""  # the token itself opens the page too, to look at
        csrf_token = sessions.csrf_token(session) if session else ""
        return _page(pages, "live.html", 200, {"csrf": csrf_token})

    @routes.get("/live/data")
    def data() -> Response:
        refused = admin.refuse_strangers(token, sessions)
        if refused is not None:
            return refused
        text, zipped = live.snapshot()
        zips = request.accept_encodings["gzip"] > 0
        headers = NO_STORE | {"Vary": "Accept-Encoding", HEADER: str(pace.after_s())}
        headers |= {"Content-Encoding": "gzip"} if zips else {}
        return Response(zipped if zips else text, headers=headers, content_type="application/json")

    @routes.post("/login")
    def login() -> Response:
        if admin.from_other_site():
            return problems.respond(problems.other_site())
        address = bucket_of(proxies.client_of(request.remote_addr or "", request.headers.get("X-Forwarded-For")))
        wait_s = tries.wait_s(address)
        if wait_s:
            return _login(pages, TOO_MANY, 429, {"Retry-After": str(wait_s)})
        given = _given_token()
        if not given:
            return _login(pages, MISSING, 401)
        if not admin.is_token(given, token):
            tries.count_wrong(address)
            admin.tell_of_wrong_token()
            return _login(pages, WRONG, 403)
        answer = _to_live()
        set_cookie(answer, sessions.open(), secure=request.is_secure)
        return answer

    @routes.post("/logout")
    def logout() -> Response:
        if admin.from_other_site():
            return problems.respond(problems.other_site())
        answer = _to_live()
        set_cookie(answer, "", secure=request.is_secure)
        return answer

    return routes


def _to_live() -> Response:
    return Response(status=303, headers=PAGE_HEADERS | NO_STORE | {"Location": LIVE})


def _given_token() -> str:
    try:
        return request.form.get("token", "").strip()
    except RequestEntityTooLarge:
        return ""


def _login(pages: Pages, warning: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return _page(pages, "login.html", status, {"warning": warning}, headers)


def _page(
    pages: Pages, name: str, status: int, values: dict[str, str], headers: dict[str, str] | None = None
) -> Response:
    """A page with these values in its places, which look like {csrf}."""
    text = pages.page(name).body.decode()
    for place, value in values.items():
        text = text.replace(f"{{{place}}}", str(escape(value)))
    return Response(text, status, PAGE_HEADERS | NO_STORE | (headers or {}), content_type="text/html; charset=utf-8")
