"""The log: one JSON object a line, what libraries say included, and nothing that fetches a receipt."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers import environment
from ticketing.config import Settings
from ticketing.sale.identity import Identity
from ticketing.telemetry.logs import short

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


def log_of(tmp_path: Path, log_format: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(format=log_format)],
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
