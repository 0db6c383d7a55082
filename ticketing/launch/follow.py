"""The parts' logs on the terminal: files are followed, so that a terminal that stands still never holds up a sale.

What must stay true: whole lines only, each once, also when supervisord renames a file that is full.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

TAIL_BYTES = 16_384


class LogFile:
    """What was appended to one log since it was last asked."""

    def __init__(self, path: Path) -> None:
        """Begins at the present end."""
        self._path = path
        self._rest = b""
        self._file = self._open()
        if self._file:
            self._file.seek(0, os.SEEK_END)

    def new_lines(self) -> list[str]:
        """Whole lines, without their ends. The old file is read to its end before the new one begins."""
        renamed = self._was_renamed()
        data = self._rest + (self._file.read() if self._file else b"")
        if renamed:
            self.close()
            self._file = self._open()
            data += self._file.read() if self._file else b""
        *lines, self._rest = data.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """No more is read."""
        if self._file:
            self._file.close()
            self._file = None

    def _was_renamed(self) -> bool:
        try:
            there = self._path.stat().st_ino
        except FileNotFoundError:
            return False
        return self._file is None or os.fstat(self._file.fileno()).st_ino != there

    def _open(self) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            return self._path.open("rb", buffering=0)
        return None


def tail(path: Path, lines: int) -> Sequence[str]:
    """The last lines of a file, none where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
