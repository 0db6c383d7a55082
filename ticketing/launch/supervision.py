"""The launcher's end of the lifeline: supervise.py as a child.

What must stay true: the pipe's writing end exists in this process only (Python makes it close-on-exec), so that it
breaks when this process ends.
"""

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


class Supervision:
    """A running supervisord. In a session of its own: Ctrl-C at the terminal reaches the launcher alone."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                bufsize=0,
                start_new_session=True,
            )

    def start_the_rest(self) -> None:
        """The parts that waited for the store are started."""
        with contextlib.suppress(OSError, ValueError):
            self._lifeline.write(b"go\n")

    def let_go(self) -> None:
        """It begins to stop every part. Fit for a signal handler."""
        with contextlib.suppress(OSError):
            self._lifeline.close()

    def has_ended(self) -> bool:
        """Whether it is gone, and with it, unless it was killed, every part."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """It is gone now; its parts may not be."""
        self._process.kill()
        self._process.wait()

    @property
    def _lifeline(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin
