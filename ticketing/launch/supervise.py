"""python -m ticketing.launch.supervise CONF FOLDER: supervisord, tied to the launcher by its standard input.

What must stay true: when that pipe ends, every part is stopped in the order of the configuration, and this process
ends; so a launcher that was killed leaves nothing behind. A part that dies comes back within a second or two, however
often it died. Any byte on the pipe starts the parts that wait (autostart=false); the launcher sends it when the store
is ready.

There is no control socket, so nobody else has a say. The configuration's paths are relative to the working directory;
the parts run in FOLDER.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from supervisor.medusa.asyncore_25 import ExitNow  # type: ignore[import-untyped]
from supervisor.options import ServerOptions  # type: ignore[import-untyped]
from supervisor.states import ProcessStates, SupervisorStates  # type: ignore[import-untyped]
from supervisor.supervisord import Supervisor  # type: ignore[import-untyped]

LIFELINE = 0


class Reader:
    """What supervisord's loop calls a dispatcher: it watches one file descriptor."""

    closed = False

    def __init__(self, descriptor: int, on_bytes: Callable[[], None], on_end: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_bytes = on_bytes
        self._on_end = on_end

    def readable(self) -> bool:
        """Whether the loop is to watch it."""
        return not self.closed

    def writable(self) -> bool:
        """Nothing is ever written to it."""
        return False

    def handle_read_event(self) -> None:
        """Bytes came, or the end."""
        if os.read(self._descriptor, 4096):
            self._on_bytes()
        else:
            self.handle_error()

    def handle_error(self) -> None:
        """What can't be read has ended."""
        self.closed = True
        self._on_end()


class TiedSupervisor(Supervisor):  # type: ignore[misc] # supervisor has no types
    """supervisord that lives no longer than its launcher."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._readers = {LIFELINE: Reader(LIFELINE, self.start_the_rest, self.shut_down)}

    def get_process_map(self) -> dict[int, Any]:
        """What the loop reads from: the parts' output, and ours."""
        return {**super().get_process_map(), **self._readers}

    def start_the_rest(self) -> None:
        """The loop starts what has never run as soon as it may."""
        for group in self.process_groups.values():
            for process in group.processes.values():
                process.config.autostart = True

    def shut_down(self) -> None:
        """The loop stops one part after the other, and ends."""
        self.options.mood = SupervisorStates.SHUTDOWN

    def runforever(self) -> None:
        """The first parts start at once, and each death is noticed at once: the loop by itself looks once a second."""
        alarm, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        self._readers[alarm] = Reader(alarm, lambda: None, lambda: None)
        self._move_on()
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        """Once a turn of the loop, after the dead were found: they begin anew in this turn."""
        super().tick(now)
        self._move_on()

    def _move_on(self) -> None:
        for group in self.process_groups.values():
            for process in group.processes.values():
                if process.state == ProcessStates.BACKOFF:
                    process.backoff = 0  # supervisord would wait longer after each failure, and give up in the end
            group.transition()


def main() -> None:
    """Supervise until the lifeline breaks or a signal comes."""
    options = ServerOptions()
    options.realize(["-c", sys.argv[1]])
    for group in options.process_group_configs:
        for part in group.process_configs:
            part.directory = sys.argv[2]
    options.first, options.test = True, False
    try:
        TiedSupervisor(options).main()
    except ExitNow:
        pass
    finally:
        options.close_logger()


if __name__ == "__main__":
    main()
