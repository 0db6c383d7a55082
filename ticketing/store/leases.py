"""The scripts of an outage: leases are filled and emptied, journalled purchases settled.

What must stay true: each change names the token that it expects and the one that it sets, so the caller can send the
very same command again after a lost reply; the answer then says whether it had run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ticketing.errors import ScriptFailed, StoreError
from ticketing.model import Outcome, PurchaseRequest
from ticketing.store import keys, scripts
from ticketing.store.connection import Store
from ticketing.store.sale import WITHOUT_LEVEL, Versions

ACCEPTED = re.compile(r"accepted-(\d+)-")  # begins a token that an operator's decision has set, at this version


class Settled(StrEnum):
    """What became of one journalled purchase."""

    SETTLED = "settled"
    KNOWN = "known"
    KEY_REUSED = "key_reused"
    VOIDED = "voided"
    UNFUNDED = "unfunded"


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """One command to a lease, to be repeated as it is until it is answered."""

    event_id: str
    seed: str
    holder: str
    expected: str  # token
    token: str
    wanted: int  # tickets
    share_per_mille: int


@dataclass(frozen=True, slots=True)
class JournalledPurchase:
    """A purchase that was answered `provisional`."""

    request: PurchaseRequest
    seed: str
    sold_at_ms: int


@dataclass(frozen=True, slots=True)
class SettleChange:
    """Purchases of one event and holder to be settled under a new token."""

    event_id: str
    seed: str
    holder: str
    expected: str
    token: str
    purchases: Sequence[JournalledPurchase]


@dataclass(frozen=True, slots=True)
class LeaseReply:
    """How a lease stands after a change. `moved_on`: another change had run first, and this one did nothing."""

    moved_on: bool
    token: str
    leased: int  # tickets
    outcomes: tuple[Settled, ...] = ()
    records: tuple[str, ...] = field(default=(), compare=False)  # of SETTLED and KNOWN, beside the outcomes; else ""


@dataclass(frozen=True, slots=True)
class GlanceAsk:
    """Of what a holder wants to know how it stands."""

    event_id: str
    holder: str
    purchase_id: str  # one that the store must still hold as it was; "" without one


@dataclass(frozen=True, slots=True)
class Glance:
    """What a holder needs to know of an event every moment. `seed` is None where there is no such event."""

    seed: str | None
    pool: int
    records: int  # of leases, empty ones included
    paused: bool
    opens_ms: int | None
    closes_ms: int | None
    token: str  # of the holder's lease; "" without one
    record: str | None  # of the purchase that was asked for
    decided: int = 0  # the version of the last decision of an operator about this event or lease; 0 without one
    halted: bool = False
    version: int = 0


class LeaseStore:
    """Leases in the store."""

    def __init__(self, store: Store, versions: Versions, *, due_ms: int) -> None:
        self._store = store
        self._versions = versions
        self._due_ms = due_ms

    def lease(self, changes: Sequence[LeaseChange]) -> list[LeaseReply | Outcome | StoreError]:
        """Send every change in one round trip; an Outcome where the script did nothing for the event as a whole.

        A StoreError in its place where one script failed. Raises StoreError where nobody knows of any of them.
        """
        return self._run([self._lease_call(change) for change in changes], changes)

    def settle(self, changes: Sequence[SettleChange]) -> list[LeaseReply | Outcome | StoreError]:
        """The same for journalled purchases; their outcomes are in the reply, in their order."""
        return self._run([self._settle_call(change) for change in changes], changes)

    def glance(self, asks: Sequence[GlanceAsk]) -> list[Glance | ScriptFailed]:
        """How the events stand, in one round trip, or what is wrong with the keys of one. Raises StoreError."""
        commands: list[tuple[str | int | bytes, ...]] = []
        for ask in asks:
            k = keys.of_event(ask.event_id)
            commands += (
                ("LLEN", k.tickets),
                ("HLEN", k.leases),
                ("HMGET", k.info, "seed", "version", "paused", "opens_ms", "closes_ms", "accepted", "halted"),
                ("HGET", k.leases, ask.holder),
                ("HGET", k.purchases, ask.purchase_id),
            )
        replies = self._store.read_each(*commands) if commands else []
        return [_glance(replies[at : at + 5]) for at in range(0, len(replies), 5)]

    def halt(self, event_id: str, why: str, decided: int | None = None) -> int | None:
        """Nothing of the event is sold until an operator decides; the version since when. Raises StoreError.

        None, and nothing was done, where an operator decided after the decision at version `decided`.
        """
        args = (why, "" if decided is None else decided)
        tag, version = scripts.run(self._store, "halt", (keys.of_event(event_id).info,), args)
        return None if tag == "decided" else int(version)

    def _run(
        self, calls: Sequence[scripts.Call], changes: Sequence[LeaseChange | SettleChange]
    ) -> list[LeaseReply | Outcome | StoreError]:
        replies = scripts.run_all(self._store, calls)
        return [self._read(change, reply) for change, reply in zip(changes, replies, strict=True)]

    def _lease_call(self, change: LeaseChange) -> scripts.Call:
        k = keys.of_event(change.event_id)
        seen = self._versions.seen(change.event_id, change.seed)
        head = (change.seed, seen, change.holder, change.expected, change.token)
        return scripts.Call("lease", (k.tickets, k.info, k.leases), (*head, change.wanted, change.share_per_mille))

    def _settle_call(self, change: SettleChange) -> scripts.Call:
        k = keys.of_event(change.event_id)
        seen = self._versions.seen(change.event_id, change.seed)
        args: list[str | int] = [change.seed, seen, change.holder, change.expected, change.token, self._due_ms]
        for purchase in change.purchases:
            request = purchase.request
            args += (request.purchase_id, request.quantity, request.fingerprint, request.buyer_tag)
            args += (request.contact, purchase.sold_at_ms)
        touched = (k.tickets, k.info, k.purchases, k.receipts, k.buyers, k.contacts, k.leases)
        return scripts.Call("settle", touched, args)

    def _read(self, change: LeaseChange | SettleChange, reply: Any) -> LeaseReply | Outcome | StoreError:
        if isinstance(reply, StoreError):
            return reply
        if reply[0] in WITHOUT_LEVEL:
            return Outcome(reply[0])
        self._versions.saw(change.event_id, change.seed, reply[1])
        outcomes = tuple(map(Settled, reply[4])) if len(reply) > 4 else ()
        records = tuple(reply[5]) if len(reply) > 5 else ()
        return LeaseReply(reply[0] == "moved_on", reply[2], int(reply[3]), outcomes, records)


def _glance(replies: Sequence[Any]) -> Glance | ScriptFailed:
    for reply in replies:
        if isinstance(reply, ScriptFailed):
            return reply
    pool, holders, info, lease, record = replies
    seed, version, paused, opens, closes, accepted, halted = info
    token = (lease or "").partition("|")[0]
    try:
        decided = max(int(accepted or 0), decided_at(token))
        times = (int(opens) if opens else None, int(closes) if closes else None)
        return Glance(
            seed, pool, holders, paused == "1", *times, token, record, decided, halted == "1", int(version or 0)
        )
    except ValueError as error:
        return ScriptFailed(f"its info is damaged: {error}")


def decided_at(token: str) -> int:
    """The version of the operator's decision that set this token of a lease; 0 where a holder did."""
    found = ACCEPTED.match(token)
    return int(found[1]) if found else 0
