"""GET /health, /health/live and /health/ready: what an operator and a load balancer ask.

What must stay true: asking often costs the store nothing: it is looked at once a second, however many ask.
"""

from collections.abc import Callable
from typing import Any

import orjson
from flask import Blueprint, Response

from ticketing.api import problems
from ticketing.api.shared_look import SharedLook
from ticketing.errors import StoreError
from ticketing.model import EventState
from ticketing.outage.keeper import Keeper
from ticketing.sale.catalogue import Catalogue
from ticketing.store.queue import ReceiptQueue
from ticketing.telemetry.metrics import oldest_pending_s, receipt_counts

NOTHING_PROMISED = {"fsync": "unknown", "failover": "unknown"}


class Health:
    """What this process finds when it looks around."""

    def __init__(
        self, catalogue: Catalogue, queue: ReceiptQueue, promises: Callable[[], dict[str, str]], keeper: Keeper
    ) -> None:
        """`promises`: what the store says of an answered purchase, by the names of the answer."""
        self._catalogue = catalogue
        self._queue = queue
        self._promises = promises
        self._keeper = keeper
        self._shared = SharedLook(self._look)

    def look(self) -> dict[str, Any]:
        """The body of GET /health, at most a second old."""
        return self._shared.get()

    def can_sell(self) -> bool:
        """Whether this process can sell now, from the reserve too. Asks nobody: a probe must not wait in an outage."""
        if self._keeper.why_nothing_is_sold is not None or self._all_halted(self._catalogue.known):
            return False
        return not self._keeper.breaker.is_open or self._keeper.tally().reserve_tickets > 0

    def _look(self) -> dict[str, Any]:
        try:
            states = self._catalogue.states()
        except StoreError:
            states = []
        reason = self._why_the_store_sells_nothing(states)
        sells, outage = reason is None, self._is_outage()
        halted = self._halted(states)
        store: dict[str, Any] = {"up": self._catalogue.store_up, "sells": sells, "events": len(states)}
        store |= NOTHING_PROMISED if outage else self._promises()
        store["halted"] = sorted(halted)
        if reason is not None:
            store["reason"] = reason
        checks = {
            "store": store,
            "reserve": self._reserve_check(),
            "queue": self._queue_check(),
            "receipts": {**receipt_counts(states), "oldest_pending_s": oldest_pending_s(states)},
        }
        status = "outage" if outage else "halted" if halted else "ok"
        return {"status": status, "store": "reserve" if outage else "redis", "checks": checks}

    def _why_the_store_sells_nothing(self, states: list[EventState]) -> str | None:
        """None where the store would sell for this process. Names no host and no secret."""
        if self._keeper.why_nothing_is_sold is not None:
            return self._keeper.why_nothing_is_sold
        if self._keeper.breaker.is_open:
            return "it can't be reached, or does not confirm what is written"
        if away := self._keeper.breaker.nodes_away():
            return f"{len(away)} of its nodes can't be reached"
        return "every event is halted: an operator must decide" if self._all_halted(states) else None

    def _is_outage(self) -> bool:
        return self._keeper.breaker.is_felt or self._keeper.why_nothing_is_sold is not None

    def _halted(self, states: list[EventState]) -> set[str]:
        """Those too that the store has lost and so does not list."""
        return self._keeper.halted_events.union(state.event.event_id for state in states if state.halted)

    def _all_halted(self, states: list[EventState]) -> bool:
        halted = self._halted(states)
        return bool(halted) and all(state.event.event_id in halted for state in states)

    def _reserve_check(self) -> dict[str, int | str]:
        tally = self._keeper.tally()
        why_not = self._keeper.why_no_reserve
        return ({"reason": why_not} if why_not else {}) | {
            "tickets": tally.reserve_tickets,
            "unsettled": tally.unsettled,
            "voids": tally.voids,
            "parked": tally.parked,
        }

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
