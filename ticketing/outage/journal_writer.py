"""Group commit into the journal: what waits shares the next fsync, which runs in a real thread.

What must stay true: `append` returns only when its entries are on disk; one write is under way at a time; a process
with nothing to write does nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gevent
from gevent.event import Event as Signal

from ticketing.outage.journal import Entry, Journal, JournalError

Offload = Callable[[Callable[[], Any]], Any]


@dataclass(slots=True)
class _Waiting:
    entries: list[Entry] = field(default_factory=list)
    truncate: bool = False
    error: JournalError | None = None
    done: Signal = field(default_factory=Signal)


class JournalWriter:
    """The only place from which a process writes its journal."""

    def __init__(self, journal: Journal, offload: Offload) -> None:
        self.journal = journal
        self._offload = offload
        self._gathering = _Waiting()
        self._wake = Signal()
        self._stopping = False
        self._worker: gevent.Greenlet[..., None] | None = None

    @property
    def poisoned(self) -> bool:
        """Whether a write failed, and nothing may be sold from the journal."""
        return self.journal.poisoned

    @property
    def size_bytes(self) -> int:
        """How long the file is."""
        return self.journal.size_bytes

    def start(self) -> None:
        """From now on entries are written."""
        if self._worker is None:
            self._worker = gevent.spawn(self._run)

    def stop(self) -> None:
        """What waits is written, then the file is closed: never under a write."""
        self._stopping = True
        self._wake.set()
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        self.journal.close()

    def append(self, *entries: Entry) -> None:
        """The entries are on disk. Raises JournalError: then nobody knows."""
        waiting = self._gathering
        waiting.entries += entries
        self._wait_for(waiting)

    def truncate(self, *entries: Entry) -> None:
        """Nothing is in the journal but these entries. Raises JournalError. Nothing may be open in it."""
        waiting = self._gathering
        waiting.truncate = True
        waiting.entries += entries
        self._wait_for(waiting)

    def _wait_for(self, waiting: _Waiting) -> None:
        if self._stopping:
            raise JournalError("the journal is closed")
        self._wake.set()
        waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error

    def _run(self) -> None:
        while not self._stopping or self._gathering.entries or self._gathering.truncate:
            self._wake.wait()
            self._wake.clear()
            waiting, self._gathering = self._gathering, _Waiting()
            if waiting.entries or waiting.truncate:
                self._flush(waiting)

    def _flush(self, waiting: _Waiting) -> None:
        try:
            waiting.error = self._offload(partial(self._write, waiting))
        except JournalError as error:
            waiting.error = error
        except Exception as error:  # the disk's or the thread pool's: nobody may wait for ever
            self.journal.poisoned = True
            waiting.error = JournalError(repr(error))
        waiting.done.set()

    def _write(self, waiting: _Waiting) -> JournalError | None:
        """What failed, returned and not raised: gevent would print a traceback for each try, four a second."""
        try:
            if waiting.truncate:
                self.journal.truncate(waiting.entries)
            else:
                self.journal.write(waiting.entries)
        except JournalError as error:
            return error
        return None


class NoJournal:
    """In the place of a writer where there is no journal: like one that failed, and that nothing heals."""

    poisoned = True
    size_bytes = 0

    def append(self, *_: Entry) -> None:
        """Raises JournalError."""
        raise JournalError("there is no journal")

    def truncate(self, *_: Entry) -> None:
        """Raises JournalError."""
        raise JournalError("there is no journal")

    def stop(self) -> None:
        """There is nothing to end."""
