"""The stored receipts in a bucket that all hosts share: one PDF a purchase.

What must stay true: an object's name is a keyed hash of the purchase id. Lists and logs of the bucket, and addresses
that are handed out for a minute, hold names; the id itself fetches the receipt for ever, and is its buyer's secret.
In a process with a gevent hub `offload` takes each call to a thread: obstore would stop the hub. A web process takes
a bounded number of them at once, however slow the bucket is.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ticketing.errors import ReceiptsAway
from ticketing.receipts.bucket import Bucket, Listed
from ticketing.receipts.storage import (
    DELETE_AT_ONCE,
    Cleanup,
    Offload,
    StoredReceipt,
    Usage,
    is_whole,
    offloaded,
    stored_receipt,
)

T = TypeVar("T")

COUNTED_MOST = 20_000  # 20 requests; a bucket's provider counts better
ASK_AT_ONCE = 256  # calls of one process; past that a receipt is pending a second longer
PUT_AT_ONCE = 16
NAME_BYTES = 20
END_BYTES = 16
SUFFIX = ".pdf"


class ReceiptObjects:
    """The bucket of receipts, below a prefix. Purchase ids must be genuine."""

    is_near = False

    def __init__(self, bucket: Bucket, prefix: str, id_secret: str, offload: Offload) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._name_key = hmac.digest(id_secret.encode(), b"names of receipts", "sha256")
        self._offload = offload
        self._asking = 0
        self._putting: ThreadPoolExecutor | None = None

    def name(self, purchase_id: str) -> str:
        """256 folders, for servers that keep each as one."""
        digest = hashlib.blake2b(purchase_id.encode(), key=self._name_key, digest_size=NAME_BYTES).hexdigest()
        return f"{self._prefix}{digest[:2]}/{digest}{SUFFIX}"

    def link(self, purchase_id: str, method: str, life_s: int) -> str:
        """An address in the bucket at which whoever has it gets this receipt, so long. Raises ReceiptsAway."""
        return self._ask(lambda: self._bucket.link(method, self.name(purchase_id), life_s))

    def check(self) -> None:
        """Where the last call failed: a small object could be written now. Raises ReceiptsAway."""
        if self._bucket.why_away:
            self._ask(lambda: self._bucket.put(f"{self._prefix}.check", b"", {}))

    def put(self, purchase_id: str, pdf: bytes) -> None:
        """The receipt is stored: S3 shows an object whole or not at all. Raises ReceiptsAway."""
        self._ask(lambda: self._put(purchase_id, pdf))

    def put_soon(self, purchase_id: str, pdf: bytes) -> "Future[None]":
        """The same, beside others: one after the other, each would wait for a round trip."""
        if self._putting is None:
            self._putting = ThreadPoolExecutor(PUT_AT_ONCE, thread_name_prefix="put")
        return self._putting.submit(self._put, purchase_id, pdf)

    def get(self, purchase_id: str) -> StoredReceipt | None:
        """The stored receipt; None where there is none, or only a part of one. Raises ReceiptsAway."""
        pdf = self._ask(lambda: self._bucket.get(self.name(purchase_id)))
        return None if pdf is None else stored_receipt(pdf)

    def has(self, purchase_id: str) -> bool:
        """Whether a whole receipt is stored; reads only its end. Raises ReceiptsAway."""
        end = self._ask(lambda: self._bucket.end(self.name(purchase_id), END_BYTES))
        return end is not None and is_whole(end)

    def delete_all(self, purchase_ids: Iterable[str]) -> None:
        """None of these receipts is stored. Raises ReceiptsAway."""
        names = [self.name(purchase_id) for purchase_id in purchase_ids]
        if names:
            self._ask(lambda: self._bucket.delete(names))

    def usage(self) -> Usage:
        """What is stored now, counted as far as that costs a second or two. Raises ReceiptsAway."""
        files, size = 0, 0
        for receipts in self._receipts():
            files += len(receipts)
            size += sum(receipt.size for receipt in receipts)
            if files >= COUNTED_MOST:
                return Usage(files, size, more=True)
        return Usage(files, size)

    def cleanup(self, older_than_s: int, most: int = DELETE_AT_ONCE) -> Cleanup:
        """Delete up to `most` receipts that were stored longer ago, by the bucket's clock. Raises ReceiptsAway.

        Lists all that are younger and come before by name: a bucket of millions has rules of its own for that.
        """
        deleted, freed = 0, 0
        for receipts in self._receipts():
            old = [receipt for receipt in receipts if receipt.age_s >= older_than_s]
            chosen = old[: most - deleted]
            if chosen:
                self._bucket.delete([receipt.name for receipt in chosen])
                deleted += len(chosen)
                freed += sum(receipt.size for receipt in chosen)
            if len(chosen) < len(old):
                return Cleanup(deleted, freed, more=True)
        return Cleanup(deleted, freed, more=False)

    def _receipts(self) -> Iterator[list[Listed]]:
        for listed in self._bucket.listed(self._prefix):
            yield [one for one in listed if one.name.endswith(SUFFIX)]

    def _put(self, purchase_id: str, pdf: bytes) -> None:
        event_id = purchase_id.partition(".")[0]
        headers = {
            "Content-Type": "application/pdf",
            "Content-Disposition": f'inline; filename="tickets-{event_id}.pdf"',
            "Cache-Control": "private, no-cache",
        }
        self._bucket.put(self.name(purchase_id), pdf, headers)

    def _ask(self, work: Callable[[], T]) -> T:
        if self._asking >= ASK_AT_ONCE:
            raise ReceiptsAway("too many ask the bucket at once")
        self._asking += 1
        try:
            return offloaded(self._offload, work)
        finally:
            self._asking -= 1
