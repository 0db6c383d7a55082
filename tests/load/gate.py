"""The gate at which buyers wait for a round, and what lets them begin a purchase within it.

What must stay true: in an open loop a purchase's time begins when the schedule says, not when a buyer is free: a
service that stalls is charged for all who would have come meanwhile.
"""

from collections.abc import Iterator

import gevent
from gevent.event import AsyncResult
from gevent.queue import Queue

from tests.load.plan import Loop, Round
from tests.load.tally import Tally, now_s


class Turn:
    """One round in one load process: hands out starts, and gathers what came of them."""

    def __init__(self, plan: Round, starts_s: float, index: int, processes: int) -> None:
        self.plan = plan
        self.tally = Tally(first_s=starts_s)
        self.ends_s = starts_s + plan.seconds
        self.inside = 0  # buyers
        self._starts_s = starts_s
        self._index = index
        self._processes = processes
        self._due: Queue[float | None] = Queue()

    def schedule(self) -> None:
        """Open loop: every start at its time, to be run in a greenlet of its own; the others need no schedule."""
        if self.plan.loop is not Loop.OPEN:
            return
        due_s = self._starts_s + self._index / self.plan.rate
        while due_s < self.ends_s:
            if (wait_s := due_s - now_s()) > 0:
                gevent.sleep(wait_s)
            self.tally.late.add(max(0.0, now_s() - due_s))
            self._due.put(due_s)
            due_s += self._processes / self.plan.rate

    def close(self) -> None:
        """No more starts: whoever waits for one leaves."""
        for _ in range(self.inside):
            self._due.put(None)

    def starts(self) -> Iterator[float]:
        """For one buyer: when its purchases begin, one by one; ends with the round."""
        if self.plan.loop is Loop.ONCE:
            yield self._wait_for_start()
        elif self.plan.loop is Loop.OPEN:
            while (due_s := self._due.get()) is not None:
                yield due_s
        else:
            self._wait_for_start()
            while (now := now_s()) < self.ends_s:
                yield now

    def _wait_for_start(self) -> float:
        if (wait_s := self._starts_s - now_s()) > 0:
            gevent.sleep(wait_s)
        return self._starts_s


class Gate:
    """Where all buyers of a load process stand between two rounds."""

    def __init__(self) -> None:
        self._next: AsyncResult[Turn] = AsyncResult()
        self.waiting = 0

    def wait(self) -> Turn:
        """The next round, once it is let in; the buyer is inside then."""
        self.waiting += 1
        turn = self._next.get()
        self.waiting -= 1
        assert turn is not None
        return turn

    def let_in(self, turn: Turn) -> None:
        """Everybody who waits takes part."""
        turn.inside = self.waiting
        opened, self._next = self._next, AsyncResult()
        opened.set(turn)
