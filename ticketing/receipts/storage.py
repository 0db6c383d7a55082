"""What keeps the receipts, whatever it is: a folder (files.py) or a bucket (objects.py); opening.py chooses.

What must stay true: the same bytes come back, whole or not at all. What is not stored is told apart from what nobody
can be asked about: the first is drawn again, the second is waited for.
"""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Offload = Callable[[Callable[[], Any]], Any]
END_OF_PDF = b"%%EOF"
DELETE_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A whole PDF, and the hash of its bytes as its entity tag."""

    pdf: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What is stored; at least that where there is `more` than was counted."""

    files: int
    bytes: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What one cleanup did; `more` where it stopped at its limit."""

    deleted: int
    bytes_freed: int
    more: bool


class ReceiptStorage(Protocol):
    """Where receipts are. Purchase ids must be genuine. All but the first two raise ReceiptsAway, or OSError."""

    @property
    def is_near(self) -> bool:
        """Whether asking costs a system call, and no way over a network."""

    def link(self, purchase_id: str, method: str, life_s: int) -> str | None:
        """An address at which whoever has it gets this receipt, by this method and so long; None where there is none.

        Says nothing of whether the receipt is stored.
        """

    def check(self) -> None:
        """Returns where there is no reason to think that a receipt would not be stored now."""

    def put(self, purchase_id: str, pdf: bytes) -> None:
        """The receipt is stored, whole."""

    def put_soon(self, purchase_id: str, pdf: bytes) -> "Future[None]":
        """The same, begun: the future tells, perhaps at once. What is begun together takes no longer than one."""

    def get(self, purchase_id: str) -> StoredReceipt | None:
        """The stored receipt; None where there is none, or only a part of one."""

    def has(self, purchase_id: str) -> bool:
        """Whether a whole receipt is stored; reads only its end."""

    def delete_all(self, purchase_ids: Iterable[str]) -> None:
        """None of these receipts is stored."""

    def usage(self) -> Usage:
        """What is stored now. Takes seconds where there is much: call it in a thread."""

    def cleanup(self, older_than_s: int, most: int = DELETE_AT_ONCE) -> Cleanup:
        """Delete up to `most` receipts that were stored longer ago. As `usage`, call it in a thread."""


def offloaded(offload: Offload, work: Callable[[], T]) -> T:
    """What the work gives or raises, done by `offload`: gevent's threads print what is raised in them."""

    def outcome() -> T | OSError:
        try:
            return work()
        except OSError as away:  # ReceiptsAway, or a disk's
            return away

    found: T | OSError = offload(outcome)
    if isinstance(found, OSError):
        raise found
    return found


def directly(work: Callable[[], Any]) -> Any:
    """Do it here and now: for processes without a gevent hub that must not be kept waiting."""
    return work()


def is_whole(end: bytes) -> bool:
    """Whether a PDF ends with these bytes."""
    return end.rstrip().endswith(END_OF_PDF)


def stored_receipt(pdf: bytes) -> StoredReceipt | None:
    """The receipt with its tag, if it is whole."""
    return StoredReceipt(pdf, hashlib.sha256(pdf).hexdigest()[:32]) if is_whole(pdf) else None
