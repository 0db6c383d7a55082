"""Reading a whole event out of a store that sells meanwhile, in steps of a few milliseconds.

What must stay true: nothing is written; no single command reads more than a chunk. A scan gives every entry that was
there from its beginning to its end, may give one twice, and may or may not give one that came meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ticketing.store import keys, scripts
from ticketing.store.connection import Store

SCAN_ENTRIES = 500  # blocks the server for 1-2 ms
POOL_CHUNK = 2_000  # less than 1 ms
CONFIRM_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An event's counters at one moment. A counter that is no number is None."""

    seed: str
    epoch: int | None
    issued: int | None
    sold: int | None
    voided: int | None
    buyer_max: int
    pool: int
    leased: int
    records: int  # purchases and tombstones
    receipts_pending: int
    receipts_failed: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store holds for one purchase id, at the same moment for all places."""

    record: str  # "" without one
    in_outbox: bool
    failed: bool
    has_contact: bool


class AuditStore:
    """The whole content of a store's events."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def snapshot(self, event_id: str) -> Snapshot | None:
        """The event's counters, from one script; None where it does not exist. Raises StoreError."""
        k = keys.of_event(event_id)
        touched = (k.tickets, k.info, k.purchases, k.receipts, k.failed, k.leases, k.tries)
        reply = scripts.run(self._store, "state", touched, ())
        if not reply:
            return None
        info = dict(zip(reply[0][::2], reply[0][1::2], strict=True))
        return Snapshot(
            seed=info.get("seed", ""),
            epoch=_number(info.get("epoch")),
            issued=_number(info.get("issued")),
            sold=_number(info.get("sold")),
            voided=_number(info.get("voided")),
            buyer_max=_number(info.get("buyer_max")) or 0,
            pool=reply[1],
            records=reply[2],
            receipts_pending=reply[3],
            receipts_failed=reply[4],
            leased=reply[5],
        )

    def purchases(self, event_id: str) -> Iterator[list[tuple[str, str]]]:
        """Purchase id and record, in chunks: a scan. Raises StoreError."""
        return self._scan("HSCAN", keys.of_event(event_id).purchases)

    def buyers(self, event_id: str) -> Iterator[list[tuple[str, str]]]:
        """Buyer tag and tickets held, in chunks: a scan. Raises StoreError."""
        return self._scan("HSCAN", keys.of_event(event_id).buyers)

    def held(self, event_id: str, buyer_tags: Sequence[str]) -> dict[str, str]:
        """Tickets held by these buyers, as the store has it now; those without any left out. Raises StoreError."""
        key = keys.of_event(event_id).buyers
        found: dict[str, str | None] = {}
        for first in range(0, len(buyer_tags), SCAN_ENTRIES):
            asked = buyer_tags[first : first + SCAN_ENTRIES]
            found.update(zip(asked, self._store.one("HMGET", key, *asked), strict=True))
        return {tag: count for tag, count in found.items() if count is not None}

    def outbox(self, event_id: str) -> Iterator[list[str]]:
        """Purchase ids in the outbox, in chunks: a scan. Raises StoreError."""
        return _names(self._scan("ZSCAN", keys.of_event(event_id).receipts))

    def failed(self, event_id: str) -> Iterator[list[str]]:
        """Purchase ids whose receipt was given up, in chunks: a scan. Raises StoreError."""
        return _names(self._scan("HSCAN", keys.of_event(event_id).failed))

    def contacts(self, event_id: str) -> Iterator[list[str]]:
        """Purchase ids with a contact, in chunks: a scan. Raises StoreError."""
        return _names(self._scan("HSCAN", keys.of_event(event_id).contacts))

    def records(self, event_id: str, purchase_ids: Sequence[str]) -> list[str | None]:
        """The record of each purchase id, or None. Raises StoreError."""
        return list(self._store.one("HMGET", keys.of_event(event_id).purchases, *purchase_ids))

    def receipt_due_or_failed(self, event_id: str, purchase_ids: Sequence[str]) -> list[bool]:
        """Whether each id is in the outbox or was given up. Raises StoreError."""
        k = keys.of_event(event_id)
        due, failed = self._store.read(("ZMSCORE", k.receipts, *purchase_ids), ("HMGET", k.failed, *purchase_ids))
        return [left is not None or right is not None for left, right in zip(due, failed, strict=True)]

    def leases(self, event_id: str) -> dict[str, str]:
        """Every lease at one moment: holder -> token|ticket,ticket. Slots bound them. Raises StoreError."""
        flat = self._store.one("HGETALL", keys.of_event(event_id).leases)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def pool(self, event_id: str) -> Iterator[list[str]]:
        """The pool in chunks, from its tail to its head. Raises StoreError.

        Counted from the tail, so that sales, which take from the head, shift nothing. Tickets that are pushed
        meanwhile show some others twice, and hide none.
        """
        key, read = keys.of_event(event_id).tickets, 0
        while chunk := self._store.one("LRANGE", key, -read - POOL_CHUNK, -read - 1):
            yield chunk
            read += POOL_CHUNK

    def standings(self, event_id: str, purchase_ids: Sequence[str]) -> Iterator[tuple[str, Standing]]:
        """What the store holds for each of these ids now, a script a chunk. Raises StoreError."""
        k = keys.of_event(event_id)
        touched = (k.purchases, k.receipts, k.failed, k.contacts)
        for first in range(0, len(purchase_ids), CONFIRM_AT_ONCE):
            asked = purchase_ids[first : first + CONFIRM_AT_ONCE]
            reply = scripts.run(self._store, "audit_confirm", touched, asked)
            for i, purchase_id in enumerate(asked):
                record, in_outbox, failed, has_contact = reply[4 * i : 4 * i + 4]
                yield purchase_id, Standing(record, in_outbox == 1, failed == 1, has_contact == 1)

    def _scan(self, command: str, key: str) -> Iterator[list[tuple[str, str]]]:
        cursor = "0"
        while True:
            cursor, flat = self._store.one(command, key, cursor, "COUNT", SCAN_ENTRIES)
            yield list(zip(flat[::2], flat[1::2], strict=True))
            if int(cursor) == 0:
                return


def _names(chunks: Iterator[list[tuple[str, Any]]]) -> Iterator[list[str]]:
    for chunk in chunks:
        if chunk:
            yield [name for name, _ in chunk]


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
