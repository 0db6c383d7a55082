"""Nodes of a cluster that failed lately: nobody waits for them while they are tried on the side, now and then.

What must stay true: each failed try makes the next one come later.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loguru import logger

from ticketing.errors import StoreError
from ticketing.store.slots import Host

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0


@dataclass(slots=True)
class _Absence:
    why: str
    since_s: float
    next_try_s: float
    pause_s: float = FIRST_PAUSE_S


class Absences:
    """The nodes that count as away."""

    def __init__(self, try_node: Callable[[Host], None]) -> None:
        """`try_node` returns where the node answers as it should, and raises StoreError otherwise."""
        self._try_node = try_node
        self._absent: dict[Host, _Absence] = {}

    def hosts(self) -> list[Host]:
        """Who is away."""
        return list(self._absent)

    def are(self, hosts: Iterable[Host]) -> bool:
        """Whether all of these are away."""
        return all(host in self._absent for host in hosts)

    def failed(self, host: Host, why: str) -> None:
        """It did not answer as it should: from now on it is away. Said once."""
        if host not in self._absent:
            now_s = time.monotonic()
            self._absent[host] = _Absence(why, now_s, now_s + FIRST_PAUSE_S)
            logger.warning("node {}:{} of the store is away ({}); the other nodes' events go on", *host, why)

    def why(self, host: Host) -> str | None:
        """Why it is asked nothing; None where it may be asked."""
        absence = self._absent.get(host)
        return None if absence is None else absence.why

    def try_again(self) -> None:
        """One whose pause is over is asked whether it answers."""
        if self._absent:
            host, absence = min(list(self._absent.items()), key=lambda item: item[1].next_try_s)
            if time.monotonic() >= absence.next_try_s:
                self._try(host, absence)

    def keep(self, hosts: Iterable[Host]) -> None:
        """Others serve nothing any more, and so are nobody's loss."""
        for host in set(self._absent).difference(hosts):
            del self._absent[host]
            logger.info("node {}:{} of the store was taken over from", *host)

    def _try(self, host: Host, absence: _Absence) -> None:
        absence.pause_s = min(2 * absence.pause_s, LONGEST_PAUSE_S)
        try:
            self._try_node(host)
        except StoreError as error:
            absence.why = str(error)
            absence.next_try_s = time.monotonic() + absence.pause_s
        else:
            self._absent.pop(host, None)
            logger.info("node {}:{} answers again after {:.1f} s", *host, time.monotonic() - absence.since_s)
