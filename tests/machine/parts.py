"""What the state machines share: how often they run, connections that lose and delay, and requests from wishes.

What must stay true: nothing here knows what the right answer is.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from redis.exceptions import NoScriptError

from tests.machine.model import Wish
from tests.machine.outage.machinery import mutated
from tests.sales import a_request
from ticketing.errors import OutcomeUnknown
from ticketing.model import PurchaseRequest
from ticketing.store import scripts
from ticketing.store.connection import Command, Store

EXPLORE = int(os.environ.get("EXPLORE", "0"))


def steady(examples: int) -> settings:
    """The same sequences each time, or as many new ones as EXPLORE says."""
    return settings(
        max_examples=EXPLORE or examples,
        stateful_step_count=40,
        derandomize=not EXPLORE,
        phases=tuple(Phase) if EXPLORE else (Phase.generate,),  # making a failure short takes minutes
        report_multiple_bugs=False,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Line(Store):
    """A process's connection: it answers, or loses the reply, or keeps the call to deliver it later."""

    def __init__(self, store: Store) -> None:
        super().__init__(None, shebang=store.shebang)  # type: ignore[arg-type]
        self._real = store
        self.fault = ""
        self.kept: list[list[Command]] = []
        self.ran = True  # whether the scripts of the last lost exchange ran

    def exchange(self, commands: Sequence[Command]) -> list[object]:
        if self.fault == "late":
            self.kept.append(list(commands))
            raise OutcomeUnknown("late")
        replies = self._real.exchange(commands)
        if self.fault == "lost":
            self.ran = not isinstance(replies[0], NoScriptError)
            raise OutcomeUnknown("lost")
        return replies


class Faulty:
    """The line has this fault inside."""

    def __init__(self, line: Line, kind: str) -> None:
        self._line, self._kind = line, kind

    def __enter__(self) -> None:
        self._line.fault = self._kind

    def __exit__(self, *_: object) -> None:
        self._line.fault = ""


def a_wish(purchase_id: str, quantity: int, buyer: str) -> Wish:
    fingerprint = hashlib.sha256(f"{quantity} {buyer}".encode()).hexdigest()[:16]
    return Wish(purchase_id, quantity, fingerprint, buyer, buyer[:3])


def request_of(event_id: str, wish: Wish, *, keyed: bool = False) -> PurchaseRequest:
    contact = f'{{"name":"{wish.contact}"}}' if wish.contact else ""
    said = {"fingerprint": wish.fingerprint, "buyer_tag": wish.buyer, "contact": contact}
    return a_request(wish.quantity, wish.purchase_id, event_id, keyed=keyed, **said)


@contextlib.contextmanager
def script_without(name: str, *rules_of_it: tuple[str, str]) -> Iterator[None]:
    """The script runs without some of its lines, or with others in their place."""
    load = scripts.load
    changed = mutated(name, dict(rules_of_it))
    with patch.object(scripts, "load", lambda asked, shebang: changed if asked == name else load(asked, shebang)):
        yield


def copy_store(store: Store) -> None:
    for key in store.one("KEYS", "event:*"):
        store.one("COPY", key, f"copy of {key}")


def restore_copy(store: Store) -> None:
    """An older file: what was written since the copy is gone."""
    for key in store.one("KEYS", "event:*"):
        store.one("DEL", key)
    for key in store.one("KEYS", "copy of *"):
        store.one("COPY", key, key.removeprefix("copy of "))
