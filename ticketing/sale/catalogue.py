"""What is on sale, as this process knows it: every event with its counters, at most a second old when it is asked for.

What must stay true: however many callers ask, and for however many events that do not exist, the store is read at most
once in `fresh_s`; while it is being read, others get what is known. When it can't be read, the last values stay, with
their age.
"""

import math
import threading
import time

from loguru import logger

from ticketing.errors import StoreError, StoreShut
from ticketing.model import EventState
from ticketing.store.events import EventStore, in_order


class Catalogue:
    """The events of the store."""

    def __init__(self, events: EventStore, fresh_s: float = 1.0) -> None:
        self._events = events
        self._fresh_s = fresh_s
        self._reading = threading.Lock()
        self._states: dict[str, EventState] = {}
        self._tried_at_s = -math.inf
        self._failure: StoreError | None = None

    @property
    def store_up(self) -> bool:
        """Whether the last read succeeded."""
        return self._failure is None and self._tried_at_s > -math.inf

    @property
    def as_of(self) -> tuple[float, bool]:
        """Changes with whatever `states` and `store_up` say: what was made of them before is old then."""
        return self._tried_at_s, self.store_up

    @property
    def known(self) -> list[EventState]:
        """Every event as it was read last, however long ago; nobody is asked."""
        return list(self._states.values())

    def states(self) -> list[EventState]:
        """Every event in order, at most `fresh_s` old if the store answers. Raises StoreError where none is known."""
        self._refresh()
        return list(self._states.values())

    def find(self, event_id: str) -> EventState | None:
        """The event, however old it is; None if there was none `fresh_s` ago. Raises StoreError if nobody knows."""
        state = self._states.get(event_id)
        if state is None:  # nobody is told "unknown" from what is older: this caller waits for the read under way
            self._refresh(wait=True)
            state = self._states.get(event_id)
            if state is None:
                self._raise_failure(event_id)
        return state

    def find_fresh(self, event_id: str) -> EventState | None:
        """The event as it stood at most `fresh_s` ago, where the store answers. Raises StoreError like `states`."""
        self._refresh()
        return self._states.get(event_id)

    def find_since(self, event_id: str, moment_s: float) -> EventState | None:
        """The event as it stood after `moment_s` (monotonic): what was known before is wrong. Raises StoreError."""
        with self._reading:
            if self._tried_at_s <= moment_s:
                self._read()
        self._raise_failure(event_id)
        return self._states.get(event_id)

    def _refresh(self, *, wait: bool = False) -> None:
        # The first reader reads; the others wait only where what is known would be no answer.
        if not self._is_fresh() and self._reading.acquire(blocking=wait or not self._states):
            try:
                if not self._is_fresh():
                    self._read()
            finally:
                self._reading.release()
        if not self._states:
            self._raise_failure()

    def _raise_failure(self, event_id: str = "") -> None:
        """Of the store, or of this event's node.

        A new error for each caller: one that is raised again and again keeps the frames of all who raised it.
        """
        failure = self._failure or self._events.unread.get(event_id)
        if failure is not None:
            raise type(failure)(*failure.args) from failure

    def _with_unread(self, found: dict[str, EventState]) -> dict[str, EventState]:
        """Events whose node is away stay as they were."""
        kept = {event_id: state for event_id, state in self._states.items() if event_id in self._events.unread}
        return dict(sorted((found | kept).items(), key=lambda named: in_order(named[0])))

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._tried_at_s < self._fresh_s

    def _read(self) -> None:
        """A failure counts as read: without that, each caller would wait for a timeout of its own.

        One that cost nothing does not: it is over as soon as the store may be asked again.
        """
        started_s = time.monotonic()
        try:
            states = self._events.read_sound(self._events.ids())
        except StoreError as error:
            self._failure = error
            if not isinstance(error, StoreShut):
                self._tried_at_s = time.monotonic()
            return
        for state in states:
            _tell_change(self._states.get(state.event.event_id), state)
        found = {state.event.event_id: state for state in states}
        self._states = self._with_unread(found) if self._events.unread else found
        self._failure = None
        self._tried_at_s = started_s


def _tell_change(before: EventState | None, now: EventState) -> None:
    """A line in each process's log when it learns what an operator did, wherever and however it was done."""
    if before is None or before.seed != now.seed:
        return
    if before.paused != now.paused:
        logger.info(
            "event {event_id}: the sale is {}", "paused" if now.paused else "taken up", event_id=now.event.event_id
        )
    if before.issued != now.issued >= now.planned:  # not while it is being seeded
        logger.info(
            "event {event_id}: {} tickets are issued, {} before", now.issued, before.issued, event_id=now.event.event_id
        )
