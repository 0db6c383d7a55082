"""The scripts that sell and void, and what a purchase looks like in the store.

What must stay true: each call carries the highest version that this process has seen of the event and seed, and every
reply's version is remembered, so that a store that went back in time answers `went_back` before it writes anything.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from ticketing.errors import NodeAway, NodeFailed, ScriptFailed, StoreError, StoreRefused, WrongIdSecret
from ticketing.model import (
    Contact,
    Outcome,
    PoolLevel,
    Purchase,
    PurchaseRequest,
    SaleReply,
    is_tombstone,
    parse_record,
)
from ticketing.store import keys, scripts
from ticketing.store.connection import Deadline, Store, StoreClock

OUTCOMES: dict[str, Outcome] = {outcome.value: outcome for outcome in Outcome}  # a look-up costs a third of a call
WITHOUT_LEVEL = frozenset({"no_event", "went_back", "halted"})
NO_CONTACT = Contact()
CLOCK_STEP_S = 0.002  # both clocks are read in whole milliseconds


class EventBatch(NamedTuple):
    """Purchases of one event that go in one script call."""

    event_id: str
    seed: str
    requests: Sequence[PurchaseRequest]


@dataclass(frozen=True, slots=True)
class PurchaseStanding:
    """What the store holds for a purchase id: nothing, a tombstone, or a purchase and its receipt's place."""

    purchase: Purchase | None
    voided: bool = False
    in_outbox: bool = False
    receipt_failed: bool = False


class Versions:
    """The highest version that this process has seen of each sale (event and seed)."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = defaultdict(int)

    def seen(self, event_id: str, seed: str) -> int:
        """0 where the sale is new to this process."""
        return self._seen[event_id, seed]

    def saw(self, event_id: str, seed: str, version: int) -> None:
        """Remember a version; a lower one changes nothing."""
        self._seen[event_id, seed] = max(self._seen[event_id, seed], version)


class SaleStore:
    """Selling and voiding in the store."""

    def __init__(self, store: Store, versions: Versions, clock: StoreClock, *, timeout_ms: int, due_ms: int) -> None:
        self._store = store
        self._versions = versions
        self.clock = clock
        self._timeout_ms = timeout_ms
        self._due_ms = due_ms
        self.too_late_s = 0.0  # from then on (monotonic) no purchase that was sent so far can sell any more

    def greet(self, secret_fingerprint: str, probe: Store | None = None) -> None:
        """Returns once the store answers, its time is known, and it is sold from with this id secret only.

        `probe` is a way to the store that is not shut. Raises StoreRefused: nothing was left behind that could sell. So
        it does where replicas confirm nothing: a purchase would end the same way.
        """
        try:
            now, _, secret = (probe or self._store).write(
                ("TIME",), ("SET", keys.ID_SECRET, secret_fingerprint, "NX"), ("GET", keys.ID_SECRET)
            )
        except StoreError as error:
            raise StoreRefused(str(error)) from error
        if secret != secret_fingerprint:
            raise WrongIdSecret(
                "this process has another ID_SECRET than the one that this store is sold with: it sells nothing"
            )
        self.clock.saw(int(now[0]) * 1000 + int(now[1]) // 1000)

    def purchase(self, batches: Sequence[EventBatch]) -> list[list[SaleReply]]:
        """Run purchase.lua for every batch in one round trip; a reply for each purchase, in the same order.

        A batch whose outcome is unknown says so in each of its replies; nothing is raised for it.
        """
        try:
            deadline = self._deadline()
            replies = scripts.run_all(self._store, [self._call(batch, deadline) for batch in batches])
        except StoreError as error:
            replies = [error] * len(batches)
        return [self._read(batch, reply) for batch, reply in zip(batches, replies, strict=True)]

    def _deadline(self) -> int:
        """Until when what is sent now may be sold, by the store's time. Raises StoreRefused where that is not known."""
        if self.clock.now_ms() is None:
            raise StoreRefused("the store's time is not known yet")
        # The store's clock can't be behind what is believed here, so the script's deadline is over by then.
        too_late = Deadline(time.monotonic_ns() // 1_000_000 + self._timeout_ms)
        self.too_late_s = too_late / 1000 + CLOCK_STEP_S
        return too_late if self._store.has_clocks else self.clock.at(too_late)

    def _call(self, batch: EventBatch, deadline: int) -> scripts.Call:
        event_id, seed, requests = batch
        k = keys.of_event(event_id)
        seen = self._versions.seen(event_id, seed)
        return scripts.Call(
            "purchase",
            (k.tickets, k.info, k.purchases, k.receipts, k.buyers, k.contacts, k.leases),
            (seed, seen, deadline, self._due_ms, len(requests), *_columns(requests)),
        )

    def _read(self, batch: EventBatch, reply: Any) -> list[SaleReply]:
        if isinstance(reply, StoreError):
            return [SaleReply(_outcome_of(reply), str(reply))] * len(batch.requests)
        if reply[0] in WITHOUT_LEVEL:
            return [SaleReply(Outcome(reply[0]))] * len(batch.requests)
        _, version, now_ms, epoch, left, leased, quantity_max, buyer_max, opens_ms, tags, details = reply
        self._versions.saw(batch.event_id, batch.seed, version)
        if not self._store.has_clocks:  # else each reply tells another node's time, and the last greeting's counts
            self.clock.saw(now_ms)
        level = PoolLevel(epoch, left, leased, quantity_max, buyer_max, None if opens_ms < 0 else opens_ms)
        return [SaleReply(OUTCOMES[tag], detail, level) for tag, detail in zip(tags, details, strict=True)]

    def void(self, event_id: str, seed: str, purchase_ids: Sequence[str]) -> list[str] | Outcome:
        """Make the ids hold no ticket, now or later: a tag each (voided, barred, already).

        Returns NO_EVENT, WENT_BACK or HALTED where nothing was done. Raises StoreError: ask again, it does no harm.
        """
        k = keys.of_event(event_id)
        reply = scripts.run(
            self._store,
            "void",
            (k.tickets, k.info, k.purchases, k.receipts, k.tries, k.failed, k.buyers, k.contacts),
            (seed, self._versions.seen(event_id, seed), *purchase_ids),
        )
        if reply[0] in WITHOUT_LEVEL:
            return Outcome(reply[0])
        self._versions.saw(event_id, seed, reply[1])
        return list(reply[2])


def standing(store: Store, event_id: str, purchase_id: str) -> PurchaseStanding:
    """What the store holds for a purchase id, and will hold whatever fails. Raises StoreError."""
    k = keys.of_event(event_id)
    # A purchase that replicas don't have may be lost yet, and made anew with other tickets.
    record, due, failed = store.write(
        ("HGET", k.purchases, purchase_id), ("ZSCORE", k.receipts, purchase_id), ("HEXISTS", k.failed, purchase_id)
    )
    if record is None:
        return PurchaseStanding(None)
    if is_tombstone(record):
        return PurchaseStanding(None, voided=True)
    return PurchaseStanding(parse_record(purchase_id, record), False, due is not None, bool(failed))


def _columns(requests: Sequence[PurchaseRequest]) -> tuple[str | int, ...]:
    """What purchase.lua takes, column by column; buyer tags and contacts only where there are any."""
    ids, _, quantities, fingerprints, buyer_tags, contacts, _ = zip(*requests, strict=True)
    if any(buyer_tags) or any(contacts):
        return (*ids, *quantities, *fingerprints, *buyer_tags, *contacts)
    return (*ids, *quantities, *fingerprints)


def _outcome_of(error: StoreError) -> Outcome:
    if isinstance(error, StoreRefused):
        return Outcome.REFUSED
    if isinstance(error, NodeFailed):
        return Outcome.NODE_AWAY if isinstance(error, NodeAway) else Outcome.NODE_FAILED
    return Outcome.SCRIPT_FAILED if isinstance(error, ScriptFailed) else Outcome.UNKNOWN


def contact_text(contact: Contact) -> str:
    """A contact as it is stored: JSON, or "" where there is nothing to keep."""
    if contact == NO_CONTACT:
        return ""
    return orjson.dumps({name: value for name, value in zip(Contact._fields, contact, strict=True) if value}).decode()


def parse_contact(text: str) -> Contact:
    """The contact in a stored text."""
    return Contact(**orjson.loads(text)) if text else Contact()
