"""The outbox in the store: which receipts are due, begun, stored, given up.

What must stay true: a purchase leaves the outbox only when its receipt is stored, when it was given up (then it stands
in `failed`), or when it holds no ticket any more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loguru import logger

from ticketing.errors import NodeFailed, StoreError
from ticketing.model import Contact, Purchase, parse_record
from ticketing.store import keys, scripts
from ticketing.store.connection import Store
from ticketing.store.sale import parse_contact
from ticketing.telemetry.logs import short


@dataclass(frozen=True, slots=True)
class DueReceipt:
    """A receipt that a worker shall draw now."""

    purchase: Purchase
    contact: Contact
    first_try: bool  # none was begun before, since the sale


@dataclass(frozen=True, slots=True)
class Overdue:
    """A purchase whose receipt was due, and how often a worker has begun it."""

    purchase_id: str
    tries: int


class OutboxStore:
    """The outbox of every event of a store."""

    def __init__(
        self, store: Store, *, tries: int, retry_base_ms: int, on_given_up: Callable[[str], None] = lambda _: None
    ) -> None:
        """`on_given_up` gets each purchase id whose receipt `begin` gives up."""
        self._store = store
        self._on_given_up = on_given_up
        self._tries = tries
        self._retry_base_ms = retry_base_ms

    def begin(self, event_id: str, purchase_ids: Sequence[str]) -> list[DueReceipt]:
        """Count a try of each, and hand out those that are still to be drawn. Raises StoreError.

        A damaged record is only logged: it stays in the outbox until it is given up, and keeps no other waiting.
        """
        k = keys.of_event(event_id)
        reply = scripts.run(
            self._store,
            "receipts_begin",
            (k.purchases, k.receipts, k.tries, k.failed, k.contacts),
            (self._tries, self._retry_base_ms, *purchase_ids),
        )
        return list(self._begun(purchase_ids, reply))

    def _begun(self, purchase_ids: Sequence[str], reply: list[str]) -> Iterator[DueReceipt]:
        answers = zip(purchase_ids, reply[::3], reply[1::3], reply[2::3], strict=True)
        for purchase_id, tag, record, contact in answers:
            if tag == "failed":
                logger.warning("the receipt of {} is given up after {} tries", short(purchase_id), self._tries)
                self._on_given_up(purchase_id)
            elif tag != "gone":
                try:
                    yield DueReceipt(parse_record(purchase_id, record), parse_contact(contact), tag == "first")
                except (ValueError, TypeError) as error:
                    logger.error("the record of {} is damaged: {}", short(purchase_id), type(error).__name__)

    def finish(self, event_id: str, purchase_ids: Sequence[str]) -> list[str]:
        """They are stored and leave the outbox. Returns those that hold no purchase any more. Raises StoreError."""
        k = keys.of_event(event_id)
        return list(
            scripts.run(self._store, "receipts_finish", (k.purchases, k.receipts, k.tries, k.failed), purchase_ids)
        )

    def sweep(self, event_ids: Sequence[str], most: int) -> list[tuple[str, list[Overdue]]]:
        """Up to `most` overdue receipts of each event, each moved forward, the further the more tries it had.

        Events without any are left out, and those whose outbox can't be read. Raises StoreError where none has any.
        """
        touched = [keys.of_event(event_id) for event_id in event_ids]
        args = (most, self._retry_base_ms)
        calls = [scripts.Call("receipts_sweep", (k.receipts, k.tries), args) for k in touched]
        found = []
        failure: StoreError | None = None
        for event_id, reply in zip(event_ids, scripts.run_all(self._store, calls), strict=True):
            if isinstance(reply, NodeFailed):  # those of other nodes are swept, and this one's when it is back
                continue
            if isinstance(reply, StoreError):
                failure = reply
            elif reply:
                pairs = zip(reply[::2], map(int, reply[1::2]), strict=True)
                found.append((event_id, [Overdue(*pair) for pair in pairs]))
        if failure is not None and not found:
            raise failure
        return found

    def request(self, event_id: str, purchase_id: str, due_ms: int) -> str:
        """Ask for a receipt that is not stored: requested, pending, failed or none. Raises StoreError."""
        k = keys.of_event(event_id)
        return str(
            scripts.run(
                self._store, "receipts_request", (k.purchases, k.receipts, k.failed, k.tries), (purchase_id, due_ms)
            )
        )

    def retry_failed(self, event_id: str, most: int) -> int:
        """Up to `most` receipts that were given up are due again; how many. Raises StoreError."""
        k = keys.of_event(event_id)
        return int(scripts.run(self._store, "receipts_retry", (k.receipts, k.tries, k.failed), (most,)))
