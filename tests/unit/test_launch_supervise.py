"""supervise.py with parts of a test: it starts them in two steps, brings them back, and ends with its launcher."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT, wait_until
from ticketing.launch.parts import Part, configuration, python
from ticketing.launch.processes import SUPERVISOR, end_all, find, mark_of
from ticketing.launch.supervision import Supervision

STAYS = "import time; print('begins', flush=True); time.sleep(60)"
DIES = "print('begins', flush=True)"


class Bench:
    """A supervisor with one part that is started first and one that waits."""

    def __init__(self, folder: Path, first: str, waiting: str) -> None:
        self.folder = folder
        self.mark = mark_of(folder)
        for name in ("run", "logs"):
            (folder / name).mkdir()
        command = [sys.executable, "-X", self.mark, "-c"]
        text = configuration(
            [Part("first", [*command, first], 1, 5, autostart=True), Part("waits", [*command, waiting], 2, 5)]
        )
        (folder / "run" / "supervisord.conf").write_text(text)
        self.supervision = Supervision(
            python(self.mark, SUPERVISOR, "supervisord.conf", str(folder)),
            folder / "run",
            {**os.environ, "PYTHONPATH": str(ROOT)},
            folder / "logs" / "supervisor.log",
        )

    def starts_of(self, part: str) -> int:
        log = self.folder / "logs" / f"{part}.log"
        return log.read_text().count("begins") if log.exists() else 0

    def end(self) -> None:
        self.supervision.let_go()
        wait_until(self.supervision.has_ended, 15, "it ends with its launcher")


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        bench.end()
        end_all(bench.mark)


def test_the_rest_waits_for_a_word(tmp_path: Path, benches: list[Bench]) -> None:
    bench = Bench(tmp_path, STAYS, STAYS)
    benches.append(bench)
    wait_until(lambda: bench.starts_of("first") == 1, 10)
    assert bench.starts_of("waits") == 0
    bench.supervision.start_the_rest()
    wait_until(lambda: bench.starts_of("waits") == 1, 10)


def test_a_part_that_dies_each_time_is_never_given_up(tmp_path: Path, benches: list[Bench]) -> None:
    bench = Bench(tmp_path, DIES, STAYS)
    benches.append(bench)
    wait_until(lambda: bench.starts_of("first") >= 6, 20, "supervisord itself gives up after 4, in 6 s")


def test_nothing_outlives_the_pipe(tmp_path: Path, benches: list[Bench]) -> None:
    bench = Bench(tmp_path, STAYS, STAYS)
    benches.append(bench)
    bench.supervision.start_the_rest()
    wait_until(lambda: bench.starts_of("waits") == bench.starts_of("first") == 1, 10)
    bench.end()
    assert find(bench.mark) == []
