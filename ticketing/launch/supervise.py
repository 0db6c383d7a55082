"""python -m ticketing.launch.supervise CONF FOLDER: supervisord, tied to the launcher by its standard input.

What must stay true: when that pipe ends, every part is stopped in the order of the configuration, and this process
ends; so a launcher that was killed leaves nothing behind. A part that dies comes back within a second or two, however
often it died. Any byte on the pipe starts the parts that wait (autostart=false); the launcher sends it when the store
is ready.

There is no control socket, so nobody else has a say. The configuration's paths are relative to the working directory;
the parts run in FOLDER.
"""

import os
import sys
from typing import Any

from supervisor.medusa.asyncore_25 import ExitNow  # type: ignore[import-untyped]
from supervisor.options import ServerOptions  # type: ignore[import-untyped]
from supervisor.states import ProcessStates, SupervisorStates  # type: ignore[import-untyped]
from supervisor.supervisord import Supervisor  # type: ignore[import-untyped]

LIFELINE = 0


class Lifeline:
    """What supervisord's loop calls a dispatcher: the reader of one file descriptor."""

    closed = False

    def __init__(self, supervisor: "TiedSupervisor") -> None:
        self._supervisor = supervisor

    def readable(self) -> bool:
        """Whether the loop is to watch the pipe."""
        return not self.closed

    def writable(self) -> bool:
        """Nothing is ever written to it."""
        return False

    def handle_read_event(self) -> None:
        """The launcher said go, or is gone."""
        if os.read(LIFELINE, 64):
            self._supervisor.start_the_rest()
        else:
            self.handle_error()

    def handle_error(self) -> None:
        """A pipe that can't be read is a launcher that is gone."""
        self.closed = True
        self._supervisor.options.mood = SupervisorStates.SHUTDOWN


class TiedSupervisor(Supervisor):  # type: ignore[misc] # supervisor has no types
    """supervisord that lives no longer than its launcher."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._lifeline = Lifeline(self)

    def get_process_map(self) -> dict[int, Any]:
        """What the loop reads from: the parts' output, and the lifeline."""
        return {**super().get_process_map(), LIFELINE: self._lifeline}

    def start_the_rest(self) -> None:
        """The loop starts what has never run as soon as it may."""
        for group in self.process_groups.values():
            for process in group.processes.values():
                process.config.autostart = True

    def runforever(self) -> None:
        """The first parts start at once; the loop would listen for a second before."""
        self._move_on()
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        """Once a turn of the loop, after the dead were found: what died begins anew now, not a second later."""
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
