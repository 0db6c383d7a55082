"""Memory and processor time of our processes, as Linux tells them; elsewhere only how many there are.

What must stay true: a process that ends while it is looked at is left out, and fails no scrape.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PROC = Path("/proc")
LABELS = ("part", "pid")


class Processes(Collector):
    """The living processes of one part of the service."""

    def __init__(self, part: str, living: Callable[[], Iterable[int]]) -> None:
        self._part = part
        self._living = living

    def collect(self) -> Iterator[Metric]:
        """How many there are, and what each takes."""
        pids = list(self._living())
        count = GaugeMetricFamily("ticketing_processes", "Living processes of a part", labels=LABELS[:1])
        count.add_metric([self._part], len(pids))
        memory = GaugeMetricFamily("ticketing_process_resident_memory_bytes", "Memory in use", labels=LABELS)
        cpu = CounterMetricFamily("ticketing_process_cpu_seconds", "Processor time used", labels=LABELS)
        for pid in pids:
            used = _used(pid)
            if used is not None:
                memory.add_metric([self._part, str(pid)], used[0])
                cpu.add_metric([self._part, str(pid)], used[1])
        yield from (count, memory, cpu)


def lives(pid: int) -> bool:
    """Whether there is a process of this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _used(pid: int) -> tuple[int, float] | None:
    """Bytes and seconds; None where nobody tells (any more)."""
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        after_name = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(after_name[11]) + int(after_name[12])  # fields 14 and 15 of proc(5)
    return pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK")
