"""GET /health, /health/live and /health/ready: what an operator and a load balancer ask.

What must stay true: asking often costs the store nothing: it is looked at once a second, however many ask.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
from flask import Blueprint, Response

from ticketing.api import problems
from ticketing.errors import StoreError
from ticketing.sale.catalogue import Catalogue
from ticketing.store.queue import ReceiptQueue
from ticketing.telemetry.metrics import oldest_pending_s, receipt_counts

FRESH_S = 1.0


class Health:
    """What this process finds when it looks around."""

    def __init__(
        self, catalogue: Catalogue, queue: ReceiptQueue, fsync_policy: Callable[[], str], greet: Callable[[], None]
    ) -> None:
        """`greet` raises StoreError where the store would let this process sell nothing."""
        self._catalogue = catalogue
        self._queue = queue
        self._fsync_policy = fsync_policy
        self._greet = greet
        self._looking = threading.Lock()
        self._found: dict[str, Any] = {}
        self._looked_at_s = -FRESH_S

    def look(self) -> dict[str, Any]:
        """The body of GET /health, at most a second old."""
        if time.monotonic() - self._looked_at_s >= FRESH_S and self._looking.acquire(blocking=not self._found):
            try:
                if time.monotonic() - self._looked_at_s >= FRESH_S:
                    self._found = self._look()
                    self._looked_at_s = time.monotonic()
            finally:
                self._looking.release()
        return self._found

    def can_sell(self) -> bool:
        """Whether this process can sell now."""
        return bool(self.look()["checks"]["store"]["sells"])

    def _look(self) -> dict[str, Any]:
        try:
            states = self._catalogue.states()
        except StoreError:
            states = []
        up = self._catalogue.store_up
        checks = {
            "store": {
                "up": up,
                "sells": up and self._is_welcome(),
                "events": len(states),
                "fsync": self._fsync_policy() if up else "unknown",
            },
            "queue": self._queue_check(),
            "receipts": {**receipt_counts(states), "oldest_pending_s": oldest_pending_s(states)},
        }
        return {"status": "ok" if up else "outage", "store": "redis" if up else "reserve", "checks": checks}

    def _is_welcome(self) -> bool:
        try:
            self._greet()
        except StoreError:
            return False
        return True

    def _queue_check(self) -> dict[str, Any]:
        try:
            level = self._queue.level()
        except StoreError:
            return {"up": False}
        return {"up": True, "depth": level.depth, "failed": level.failed, "workers": level.workers}


def blueprint(health: Health) -> Blueprint:
    """The routes."""
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    def whole() -> Response:
        return _json(health.look())

    @routes.get("/health/live")
    def live() -> Response:
        return _json({"status": "ok"})

    @routes.get("/health/ready")
    def ready() -> Response:
        if not health.can_sell():
            return problems.respond(problems.not_ready())
        return _json({"status": "ok"})

    return routes


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), headers={"Cache-Control": "no-store"}, content_type="application/json")
