"""The journal's writer: many wait for one fsync, and everybody hears of an error."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event as Signal

from tests.sales import SEED
from ticketing.outage import journal as journal_module
from ticketing.outage.journal import Journal, JournalError, VoidIntent
from ticketing.outage.journal_writer import JournalWriter


class Disk:
    """A real thread that waits until the test lets it write."""

    def __init__(self) -> None:
        self.free = Signal()
        self.free.set()
        self.writes = 0
        self.fails: Exception | None = None

    def __call__(self, work: Callable[[], Any]) -> Any:
        self.free.wait()
        self.writes += 1
        if self.fails is not None:
            raise self.fails
        return work()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def writer(tmp_path: Path, disk: Disk) -> Iterator[JournalWriter]:
    journal = Journal(tmp_path / "slot-0.journal")
    journal.read()
    made = JournalWriter(journal, disk)
    made.start()
    yield made
    disk.free.set()
    disk.fails = None
    made.stop()


def void(number: int) -> VoidIntent:
    return VoidIntent("1", SEED, f"1.{number}")


def appending(writer: JournalWriter, count: int) -> list["gevent.Greenlet[..., None]"]:
    greenlets = [gevent.spawn(writer.append, void(number)) for number in range(count)]
    gevent.sleep(0)
    return greenlets


def test_what_waits_shares_the_next_fsync(writer: JournalWriter, disk: Disk) -> None:
    disk.free.clear()
    first = gevent.spawn(writer.append, void(1_000))
    gevent.sleep(0)
    gevent.sleep(0)
    waiting = appending(writer, 200)
    disk.free.set()
    gevent.joinall([first, *waiting], raise_error=True)
    assert disk.writes == 2
    assert len(writer.journal.read().voids) == 201


def test_nothing_returns_before_it_is_on_disk(writer: JournalWriter, disk: Disk) -> None:
    disk.free.clear()
    greenlets = appending(writer, 3)
    for _ in range(5):
        gevent.sleep(0)
    assert not any(greenlet.dead for greenlet in greenlets)
    assert writer.journal.read().voids == {}
    disk.free.set()
    gevent.joinall(greenlets, raise_error=True)
    assert len(writer.journal.read().voids) == 3


def test_an_error_reaches_all_who_wait_and_all_who_come_later(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(journal_module.os, "fsync", failing)
    greenlets = appending(writer, 5)
    gevent.joinall(greenlets)
    assert [type(greenlet.exception) for greenlet in greenlets] == [journal_module.JournalPoisoned] * 5
    with pytest.raises(JournalError):
        writer.append(void(9))


def test_an_error_of_the_thread_pool_leaves_nobody_waiting(writer: JournalWriter, disk: Disk) -> None:
    disk.fails = RuntimeError("no more threads")
    with pytest.raises(JournalError, match="no more threads"):
        writer.append(void(1))
    assert writer.journal.poisoned


def test_a_truncation_keeps_what_is_journalled_in_the_same_step(writer: JournalWriter, disk: Disk) -> None:
    writer.append(void(1))
    disk.free.clear()
    blocking = gevent.spawn(writer.append, void(2))
    gevent.sleep(0)
    gevent.sleep(0)
    truncating = gevent.spawn(writer.truncate)
    gevent.sleep(0)
    late = gevent.spawn(writer.append, void(3))
    gevent.sleep(0)
    disk.free.set()
    gevent.joinall([blocking, truncating, late], raise_error=True)
    assert list(writer.journal.read().voids) == ["1.3"]


def test_stopping_writes_what_waits_and_then_takes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "slot-1.journal")
    journal.read()
    writer = JournalWriter(journal, lambda work: work())
    writer.start()
    waiting = appending(writer, 2)
    writer.stop()
    gevent.joinall(waiting, raise_error=True)
    with pytest.raises(JournalError, match="closed"):
        writer.append(void(3))
    assert len(Journal(tmp_path / "slot-1.journal").read().voids) == 2
