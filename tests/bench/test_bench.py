"""The benchmark: its arithmetic, and real servers, that it measures what it says. Asserts counts, and never times."""

import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import report, wrk
from tests.bench.contestants import Product, our_server, product
from tests.bench.crew import Crew, Load
from tests.bench.figures import NotMeasured, median, percentile, ratio, spread
from tests.bench.generator import Ask
from tests.bench.profile import shares
from tests.bench.sitting import Plan, Run, Sitting, bought_by_crew, bought_by_wrk, middle, purchase
from tests.bench.targets import NOT_ASKED, TARGETS, Found, Target, missed, rows, verdict
from tests.bench.wrk import WrkRun
from tests.servers import HOST

AT_MOST = Target("x", "something", 0.35, "x", stretch=0.27)
AT_LEAST = Target("y", "something", 1_500, "/s", at_least=True)


def a_load(**changes: object) -> Load:
    made = {"sent": 3, "answers": 3, "statuses": {"201": 3}, "wrong": 0, "errors": {}, "seconds": 1.0, "p50_ms": 1.0}
    rest = {"p99_ms": 2.0, "most_ms": 2.0, "lag_p99_ms": 0.0, "first_ms": 1.0, "last_ms": {"201": 2.0}}
    return Load(**{**made, **rest, "cpu_share": 0.1, **changes})  # type: ignore[arg-type]


def a_wrk_run(**changes: object) -> WrkRun:
    made = {"good": 10, "bad": 0, "seconds": 1.0, "errors": 0, "late": 0, "p50_ms": 1.0, "p99_ms": 2.0}
    return WrkRun(**{**made, "cpu_share": 0.5, **changes})  # type: ignore[arg-type]


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = list(range(1, 101))
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50, 99, 100)
    assert percentile([7], 0.99) == 7
    assert percentile([], 0.99) == 0


def test_a_median_needs_runs_that_count() -> None:
    assert median([3, 1, 2]) == 2
    with pytest.raises(NotMeasured, match="0 of 1 rounds counted"):
        median([])


def test_ratios_and_spreads() -> None:
    assert ratio(30, 100) == 0.3
    assert spread([100, 115, 110]) == pytest.approx(0.15)
    with pytest.raises(NotMeasured):
        ratio(1, 0)


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        (AT_MOST, 0.36, "MISSED"),
        (AT_MOST, 0.35, "met"),
        (AT_MOST, 0.27, "met (stretch too)"),
        (AT_LEAST, 1_499, "MISSED"),
        (AT_LEAST, 1_500, "met"),
        (Target("z", "beside", None), 5, "shown"),
    ],
)
def test_a_figure_is_judged_by_its_bound(target: Target, value: float, said: str) -> None:
    assert verdict(target, Found(value)) == said


def test_what_was_not_measured_is_never_met_and_says_why() -> None:
    assert verdict(AT_MOST, Found(None, "wrk is not here")) == "not measured: wrk is not here"
    assert {row["verdict"] for row in rows({})} == {NOT_ASKED}
    assert len(rows({})) == len(TARGETS)
    assert {target.name.rstrip("abcdef") for target in TARGETS} == {str(number) for number in range(1, 14)}


def test_missed_targets_are_named(tmp_path: Path) -> None:
    found = {"1a": Found(0.5, "60 against 120 us"), "1c": Found(150.0), "2a": Found(None, "why")}
    assert [target.name for target in missed(found)] == ["1a"]
    told = {
        "machine": {"date": "2026-11-28", "commit": "abc", "cpu": "a CPU"},
        "plan": {"rounds": 3, "seconds": 8.0, "quick": False},
        "others_share": 0.5,
        "notes": [],
        "runs": [{"series": "64", "contest": "ours", "notes": ["wrk was the bottleneck (95% of a core)"]}],
    }
    text = report.markdown(told, found)
    assert (
        "| 1a | CPU of a purchase, to Express, 64 connections | <= 0.35 x (stretch 0.27 x) | 0.5 x (60 against" in text
    )
    assert "Missed: 1a (" in text
    assert "not quiet" in text
    assert "bottleneck, which touches times and not CPU, in: 64, ours (1 runs)." in text
    report.write_json(tmp_path / "new" / "out.json", told, found)
    assert len(json.loads((tmp_path / "new" / "out.json").read_text())["targets"]) == len(TARGETS)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"wrong": 1, "example": "HTTP/1.1 500"}, "1 wrong answers, the first: HTTP/1.1 500"),
        ({"errors": {"no answer": 2}}, "errors: {'no answer': 2}"),
        ({"answers": 0}, "nothing was answered"),
        ({"tickets": ["E1-000001", "E1-000001"]}, "a ticket was sold twice"),
    ],
)
def test_a_load_with_an_unwanted_answer_does_not_count(changes: dict[str, object], why: str) -> None:
    assert a_load(**changes).refusal == why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"bad": 1, "example": "409 no"}, "1 wrong answers, the first: 409 no"),
        ({"errors": 1}, "1 connections failed"),
        ({"late": 1}, "1 answers took more than 10 s"),
        ({"good": 0}, "nothing was answered"),
    ],
)
def test_a_run_of_wrk_with_an_unwanted_answer_does_not_count(changes: dict[str, object], why: str) -> None:
    assert a_wrk_run(**changes).refusal() == why


def test_a_generator_that_was_too_busy_says_so() -> None:
    assert a_load().notes == a_wrk_run().notes == []
    assert a_load(cpu_share=0.95).notes == ["the load generator was the bottleneck (95% of a core)"]
    assert a_wrk_run(cpu_share=0.95).notes == ["wrk was the bottleneck (95% of a core)"]


def test_the_first_turn_and_refused_ones_do_not_count(tmp_path: Path) -> None:
    sitting = Sitting(Plan(rounds=2), tmp_path, say=lambda _: None)
    costs = iter([100, 10, 20])
    refusals = iter(["warm", "first try", "", "a", "b"])
    found = sitting.in_turn(
        "series",
        {
            "good": lambda: Run("good", 1, float(next(costs))),
            "shaky": lambda: Run("shaky", 1, 1.0, refused=next(refusals)),
        },
    )
    assert middle(found["good"]) == 15
    assert len(found["shaky"]) == 1  # its first round was repeated, its second refused twice
    with pytest.raises(NotMeasured, match="1 of 2 rounds counted; b"):
        middle(found["shaky"])
    assert [run.get("refused", "") for run in sitting.runs if run["contest"] == "shaky"] == [
        "warm",
        "first try",
        "",
        "a",
        "b",
    ]


def test_a_profile_gives_each_sample_to_the_innermost_step() -> None:
    stacks = [
        "handle (gunicorn/workers/ggevent.py:1);call (flask/app.py:2);buy (ticketing/api/purchases.py:3) 3",
        "handle (gunicorn/workers/ggevent.py:1);call (flask/app.py:2) 1",
    ]
    assert shares(stacks)[:3] == [
        "4 samples; CPU by step:",
        " 75.0%  our HTTP: reading, answering",
        " 25.0%  Flask and Werkzeug",
    ]


class OneAnswerServer:
    """Says the same to each connection, once, and closes it."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(self._said)


@contextlib.contextmanager
def answering(said: bytes) -> Iterator[Crew]:
    server = OneAnswerServer(said)
    try:
        with Crew() as crew:
            assert crew.open(server.port, 3) == 3
            yield crew
    finally:
        server.stop()


SAID = b'HTTP/1.1 201 Created\r\nContent-Length: 34\r\n\r\n{"status":"sold","tickets":["E1"]}'


def test_a_connection_that_is_closed_after_its_answer_is_an_error_only_for_the_next_request() -> None:
    with answering(SAID) as crew:
        first = crew.wave(Ask(["/buy/1"], {"201": '"sold"'}))
        second = crew.wave(Ask(["/buy/1"], {"201": '"sold"'}))
    assert (first.answers, first.errors, first.wrong) == (3, {}, 0)
    assert first.refusal == "a ticket was sold twice"
    assert (second.answers, sum(second.errors.values())) == (0, 3)


def test_half_an_answer_is_none() -> None:
    with answering(SAID[:-1]) as crew:
        seen = crew.wave(Ask(["/buy/1"], {"201": '"sold"'}))
    assert (seen.answers, seen.errors) == (0, {"closed before the answer": 3})


def test_an_answer_without_the_wanted_body_is_wrong() -> None:
    with answering(SAID) as crew:
        seen = crew.loop(Ask(["/buy/1"], {"201": '"provisional"'}), count=2)
    assert (seen.answers, seen.wrong) == (2, 2)
    assert seen.example.startswith("HTTP/1.1 201 Created {")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The service as the benchmark starts it, with 20,000 tickets and an event of ten."""
    with product(tmp_path_factory.mktemp("bench") / "service", server=our_server()) as made:
        made.fill("1", 20_000)
        made.fill("few", 10)
        yield made


def test_a_closed_loop_buys_exactly_as_often_as_it_was_told(ours: Product) -> None:
    with Crew(2) as crew:
        assert crew.open(ours.port, 9) == 9
        run = bought_by_crew(ours, crew, ["1"], count=101)
    assert (run.refused, run.count, run.more["statuses"]) == ("", 101, {"201": 101})
    assert run.app_us > 0


def test_a_wave_and_a_schedule_send_all_that_is_due_and_miss_no_answer(ours: Product) -> None:
    with Crew(2) as crew:
        crew.open(ours.port, 20)
        wave = crew.wave(purchase(["1"]))
        on_time = crew.schedule(purchase(["1"]), seconds=0.5, rate=100)
    assert (wave.answers, len(set(wave.tickets)), wave.refusal) == (20, 20, "")
    assert (on_time.sent, on_time.answers, on_time.refusal) == (50, 50, "")


def test_a_run_that_sells_out_midway_does_not_count(ours: Product) -> None:
    with Crew() as crew:
        crew.open(ours.port, 4)
        run = bought_by_crew(ours, crew, ["few"], count=30)
    assert run.count == 10
    assert run.refused.startswith("20 wrong answers, the first: HTTP/1.1 409")


def test_an_event_that_is_sold_out_says_so_to_the_same_connections(ours: Product) -> None:
    with Crew() as crew:
        crew.open(ours.port, 4)
        crew.loop(purchase(["few"]), count=30)
        refused = crew.loop(Ask(["/buy/few"], {"409": ours.sold_out_text}), count=40)
    assert (refused.refusal, refused.statuses) == ("", {"409": 40})
    assert ours.sold(["few"]) == 10


@pytest.mark.skipif(shutil.which("wrk") is None, reason=wrk.MISSING)
def test_wrk_counts_what_the_pool_lost(ours: Product) -> None:
    before = ours.sold(["1"])
    run = bought_by_wrk(ours, ["1"], 8, 1.0)
    assert run.refused == ""
    assert run.count == ours.sold(["1"]) - before
    assert 0 <= run.count - run.more["good"] <= 8
