"""What a purchase's receipt is doing, for whoever asks with its id.

What must stay true: a stored receipt is found without the store, so that an outage hides none; asking for a pending
receipt adds no job, apart from the first time after its file was cleaned up.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ticketing.errors import StoreError
from ticketing.model import Purchase, PurchaseStatus, ReceiptStatus, event_id_of
from ticketing.receipts.files import ReceiptFiles, StoredReceipt
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
        files: ReceiptFiles,
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
        return self._files.get(purchase_id) if self._identity.is_genuine(purchase_id) else None

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
        ready = purchase.replayed and self._files.has(purchase.purchase_id)
        return ReceiptStatus.READY if ready else ReceiptStatus.PENDING

    def _receipt(self, event_id: str, purchase_id: str, found: PurchaseStanding) -> ReceiptStatus:
        if self._files.has(purchase_id):
            return ReceiptStatus.READY
        if found.receipt_failed:
            return ReceiptStatus.FAILED
        if not found.in_outbox and self._outbox.request(event_id, purchase_id, self._due_ms) == "requested":
            self._enqueue(event_id, [purchase_id])
        return ReceiptStatus.PENDING
