"""The words of the sale as values: events, purchases, receipts. Pure: no clock, no network, no settings.

What a purchase makes anew is a NamedTuple: a frozen dataclass costs three times as much to make.

Times are whole milliseconds since 1970 UTC (`_ms`), money is a decimal string with its ISO 4217 currency.

The life of a purchase id (rows are what the store holds for it, columns what is asked of it):

    store holds      | buy, same content | buy, other content | void             | GET /tickets
    -----------------+-------------------+--------------------+------------------+-------------------------
    nothing          | sold or refused   | sold or refused    | tombstone        | 202 provisional
    a purchase       | replayed          | key_reused         | tombstone (1)    | 200 or 202, or 503 failed
    a tombstone      | voided            | voided             | tombstone        | 404

(1) Its tickets go back to the pool in the same step. A tombstone never becomes anything else.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
KNOWN_IDS_MOST = 2_000  # strangers make up event ids
QUANTITY_MAX = 100  # no event may allow more tickets a purchase than this
QUANTITY_MAX_DEFAULT = 10


@lru_cache(maxsize=KNOWN_IDS_MOST)
def is_event_id(text: str) -> bool:
    """Whether an event could have this id."""
    return EVENT_ID.fullmatch(text) is not None


class SaleState(StrEnum):
    """What an event's sale is doing at one moment."""

    UPCOMING = "upcoming"
    OPEN = "open"
    PAUSED = "paused"
    SOLD_OUT = "sold_out"
    CLOSED = "closed"


class ReceiptStatus(StrEnum):
    """What a purchase's PDF is doing at one moment."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """What people attend, and how its tickets are sold: the `event:{E}:info` hash without its counters."""

    event_id: str
    name: str
    venue: str
    starts_at_ms: int
    timezone: str  # an IANA name
    price_amount: str  # "49.00"
    price_currency: str  # "EUR"
    address: str = ""
    organiser: str = ""
    accent: str = "#232d78"  # the colour of its page and receipt
    opens_ms: int | None = None
    closes_ms: int | None = None
    quantity_max: int = QUANTITY_MAX_DEFAULT
    buyer_max: int = 0  # tickets one buyer may hold; 0: no limit
    revision: int = 1  # rises when anything that a receipt shows changes


@dataclass(frozen=True, slots=True)
class EventState:
    """One event as the store had it at `as_of_ms`: its description and its counters (in tickets)."""

    event: Event
    seed: str  # random, made at the first seeding; another seed is another sale
    version: int
    epoch: int
    issued: int
    planned: int  # the sale opens once this many tickets are issued
    sold: int
    pool: int
    leased: int
    paused: bool
    halted: bool
    receipts_pending: int
    receipts_failed: int
    purchases: int  # tombstones not counted
    oldest_pending_ms: int | None  # when the purchase was sold that waits longest for its receipt
    as_of_ms: int

    @property
    def remaining(self) -> int:
        """Tickets that are issued and not sold, leased ones included: what buyers and metrics are told."""
        return self.issued - self.sold

    def state(self, now_ms: int) -> SaleState:
        """What the sale is doing at `now_ms`, by the store's clock."""
        return sale_state(self, now_ms)


def sale_state(state: EventState, now_ms: int) -> SaleState:
    """A closed sale stays closed whatever else holds; a paused one says so even when it is sold out."""
    event = state.event
    if event.closes_ms is not None and now_ms >= event.closes_ms:
        return SaleState.CLOSED
    if state.issued < state.planned or (event.opens_ms is not None and now_ms < event.opens_ms):
        return SaleState.UPCOMING
    if state.paused or state.halted:
        return SaleState.PAUSED
    return SaleState.OPEN if state.remaining > 0 else SaleState.SOLD_OUT


class Buyer(NamedTuple):
    """Who buys, as far as the caller said; every field may be empty."""

    buyer_id: str = ""
    name: str = ""
    email: str = ""


NOBODY = Buyer()


class PurchaseRequest(NamedTuple):
    """What one request asks for, ready for the store: the purchase does not exist yet."""

    purchase_id: str
    event_id: str
    quantity: int
    fingerprint: str  # 16 hex characters over quantity and buyer
    buyer_tag: str = ""  # 11 characters of a keyed hash of the buyer's id; "" without one
    contact: str = ""  # JSON of name and e-mail; "" without them
    keyed: bool = False  # the caller gave an idempotency key, and so can ask again


class PurchaseStatus(StrEnum):
    """What is known of a purchase id that is genuine and not voided."""

    SOLD = "sold"
    PROVISIONAL = "provisional"  # the store does not have it (yet), or can't be asked


class Purchase(NamedTuple):
    """The buyer's completed act as the store holds it, or as this host's journal does: then it has no tickets yet."""

    purchase_id: str
    event_id: str
    fingerprint: str
    sold_at_ms: int
    quantity: int  # tickets bought
    ticket_ids: tuple[str, ...] = ()
    buyer_tag: str = ""
    replayed: bool = False  # this answer repeats an earlier one

    @property
    def status(self) -> PurchaseStatus:
        """Provisional until it is settled: which tickets it has is known only then."""
        return PurchaseStatus.SOLD if self.ticket_ids else PurchaseStatus.PROVISIONAL


def parse_record(purchase_id: str, record: str, *, replayed: bool = False) -> Purchase:
    """The purchase in a packed record: fingerprint|sold_at_ms|ticket,ticket|buyer tag."""
    fingerprint, sold_at, tickets, buyer_tag = record.split("|", 3)
    ticket_ids = tuple(tickets.split(","))
    return Purchase(
        purchase_id,
        event_id_of(purchase_id),
        fingerprint,
        int(sold_at),
        len(ticket_ids),
        ticket_ids,
        buyer_tag,
        replayed,
    )


def is_tombstone(record: str) -> bool:
    """Whether the record says that its purchase id holds no ticket, for ever."""
    return record.startswith("-")


class Contact(NamedTuple):
    """What a buyer may give to be named on a receipt."""

    name: str = ""
    email: str = ""


def event_id_of(purchase_id: str) -> str:
    """The event that a purchase id belongs to: what stands before its only full stop."""
    return purchase_id.partition(".")[0]


def ticket_id(event_id: str, number: int) -> str:
    """`E<event_id>-<6 or more digits>`; numbers count from 1."""
    return f"E{event_id}-{number:06d}"


class Outcome(StrEnum):
    """What became of one purchase that was asked for, before anybody decides what the caller is told."""

    SOLD = "sold"
    REPLAYED = "replayed"
    PROVISIONAL = "provisional"  # sold from the reserve, in the journal of this host
    KEY_REUSED = "key_reused"
    VOIDED = "voided"
    SOLD_OUT = "sold_out"
    BUYER_LIMIT = "buyer_limit"
    BUYER_REQUIRED = "buyer_required"
    BAD_QUANTITY = "bad_quantity"
    NOT_ON_SALE = "not_on_sale"
    EXPIRED = "expired"  # the script ran too late to sell; it did nothing
    NO_EVENT = "no_event"  # no event of this seed; nothing was done
    WENT_BACK = "went_back"  # the store is older than this process has seen it; nothing was done
    HALTED = "halted"  # an operator must decide first; nothing was done
    REFUSED = "refused"  # the store certainly did nothing
    UNKNOWN = "unknown"  # nobody knows yet
    SCRIPT_FAILED = "script_failed"  # the store answers; this event's script failed within, nobody knows where
    NODE_FAILED = "node_failed"  # the event's node of a cluster did not answer: nobody knows yet
    NODE_AWAY = "node_away"  # it certainly did nothing; nodes of other events may answer


class PoolLevel(NamedTuple):
    """How an event stood after a batch."""

    epoch: int
    left: int  # tickets in the pool
    leased: int  # tickets granted to holders; -1 where it was not counted
    quantity_max: int
    buyer_max: int
    opens_ms: int | None


class SaleReply(NamedTuple):
    """The store's reply to one purchase. `detail` is the record, the sale's state, or the tickets held."""

    outcome: Outcome
    detail: str = ""
    level: PoolLevel | None = None
    replayed: bool = False
