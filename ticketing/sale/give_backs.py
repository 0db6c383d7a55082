"""The wait for leased tickets: a pool that is empty is not sold out while processes still give tickets back.

What must stay true: a buyer waits PATIENCE_S at most, once an event until its pool covers somebody again; meanwhile one
of those who wait asks, however many they are. What is leased longer is a dead process's, whose heir settles first.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
from gevent.event import Event as Signal

from ticketing.model import Outcome, SaleReply

PATIENCE_S = 2.0
ASK_EVERY_S = 0.05  # holders look at the pool every 250 ms, of many events once a second


@dataclass(slots=True)
class _Wait:
    """Those who wait for one event's leases."""

    until_s: float
    somebody_asks: bool = False
    over: Signal = field(default_factory=Signal)


class GiveBacks:
    """Asks again for those who found a pool too small while tickets of it were leased."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        """`give_back` has this process look at its own leases at once."""
        self._give_back = give_back
        self._waits: dict[str, _Wait] = {}

    def are_due(self, event_id: str, reply: SaleReply) -> bool:
        """Whether it is too early to say that too few tickets are left."""
        wait = self._waits.get(event_id)
        return _is_short(reply) and (wait is None or time.monotonic() < wait.until_s)

    def await_for(self, event_id: str, reply: SaleReply, ask: Callable[[], SaleReply]) -> SaleReply:
        """The reply, or a later one, where leased tickets could make another."""
        if not self._waits and not _is_short(reply):  # as nearly always
            return reply
        until_s = time.monotonic() + PATIENCE_S  # its own: windows follow one another where others are covered
        while self.are_due(event_id, reply) and time.monotonic() < until_s:
            reply = self._ask_again(self._wait_of(event_id), ask)
        if reply.outcome is Outcome.SOLD:
            self._waits.pop(event_id, None)
        return reply

    def _wait_of(self, event_id: str) -> _Wait:
        if event_id not in self._waits:
            self._waits[event_id] = _Wait(time.monotonic() + PATIENCE_S)
            self._give_back()
        return self._waits[event_id]

    def _ask_again(self, wait: _Wait, ask: Callable[[], SaleReply]) -> SaleReply:
        if wait.somebody_asks:
            wait.over.wait(max(0.0, wait.until_s - time.monotonic()))
            return ask()
        wait.somebody_asks = True
        try:
            while True:
                gevent.sleep(ASK_EVERY_S)
                reply = ask()
                if not _is_short(reply) or time.monotonic() >= wait.until_s:
                    return reply
        finally:
            wait.somebody_asks = False
            wait.over.set()
            wait.over = Signal()


def _is_short(reply: SaleReply) -> bool:
    """Whether the pool was too small while tickets were leased."""
    return reply.outcome is Outcome.SOLD_OUT and reply.level is not None and reply.level.leased > 0
