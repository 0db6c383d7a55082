"""The log: one line an event of the service's own life, readable on a terminal, one JSON object a line elsewhere.

What must stay true: no buyer's data and no purchase id that could fetch a receipt; what libraries log ends here too.
`enqueue=True` is never used: it hangs gevent workers.
"""

import json
import logging
import sys
from typing import TYPE_CHECKING, Literal

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

TERMINAL = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <8}</level> <cyan>{extra[part]: <8}</cyan> {message}"

LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})  # that both logging and loguru name


def set_up(part: str, level: str, log_format: Literal["auto", "text", "json"]) -> None:
    """From now on this process logs to stderr as `part` (web, receipts, sweeper, ...)."""
    as_json = log_format == "json"
    logger.remove()
    logger.configure(extra={"part": part})
    if as_json:
        logger.add(_write_json, level=level, format="{message}", backtrace=False, diagnose=False)
    else:
        logger.add(sys.stderr, level=level, format=TERMINAL, backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


def short(purchase_id: str) -> str:
    """Enough of a purchase id to find it again in the log, and too little to fetch its receipt."""
    event_id, _, rest = purchase_id.partition(".")
    return f"{event_id}.{rest[:6]}…"


class _Bridge(logging.Handler):
    """Hands what libraries log to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in LEVELS else record.levelno
        logger.opt(exception=record.exc_info).log(level, "{}: {}", record.name, record.getMessage())


def _write_json(message: "Message") -> None:
    sys.stderr.write(_as_json(message.record) + "\n")


def _as_json(record: "Record") -> str:
    line = {
        "time": record["time"].astimezone().isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": record["message"],
        **record["extra"],
    }
    if record["exception"] is not None:
        line["exception"] = repr(record["exception"].value)
    return json.dumps(line, ensure_ascii=False, default=str)
