"""The journal: what it says after any damage, and that nothing is answered from a file that failed."""

import errno
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.sales import SEED, a_request
from ticketing.outage import journal as journal_module
from ticketing.outage.journal import (
    FORMAT_LINE,
    Content,
    Entry,
    Journal,
    JournalDamaged,
    JournalError,
    JournalPoisoned,
    Snapshot,
    VoidIntent,
    parse,
)
from ticketing.store.leases import JournalledPurchase

SALE = ("1", SEED)


def snapshot(sellable: int, *tokens: str) -> Snapshot:
    return Snapshot("1", SEED, tokens, sellable, 7, 10, None, 1_900_000_000_000, False)


def purchase(quantity: int = 1) -> JournalledPurchase:
    request = a_request(quantity, contact='{"name":"Zoë"}', buyer_tag="annannannan", keyed=True)
    return JournalledPurchase(request, SEED, 1_700_000_000_000)


def void(purchase_id: str = "1.unknown") -> VoidIntent:
    return VoidIntent("1", SEED, purchase_id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slot-0.journal"


def written(path: Path, *entries: Entry) -> bytes:
    journal = Journal(path)
    journal.read()
    journal.write(entries)
    journal.close()
    return path.read_bytes()


def read(path: Path) -> Content:
    journal = Journal(path)
    try:
        return journal.read()
    finally:
        journal.close()


def test_what_was_written_is_read_whole(path: Path) -> None:
    sold, intent, counts = purchase(2), void(), snapshot(5, "t1", "t2")
    written(path, counts, sold, intent)
    content = read(path)
    assert content.snapshots == {SALE: counts}
    assert content.purchases == {sold.request.purchase_id: sold}
    assert content.voids == {"1.unknown": intent}
    assert content.sellable == {SALE: 3}


def test_a_new_journal_holds_its_format_and_only_its_owner_may_read_it(path: Path) -> None:
    assert written(path) == FORMAT_LINE
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_count_is_the_last_snapshots_less_what_was_sold_after_it(path: Path) -> None:
    written(path, snapshot(5), purchase(2), snapshot(9), purchase(3), purchase(1))
    assert read(path).sellable == {SALE: 5}


def test_the_count_is_never_below_nothing_and_nothing_without_a_snapshot(path: Path) -> None:
    written(path, purchase(2))
    assert read(path).sellable == {SALE: 0}


def test_a_torn_last_line_is_cut_at_every_byte(tmp_path: Path) -> None:
    first, last = purchase(1), purchase(2)
    whole = written(tmp_path / "whole", snapshot(9), first, last)
    before = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for end in range(before, len(whole)):
        path = tmp_path / f"torn-{end}"
        path.write_bytes(whole[:end])
        content = read(path)
        assert list(content.purchases) == [first.request.purchase_id]
        assert content.sellable == {SALE: 8}
        assert path.read_bytes() == whole[:before]


def test_a_torn_first_line_leaves_an_empty_journal(tmp_path: Path) -> None:
    for end in range(len(FORMAT_LINE)):
        path = tmp_path / f"torn-{end}"
        path.write_bytes(FORMAT_LINE[:end])
        assert read(path) == Content()
        assert path.read_bytes() == FORMAT_LINE


def test_a_last_line_with_a_newline_and_holes_is_torn_too(path: Path) -> None:
    whole = written(path, snapshot(9), purchase(1))
    path.write_bytes(whole[:-20] + b"\0" * 19 + b"\n")
    assert read(path).sellable == {SALE: 9}


def test_zeros_after_the_last_line_are_torn_too(path: Path) -> None:
    path.write_bytes(written(path, snapshot(9)) + b"\0" * 512)
    assert read(path).sellable == {SALE: 9}


def test_damage_before_the_last_line_parks_the_file_as_it_is(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", snapshot(9), purchase(1), purchase(2))
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for at in range(0, last, 7):
        damaged = whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :]
        path = tmp_path / f"damaged-{at}"
        path.write_bytes(damaged)
        with pytest.raises(JournalDamaged):
            read(path)
        assert path.read_bytes() == damaged


def line(members: object) -> bytes:
    text = orjson.dumps(members)
    return b"%08x %b\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    "data",
    [
        line({"kind": "format", "version": 2}),
        line({"kind": "void", "event_id": "1", "seed": "s", "purchase_id": "1.x"}),
        FORMAT_LINE + line({"kind": "refund"}),
        FORMAT_LINE + line({"kind": "void", "event_id": "1"}),
        FORMAT_LINE + line({"kind": "event", "event_id": "1"}),
        FORMAT_LINE + line(["void"]),
        FORMAT_LINE + line({"version": 1}),
        FORMAT_LINE + b"%08x {\n" % zlib.crc32(b"{") + line({}),
    ],
)
def test_what_this_version_does_not_know_parks_the_file(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(JournalDamaged):
        read(path)
    assert path.read_bytes() == data


def test_truncating_keeps_the_inode_and_only_what_it_is_given(path: Path) -> None:
    journal = Journal(path)
    journal.read()
    journal.write([snapshot(9), purchase(1)])
    inode = path.stat().st_ino
    journal.truncate([snapshot(3)])
    assert (path.stat().st_ino, path.read_bytes()) == (inode, FORMAT_LINE + path.read_bytes()[len(FORMAT_LINE) :])
    assert read(path).sellable == {SALE: 3}
    journal.truncate()
    assert path.read_bytes() == FORMAT_LINE
    journal.close()


def fails(number: int, *, times: int = 1) -> Callable[..., object]:
    left = [times]
    real = os.fsync

    def failing(descriptor: int, *rest: object) -> object:
        if left[0] > 0:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return real(descriptor)

    return failing


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_failing_fsync_poisons_the_journal_until_a_truncation_works(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    journal = Journal(path)
    journal.read()
    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "fsync", fails(number))
        with pytest.raises(JournalPoisoned):
            journal.write([purchase()])
    assert journal.poisoned
    with pytest.raises(JournalPoisoned, match="poisoned"):
        journal.write([purchase()])
    journal.truncate([snapshot(2)])
    assert not journal.poisoned
    journal.write([purchase()])
    assert read(path).sellable == {SALE: 1}
    journal.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("function", ["write", "ftruncate"])
def test_a_failing_write_or_truncation_poisons_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, function: str
) -> None:
    journal = Journal(path)
    journal.read()

    def failing(*_: object) -> object:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, function, failing)
        with pytest.raises(JournalPoisoned):
            journal.truncate([snapshot(1)])
        assert journal.poisoned
    journal.truncate()
    assert not journal.poisoned
    journal.close()


def test_a_truncation_that_works_and_a_write_that_does_not_leave_it_poisoned(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    journal.read()
    journal.write([purchase()])
    monkeypatch.setattr(journal_module.os, "fsync", fails(errno.EIO))
    with pytest.raises(JournalPoisoned):
        journal.write([purchase()])
    monkeypatch.setattr(journal_module.os, "write", fails(errno.ENOSPC))
    with pytest.raises(JournalPoisoned):
        journal.truncate()
    assert journal.poisoned
    journal.close()


def test_a_write_in_pieces_is_written_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda descriptor, data: real(descriptor, bytes(data[:10])))
    entry = purchase()
    written(path, entry)
    assert list(read(path).purchases) == [entry.request.purchase_id]


def test_one_write_is_one_fsync_and_none_where_that_is_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    journals = [Journal(path), Journal(path.with_name("other"), fsync=False)]
    for journal in journals:
        journal.read()
    monkeypatch.setattr(journal_module.os, "fsync", synced.append)
    for journal in journals:
        journal.write([purchase(), purchase()])
        journal.close()
    assert len(synced) == 1


def test_a_folder_that_is_not_there_or_no_folder_is_a_journal_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        Journal(tmp_path / "absent" / "slot-0.journal")
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError):
        Journal(tmp_path / "file" / "slot-0.journal")


def test_a_read_only_file_system_is_a_journal_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(journal_module.os, "open", refused)
    with pytest.raises(JournalError, match="Read-only"):
        Journal(path)


def test_parsing_says_how_much_is_whole(path: Path) -> None:
    whole = written(path, snapshot(9))
    assert parse(whole + b"torn")[0] == len(whole)
    assert parse(b"") == (0, Content())
