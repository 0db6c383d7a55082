"""Buyers that go on whatever happens, and remember every answer they got, to be compared with the store afterwards.

What must stay true: a keyed purchase is repeated until it has an answer that counts; an unkeyed one is never repeated,
and is remembered as unknown where its connection broke.
"""

import http.client
import itertools
import json
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.servers import HOST
from ticketing.store import keys
from ticketing.store.connection import Store

PAUSE_S = 0.05


@dataclass
class Told:
    """Everything that buyers were told."""

    purchases: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: int = 0
    unavailable: int = 0
    broken: int = 0  # unkeyed purchases whose connection broke: nobody knows
    unexpected: list[str] = field(default_factory=list)
    replays: int = 0
    provisional: int = 0


class Buyers:
    """Threads that buy until they are stopped."""

    def __init__(self, port: int, event_ids: Sequence[str], threads: int) -> None:
        self.told = Told()
        self._port = port
        self.event_ids = event_ids
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, deadline_s: float = 60) -> None:
        """Every buyer has its last answer."""
        self._ended.set()
        for thread in self._threads:
            thread.join(deadline_s)
        assert not any(thread.is_alive() for thread in self._threads), "a buyer never got an answer"
        assert self.told.unexpected == []

    @property
    def bought(self) -> int:
        with self._lock:
            return len(self.told.purchases)

    def purchases(self) -> list[dict[str, Any]]:
        """Every purchase that was answered, as it was told last."""
        with self._lock:
            return list(self.told.purchases.values())

    def _run(self, number: int) -> None:
        for turn in itertools.count(number):
            if self._ended.is_set():
                return
            event_id = self.event_ids[turn % len(self.event_ids)]
            if turn % 2:
                self._buy_once(event_id, turn % 3 + 1)
            else:
                self._buy_until_answered(event_id, turn % 3 + 1)

    def _buy_until_answered(self, event_id: str, quantity: int) -> None:
        key = str(uuid.uuid4())
        while not self._buy(event_id, quantity, key):
            self._ended.wait(PAUSE_S)

    def _buy_once(self, event_id: str, quantity: int) -> None:
        if not self._buy(event_id, quantity, None):
            self._ended.wait(PAUSE_S)

    def _buy(self, event_id: str, quantity: int, key: str | None) -> bool:
        """Whether the answer counts."""
        try:
            status, body = self._post(event_id, quantity, key)
        except ConnectionRefusedError:
            return False  # nothing was sent
        except (OSError, http.client.HTTPException):
            with self._lock:
                self.told.broken += key is None
            return False
        with self._lock:
            return self._note(status, body)

    def _note(self, status: int, body: bytes) -> bool:
        if status in {200, 201}:
            purchase = json.loads(body)
            self.told.replays += status == 200
            self.told.provisional += purchase["status"] == "provisional"
            known = self.told.purchases.setdefault(purchase["purchase_id"], purchase)
            if not agree(known, purchase):
                self.told.unexpected.append(f"{known} became {purchase}")
            self.told.purchases[purchase["purchase_id"]] |= purchase  # a provisional one gets its tickets
            return True
        if status == 503:
            self.told.unavailable += 1
            return False
        if status != 409:
            self.told.unexpected.append(f"{status} {body!r}")
        self.told.refused += 1
        return True

    def _post(self, event_id: str, quantity: int, key: str | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        connection = http.client.HTTPConnection(HOST, self._port, timeout=20)
        try:
            connection.request("POST", f"/buy/{event_id}", json.dumps({"quantity": quantity}), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def records(store: Store, event_ids: Sequence[str]) -> dict[str, list[str]]:
    """Every purchase in the store and its tickets; tombstones left out."""
    found = {}
    for event_id in event_ids:
        flat = store.one("HGETALL", keys.of_event(event_id).purchases)
        pairs = zip(flat[::2], flat[1::2], strict=True) if isinstance(flat, list) else flat.items()
        found |= {key: record.split("|")[2].split(",") for key, record in pairs if not record.startswith("-")}
    return found


def compare(told: Told, found: dict[str, list[str]]) -> None:
    """What buyers were told is what the store holds, and nothing else: an unkeyed 503 holds no ticket."""
    for purchase_id, purchase in told.purchases.items():
        assert agree(purchase, {"quantity": len(found[purchase_id]), "tickets": found[purchase_id]})
    tickets = [ticket for ticket_ids in found.values() for ticket in ticket_ids]
    assert len(tickets) == len(set(tickets)), "a ticket was sold twice"
    assert not untold(told, found)


def agree(purchase: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both can be told of one purchase; one that is provisional has no tickets yet."""
    tickets = [one["tickets"] for one in (purchase, other) if "tickets" in one]
    return purchase["quantity"] == other["quantity"] and tickets[1:] in ([], tickets[:1])


def untold(told: Told, found: dict[str, list[str]]) -> set[str]:
    """Purchases in the store that no buyer knows of, beyond those whose buyer's connection broke."""
    unknown = set(found) - set(told.purchases)
    return unknown if len(unknown) > told.broken else set()
