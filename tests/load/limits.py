"""How many connections this machine can hold open to one address, and what keeps it from more.

What must stay true: a crowd that does not fit is made smaller before it starts, and it is said why; it never fails
halfway for want of a file or a port.
"""

import resource
from dataclasses import dataclass
from pathlib import Path

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS_ELSEWHERE = (49152, 65535)  # IANA's, and what macOS uses
FILES_BESIDE = 256  # what a process holds open beside its connections
PORTS_BESIDE = 500


@dataclass(frozen=True, slots=True)
class Room:
    """What limits a crowd: files a process, processes of the tool and of a service that it starts, local ports."""

    files: int
    ports: int
    load_processes: int
    web_processes: int | None = None  # None: somebody else's service, whose limits are its own

    def most(self) -> int:
        """Connections that can be open."""
        return min(limit for limit, _ in self._limits())

    def fit(self, connections: int) -> tuple[int, str]:
        """As many of these as can be open, and where they are fewer the reason."""
        limit, reason = min(self._limits())
        if connections <= limit:
            return connections, ""
        return limit, f"{connections:,} connections are not possible here, {limit:,} are: {reason}"

    def _limits(self) -> list[tuple[int, str]]:
        a_process = self.files - FILES_BESIDE
        files = f"{self.files:,} open files a process (ulimit -Hn)"
        limits = [
            (a_process * self.load_processes, f"{files}, {self.load_processes} load processes"),
            (self.ports - PORTS_BESIDE, f"{self.ports:,} local ports to one address (ip_local_port_range)"),
        ]
        if self.web_processes is not None:
            # The kernel shares connections out by chance, not evenly: a fifth of the room is left for that.
            even = a_process * self.web_processes
            limits.append((even if self.web_processes == 1 else even * 4 // 5, f"{files}, {self.web_processes} web"))
        return limits


def room(load_processes: int, web_processes: int | None) -> Room:
    """The room on this machine."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = 1 << 20
    return Room(files, _ports(), load_processes, web_processes)


def _ports() -> int:
    try:
        first, last = map(int, PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        first, last = PORTS_ELSEWHERE
    return last - first + 1
