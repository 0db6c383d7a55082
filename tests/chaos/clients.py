"""Buyers: threads that buy, repeat, and look, at two hosts, and write down every answer.

What must stay true: a keyed wish is repeated, at either host, until it has an answer that counts; an unkeyed one is
asked for once. What was bought is asked for again from time to time, and must be what it was.
"""

import http.client
import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.history import BOUGHT, COUNTS, History, Told, Try, Wish
from tests.servers import HOST, POLL_S

ANSWER_DEADLINE_S = 30.0
LAST_ANSWER_DEADLINE_S = 90.0
RUSH_EVERY_S = 0.25
PAUSE_S = (0.1, 0.4)
AGAIN, LOOK = 0.12, 0.06  # shares of the turns
PERSONS = 40  # who buy at an event with a limit
KNOWN_MOST = 200  # purchases that one client remembers
FOUND = frozenset({200, 202})


@dataclass(frozen=True, slots=True)
class Shop:
    """Where one event is sold, and how often it is asked for."""

    event_id: str
    weight: int
    limited: bool = False


class Clients:
    """All buyers of a run."""

    def __init__(
        self,
        ports: Sequence[int],
        shops: Sequence[Shop],
        history: History,
        *,
        seed: int,
        threads: int,
        misuse: bool,
        patience_s: float = LAST_ANSWER_DEADLINE_S,
    ) -> None:
        """`misuse`: keys are used again with other content while things fail, not only when all is calm.

        `patience_s`: how long a key is asked for again once all has ended.
        """
        self.ports = ports
        self.shops = shops
        self.history = history
        self.misuse = misuse
        self.patience_s = patience_s
        self.ended = threading.Event()
        self.unanswered: list[Wish] = []
        self.lost_sight: list[str] = []  # purchases that could not be looked at though they exist
        self._rush = threading.Condition()
        self._clients = [_Client(self, number, random.Random(f"{seed} {number}")) for number in range(threads)]
        self._threads = [threading.Thread(target=client.run, daemon=True) for client in self._clients]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def rush(self) -> None:
        """Whoever pauses goes on now."""
        with self._rush:
            self._rush.notify_all()

    def rush_until(self, condition: Callable[[], bool], deadline_s: float) -> None:
        """Buyers hurry until the condition is true, or there is no more time for it."""
        until_s = self.history.now_s() + deadline_s
        rush_s = 0.0
        while not self.ended.is_set() and not condition() and (now_s := self.history.now_s()) < until_s:
            if now_s >= rush_s:
                self.rush()
                rush_s = now_s + RUSH_EVERY_S
            self.ended.wait(POLL_S / 10)

    def pause(self, seconds: float) -> None:
        with self._rush:
            self._rush.wait(seconds)

    def end(self) -> None:
        """Nobody wants anything new."""
        self.ended.set()
        self.rush()

    def stop(self) -> None:
        """Every keyed wish has an answer that counts, or stands in `unanswered`."""
        self.end()
        for thread in self._threads:
            thread.join(self.patience_s + 2 * ANSWER_DEADLINE_S)
        assert not any(thread.is_alive() for thread in self._threads), "a buyer never came to an end"

    def ask(self, wish: Wish, host: int, *, quantity: int | None = None) -> Try:
        """One request, written down. With `quantity` it asks for something else under the same key."""
        history = self.history
        history.asks(host)
        asked_s = history.now_s()
        status, error = 0, ""
        body: dict[str, Any] = {}
        try:
            status, body = _post(self.ports[host], wish, wish.quantity if quantity is None else quantity)
            told = _told(status, body)
        except ConnectionRefusedError as refused:
            told, error = Told.UNSENT, repr(refused)
        except TimeoutError as late:
            told, error = Told.LATE, repr(late)
        except (OSError, http.client.HTTPException, ValueError) as broken:
            told, error = Told.BROKEN, repr(broken)
        other = quantity not in {None, wish.quantity}
        tried = Try(wish, host, asked_s, history.now_s(), told, status, body, error, other)
        history.add(tried)
        return tried


class _Client:
    """One buyer after the other, in one thread."""

    def __init__(self, clients: Clients, number: int, chance: random.Random) -> None:
        self._clients = clients
        self._number = number
        self._chance = chance
        self._home = number // 2 % len(clients.ports)
        self._wishes = 0
        self._bought: list[tuple[Wish, Try]] = []

    def run(self) -> None:
        while not self._clients.ended.is_set():
            turn = self._chance.random()
            if self._bought and turn < AGAIN:
                self._ask_again()
            elif self._bought and turn < AGAIN + LOOK:
                self._look()
            else:
                self._buy(self._new_wish())
            self._pause()

    def _new_wish(self) -> Wish:
        shops, chance = self._clients.shops, self._chance
        [shop] = chance.choices(shops, [shop.weight for shop in shops])
        self._wishes += 1
        name = f"{self._number}-{self._wishes}"
        buyer_id = f"person {chance.randrange(PERSONS)} of {self._number}" if shop.limited else f"buyer {name}"
        key = f"key {name} of a chaotic sale" if self._number % 2 else None
        return Wish(name, shop.event_id, chance.randint(1, 4), buyer_id, key)

    def _buy(self, wish: Wish) -> None:
        tried = self._clients.ask(wish, self._home)
        until_s: float | None = None
        while wish.key is not None and tried.told not in COUNTS:
            if self._clients.ended.is_set():
                now_s = self._clients.history.now_s()
                until_s = until_s or now_s + self._clients.patience_s
                if now_s > until_s:
                    self._clients.unanswered.append(wish)
                    return
            self._pause()
            tried = self._clients.ask(wish, self._any_host())
        if tried.told in BOUGHT:
            self._bought = [*self._bought[1 - KNOWN_MOST :], (wish, tried)]

    def _ask_again(self) -> None:
        """A key that bought something is used again; with other content only once it is known to be in the store."""
        wish, bought = self._chance.choice(self._bought)
        if wish.key is None:
            return
        other = self._clients.misuse and bought.told is not Told.PROVISIONAL and self._chance.random() < 0.2
        self._clients.ask(wish, self._any_host(), quantity=wish.quantity + 1 if other else None)

    def _look(self) -> None:
        """What was bought is there for whoever asks with its id, settled or not."""
        _, bought = self._chance.choice(self._bought)
        try:
            status, body = _get(self._clients.ports[self._any_host()], bought.purchase_id)
        except (OSError, http.client.HTTPException):
            return
        if status not in FOUND:
            now_s = self._clients.history.now_s()
            self._clients.lost_sight.append(f"{now_s:.3f} s: GET /tickets/{bought.purchase_id} {status} {body!r}")

    def _any_host(self) -> int:
        return self._home if self._chance.random() < 0.5 else self._chance.randrange(len(self._clients.ports))

    def _pause(self) -> None:
        self._clients.pause(self._chance.uniform(*PAUSE_S))


def _told(status: int, body: Mapping[str, Any]) -> Told:
    if status in {200, 201} and body.get("status") in {"sold", "provisional"}:
        if body["status"] == "provisional":
            return Told.PROVISIONAL
        return Told.REPLAYED if status == 200 else Told.SOLD
    return {409: Told.REFUSED, 422: Told.KEY_REUSED, 503: Told.UNAVAILABLE}.get(status, Told.UNEXPECTED)


def _post(port: int, wish: Wish, quantity: int) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": wish.key} if wish.key else {})
    body = json.dumps({"quantity": quantity, "buyer": {"id": wish.buyer_id}})
    return _exchange(port, "POST", f"/buy/{wish.event_id}", body, headers)


def _get(port: int, purchase_id: str) -> tuple[int, dict[str, Any]]:
    return _exchange(port, "GET", f"/tickets/{purchase_id}", None, {"Accept": "application/json"})


def _exchange(
    port: int, method: str, path: str, body: str | None, headers: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_DEADLINE_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        parsed: dict[str, Any] = json.loads(answer.read())
        return answer.status, parsed
    finally:
        connection.close()
