"""Receipts that another host has stored in a folder of its own: here they are drawn again, by workers of this folder.

What must stay true: hosts share a queue, and a receipt is in the folder of whoever drew it. So a job to draw one again
goes to a queue that only workers of the asking host's folder work on. Where there is none, or it is full because nobody
works on it, it goes to the shared one; the outbox has the receipt either way.
"""

import contextlib
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from loguru import logger

from ticketing.receipts.files import FOLDER_MODE, write_new
from ticketing.store.queue import QUEUE, ReceiptJob, ReceiptQueue

FILE = ".folder-id"
FOLDER_ID = re.compile(r"[0-9a-f]{16}")
FULL_JOBS = 64  # nobody works on them


def queue_of(folder: Path) -> str | None:
    """The queue of this folder's workers; None where there never was one."""
    try:
        found = (folder / FILE).read_text()
    except OSError:
        return None
    return f"{QUEUE}-{found}" if FOLDER_ID.fullmatch(found) else None


def made_queue_of(folder: Path) -> str | None:
    """The same for a worker, made if it is the first; None where the folder can't be written: it will say so itself."""
    draft = folder / f"{FILE}.{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        if not (folder / FILE).exists():
            write_new(draft, secrets.token_hex(8).encode())
            with contextlib.suppress(FileExistsError):
                (folder / FILE).hardlink_to(draft)
            draft.unlink()
    except OSError as error:
        logger.warning("the folder of receipts has no queue of its own: {}", error.strerror)
    return queue_of(folder)


class NearbyQueue:
    """Where receipts are enqueued that were drawn before, and are not here."""

    def __init__(self, folder: Path, shared: ReceiptQueue, named: Callable[[str], ReceiptQueue]) -> None:
        self._folder = folder
        self._shared = shared
        self._named = named

    def enqueue(self, jobs: Iterable[ReceiptJob]) -> None:
        """All of these jobs. Raises StoreError."""
        self._queue().enqueue(jobs)

    def depth(self) -> int:
        """How many jobs wait. Raises StoreError."""
        return self._queue().depth()

    def _queue(self) -> ReceiptQueue:
        name = queue_of(self._folder)
        own = None if name is None else self._named(name)
        return own if own is not None and own.depth() < FULL_JOBS else self._shared
