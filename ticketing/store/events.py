"""Events in the store: made, filled with tickets, described, paused, replaced, and read whole.

What must stay true: every change is a compare-and-set on the event's seed, and every read of one event's counters is
one script, so that pool, leased, sold and issued belong to the same moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from loguru import logger

from ticketing.errors import NodeFailed, ScriptFailed, StoreError, StoreRefused
from ticketing.model import Event, EventState, ticket_id
from ticketing.store import keys, scripts
from ticketing.store.connection import Store
from ticketing.store.sale import Versions

CHUNK_TICKETS = 1_000  # blocks the server for 0.4 ms (p99 1 ms); 5,000 took 2-4 ms and were hardly faster
READ_AT_ONCE = 200  # events a round trip

NUMBERS = frozenset({"starts_at_ms", "opens_ms", "closes_ms", "quantity_max", "buyer_max", "revision"})
MARKS = frozenset({"version", "halted", "halted_why", "accepted"})  # all that there is of an event that is gone
DESCRIBED = tuple(field.name for field in fields(Event) if field.name not in {"event_id", "revision"})


class EventConflict(StoreError):
    """The event is not what the caller took it for (another seed, halted, sold already); nothing was done."""


@dataclass(frozen=True, slots=True)
class Seeding:
    """An event's seed, and how many tickets it has issued."""

    seed: str
    issued: int
    created: bool


def description_fields(event: Event) -> list[str]:
    """Field, value pairs of the info hash; a field without a value is ''."""
    pairs: list[str] = []
    for name in DESCRIBED:
        value = getattr(event, name)
        pairs += (name, "" if value is None else str(value))
    return pairs


def _given_fields(event: Event) -> list[str]:
    pairs = description_fields(event)
    return [part for i in range(0, len(pairs), 2) if pairs[i + 1] != "" for part in pairs[i : i + 2]]


def create(store: Store, event: Event, *, seed: str, planned: int) -> Seeding:
    """The event exists afterwards, under `seed` or under the one that it had before. Raises StoreError."""
    k = keys.of_event(event.event_id)
    reply = scripts.run(store, "create", (k.info,), (seed, planned, *_given_fields(event)))
    # After the info hash, so that an event that is listed exists. A start that dies in between is repeated by `seeds`.
    store.write(("SADD", keys.EVENTS, event.event_id))
    if reply[0] == "created":
        return Seeding(seed, 0, True)
    return Seeding(reply[1], reply[2], False)


class EventStore:
    """Changing and reading the events of a store."""

    def __init__(self, store: Store, versions: Versions) -> None:
        self._store = store
        self._versions = versions
        self._damaged: set[str] = set()
        self.unread: dict[str, NodeFailed] = {}  # events whose node was away at the last `read_sound`

    def add_chunk(self, event_id: str, seed: str, issued: int, more: int) -> int:
        """Issue up to CHUNK_TICKETS more, if `issued` are issued now; the number issued afterwards, whoever did it.

        Sent again after a lost reply it adds nothing twice. Raises EventConflict, StoreError.
        """
        return self._add(event_id, seed, issued, min(more, CHUNK_TICKETS))[1]

    def _add(self, event_id: str, seed: str, issued: int, more: int) -> tuple[str, int]:
        k = keys.of_event(event_id)
        ids = [ticket_id(event_id, number) for number in range(issued + 1, issued + more + 1)]
        tag, _, now_issued = self._change("add", event_id, seed, (k.tickets, k.info), (issued, *ids))
        return tag, int(now_issued)

    def add_up_to(self, event_id: str, seed: str, issued: int, target: int) -> int:
        """Issue until `target` are issued, whoever else adds meanwhile; the number issued afterwards.

        Raises EventConflict, StoreError: what was added until then stays, and a repetition goes on from there.
        """
        while issued < target:
            issued = self.add_chunk(event_id, seed, issued, target - issued)
        return issued

    def add_more(self, event_id: str, seed: str, issued: int, more: int) -> int:
        """Issue `more` beside those there are, whoever else adds meanwhile; the number issued afterwards.

        Raises EventConflict, StoreError: what was added until then stays.
        """
        while more > 0:
            chunk = min(more, CHUNK_TICKETS)
            tag, issued = self._add(event_id, seed, issued, chunk)
            more -= chunk if tag == "added" else 0
        return issued

    def describe(self, event: Event, seed: str) -> bool:
        """The store describes the event so; whether that changed anything. Raises EventConflict, StoreError."""
        k = keys.of_event(event.event_id)
        reply = self._change("describe", event.event_id, seed, (k.info,), description_fields(event))
        return bool(reply[0] == "described")

    def set_paused(self, event_id: str, seed: str, paused: bool) -> None:
        """The sale is paused, or not, in every process from its next purchase on. Raises EventConflict, StoreError."""
        self._change("pause", event_id, seed, (keys.of_event(event_id).info,), (int(paused),))

    def replace(self, event: Event, *, old_seed: str, new_seed: str, planned: int) -> None:
        """The event begins anew with an empty pool. Raises EventConflict if anything is sold or leased, StoreError."""
        k = keys.of_event(event.event_id)
        receipts, people = (k.receipts, k.tries, k.failed), (k.buyers, k.contacts)
        touched = (k.tickets, k.info, k.purchases, *receipts, *people, k.leases, k.put_back)
        self._change("replace", event.event_id, old_seed, touched, (new_seed, planned, *_given_fields(event)))

    def _change(
        self, name: str, event_id: str, seed: str, touched: Sequence[str], args: Sequence[str | int]
    ) -> list[Any]:
        reply = scripts.run(self._store, name, touched, (seed, self._versions.seen(event_id, seed), *args))
        if reply[0] in CONFLICTS:
            raise EventConflict(f"event {event_id}: {CONFLICTS[reply[0]]}")
        self._versions.saw(event_id, seed, reply[1])
        return list(reply)

    def ids(self) -> list[str]:
        """Every event id, in order: numbers by their value, then the rest by the alphabet. Raises StoreError."""
        return sorted(self._store.one("SMEMBERS", keys.EVENTS), key=in_order)

    def read(self, event_ids: Sequence[str]) -> list[EventState]:
        """The events as they stand, those that do not exist left out. Raises StoreError."""
        found = self._read(event_ids)
        for state in found:
            if isinstance(state, StoreError):
                raise state
        return [state for state in found if isinstance(state, EventState)]

    def read_sound(self, event_ids: Sequence[str]) -> list[EventState]:
        """The same, those that are damaged left out too: the others are sold all the same. Says each of them once.

        Those whose node is away are in `unread` afterwards. Raises StoreError where the store can't be asked.
        """
        found = self._read(event_ids)
        self.unread = {}
        for event_id, state in zip(event_ids, found, strict=True):
            if isinstance(state, NodeFailed):
                self.unread[event_id] = state
            elif isinstance(state, StoreError) and event_id not in self._damaged:
                self._damaged.add(event_id)
                logger.error("event {} can't be read, and is not sold: {}", event_id, state)
        return [state for state in found if isinstance(state, EventState)]

    def _read(self, event_ids: Sequence[str]) -> list[EventState | StoreError | None]:
        """A state an event, None where there is none, or what is wrong with it."""
        states: list[EventState | StoreError | None] = []
        for first in range(0, len(event_ids), READ_AT_ONCE):
            states += self._read_some(event_ids[first : first + READ_AT_ONCE])
        return states

    def _read_some(self, event_ids: Sequence[str]) -> list[EventState | StoreError | None]:
        calls = []
        for event_id in event_ids:
            k = keys.of_event(event_id)
            calls.append(
                scripts.Call("state", (k.tickets, k.info, k.purchases, k.receipts, k.failed, k.leases, k.tries), ())
            )
        replies = scripts.run_all(self._store, calls)
        for reply in replies:
            if isinstance(reply, StoreRefused):
                raise reply
        return [_state_of(event_id, reply) for event_id, reply in zip(event_ids, replies, strict=True)]


CONFLICTS = {
    "no_event": "there is no such event, or it was replaced meanwhile",
    "went_back": "the store is older than this process has seen it",
    "halted": "it is halted until an operator decides",
    "sold": "tickets of it are sold, so it can't be replaced",
    "leased": "tickets of it are leased, so it can't be replaced",
    "counted": "a limit a buyer can neither begin nor end after the first sale",
}


def in_order(event_id: str) -> tuple[int, int, str]:
    """The key that sorts event ids for people: 2 before 10, numbers before names."""
    return (0, int(event_id), event_id) if event_id.isdecimal() else (1, 0, event_id)


def _state_of(event_id: str, reply: Any) -> EventState | StoreError | None:
    """None where there is no event; one that the store lost may still have the mark that halts it."""
    if isinstance(reply, StoreError):
        return reply
    if not reply or MARKS.issuperset(reply[0][::2]):
        return None
    try:
        return _state(event_id, reply)
    except (KeyError, ValueError) as error:
        return ScriptFailed(f"event {event_id}: its info is damaged: {error!r}")


def _state(event_id: str, reply: list[Any]) -> EventState:
    flat, pool, records, pending, failed, leased, oldest_pending_ms, now_ms = reply
    info = dict(zip(flat[::2], flat[1::2], strict=True))
    return EventState(
        event=_event(event_id, info),
        seed=info["seed"],
        version=int(info["version"]),
        epoch=int(info["epoch"]),
        issued=int(info["issued"]),
        planned=int(info["planned"]),
        sold=int(info["sold"]),
        pool=pool,
        leased=leased,
        paused=info.get("paused") == "1",
        halted=info.get("halted") == "1",
        receipts_pending=pending,
        receipts_failed=failed,
        purchases=records - int(info["voided"]),
        oldest_pending_ms=None if oldest_pending_ms < 0 else oldest_pending_ms,
        as_of_ms=now_ms,
    )


def _event(event_id: str, info: dict[str, str]) -> Event:
    described: dict[str, Any] = {
        name: int(info[name]) if name in NUMBERS else info[name] for name in (*DESCRIBED, "revision") if name in info
    }
    return Event(event_id=event_id, **described)
