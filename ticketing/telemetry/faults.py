"""The last warnings and errors of every process of this host, in one small file that each of them can read.

What must stay true: it stays small, whatever is logged; it holds nothing that the log may not hold, and no purchase id
that fetches a receipt; where it can't be written, nothing else fails.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from ticketing.telemetry.logs import BY_STRANGERS, harmless

if TYPE_CHECKING:
    from loguru import Message, Record

FILE_BYTES = 64 * 1024  # then it is moved aside, and the one before it is gone
MESSAGE_CHARACTERS = 400
STRANGERS_S = 60.0


class Faults:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._older = path.with_suffix(".older")
        self._strangers_due_s = 0.0

    def keep(self) -> None:
        """From now on what this process logs as a warning or worse is added; after `logs.set_up`."""
        logger.add(
            self._write,
            level="WARNING",
            format="{message}",
            filter=self._may_be_kept,
            backtrace=False,
            diagnose=False,
            catch=True,
        )

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest, latest first: time, level, part, message."""
        lines = [*_lines(self._older), *_lines(self._path)][-count:]
        return [fault for line in reversed(lines) if (fault := _parsed(line)) is not None]

    def _may_be_kept(self, record: "Record") -> bool:
        """Of what strangers cause again and again one line a minute: it must not push our own faults out."""
        if BY_STRANGERS not in record["extra"]:
            return True
        now_s = time.monotonic()
        if now_s < self._strangers_due_s:
            return False
        self._strangers_due_s = now_s + STRANGERS_S
        return True

    def _write(self, message: "Message") -> None:
        record = message.record
        text = harmless(record["message"])[:MESSAGE_CHARACTERS]
        line = {
            "time": record["time"].astimezone().isoformat(timespec="milliseconds"),
            "level": record["level"].name,
            "part": str(record["extra"].get("part", "")),
            "message": text,
        }
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:  # one write, so that processes don't mix their lines
                file.write(json.dumps(line) + "\n")
                if file.tell() > FILE_BYTES:
                    self._move_aside(file)

    def _move_aside(self, file: TextIO) -> None:
        """Once, however many processes find it full: the second would put the new, short file in the older's place."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever has it does it
        if os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
            self._path.replace(self._older)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _parsed(line: str) -> dict[str, Any] | None:
    """None for a line that a killed process left unfinished."""
    try:
        fault: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return fault
