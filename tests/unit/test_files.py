"""The stored receipts: whole or not there, in many folders, deleted in small steps."""

import errno
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from loguru import logger

from ticketing.receipts.files import ReceiptFiles
from ticketing.receipts.storage import Cleanup, Usage
from ticketing.sale.identity import Identity

IDENTITY = Identity("an id secret of tests, long enough")
PDF = b"%PDF-1.7\nsome pages\n%%EOF\n"
DAY_S = 86_400


@pytest.fixture
def files(tmp_path: Path) -> ReceiptFiles:
    return ReceiptFiles(tmp_path / "receipts")


def new_id() -> str:
    return IDENTITY.new_purchase_id("gala")


def grow_old(path: Path, seconds: int) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_receipt_that_was_put_is_got_and_another_is_not(files: ReceiptFiles) -> None:
    purchase_id = new_id()
    assert files.get(purchase_id) is None
    assert not files.has(purchase_id)
    files.put(purchase_id, PDF)
    stored = files.get(purchase_id)
    assert stored is not None
    assert (stored.pdf, len(stored.etag)) == (PDF, 32)
    assert files.has(purchase_id)
    assert files.get(new_id()) is None


def test_the_same_bytes_have_the_same_tag_and_others_another(files: ReceiptFiles) -> None:
    tags = []
    for pdf in (PDF, PDF, PDF + b"%%EOF"):
        purchase_id = new_id()
        files.put(purchase_id, pdf)
        stored = files.get(purchase_id)
        assert stored is not None
        tags.append(stored.etag)
    assert tags[0] == tags[1] != tags[2]


@pytest.mark.parametrize("torn", [b"", b"%PDF-1.7\nsome pa", PDF[:-3], b"%%EO", PDF + b"\0" * 20])
def test_a_torn_file_counts_as_not_there_and_is_put_right_by_the_next_put(files: ReceiptFiles, torn: bytes) -> None:
    purchase_id = new_id()
    files.put(purchase_id, torn)
    assert files.get(purchase_id) is None
    assert not files.has(purchase_id)
    files.put(purchase_id, PDF)
    assert files.has(purchase_id)


def test_an_end_with_line_feeds_after_it_is_an_end(files: ReceiptFiles) -> None:
    purchase_id = new_id()
    files.put(purchase_id, b"%%EOF\r\n")
    assert files.has(purchase_id)
    assert files.get(purchase_id) is not None


def test_a_worker_that_died_while_it_wrote_leaves_no_receipt(files: ReceiptFiles, tmp_path: Path) -> None:
    purchase_id = new_id()
    temporary = files.path(purchase_id).with_name(f".{purchase_id}.99999.tmp")
    temporary.parent.mkdir(parents=True)
    temporary.write_bytes(PDF)
    assert files.get(purchase_id) is None
    assert files.usage() == Usage(0, 0)
    files.put(purchase_id, PDF)
    assert files.has(purchase_id)


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_nobody_else_on_the_host_can_read_a_receipt(files: ReceiptFiles, tmp_path: Path, mask: int) -> None:
    purchase_id = new_id()
    before = os.umask(mask)
    try:
        files.put(purchase_id, PDF)
    finally:
        os.umask(before)
    path = files.path(purchase_id)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "receipts", path.parent, path)] == [
        0o700,
        0o700,
        0o600,
    ]


def test_two_containers_whose_workers_have_one_process_id_write_into_different_files(
    files: ReceiptFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    purchase_id = new_id()
    used = []
    monkeypatch.setattr(Path, "replace", lambda temporary, _: used.append(temporary))
    for _ in range(2):
        files.put(purchase_id, PDF)
    assert len(set(used)) == 2
    for temporary in used:
        assert temporary.read_bytes() == PDF
        grow_old(temporary, 3601)
    assert files.cleanup(DAY_S).deleted == 2  # as what dead workers left


def test_a_put_that_fails_leaves_nothing(files: ReceiptFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    purchase_id = new_id()
    files.put(purchase_id, PDF)
    files.delete(purchase_id)
    monkeypatch.setattr(Path, "replace", full_disk)
    for _ in range(3):
        with pytest.raises(OSError, match="no space"):
            files.put(purchase_id, PDF)
    assert list(files.path(purchase_id).parent.iterdir()) == []


def test_what_is_being_written_is_never_seen_half(files: ReceiptFiles) -> None:
    purchase_id = new_id()
    versions = [b"%PDF" + bytes([65 + i]) * 200_000 + b"%%EOF" for i in range(2)]
    files.put(purchase_id, versions[0])
    done = threading.Event()
    seen = []

    def look() -> None:
        while not done.is_set():
            stored = files.get(purchase_id)
            seen.append(None if stored is None else stored.pdf)

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(100):
        files.put(purchase_id, versions[turn % 2])
    done.set()
    reader.join(10)
    assert seen
    assert set(seen) <= set(versions)


def test_deleting_is_for_ever_and_twice_does_no_harm(files: ReceiptFiles) -> None:
    purchase_id = new_id()
    files.put(purchase_id, PDF)
    files.delete(purchase_id)
    files.delete(purchase_id)
    assert files.get(purchase_id) is None


def test_many_are_deleted_at_once_those_that_are_not_there_included(files: ReceiptFiles) -> None:
    ids = [new_id() for _ in range(3)]
    for purchase_id in ids[:2]:
        files.put(purchase_id, PDF)
    files.delete_all([*ids[1:], ids[0]])
    assert files.usage() == Usage(0, 0)


def test_receipts_are_spread_over_hundreds_of_folders_by_the_random_part(files: ReceiptFiles, tmp_path: Path) -> None:
    folders = {files.path(new_id()).parent for _ in range(4000)}
    assert len(folders) > 256
    assert {folder.parent for folder in folders} == {tmp_path / "receipts"}
    assert {len(folder.name) for folder in folders} == {2}


def test_usage_counts_receipts_and_their_bytes(files: ReceiptFiles) -> None:
    assert files.usage() == Usage(0, 0)
    for _ in range(5):
        files.put(new_id(), PDF)
    assert files.usage() == Usage(5, 5 * len(PDF))


def test_usage_goes_on_where_files_vanish_while_it_counts(files: ReceiptFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [new_id() for _ in range(3)]
    for purchase_id in ids:
        files.put(purchase_id, PDF)
    listed = list(files._entries())
    monkeypatch.setattr(ReceiptFiles, "_entries", lambda _: iter(listed))
    files.delete(ids[0])
    assert files.usage() == Usage(2, 2 * len(PDF))
    assert files.cleanup(0) == Cleanup(2, 2 * len(PDF), more=False)


def test_cleanup_deletes_what_is_older_and_keeps_the_rest(files: ReceiptFiles) -> None:
    old, young = new_id(), new_id()
    for purchase_id in (old, young):
        files.put(purchase_id, PDF)
    grow_old(files.path(old), 2 * DAY_S)
    assert files.cleanup(DAY_S) == Cleanup(1, len(PDF), more=False)
    assert (files.has(old), files.has(young)) == (False, True)
    assert files.cleanup(DAY_S) == Cleanup(0, 0, more=False)


def test_cleanup_stops_at_its_limit_and_says_that_there_is_more(files: ReceiptFiles) -> None:
    for _ in range(7):
        purchase_id = new_id()
        files.put(purchase_id, PDF)
        grow_old(files.path(purchase_id), 2 * DAY_S)
    assert [files.cleanup(DAY_S, most=3) for _ in range(3)] == [
        Cleanup(3, 3 * len(PDF), more=True),
        Cleanup(3, 3 * len(PDF), more=True),
        Cleanup(1, len(PDF), more=False),
    ]


def test_cleanup_at_exactly_its_limit_says_that_nothing_is_left(files: ReceiptFiles) -> None:
    for _ in range(3):
        purchase_id = new_id()
        files.put(purchase_id, PDF)
        grow_old(files.path(purchase_id), 2 * DAY_S)
    assert files.cleanup(DAY_S, most=3) == Cleanup(3, 3 * len(PDF), more=False)


def test_cleanup_takes_temporary_files_of_dead_workers_and_not_of_live_ones(files: ReceiptFiles) -> None:
    purchase_id = new_id()
    files.put(purchase_id, PDF)
    dead, live = (files.path(purchase_id).with_name(f".x.{pid}.tmp") for pid in (1, 2))
    for temporary in (dead, live):
        temporary.write_bytes(b"half")
    grow_old(dead, 3601)
    assert files.cleanup(0).deleted == 2  # the receipt, and what the dead worker left
    assert (dead.exists(), live.exists()) == (False, True)


def test_an_empty_or_missing_folder_is_no_error(files: ReceiptFiles, tmp_path: Path) -> None:
    assert files.cleanup(0) == Cleanup(0, 0, more=False)
    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts" / "stray-file").write_text("not a folder")
    assert files.usage() == Usage(0, 0)


def test_a_folder_that_can_not_be_read_makes_receipts_pending_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "receipts").write_text("a file where the folder should be")
    said: list[str] = []
    sink = logger.add(said.append, level="ERROR", format="{message}")
    files = ReceiptFiles(tmp_path / "receipts")
    assert [files.get("1.abcdef"), files.get("1.ghijkl")] == [None, None]
    assert not files.has("1.abcdef")
    logger.remove(sink)
    assert said == ["receipts can't be read: Not a directory\n"]
