"""Metrics and the summary line: quantiles, receipt counts, gauges from the store, sums over processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from prometheus_client import CollectorRegistry

from tests.unit.test_counter import a_state
from ticketing.errors import StoreRefused
from ticketing.model import EventState
from ticketing.telemetry.metrics import (
    MULTIPROCESS,
    PURCHASE_OUTCOMES,
    Exposition,
    Levels,
    SaleMetrics,
    oldest_pending_s,
    quantile,
    receipt_counts,
)
from ticketing.telemetry.summary import Summary

BUCKETS = {"0.001": 10.0, "0.01": 90.0, "0.1": 99.0, "1.0": 100.0, "+Inf": 100.0}


@pytest.mark.parametrize(
    ("share", "bound"), [(0.0, 0.001), (0.1, 0.001), (0.11, 0.01), (0.5, 0.01), (0.9, 0.01), (0.99, 0.1), (1.0, 1.0)]
)
def test_a_quantile_is_the_bound_of_the_bucket_in_which_it_is_reached(share: float, bound: float) -> None:
    assert quantile(BUCKETS, share) == bound


def test_a_quantile_of_nothing_or_beyond_the_last_bound_is_not_known() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({"1.0": 0.0, "+Inf": 0.0}, 0.5) is None
    assert quantile({"1.0": 1.0, "+Inf": 100.0}, 0.99) is None  # JSON knows no infinity
    assert quantile({"1.0": 1.0, "+Inf": 100.0}, 0.01) == 1.0


def test_buckets_are_sorted_by_their_number_and_not_by_their_text() -> None:
    assert quantile({"+Inf": 10.0, "10.0": 10.0, "2.5": 9.0, "0.5": 1.0}, 0.9) == 2.5


def a_sale(event_id: str = "1", **changes: object) -> EventState:
    return replace(a_state(event_id), **changes)  # type: ignore[arg-type]


def test_a_receipt_is_ready_where_it_is_neither_pending_nor_given_up() -> None:
    states = [
        a_sale("1", purchases=10, receipts_pending=3, receipts_failed=1),
        a_sale("2", purchases=5, receipts_pending=5),
        a_sale("3"),
    ]
    assert receipt_counts(states) == {"pending": 8, "ready": 6, "failed": 1}
    assert receipt_counts([]) == {"pending": 0, "ready": 0, "failed": 0}


def test_the_oldest_pending_receipt_is_the_one_that_has_been_due_the_longest() -> None:
    states = [
        a_sale("1", as_of_ms=10_000, oldest_pending_ms=8_500),
        a_sale("2", as_of_ms=10_000, oldest_pending_ms=9_000),
        a_sale("3"),
    ]
    assert oldest_pending_s(states) == 1.5
    assert oldest_pending_s([a_sale("1", as_of_ms=10_000, oldest_pending_ms=12_000)]) == 0
    assert oldest_pending_s([]) == 0


def samples(levels: Levels) -> dict[tuple[str, str], float]:
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in levels.collect()
        for sample in family.samples
    }


def test_gauges_say_what_the_store_said() -> None:
    states = [
        a_sale("1", issued=10, sold=4, pool=5, leased=1, purchases=2, receipts_pending=1),
        a_sale("gala", issued=3, sold=0, pool=3),
    ]
    got = samples(Levels(states, store_up=True))
    assert got["ticketing_tickets_issued", "1"] == 10
    assert got["ticketing_tickets_sold", "1"] == 4
    assert got["ticketing_tickets_remaining", "1"] == 6
    assert got["ticketing_leased_tickets", "1"] == 1
    assert got["ticketing_pool_tickets", "1"] == 5
    assert got["ticketing_event_state", "1"] == 1
    assert got["ticketing_tickets_remaining", "gala"] == 3
    assert [got["ticketing_receipts", status] for status in ("pending", "ready", "failed")] == [1, 1, 0]
    assert got["ticketing_store_up", ""] == 1


def test_an_event_that_the_store_has_lost_is_told_as_halted_all_the_same() -> None:
    got = samples(Levels([a_sale("1"), a_sale("2", halted=True)], store_up=True, halted={"gala"}))
    assert [got["ticketing_event_halted", event_id] for event_id in ("1", "2", "gala")] == [0, 1, 1]
    assert ("ticketing_tickets_issued", "gala") not in got


def test_gauges_without_the_store_are_the_last_known_and_say_so() -> None:
    got = samples(Levels([a_sale()], store_up=False))
    assert got["ticketing_store_up", ""] == 0
    assert got["ticketing_tickets_issued", "1"] == 10


def test_the_text_holds_counters_and_gauges_and_every_outcome_from_the_start() -> None:
    registry = CollectorRegistry()
    metrics = SaleMetrics(registry)
    metrics.purchases["sold"].inc(3)
    metrics.duration.observe(0.004)
    text = Exposition(registry).text(Levels([a_sale()], store_up=True)).decode()
    lines = text.splitlines()
    assert 'ticketing_purchases_total{outcome="sold"} 3.0' in lines
    assert 'ticketing_purchase_duration_seconds_bucket{le="0.005"} 1.0' in lines
    assert 'ticketing_tickets_issued{event_id="1"} 10.0' in lines
    assert sum(line.startswith("ticketing_purchases_total{") for line in lines) == len(PURCHASE_OUTCOMES)
    assert "_created" not in text


def test_samples_are_summed_by_one_label() -> None:
    registry = CollectorRegistry()
    metrics = SaleMetrics(registry)
    metrics.purchases["sold"].inc(2)
    metrics.purchases["sold_out"].inc()
    got = Exposition(registry).values("ticketing_purchases_total", "outcome")
    assert {name: value for name, value in got.items() if value} == {"sold": 2.0, "sold_out": 1.0}


COUNTING = """
from prometheus_client import CollectorRegistry, Counter
Counter("kept_total", "Kept", registry=CollectorRegistry()).inc({})
"""


def test_what_processes_in_subfolders_count_is_summed_into_one_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers with the same process id have a subfolder each; a bare host may have none."""
    folders = [tmp_path / name for name in ("web", "workers", "workers/one", "workers/two", "missing")]
    for amount, folder in enumerate(folders[:-1], start=1):
        folder.mkdir()
        counting = [sys.executable, "-c", COUNTING.format(amount)]
        subprocess.run(counting, check=True, env={MULTIPROCESS: str(folder)})
    for host in ("one", "two"):
        [file] = (tmp_path / "workers" / host).iterdir()
        file.rename(file.with_name("counter_7.db"))
    monkeypatch.setenv(MULTIPROCESS, str(tmp_path / "web"))
    exposition = Exposition(CollectorRegistry(), [tmp_path / "web", tmp_path / "workers", tmp_path / "missing"])
    lines = exposition.text(Levels([], store_up=True)).decode().splitlines()
    assert [line for line in lines if "kept_total" in line] == [
        "# HELP kept_total Kept",
        "# TYPE kept_total counter",
        "kept_total 10.0",
    ]


GAUGING = """
from prometheus_client import CollectorRegistry, Gauge
Gauge("kept", "Kept", multiprocess_mode="livesum", registry=CollectorRegistry()).set({})
"""


def test_a_gauge_of_a_process_that_was_killed_with_its_master_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left then who would have taken its file away."""
    for value in (1, 2):
        subprocess.run([sys.executable, "-c", GAUGING.format(value)], check=True, env={MULTIPROCESS: str(tmp_path)})
    file = next(tmp_path.iterdir())
    file.rename(file.with_name(f"gauge_livesum_{os.getpid()}.db"))
    monkeypatch.setenv(MULTIPROCESS, str(tmp_path))
    assert Exposition(CollectorRegistry(), [tmp_path]).values("kept", "") in ({"": 1.0}, {"": 2.0})


class Told:
    """A summary, what it reads, and the lines that it said."""

    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.metrics = SaleMetrics(self.registry)
        self.states: list[EventState] = [a_sale(issued=10, sold=4)]
        self.down = False
        self.summary = Summary(Exposition(self.registry), self.read, folder / "lock")
        self.lines: list[str] = []
        self.sink = logger.add(lambda message: self.lines.append(message.record["message"]))

    def read(self) -> list[EventState]:
        if self.down:
            raise StoreRefused("away")
        return self.states

    def say(self) -> str:
        self.lines.clear()
        self.summary.say()
        return self.lines[0] if self.lines else ""


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    logger.remove(made.sink)


def test_the_summary_tells_of_the_time_since_the_last_one(told: Told) -> None:
    told.metrics.purchases["sold"].inc(25)
    told.metrics.purchases["sold_out"].inc(2)
    told.metrics.duration.observe(0.004)
    assert told.say() == ("25 purchases (2.5/s), 2 sold_out, p99 <= 5 ms; 6 tickets remain, 0 receipts pending")
    told.metrics.purchases["sold"].inc(5)
    told.metrics.duration.observe(0.2)
    assert told.say() == "5 purchases (0.5/s), nothing else, p99 <= 250 ms; 6 tickets remain, 0 receipts pending"


def test_the_summary_says_so_when_it_was_slower_than_every_bucket(told: Told) -> None:
    told.metrics.purchases["sold"].inc()
    told.metrics.duration.observe(60)
    assert "p99 > 10000 ms" in told.say()


def test_the_summary_says_one_more_line_when_it_gets_quiet_and_then_nothing(told: Told) -> None:
    told.metrics.purchases["sold"].inc()
    assert [bool(told.say()) for _ in range(4)] == [True, True, False, False]
    told.states = [a_sale(receipts_pending=1, purchases=1)]
    assert "1 receipts pending" in told.say()


def test_the_summary_goes_on_without_the_store(told: Told) -> None:
    told.down = True
    told.metrics.purchases["unavailable"].inc(3)
    assert told.say().startswith("0 purchases (0.0/s), 3 unavailable, p99 -")


def test_one_process_speaks_at_a_time_and_another_takes_over(told: Told, tmp_path: Path) -> None:
    other = Told(tmp_path)
    logger.remove(other.sink)
    assert told.summary._holds_lock()
    assert told.summary._holds_lock()
    assert not other.summary._holds_lock()
    assert told.summary._lock is not None
    told.summary._lock.close()  # as the end of its process would
    assert other.summary._holds_lock()
    assert other.summary._lock is not None
    other.summary._lock.close()
