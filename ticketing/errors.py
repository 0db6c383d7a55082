"""Every error that the service itself raises. Knows no HTTP: ticketing/api/problems.py turns these into answers.

    TicketingError
    ├── SettingsError               a setting is missing or wrong; the process must not start
    ├── BadRequest                  the caller's words do not fit; lists every fault that was found
    │   ├── BadQuantity                 not a whole number from 1 to the event's limit
    │   ├── BadBuyer                    the buyer's fields do not fit, or the event needs a buyer's id
    │   └── BadKey                      the idempotency key is too short, too long or not printable
    ├── Refusal                     the purchase is not made, and its id holds no ticket
    │   ├── UnknownEvent
    │   ├── SoldOut                     nothing is left to sell
    │   ├── NotEnoughTickets            something is left, and less than was asked for
    │   ├── BuyerLimit                  this buyer would hold more than one buyer may
    │   ├── NotOnSale                   upcoming, paused or closed
    │   └── KeyReused                   this key bought something else before
    ├── IssuedMismatch              an operator adds tickets to a number that the event never had
    ├── Unavailable                 no answer can be given now; ask again after retry_after_s
    │   └── PurchaseUnavailable         of a purchase: its key tells later what became of it
    ├── ReceiptsAway                the storage of receipts can't be asked now; what it holds is not lost
    └── StoreError                  Redis did not answer as it should
        ├── StoreRefused                it certainly did nothing of what was asked
        │   ├── WrongIdSecret               it is sold from with another id secret
        │   └── StoreShut                   it was not asked, since an outage is under way
        └── OutcomeUnknown              it may have done it, or may do it later
            └── ScriptFailed                it answers, and a script of one event failed within: the others are served
                └── NodeFailed                  of a cluster, the node of one event failed: the others are served
                    └── NodeAway                    and it certainly did nothing of what was asked

`StoreRefused` and `OutcomeUnknown` must never be confused: a purchase with an unknown outcome may exist.
"""

from dataclasses import dataclass


class TicketingError(Exception):
    """The root of this tree."""


class SettingsError(TicketingError):
    """A setting is missing or wrong; the text names every fault found, a line each."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a request: where (a JSON pointer, or a header's name) and what."""

    pointer: str
    detail: str


FAULTS_TOLD = 20  # a body of 16 KiB can hold thousands, and the answer must not be larger than the question


class BadRequest(TicketingError):
    """The request can't be understood; `faults` says what to change, nothing was done."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults[:FAULTS_TOLD]
        super().__init__("; ".join(f"{fault.pointer or 'the body'} {fault.detail}" for fault in self.faults))


class BadQuantity(BadRequest):
    """The quantity is not a whole number from 1 to `limit`."""

    def __init__(self, limit: int, detail: str | None = None) -> None:
        super().__init__(Fault("/quantity", detail or f"must be a whole number from 1 to {limit}"))
        self.limit = limit


class BadBuyer(BadRequest):
    """The buyer's fields do not fit, or the event needs a buyer's id and none was given."""


class BadKey(BadRequest):
    """The idempotency key is not 16 to 255 printable ASCII characters."""


class Refusal(TicketingError):
    """The purchase was not made. Asking again is a new try: a refusal is never stored."""


class UnknownEvent(Refusal):
    """There is no event of this id."""


@dataclass
class SoldOut(Refusal):
    """The pool is empty. `remaining` tickets could be bought now: 0."""

    requested: int
    remaining: int = 0


@dataclass
class NotEnoughTickets(Refusal):
    """The pool holds `remaining` tickets, fewer than `requested`; a purchase is all or nothing."""

    requested: int
    remaining: int


@dataclass
class BuyerLimit(Refusal):
    """The buyer holds `held` tickets, and one buyer may hold `limit`."""

    limit: int
    held: int


@dataclass
class NotOnSale(Refusal):
    """The sale of the event is `state`: upcoming, paused or closed. `opens_at_ms` is set where it will open."""

    state: str
    opens_at_ms: int | None = None


class KeyReused(Refusal):
    """The idempotency key stands for another purchase of this event."""


@dataclass
class IssuedMismatch(TicketingError):
    """Tickets were to be added to more than the `issued` that there are; none was."""

    issued: int

    def __str__(self) -> str:
        return f"only {self.issued} tickets are issued: none was added"


class Unavailable(TicketingError):
    """The service can't answer now. What a purchase became of is known only to its key, if it had one."""

    def __init__(self, reason: str, retry_after_s: int = 1) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class PurchaseUnavailable(Unavailable):
    """A purchase can't be answered now. Without a key it holds no ticket in the end; with one, its key tells."""

    def __init__(self, reason: str, *, keyed: bool) -> None:
        super().__init__(reason)
        self.keyed = keyed


class ReceiptsAway(TicketingError, OSError):
    """The storage of receipts can't be asked now: nobody knows whether a receipt is stored. An OSError as a disk's are.

    The text names no purchase.
    """


class StoreError(TicketingError):
    """Redis did not answer as it should."""


class StoreRefused(StoreError):
    """Redis certainly did nothing: it was never reached, or it said no before doing anything."""


class WrongIdSecret(StoreRefused):
    """The store is sold from with another id secret: from this process nothing is."""


class StoreShut(StoreRefused):
    """Redis was not asked: this process is in an outage."""


class OutcomeUnknown(StoreError):
    """Redis may have done what was asked, or may still do it: the connection broke after the command was sent."""


class ScriptFailed(OutcomeUnknown):
    """Redis answers, and said that this command failed within: others may well succeed."""


class NodeFailed(ScriptFailed):
    """The node of this event did not answer as it should, and may have done what was asked: others may well answer."""


class NodeAway(NodeFailed):
    """The node of this event did nothing of what was asked: it was not reached, or said no. Others may well answer."""
