"""The load processes as whoever leads them sees them: started, told what to do, listened to, ended.

What must stay true: every process that was started here is ended here, by its own pid; the crowd of a run is opened
once and keeps its connections from round to round, since closed ones would use up this machine's ports.
"""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from tests.load.plan import Round, share
from tests.load.tally import Tally, now_s, sum_of
from tests.servers import ROOT

MODULE = "tests.load.process"
GATHER_S = 0.5  # from telling the processes of a round to its start
SILENCE_S = 180.0
END_S = 5.0

Watch = Callable[[Tally], None]


class CrewError(Exception):
    """A load process has ended, or says nothing any more; the text has what it said last."""


class Crew:
    """Some load processes and their crowd."""

    def __init__(self, processes: int) -> None:
        self._heard: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self._complaints = [tempfile.TemporaryFile() for _ in range(processes)]  # noqa: SIM115 - closed by __exit__
        self._processes: list[subprocess.Popen[bytes]] = []
        self.connections = 0

    def __enter__(self) -> Self:
        """The processes run."""
        for index, complaints in enumerate(self._complaints):
            command = [sys.executable, "-m", MODULE]
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints
            )
            self._processes.append(process)
            threading.Thread(target=self._listen, args=(index, process), daemon=True).start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """None of them is left."""
        for process in self._processes:
            process.kill()  # they hold nothing that is worth an orderly end
        for process in self._processes:
            process.wait(END_S)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        for complaints in self._complaints:
            complaints.close()

    def __len__(self) -> int:
        return len(self._processes)

    def open(self, host: str, event_id: str, connections: int) -> Tally:
        """Every buyer has looked at the event and kept its connection; how long looks took. Raises CrewError."""
        for index in range(len(self)):
            own = share(connections, len(self), index)
            told = {"host": host, "event_id": event_id, "connections": own, "index": index, "processes": len(self)}
            self._tell(index, {"do": "open", **told})
        last = self._last_words("open", lambda _: None)
        self.connections = sum(said["connections"] for said in last)
        return sum_of(Tally.from_json(said["tally"]) for said in last)

    def run(self, plan: Round, watch: Watch) -> Tally:
        """The round's tally; `watch` sees it grow. Raises CrewError."""
        starts_s = now_s() + GATHER_S
        for index in range(len(self)):
            self._tell(index, {"do": "round", "plan": plan.to_json(), "starts_s": starts_s})
        return sum_of(Tally.from_json(said["tally"]) for said in self._last_words("done", watch))

    def _tell(self, index: int, what: dict[str, Any]) -> None:
        pipe = self._processes[index].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(what).encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise CrewError(self._complaint(index)) from error

    def _last_words(self, last: str, watch: Watch) -> list[dict[str, Any]]:
        """What each process says at the end of what it was told to do."""
        ended: dict[int, dict[str, Any]] = {}
        growing: dict[int, Tally] = {}
        for index, said in self._hear():
            if said["is"] == last:
                ended[index] = said
            growing[index] = Tally.from_json(said["tally"])
            watch(sum_of(growing.values()))
            if len(ended) == len(self):
                break
        return list(ended.values())

    def _hear(self) -> Iterator[tuple[int, dict[str, Any]]]:
        while True:
            try:
                index, said = self._heard.get(timeout=SILENCE_S)
            except queue.Empty:
                raise CrewError(f"the load processes said nothing for {SILENCE_S:.0f} s") from None
            if said is None:
                raise CrewError(self._complaint(index))
            yield index, said

    def _listen(self, index: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # closed at the end, while this thread reads
            for line in process.stdout:
                self._heard.put((index, json.loads(line)))
        self._heard.put((index, None))

    def _complaint(self, index: int) -> str:
        self._complaints[index].seek(0)
        said = self._complaints[index].read().decode(errors="replace").strip()
        return f"a load process has ended: {said or 'it said nothing'}"


def processes_for(connections: int, cores: int) -> int:
    """Two at least, so that none of them is the bottleneck as long as the service is slower than both."""
    return max(1, min(connections, max(2, min(cores // 2, 8))))
