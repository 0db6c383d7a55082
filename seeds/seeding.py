"""Puts plans into the store: events made, described, filled with tickets, or begun anew.

What must stay true: run again, twice at once, or again after being killed anywhere, it ends with the same pools: every
step is a compare-and-set in the store, and what somebody else has done meanwhile is taken over, not done again. No
ticket is ever taken back, and an event that sold one is never begun anew.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from seeds.plan import Plan
from ticketing.errors import StoreError
from ticketing.model import EventState
from ticketing.store.connection import Store
from ticketing.store.events import EventConflict, EventStore, create
from ticketing.store.sale import Versions

# A lost answer is asked for again after these. Together they outlast a store that its supervisor restarts.
WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
NAMED_MAX = 10

Answer = TypeVar("Answer")


class Watcher(Protocol):
    """Who is told how it goes."""

    def starts(self, tickets: int) -> None:
        """So many tickets are to be issued."""

    def issued(self, plan: Plan, tickets: int) -> None:
        """So many more were issued of this event."""

    def says(self, text: str) -> None:
        """Something that whoever started this should know."""


@dataclass(slots=True)
class Summary:
    """How the store stands afterwards, for the events that were asked for."""

    events: int = 0
    tickets: int = 0
    new: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        events = f"{self.events:,} event{'' if self.events == 1 else 's'}"
        failed = f", {len(self.failed):,} failed" if self.failed else ""
        return f"{events}, {self.tickets:,} tickets, {self.new:,} new{failed}"


@dataclass(slots=True)
class _Work:
    """One event of this run: what is wanted, and how it stood when the run came to it."""

    plan: Plan
    before: EventState
    is_new: bool
    target: int = field(init=False)  # tickets to be issued in the end

    def __post_init__(self) -> None:
        # An event opens once what was planned at its making is issued, whatever is wanted now.
        self.target = self.before.planned

    @property
    def event_id(self) -> str:
        return self.plan.event.event_id

    @property
    def is_finished(self) -> bool:
        return self.before.issued >= self.before.planned

    @property
    def is_as_planned(self) -> bool:
        return self.before.issued == self.plan.tickets


class Seeder:
    """Seeding of one store."""

    def __init__(self, store: Store, watcher: Watcher) -> None:
        self._store = store
        self._events = EventStore(store, Versions())
        self._watcher = watcher
        self._summary = Summary()

    def complete(self, plans: Sequence[Plan]) -> Summary:
        """Events that are missing exist, and unfinished seedings are finished. Nothing else changes.

        Raises StoreError.
        """
        works = self._create(plans)
        if left := [work.event_id for work in works if not work.is_new and work.is_finished and not work.is_as_planned]:
            self._watcher.says(f"left as they are, with the tickets that they have: {_named(left)}")
        return self._fill(works)

    def apply(self, plans: Sequence[Plan]) -> Summary:
        """The same, and every event is described as planned, and has at least as many tickets. Raises StoreError."""
        works = [work for work in self._create(plans) if self._describe(work)]
        for work in works:
            work.target = max(work.target, work.plan.tickets)
            if work.plan.tickets < max(work.target, work.before.issued):
                self._watcher.says(_keeps(work))
            if work.plan.event.closes_ms is not None and work.plan.event.closes_ms <= time.time() * 1000:
                self._watcher.says(f"event {work.event_id}: its sale is closed already, so nobody can buy")
        return self._fill(works)

    def replace(self, plan: Plan) -> Summary:
        """The event is begun anew, with the tickets planned. Raises EventConflict once anything is sold or leased."""
        event_id, seed = plan.event.event_id, _new_seed()
        old = self._find(event_id)
        if old is None:
            raise EventConflict(f"event {event_id}: is not in the store, so there is nothing to replace")
        try:
            _again(partial(self._events.replace, plan.event, old_seed=old.seed, new_seed=seed, planned=plan.tickets))
        except EventConflict:
            # The answer to a replacement may have been lost: then the second try finds it done.
            if self._state(event_id).seed != seed:
                raise
        self._watcher.says(f"event {event_id}: begun anew")
        return self._fill([_Work(plan, self._state(event_id), is_new=True)])

    def _create(self, plans: Sequence[Plan]) -> list[_Work]:
        """Every event exists, with or without tickets."""
        seeds = {plan.event.event_id: _new_seed() for plan in plans}
        for plan in plans:
            seed = seeds[plan.event.event_id]
            _again(partial(create, self._store, plan.event, seed=seed, planned=plan.tickets))
        states = {state.event.event_id: state for state in _again(partial(self._events.read, list(seeds)))}
        if gone := sorted(seeds.keys() - states.keys()):
            raise StoreError(f"no longer in the store: {_named(gone)}")
        # By its seed an event is known as made here, even if the first answer to that was lost.
        return [
            _Work(plan, states[event_id], is_new=states[event_id].seed == seed)
            for plan, (event_id, seed) in zip(plans, seeds.items(), strict=True)
        ]

    def _describe(self, work: _Work) -> bool:
        """Whether the event is described as planned; where it can't be, that is said, and counted as failed."""
        try:
            if _again(partial(self._events.describe, work.plan.event, work.before.seed)):
                self._watcher.says(f"event {work.event_id}: description changed")
        except EventConflict as error:
            self._fail(work, error)
            return False
        return True

    def _fill(self, works: Sequence[_Work]) -> Summary:
        self._watcher.starts(sum(max(0, work.target - work.before.issued) for work in works))
        for work in works:
            try:
                issued = self._issue(work)
            except EventConflict as error:
                self._fail(work, error)
                continue
            self._summary.events += 1
            self._summary.tickets += issued
            self._summary.new += issued - work.before.issued
        return self._summary

    def _issue(self, work: _Work) -> int:
        """Issue until the target is issued, by whomever; how many are."""
        issued = work.before.issued
        while issued < work.target:
            more = work.target - issued
            now = _again(partial(self._events.add_chunk, work.event_id, work.before.seed, issued, more))
            self._watcher.issued(work.plan, now - issued)
            issued = now
        return issued

    def _find(self, event_id: str) -> EventState | None:
        return next(iter(_again(partial(self._events.read, [event_id]))), None)

    def _state(self, event_id: str) -> EventState:
        state = self._find(event_id)
        if state is None:
            raise StoreError(f"event {event_id}: is no longer in the store")
        return state

    def _fail(self, work: _Work, error: EventConflict) -> None:
        self._summary.failed.append(work.event_id)
        self._watcher.says(str(error))


def _keeps(work: _Work) -> str:
    kept = max(work.target, work.before.issued)
    return (
        f"event {work.event_id}: keeps its {kept:,} tickets; {work.plan.tickets:,} are fewer, "
        "and what was issued is never taken back"
    )


def _again(call: Callable[[], Answer]) -> Answer:
    """The answer, asked for a bounded number of times: every call here does nothing when it is done a second time."""
    for wait_s in WAITS_S:
        try:
            return call()
        except EventConflict:
            raise
        except StoreError:
            time.sleep(wait_s)
    return call()


def _new_seed() -> str:
    return secrets.token_hex(8)


def _named(event_ids: Sequence[str]) -> str:
    more = f" and {len(event_ids) - NAMED_MAX:,} more" if len(event_ids) > NAMED_MAX else ""
    return ", ".join(event_ids[:NAMED_MAX]) + more
