"""The log: one line an event of the service's own life, readable on a terminal, one JSON object a line elsewhere.

What must stay true: no buyer's data and no purchase id that could fetch a receipt, in a traceback neither; what
libraries log ends here too; what strangers can cause again and again can't fill the disk. `enqueue=True` is never
used: it hangs gevent workers.
"""

import contextlib
import json
import logging
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

TERMINAL = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <8}</level> <cyan>{extra[part]: <8}</cyan> {message}"

LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})  # that both logging and loguru name
# Shortened wherever it stands: an error's text may hold one that nobody thought of.
PURCHASE_ID = re.compile(
    r"(?<![A-Za-z0-9_-])([A-Za-z0-9][A-Za-z0-9_-]{0,63}\.[A-Za-z0-9_-]{6})[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])"
)
PASSWORD = re.compile(r"((?:rediss?|unix)://[^\s/@:]*:)[^\s@]+@")
LINES_A_SECOND = 20
BY_STRANGERS = "by_strangers"  # the field of a line that any stranger may cause


def set_up(part: str, level: str, log_format: Literal["auto", "text", "json"]) -> None:
    """From now on this process logs to stderr as `part` (web, receipts, sweeper, ...)."""
    logger.remove()
    logger.configure(extra={"part": part})
    if log_format == "json":
        logger.add(_write_json, level=level, format="{message}", backtrace=False, diagnose=False)
    else:
        logger.add(_write, level=level, format=TERMINAL, colorize=has_colours(), backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


def keep(path: Path) -> None:
    """What is logged from now on is also appended to this file, as JSON, if its folder can be written."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
        logger.add(
            lambda message: print(harmless(_as_json(message.record)), file=file, flush=True),
            level="INFO",
            format="{message}",
        )


def has_colours() -> bool:
    """Whether stderr is a terminal whose reader did not ask for none (no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def short(purchase_id: str) -> str:
    """Enough of a purchase id to find it again in the log, and too little to fetch its receipt."""
    event_id, _, rest = purchase_id.partition(".")
    return f"{event_id}.{rest[:6]}…"


class Shortened:
    """A purchase id as a line shows it; cut only where the line is written. `-` where there is none."""

    __slots__ = ("_purchase_id",)

    def __init__(self, purchase_id: str) -> None:
        self._purchase_id = purchase_id

    def __str__(self) -> str:
        return short(self._purchase_id) if self._purchase_id else "-"


def harmless(text: str) -> str:
    """The text with purchase ids shortened and passwords of addresses left out."""
    return PASSWORD.sub(r"\1***@", PURCHASE_ID.sub(r"\1…", text))


class Throttle:
    """At most LINES_A_SECOND of one kind of line, for what any number of strangers may cause."""

    def __init__(self) -> None:
        self._second = 0
        self._said = 0
        self._left_out = 0

    def admits(self) -> bool:
        """Whether one more may be said now. What was left out in a second is told by the first call after it."""
        second = int(time.monotonic())
        if second != self._second:
            if self._left_out:
                logger.bind(**{BY_STRANGERS: True}).warning(
                    "{} more lines like the last ones were left out", self._left_out
                )
            self._second, self._said, self._left_out = second, 0, 0
        self._said += 1
        self._left_out += self._said > LINES_A_SECOND
        return self._said <= LINES_A_SECOND


class _Bridge(logging.Handler):
    """Hands what libraries log to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in LEVELS else record.levelno
        logger.opt(exception=record.exc_info).log(level, "{}: {}", record.name, record.getMessage())


def _write(message: "Message") -> None:
    sys.stderr.write(harmless(message))


def _write_json(message: "Message") -> None:
    sys.stderr.write(harmless(_as_json(message.record)) + "\n")


def _as_json(record: "Record") -> str:
    line = {
        "time": record["time"].astimezone().isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": record["message"],
        **record["extra"],
    }
    if (raised := record["exception"]) is not None:
        line["exception"] = repr(raised.value)
        line["traceback"] = "".join(traceback.format_exception(raised.type, raised.value, raised.traceback))
    return json.dumps(line, ensure_ascii=False, default=str)
