"""The stored receipts: one PDF a purchase in a folder of this host.

What must stay true: a file appears whole (temporary name, then rename) and is served only where it ends as a PDF does.
There is no fsync: a receipt that a crash cuts short counts as pending, and is drawn again from its purchase. Nobody
but the service's user reads here: a receipt names its buyer, and is a ticket.
"""

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from loguru import logger

from ticketing.receipts.storage import DELETE_AT_ONCE, Cleanup, StoredReceipt, Usage, is_whole, stored_receipt

FOLDER_MODE, FILE_MODE = 0o700, 0o600
END_BYTES = 16  # enough to see that a PDF is whole
TEMPORARY_AGE_S = 3600  # a temporary file this old was left by a worker that died


STORED: "Future[None]" = Future()
STORED.set_result(None)


class ReceiptFiles:
    """The folder of receipts. Purchase ids must be genuine: they become file names."""

    is_near = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: set[int | None] = set()

    def path(self, purchase_id: str) -> Path:
        """Where the receipt is, or will be."""
        return Path(self._name(purchase_id))

    def _name(self, purchase_id: str) -> str:
        """256 folders or more, by the random part of the id, so that no folder gets slow."""
        return f"{self._folder}/{purchase_id.partition('.')[2][:2]}/{purchase_id}.pdf"

    def put(self, purchase_id: str, pdf: bytes) -> None:
        """The receipt is stored, whole. Raises OSError."""
        path = self.path(purchase_id)
        temporary = path.with_name(f".{purchase_id}.{secrets.token_hex(8)}.tmp")  # containers share process ids
        try:
            try:
                write_new(temporary, pdf)
            except FileNotFoundError:
                self._make(path.parent)
                write_new(temporary, pdf)
            temporary.replace(path)
        except BaseException:  # a full disk, or the end of the job's time: each try would leave another file
            temporary.unlink(missing_ok=True)
            raise

    def put_soon(self, purchase_id: str, pdf: bytes) -> "Future[None]":
        """The same: a disk takes one after the other anyway. Raises OSError."""
        self.put(purchase_id, pdf)
        return STORED

    def link(self, purchase_id: str, method: str, life_s: int) -> str | None:  # noqa: ARG002 - of other storages
        """None: nobody but the service reads here."""
        return None

    def check(self) -> None:
        """Nothing: each receipt finds out for itself."""

    def get(self, purchase_id: str) -> StoredReceipt | None:
        """The stored receipt; None where there is none, or only a part of one."""
        try:
            pdf = self.path(purchase_id).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._unreadable(error)
            return None
        return stored_receipt(pdf)

    def has(self, purchase_id: str) -> bool:
        """Whether a whole receipt is stored; reads only its end."""
        try:
            handle = os.open(self._name(purchase_id), os.O_RDONLY)
            try:
                return is_whole(os.pread(handle, END_BYTES, max(0, os.fstat(handle).st_size - END_BYTES)))
            finally:
                os.close(handle)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._unreadable(error)
            return False

    def _unreadable(self, error: OSError) -> None:
        """A disk that fails is no buyer's fault: their receipts are pending until it is mended. Said once a kind."""
        if error.errno not in self._said:
            self._said.add(error.errno)
            logger.error("receipts can't be read: {}", error.strerror)

    def delete(self, purchase_id: str) -> None:
        """The receipt is not stored."""
        self.path(purchase_id).unlink(missing_ok=True)

    def delete_all(self, purchase_ids: Iterable[str]) -> None:
        """None of these receipts is stored."""
        for purchase_id in purchase_ids:
            self.delete(purchase_id)

    def usage(self) -> Usage:
        """What the folder holds now; takes about a second for 100,000 files."""
        files, size = 0, 0
        for entry in self._entries():
            with suppress(FileNotFoundError):  # deleted since it was listed
                if entry.name.endswith(".pdf"):
                    size += entry.stat().st_size
                    files += 1
        return Usage(files, size)

    def cleanup(self, older_than_s: int, most: int = DELETE_AT_ONCE) -> Cleanup:
        """Delete up to `most` receipts that were stored longer ago: deleting very many at once slows the disk."""
        now_s = time.time()
        deleted, freed = 0, 0
        for entry in self._entries():
            with suppress(FileNotFoundError):
                stat = entry.stat()
                limit_s = older_than_s if entry.name.endswith(".pdf") else TEMPORARY_AGE_S
                if now_s - stat.st_mtime < limit_s:
                    continue
                if deleted == most:
                    return Cleanup(deleted, freed, more=True)
                Path(entry).unlink()
                deleted += 1
                freed += stat.st_size
        return Cleanup(deleted, freed, more=False)

    def _make(self, folder: Path) -> None:
        """Each by itself: what mkdir makes on its way to `folder` would get the usual mode."""
        self._folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        folder.mkdir(FOLDER_MODE, exist_ok=True)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        with suppress(FileNotFoundError), os.scandir(self._folder) as folders:
            for folder in folders:
                if folder.is_dir():
                    with os.scandir(folder) as entries:
                        yield from entries


def write_new(path: Path, content: bytes) -> None:
    """A new file that only its owner reads, whatever the umask. Raises OSError."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:  # noqa: PTH123 - of a handle
        file.write(content)
