"""A buyer: Locust's FastHttpUser that behaves like one, on one connection that it keeps.

What must stay true: a purchase has one Idempotency-Key, whatever happens to it, and is repeated with that key only;
what the service said before is held against what it says later. Requests go through the session's own HTTP client:
Locust's session above it would cost as much CPU again, and follow redirects to other hosts.
"""

import random
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import gevent
import orjson
from gevent.lock import BoundedSemaphore
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from locust import FastHttpUser, constant, task

from tests.load.answers import BOUGHT, Answer, Kind, of_look, of_purchase, of_receipt, same
from tests.load.gate import Gate, Turn
from tests.load.tally import Tally, now_s

TIMEOUT_S = 30.0
LOOKS_AT_ONCE = 100  # so many connections are opened at a time: the queue of the listening socket is finite
DROP_WITHIN_S = 0.02
BROKEN = (OSError, HTTPConnectionClosed, HTTPParseError, gevent.Timeout)
PDF = {"Accept": "application/pdf"}


class _Dropped(Exception):
    """The buyer broke the connection."""


class TicketBuyer(FastHttpUser):
    """One of the crowd."""

    wait_time = constant(0)
    network_timeout = TIMEOUT_S
    connection_timeout = TIMEOUT_S
    concurrency = 1
    insecure = False  # a certificate that is not valid is an error, as for any buyer

    gate: ClassVar[Gate]
    opening: ClassVar[Tally]
    look_at: ClassVar[str]
    looking: ClassVar[BoundedSemaphore]

    def on_start(self) -> None:
        """Open the connection by looking at an event, as whoever buys does first."""
        self._http: HTTPClient = self.client.client.clientpool.get_client(str(self.host))
        self._random = random.Random()
        with self.looking:
            self._look()

    @task
    def take_part(self) -> None:
        """Wait for a round, and take part in it to its end."""
        turn = self.gate.wait()
        try:
            for start_s in turn.starts():
                self._buy(turn, start_s)
        finally:
            turn.inside -= 1

    def _look(self) -> None:
        began_s = now_s()
        try:
            status, _, body = self._ask("GET", f"/events/{self.look_at}")
            answer = of_look(status, self.look_at, body)
        except BROKEN as error:
            answer = _no_answer("GET /events", error)
        self._note(self.opening, answer, began_s)

    def _buy(self, turn: Turn, start_s: float) -> None:
        plan, tally = turn.plan, turn.tally
        event_id = self._random.choice(plan.event_ids)
        key = str(uuid.uuid4())
        answer = self._buy_until_answered(turn, event_id, key, start_s)
        tally.last_s = max(tally.last_s, now_s())
        if answer is None:
            tally.unknown[event_id] += plan.quantity
            return
        tally.note(Kind.KNOWS, now_s() - start_s)
        if answer.purchase is None:
            return
        tally.bought += 1
        self._keep(tally, event_id, answer.purchase, plan.quantity)
        told_s = now_s()
        if self._random.random() < plan.repeat:
            self._repeat(turn, event_id, key, answer.purchase)
        if self._random.random() < plan.follow:
            self._poll(turn, str(answer.purchase["purchase_id"]), told_s)

    def _buy_until_answered(self, turn: Turn, event_id: str, key: str, start_s: float) -> Answer | None:
        """The answer that counts; None where the buyer never got one."""
        plan, tally = turn.plan, turn.tally
        drop = self._random.random() < plan.drop
        for attempt in range(plan.tries):
            try:
                answer = self._post(event_id, key, plan.quantity, drop=drop and attempt == 0)
            except _Dropped:
                tally.note(Kind.DROPPED, now_s() - start_s)
                start_s = now_s()
                continue
            self._note(tally, answer, start_s)
            if answer.kind not in {Kind.ERROR, Kind.UNAVAILABLE}:
                return answer
            if self._random.random() < plan.give_up:
                tally.gave_up += 1
                return None
            gevent.sleep(answer.retry_after_s)
            start_s = now_s()
        tally.note_error("POST /buy: no answer that counts, however often it was repeated", now_s() - start_s)
        return None

    def _keep(self, tally: Tally, event_id: str, purchase: Mapping[str, Any], quantity: int) -> None:
        if "tickets" in purchase:
            tally.note_tickets(event_id, purchase["tickets"])
        else:
            tally.provisional[event_id] += quantity

    def _repeat(self, turn: Turn, event_id: str, key: str, bought: Mapping[str, Any]) -> None:
        """Ask for the same again: it must be the same."""
        began_s = now_s()
        answer = self._post(event_id, key, turn.plan.quantity)
        self._note(turn.tally, answer, began_s)
        if answer.kind in {Kind.ERROR, Kind.UNAVAILABLE}:
            return
        if answer.kind not in BOUGHT or not same(bought, answer.purchase or {}):
            turn.tally.note_broken(f"event {event_id}: a key that bought was answered with another purchase")

    def _poll(self, turn: Turn, purchase_id: str, told_s: float) -> None:
        """Until the PDF is there, or the buyer has no more patience."""
        while True:
            began_s = now_s()
            try:
                answer = of_receipt(*self._ask("GET", f"/tickets/{purchase_id}", headers=PDF))
            except BROKEN as error:
                answer = _no_answer("GET /tickets", error)
            self._note(turn.tally, answer, began_s)
            if answer.kind is Kind.RECEIPT:
                turn.tally.note(Kind.RECEIPT_HELD, now_s() - told_s)
            if answer.kind in {Kind.RECEIPT, Kind.ERROR} or now_s() - told_s > turn.plan.patience_s:
                return
            gevent.sleep(answer.retry_after_s)

    def _post(self, event_id: str, key: str, quantity: int, *, drop: bool = False) -> Answer:
        """One try. Raises _Dropped where the buyer broke the connection before the answer."""
        body = orjson.dumps({"quantity": quantity, "buyer": {"id": key}})
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        within_s = self._random.random() * DROP_WITHIN_S if drop else None
        try:
            with gevent.Timeout(within_s, _Dropped):
                answer = self._ask("POST", f"/buy/{event_id}", body, headers)
        except BROKEN as error:
            return _no_answer("POST /buy", error)
        return of_purchase(*answer, event_id, quantity)

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        response = self._http.request(method, path, body, dict(headers or {}))
        read = bytes(response.read())
        return response.get_code(), cast(Mapping[str, str], response.info()), read

    def _note(self, tally: Tally, answer: Answer, began_s: float) -> None:
        """Count it here, and in Locust's statistics under the name of its kind."""
        seconds = now_s() - began_s
        error = RuntimeError(answer.wrong) if answer.kind is Kind.ERROR else None
        if error is None:
            tally.note(answer.kind, seconds)
        else:
            tally.note_error(answer.wrong, seconds)
        self.environment.events.request.fire(
            request_type="buyer",
            name=str(answer.kind),
            response_time=seconds * 1000,
            response_length=0,
            exception=error,
            context={},
        )


def _no_answer(call: str, error: BaseException) -> Answer:
    number = f" {error.errno}" if isinstance(error, OSError) and error.errno else ""
    return Answer(Kind.ERROR, f"{call}: {type(error).__name__}{number}")
