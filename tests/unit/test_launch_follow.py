"""The logs on the terminal: whole lines, each once, whatever supervisord does with the file."""

from pathlib import Path

import pytest

from ticketing.launch.follow import LogFile, tail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.log"


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def test_what_stood_there_before_is_not_shown(path: Path) -> None:
    append(path, b"old\n")
    log = LogFile(path)
    append(path, b"new\n")
    assert log.new_lines() == ["new"]
    assert log.new_lines() == []
    log.close()


def test_half_a_line_waits_for_its_end(path: Path) -> None:
    append(path, b"")
    log = LogFile(path)
    append(path, b"gr\xc3")
    assert log.new_lines() == []
    append(path, b"\xbc\xc3\x9fe\nnext")
    assert log.new_lines() == ["grüße"]
    log.close()


def test_a_file_that_comes_later_is_read_from_its_beginning(path: Path) -> None:
    log = LogFile(path)
    assert log.new_lines() == []
    append(path, b"first\n")
    assert log.new_lines() == ["first"]
    log.close()


def test_no_line_is_lost_when_the_file_is_renamed(path: Path) -> None:
    append(path, b"")
    log = LogFile(path)
    append(path, b"one\ntw")
    assert log.new_lines() == ["one"]
    append(path, b"o\nthree\n")
    path.rename(path.with_suffix(".log.1"))
    append(path, b"four\n")
    assert log.new_lines() == ["two", "three", "four"]
    log.close()


def test_the_tail_is_the_last_lines(path: Path) -> None:
    assert tail(path, 2) == []
    append(path, b"".join(b"%d\n" % number for number in range(10_000)))
    assert tail(path, 2) == ["9998", "9999"]
