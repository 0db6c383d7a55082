"""What a purchase's receipt is doing, for whoever asks with its id.

What must stay true: a stored receipt is found without the store, so that an outage hides none; asking for a pending
receipt adds no job, apart from the first time after its file was cleaned up. Where storage is far, whoever waits for a
receipt that is being made asks the store alone; and a receipt that nobody can be asked about is pending, and is not
drawn again for that.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ticketing.errors import ReceiptsAway, StoreError
from ticketing.model import Purchase, PurchaseStatus, ReceiptStatus, event_id_of
from ticketing.receipts.storage import ReceiptStorage, StoredReceipt
from ticketing.sale.identity import Identity
from ticketing.store.outbox import OutboxStore
from ticketing.store.sale import PurchaseStanding


@dataclass(frozen=True, slots=True)
class Standing:
    """A purchase and its receipt as they stand. `purchase` is None while it is provisional."""

    status: PurchaseStatus
    receipt: ReceiptStatus
    purchase: Purchase | None = None


class ReceiptDesk:
    """Where receipts are asked for."""

    def __init__(
        self,
        identity: Identity,
        files: ReceiptStorage,
        read_standing: Callable[[str, str], PurchaseStanding],
        outbox: OutboxStore,
        enqueue: Callable[[str, list[str]], None],
        due_ms: int,
    ) -> None:
        self._identity = identity
        self._files = files
        self._read_standing = read_standing
        self._outbox = outbox
        self._enqueue = enqueue
        self._due_ms = due_ms

    def stored(self, purchase_id: str) -> StoredReceipt | None:
        """The PDF of a genuine purchase id, where it is stored; None otherwise."""
        try:
            return self._files.get(purchase_id) if self._may_be_stored(purchase_id) else None
        except ReceiptsAway:  # the storage has said so
            return None

    def link(self, purchase_id: str, method: str, life_s: int) -> str | None:
        """Where the stored receipt of a genuine id can be had for so long; None where it is not, or not so."""
        try:
            stored = self._may_be_stored(purchase_id) and self._files.has(purchase_id)
            return self._files.link(purchase_id, method, life_s) if stored else None
        except ReceiptsAway:
            return None

    def standing(self, purchase_id: str) -> Standing | None:
        """How the purchase stands; None for a false or voided id. Never raises: without the store it is provisional."""
        if not self._identity.is_genuine(purchase_id):
            return None
        event_id = event_id_of(purchase_id)
        try:
            found = self._read_standing(event_id, purchase_id)
            if found.voided:
                return None
            if found.purchase is None:
                return Standing(PurchaseStatus.PROVISIONAL, ReceiptStatus.PENDING)
            return Standing(PurchaseStatus.SOLD, self._receipt(event_id, purchase_id, found), found.purchase)
        except StoreError:
            return Standing(PurchaseStatus.PROVISIONAL, ReceiptStatus.PENDING)

    def receipt_of(self, purchase: Purchase) -> ReceiptStatus:
        """The receipt of a purchase that was just bought or repeated, without asking the store."""
        # Nobody who buys waits for a bucket. Asking for the receipt tells.
        ready = purchase.replayed and self._files.is_near and self._files.has(purchase.purchase_id)
        return ReceiptStatus.READY if ready else ReceiptStatus.PENDING

    def _may_be_stored(self, purchase_id: str) -> bool:
        """Whether storage is to be asked. A far one is not, of a receipt that is being made: many look for it often."""
        if not self._identity.is_genuine(purchase_id):
            return False
        if self._files.is_near:
            return True
        try:
            found = self._read_standing(event_id_of(purchase_id), purchase_id)
        except StoreError:
            return True
        return not (found.in_outbox or found.voided)

    def _receipt(self, event_id: str, purchase_id: str, found: PurchaseStanding) -> ReceiptStatus:
        if found.in_outbox and not self._files.is_near:
            return ReceiptStatus.PENDING
        try:
            stored = self._files.has(purchase_id)
        except ReceiptsAway:
            return ReceiptStatus.FAILED if found.receipt_failed else ReceiptStatus.PENDING
        if stored:
            return ReceiptStatus.READY
        if found.receipt_failed:
            return ReceiptStatus.FAILED
        if not found.in_outbox and self._outbox.request(event_id, purchase_id, self._due_ms) == "requested":
            self._enqueue(event_id, [purchase_id])
        return ReceiptStatus.PENDING
