"""What the person at the terminal is told."""

import os
import pty
import re
import sys
from pathlib import Path

import pytest

from ticketing.config import Settings, load
from ticketing.launch.terminal import Terminal, admin_token, painted, ready_block, say


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return load(data_dir=tmp_path / "var")


def test_lines_of_the_parts_have_colours_and_others_stay_as_they_are() -> None:
    line = "09:15:02.123 WARNING  web      outage: it is away"
    shown = painted(line)
    assert shown.startswith("\x1b[2m09:15:02.123\x1b[0m \x1b[33mWARNING ")
    assert re.sub("\x1b\\[[0-9]+m", "", shown) == line
    for other in ("", "Traceback (most recent call last):", '{"time": "09:15:02.123"}', "09:15 INFO x"):
        assert painted(other) == other


def test_nobody_who_reads_a_pipe_gets_colours(capsys: pytest.CaptureFixture[str]) -> None:
    line = "09:15:02.123 WARNING  web      outage: it is away"
    Terminal().show([line])
    assert capsys.readouterr().out == f"{line}\n"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3049"),
        ("0.0.0.0", "http://127.0.0.1:3049"),
        ("::", "http://[::1]:3049"),
        ("tickets.example", "http://tickets.example:3049"),
    ],
)
def test_the_url_is_one_that_a_browser_here_can_open(settings: Settings, host: str, url: str) -> None:
    assert settings.model_copy(update={"host": host}).local_url == url


def test_the_token_is_shown_once(settings: Settings) -> None:
    assert settings.admin_token in admin_token(settings)
    assert admin_token(settings) == "admin token: in var/secrets/admin_token"


def test_a_token_that_was_set_is_never_shown(settings: Settings) -> None:
    token = "a token of one's own"
    given = settings.model_copy(update={"admin_token": token})
    assert token not in "\n".join(ready_block(given, 1.0))


def test_the_ready_block_has_a_line_to_try(settings: Settings) -> None:
    shown = "\n".join(ready_block(settings, 1.0))
    assert "curl -X POST http://127.0.0.1:3049/buy/1" in shown
    assert "http://127.0.0.1:3049/admin/live" in shown


def test_output_that_nobody_reads_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1, closefd=False) as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        say("hello")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    os.close(writer)


def test_a_closed_terminal_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    main, terminal = pty.openpty()
    before = os.dup(0)
    try:
        os.dup2(terminal, 0)
        os.close(terminal)
        watched = Terminal()
        assert not watched.has_gone()
        os.close(main)
        assert watched.has_gone()
    finally:
        os.dup2(before, 0)
        os.close(before)
