"""A load process: `python -m tests.load.process`, started by `crew`; reads what to do as lines of JSON, answers so.

What must stay true: Locust patches this process and no other; it ends when whoever started it is gone; nothing of
Locust's that listens or sends (web interface, master and workers) is started.
"""

# Locust patches the standard library when it is imported, so it comes first.
from locust import FastHttpUser  # noqa: I001

import gc
import logging
import resource
import signal
import sys
import time
from typing import Any, Protocol, cast

import gevent
import orjson
from gevent import monkey
from gevent.fileobject import FileObject
from gevent.lock import BoundedSemaphore
from geventhttpclient.connectionpool import ConnectionPool
from locust.env import Environment

from tests.load.buyer import LOOKS_AT_ONCE, TicketBuyer
from tests.load.gate import Gate, Turn
from tests.load.plan import Round
from tests.load.tally import Tally, now_s

REPORT_S = 0.5
TICK_S = 0.02
OPEN_DEADLINE_S = 120.0
LINGER_S = 90.0  # the longest that a buyer can take to its last answer, within reason


class _Poll(Protocol):
    def register(self, descriptor: int, events: int) -> None: ...

    def poll(self, timeout_ms: int) -> list[tuple[int, int]]: ...


class LoadProcess:
    """This process, for as long as it is told what to do."""

    def __init__(self) -> None:
        self._environment = Environment(user_classes=[TicketBuyer])
        self._runner = self._environment.create_local_runner()
        self._environment.events.user_error.add_listener(self._note_crash)  # type: ignore[no-untyped-call]
        self._tally = Tally()

    def obey(self) -> None:
        """Do what each line says, until there are no more."""
        for line in FileObject(sys.stdin.fileno(), "rb", close=False):
            told = orjson.loads(line)
            match told.pop("do"):
                case "open":
                    self._open(**told)
                case "round":
                    self._round(**told)

    def _open(self, host: str, event_id: str, connections: int, index: int, processes: int) -> None:
        """So many buyers stand at the gate, each with an open connection."""
        self._index, self._processes = index, processes
        self._tally = TicketBuyer.opening = Tally()
        TicketBuyer.host, TicketBuyer.look_at = host, event_id
        TicketBuyer.gate, TicketBuyer.looking = Gate(), BoundedSemaphore(LOOKS_AT_ONCE)
        self._runner.start(connections, spawn_rate=connections)
        until_s = now_s() + OPEN_DEADLINE_S
        while TicketBuyer.gate.waiting < connections and now_s() < until_s:
            gevent.sleep(0.05)
        say({"is": "open", "connections": TicketBuyer.gate.waiting, "tally": self._tally.to_json()})

    def _round(self, plan: dict[str, Any], starts_s: float) -> None:
        """One round, with what it came to so far twice a second, and with all of it at its end."""
        turn = Turn(Round.from_json(plan), starts_s, self._index, self._processes)
        self._tally = turn.tally
        began_s, began_cpu_s = now_s(), time.process_time()
        aside: list[gevent.Greenlet[..., None]] = [
            gevent.spawn(self._report, turn),
            gevent.spawn(self._tick, turn.tally),
        ]
        TicketBuyer.gate.let_in(turn)
        turn.schedule()
        while now_s() < turn.ends_s:
            gevent.sleep(max(0.001, turn.ends_s - now_s()))
        turn.close()
        selling_s, selling_cpu_s = now_s(), time.process_time()
        while turn.inside and now_s() < turn.ends_s + LINGER_S:
            gevent.sleep(0.01)
        if plan["seconds"] == 0:  # everything happened after the start, which was the end
            selling_s, selling_cpu_s = now_s(), time.process_time()
        gevent.killall(aside)
        turn.tally.cpu_share.append((selling_cpu_s - began_cpu_s) / (selling_s - began_s))
        for _ in range(turn.inside):
            turn.tally.note_error("a buyer never got its answer", LINGER_S)
        say({"is": "done", "tally": turn.tally.to_json()})

    def _report(self, turn: Turn) -> None:
        while True:
            gevent.sleep(REPORT_S)
            say({"is": "live", "tally": turn.tally.to_json(with_tickets=False)})

    def _tick(self, tally: Tally) -> None:
        """How long something that is due waits in this process: what it adds to every time it measures."""
        while True:
            due_s = now_s() + TICK_S
            gevent.sleep(TICK_S)
            tally.lag.add(max(0.0, now_s() - due_s))

    def _note_crash(self, user_instance: FastHttpUser, exception: Exception, **_: Any) -> None:
        self._tally.note_error(f"the load tool itself failed: {exception!r}", 0.0)


def say(line: dict[str, Any]) -> None:
    """One line to whoever leads."""
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


def is_alive(_: ConnectionPool, connection: Any) -> bool:
    """Whether an idle connection can be used again. geventhttpclient asks select(), which knows no file above 1,024:
    each request of a larger crowd would open a connection of its own.
    """
    if connection is None or connection.fileno() < 0:
        return False
    poll = cast(_Poll, monkey.get_original("select", "poll")())
    poll.register(connection.fileno(), 1)
    return not poll.poll(0)


def main() -> None:
    """Until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; one decides
    logging.getLogger("locust").setLevel(logging.ERROR)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(100_000, 50, 1_000)  # thousands of buyers are looked through at each full collection
    ConnectionPool._is_socket_alive = is_alive  # type: ignore[method-assign, assignment]
    LoadProcess().obey()


if __name__ == "__main__":
    main()
