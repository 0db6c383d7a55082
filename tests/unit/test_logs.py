"""The log: one JSON object a line, what libraries say included, and nothing that fetches a receipt."""

import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from tests.servers import environment
from ticketing.config import Settings
from ticketing.sale.identity import Identity
from ticketing.telemetry import logs
from ticketing.telemetry.logs import LINES_A_SECOND, Throttle, short

SCRIPT = """
import logging, warnings
from loguru import logger
from ticketing.telemetry import logs
logs.set_up("web", "INFO", "{format}")
logger.info("event {{}}: {{}} tickets", "1", 3)
logger.debug("not at this level")
logger.info("two\\nlines, a \\"quote\\" and \\u0000 and Zo\\u00eb")
logging.getLogger("redis").warning("a library says %s", "so")
logging.addLevelName(25, "NOTICE")
logging.getLogger("odd").log(35, "an odd level")
logging.getLogger("odd").info("libraries say only what matters")
try:
    secret = "a secret in a local variable"
    raise ValueError("went wrong")
except ValueError:
    logger.exception("it failed")
"""


def log_of(tmp_path: Path, log_format: str, script: str = SCRIPT) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", script.format(format=log_format) if script is SCRIPT else script],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == ""
    return run.stderr.splitlines()


def test_json_is_one_whole_object_a_line_whatever_is_said(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in log_of(tmp_path, "json")]
    assert [(line["level"], line["message"], line["part"]) for line in lines] == [
        ("INFO", "event 1: 3 tickets", "web"),
        ("INFO", 'two\nlines, a "quote" and \0 and Zoë', "web"),
        ("WARNING", "redis: a library says so", "web"),
        ("Level 35", "odd: an odd level", "web"),
        ("ERROR", "it failed", "web"),
    ]
    assert lines[-1]["exception"] == "ValueError('went wrong')"
    assert lines[-1]["traceback"].startswith("Traceback (most recent call last):\n")
    assert lines[-1]["traceback"].endswith("ValueError: went wrong\n")
    assert all("traceback" not in line for line in lines[:-1])
    assert all(line["time"][10] == "T" for line in lines)


def test_a_traceback_shows_no_values_of_variables(tmp_path: Path) -> None:
    for log_format in ("json", "text", "auto"):
        text = "\n".join(log_of(tmp_path, log_format))
        assert "went wrong" in text
        assert "'a secret in a local variable'" not in text


def test_a_purchase_id_in_the_log_is_too_short_to_fetch_a_receipt() -> None:
    identity = Identity("an id secret of tests, long enough")
    purchase_id = identity.new_purchase_id("gala")
    assert short(purchase_id) == purchase_id[: len("gala.") + 6] + "…"
    assert not identity.is_genuine(short(purchase_id))


def test_what_nobody_thought_of_is_shortened_too(tmp_path: Path) -> None:
    """An error's text may hold a purchase id, or an address with its password; its traceback then does as well."""
    identity = Identity("an id secret of tests, long enough")
    purchase_ids = [identity.new_purchase_id(event_id) for event_id in ("1", "gala-2027", "a" * 64)]
    script = SCRIPT + (
        "\ntry:\n    raise OSError('/receipts/{ids[0]}.pdf, {ids[1]},{ids[2]} at redis://:hush-hush@host:1/0')\n"
        "except OSError:\n    logger.exception('of {ids[2]}')\n"
    )
    for log_format in ("json", "text"):
        text = "\n".join(log_of(tmp_path, log_format, script.format(format=log_format, ids=purchase_ids)))
        assert text.count("…") == (7 if log_format == "json" else 4)
        assert "hush-hush" not in text
        assert "redis://:***@host:1/0" in text
        for purchase_id in purchase_ids:
            assert short(purchase_id) in text
            assert purchase_id not in text
            assert purchase_id.partition(".")[2][7:] not in text


def test_fields_stand_beside_the_message(tmp_path: Path) -> None:
    script = SCRIPT + "\nlogger.info('event {{event_id}}: {{}}', 'x', event_id='1', duration_ms=1.5)\n"
    *_, last = log_of(tmp_path, "json", script.format(format="json"))
    line = json.loads(last)
    assert (line["message"], line["event_id"], line["duration_ms"]) == ("event 1: x", "1", 1.5)


def test_a_terminal_has_colours_unless_its_reader_wants_none(tmp_path: Path) -> None:
    for wish, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        main, other = pty.openpty()
        with os.fdopen(main, "rb", buffering=0) as shown:
            subprocess.run(
                [sys.executable, "-c", SCRIPT.format(format="auto")],
                env=environment(tmp_path, **wish),
                cwd=tmp_path,
                stderr=other,
                check=True,
            )
            os.close(other)
            assert (b"\x1b[" in shown.read(4096)) is coloured


def test_strangers_can_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.5
    monkeypatch.setattr(logs.time, "monotonic", lambda: now_s)
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="WARNING")
    throttle = Throttle()
    assert [throttle.admits() for _ in range(100)] == [True] * LINES_A_SECOND + [False] * (100 - LINES_A_SECOND)
    assert said == []
    now_s += 1
    assert throttle.admits()
    assert said == [f"{100 - LINES_A_SECOND} more lines like the last ones were left out"]
    now_s += 1
    assert throttle.admits()
    logger.remove(sink)
    assert len(said) == 1


def test_settings_show_no_secret_when_they_are_printed() -> None:
    secrets = {
        "id_secret": "i" * 32,
        "admin_token": "t" * 16,
        "redis_url": "redis://:password@host",
        "queue_url": "redis://:other-password@host",
        "signing_key": "A" * 43 + "=",
    }
    settings = Settings(_env_file=None, **secrets)  # type: ignore[call-arg]
    for shown in (repr(settings), str(settings)):
        assert not [value for value in secrets.values() if value in shown]
        assert "password" not in shown


def test_nothing_is_logged_by_this_process_twice() -> None:
    assert all(type(handler).__name__ != "_Bridge" for handler in logging.getLogger().handlers)
