"""The service that is loaded: what it says of itself, over HTTP; and one of our own, started for a run.

What must stay true: calls go to the host that was given, past any proxy of the environment and along no redirect; a
service that was started here is ended here, with its folder.
"""

import http.client
import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import run_module
from tests.service import ADMIN_TOKEN, Service

TIMEOUT_S = 30.0
AUDIT_TIMEOUT_S = 300.0
POLL_S = 0.5


class TargetError(Exception):
    """The service can't be asked, or says no."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: the redirect itself is the answer."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the service's audit found."""

    ok: bool
    violations: tuple[str, ...]
    sold: Mapping[str, int]
    issued: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Receipts:
    """The service's receipts, by what they are doing."""

    ready: int
    pending: int
    failed: int


@dataclass(frozen=True, slots=True)
class Target:
    """A running service."""

    host: str  # http://name:port, no path
    admin_token: str = field(default="", repr=False)
    exclusive: bool = False  # nobody else buys there
    audit_files: Callable[[], str] | None = (
        None  # what a look at the receipts' files found wrong, where that is possible
    )

    def events(self) -> dict[str, dict[str, Any]]:
        """Every event, by its id. Raises TargetError."""
        listed: dict[str, dict[str, Any]] = {}
        path = "/events?limit=500"
        while path:
            page = self._get(path)
            listed |= {event["event_id"]: event for event in page["events"]}
            path = page["next"] or ""
        return listed

    def event(self, event_id: str) -> dict[str, Any]:
        """One event. Raises TargetError."""
        found: dict[str, Any] = self._get(f"/events/{event_id}")
        return found

    def receipts(self) -> Receipts:
        """How many are ready, pending and failed. Raises TargetError."""
        return Receipts(**self._get("/metrics?format=json")["receipts"])

    def audit(self) -> Audit | None:
        """What the audit finds now; None without an admin token. Raises TargetError."""
        if not self.admin_token:
            return None
        found = self._get("/admin/audit", AUDIT_TIMEOUT_S)
        violations = [f"event {one['event_id']}: {one['detail']}" for one in found["violations"]]
        if self.audit_files is not None and (wrong := self.audit_files()):
            violations.append(wrong)
        events: list[dict[str, Any]] = found["events"]
        return Audit(
            bool(found["ok"]) and not violations,
            tuple(violations),
            {event["event_id"]: event["sold"] for event in events},
            {event["event_id"]: event["issued"] for event in events},
        )

    def pause(self, event_id: str) -> None:
        """Nobody can buy of this event any more. Raises TargetError."""
        self._call("POST", f"/admin/events/{event_id}/pause", TIMEOUT_S)

    def wait_for_receipts(self, pending: int, deadline_s: float) -> Iterator[Receipts]:
        """How they stand, again and again, until no more than so many are pending or the time is over."""
        until_s = time.monotonic() + deadline_s
        while True:
            now = self.receipts()
            yield now
            if now.pending <= pending or time.monotonic() > until_s:
                return
            time.sleep(POLL_S)

    def _get(self, path: str, timeout_s: float = TIMEOUT_S) -> Any:
        return self._call("GET", path, timeout_s)

    def _call(self, method: str, path: str, timeout_s: float) -> Any:
        headers = {"Authorization": f"Bearer {self.admin_token}"} if path.startswith("/admin") else {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
        request = urllib.request.Request(self.host + path, headers=headers, method=method)
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise TargetError(f"{method} {self.host}{path}: {error.code}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TargetError(f"{method} {self.host}{path}: {error}") from None


@contextmanager
def started(pools: Mapping[str, int], connections: int, web_workers: int) -> Iterator[Target]:
    """A service of our own, on free ports, with these events and so many tickets each."""
    folder = Path(tempfile.mkdtemp(prefix="ticketing-load-"))
    service = Service(folder, WEB_WORKERS=web_workers, WORKER_CONNECTIONS=connections + 100, LOG_LEVEL="WARNING")
    try:
        service.start()
        service.seed(dict(pools))
        yield Target(service.url, ADMIN_TOKEN, exclusive=True, audit_files=lambda: _audit_files(service))
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _audit_files(service: Service) -> str:
    """What `python -m ticketing audit --receipts` complains of."""
    done = run_module(
        "ticketing",
        "audit",
        "--receipts",
        data_dir=service.data_dir,
        deadline_s=AUDIT_TIMEOUT_S,
        **{name: str(value) for name, value in service.settings.items()},
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()


def missing(target: Target, event_ids: Sequence[str]) -> list[str]:
    """Those of the events that are not on sale there; one that is sold out still is. Raises TargetError."""
    there = target.events()
    states = {event_id: there.get(event_id, {}).get("sales", {}).get("state") for event_id in event_ids}
    return [event_id for event_id, state in states.items() if state not in {"open", "sold_out"}]
