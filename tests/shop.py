"""A process that sells, as a web worker does, without HTTP: the test's end of it. The other is shop_process.py."""

import contextlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers import environment, wait_until

ANSWER_DEADLINE_S = 30.0


class Shop:
    """A selling process of its own."""

    def __init__(
        self, url: str, folder: Path, *, timeout_s: float = 0.5, reserve_tickets: int = 0, **settings: object
    ) -> None:
        """`settings`: those of ticketing.config that differ."""
        self.log: list[str] = []  # every line that it has logged
        self._answers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        changed = json.dumps({"reserve_tickets": reserve_tickets, **settings}, default=str)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.shop_process", url, str(timeout_s), changed],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_log)]
        for reader in self._readers:
            reader.start()

    def ask(self, quantity: int = 1, *, key: str | None = None, event_id: str = "1") -> int:
        """A purchase is asked for; the number under which its answer comes."""
        return self._send({"event_id": event_id, "quantity": quantity, "key": key})

    def answer(self, number: int) -> dict[str, Any]:
        """The answer, waited for."""
        wait_until(lambda: number in self._answers or self._has_ended(), ANSWER_DEADLINE_S, f"answer {number}")
        assert number in self._answers, "\n".join(self.log)
        return self._answers[number]

    def has_answered(self, number: int) -> bool:
        return number in self._answers

    def buy(self, quantity: int = 1, *, key: str | None = None, event_id: str = "1") -> dict[str, Any]:
        """Ask, and wait for the answer."""
        return self.answer(self.ask(quantity, key=key, event_id=event_id))

    def answers(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        return [self.answer(number) for number in numbers]

    def tell(self) -> dict[str, int]:
        """Whether it is in an outage, what its reserve could sell, and what it has still to settle and to void."""
        return self.answer(self._send({"do": "tell"}))

    def voids_left(self) -> int:
        """Purchases of unknown outcome that are still to be voided."""
        return self.tell()["voids"]

    def wait_for_store(self) -> None:
        """It sells from the store again, and owes it nothing."""

        def is_well() -> bool:
            told = self.tell()
            return not (told["outage"] or told["unsettled"] or told["voids"])

        wait_until(is_well, ANSWER_DEADLINE_S, "the shop sells from the store")

    def logged(self, *words: str) -> list[str]:
        """The lines of its log that have all these words."""
        return [line for line in self.log if all(word in line for word in words)]

    def limit_files(self, size_bytes: int | None) -> None:
        """Its disk is full: no file of it can grow beyond this. None: it has room again."""
        self.answer(self._send({"do": "limit_files", "size_bytes": size_bytes}))

    def fail_fsync(self, fails: bool) -> None:
        """Each fsync fails from now on, or works again."""
        self.answer(self._send({"do": "fail_fsync", "fails": fails}))

    def kill(self) -> None:
        """It ends in the middle of whatever it does."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """It finishes what it began, and ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed
            self._process.stdin.close()
        try:
            self._process.wait(ANSWER_DEADLINE_S)
        finally:
            self._process.kill()
            self._process.wait()
            for reader in self._readers:
                reader.join(5)
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()

    def _has_ended(self) -> bool:
        return self._process.poll() is not None and not self._readers[0].is_alive()

    def _send(self, message: dict[str, Any]) -> int:
        number = next(self._numbers)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"number": number, **message}) + "\n")
        return number

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._answers[answer.pop("number")] = answer

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.rstrip())
