"""What supervisord makes of the configuration that parts.py writes, and which files it would write."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from supervisor.options import ServerOptions

from ticketing.config import Settings
from ticketing.launch.parts import Part, configuration, parts, python

ODD_WORDS = [
    "/bin/echo",
    "my #dir;x",
    "a ;b",
    "100%",
    "%(here)s",
    "it's",
    'say "hi"',
    "$HOME",
    "\\n",
    "ü  ü",
    " #",
    "a b",
]


Understand = Callable[[Sequence[Part]], dict[str, Any]]


@pytest.fixture
def understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Understand:
    """Parts as supervisord understands their configuration, by the names of their processes."""
    for folder in ("run", "logs"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "run")

    def understand(parts: Sequence[Part]) -> dict[str, Any]:
        Path("supervisord.conf").write_text(configuration(parts))
        options = ServerOptions()
        options.realize(["-c", "supervisord.conf"])
        options.poller.close()
        return {process.name: process for group in options.process_group_configs for process in group.process_configs}

    return understand


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, receipt_workers=3, graceful_timeout_s=5)


def test_each_part_is_understood_as_it_was_meant(settings: Settings, understood: Understand) -> None:
    found = understood(parts(settings, "mark", ["valkey-server", "x"], dev=False))
    assert set(found) == {"store", "sweeper", "receipts-1", "receipts-2", "receipts-3", "web"}
    assert found["web"].stopwaitsecs == 9
    assert shlex.split(found["receipts-2"].command) == python("mark", "workers")
    assert {name for name, process in found.items() if process.autostart} == {"store"}
    assert all(process.redirect_stderr and process.killasgroup for process in found.values())


def test_the_store_stops_last_and_the_web_first(settings: Settings, understood: Understand) -> None:
    found = understood(parts(settings, "mark", ["valkey-server", "x"], dev=False))
    by_priority = sorted(found, key=lambda name: found[name].priority)
    assert (by_priority[0], by_priority[-1]) == ("store", "web")


def test_with_a_store_of_ones_own_none_is_started(settings: Settings) -> None:
    assert [part.name for part in parts(settings, "mark", None, dev=False)] == ["sweeper", "receipts", "web"]


def test_no_character_of_a_command_means_something_to_supervisord(understood: Understand) -> None:
    found = understood([Part("odd", ODD_WORDS, 1, 1)])
    assert shlex.split(found["odd"].command) == ODD_WORDS


def test_only_the_reload_of_make_dev_watches_the_code(settings: Settings) -> None:
    plain, reloading = ([*parts(settings, "mark", None, dev=dev)][-1].command for dev in (False, True))
    assert "--reload" not in plain
    assert "--reload" in reloading


def test_a_part_of_several_copies_has_a_log_for_each() -> None:
    assert Part("web", ["x"], 1, 1).logs == ["web.log"]
    assert Part("receipts", ["x"], 1, 1, copies=2).logs == ["receipts-1.log", "receipts-2.log"]
