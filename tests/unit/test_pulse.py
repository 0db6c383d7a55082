"""What follows from readings of the counters: rates, latency, history; how pages are paced; the last faults; tries."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from prometheus_client import CollectorRegistry

from ticketing.api.live import _sold_out_in_s
from ticketing.api.pace import LEAST_S, MOST_S, Pace
from ticketing.api.sessions import ADDRESSES_MAX, TRIES, TRIES_S, Tries
from ticketing.telemetry import faults
from ticketing.telemetry.faults import Faults
from ticketing.telemetry.logs import BY_STRANGERS
from ticketing.telemetry.metrics import Exposition
from ticketing.telemetry.pulse import WINDOW_READINGS, Reading, history, rates, take_reading

NOTHING = Reading(
    at_s=100.0, outcomes={}, buckets={}, sold={"1": 0}, remaining=100, receipts_pending=0, outage=False, levels={}
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def later(reading: Reading, seconds: float, sold: int, refused: int = 0) -> Reading:
    counted = {
        "sold": reading.outcomes.get("sold", 0) + sold,
        "sold_out": reading.outcomes.get("sold_out", 0) + refused,
    }
    buckets = {bound: reading.buckets.get(bound, 0.0) + sold for bound in ("0.01", "+Inf")}
    return replace(
        reading,
        at_s=reading.at_s + seconds,
        outcomes=counted,
        buckets=buckets,
        sold={"1": reading.sold.get("1", 0) + 2 * sold},
        remaining=reading.remaining - 2 * sold,
    )


def test_rates_are_those_since_half_a_minute() -> None:
    kept = [NOTHING]
    for _ in range(20):
        kept.append(later(kept[-1], 5, sold=1000))
    for _ in range(WINDOW_READINGS):
        kept.append(later(kept[-1], 5, sold=5, refused=10))
    going = rates(kept[:-1], kept[-1])
    assert going["purchases_per_s"] == pytest.approx((1000 + 5 * 6 - 1000) / 30)
    assert going["refusals_per_s"] == pytest.approx(2.0)
    assert going["tickets_per_s"] == {"1": pytest.approx(2.0)}
    assert going["latency"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}


def test_before_there_are_two_readings_nothing_is_known() -> None:
    for kept in ([], [replace(NOTHING, at_s=NOTHING.at_s - 0.5)]):
        going = rates(kept, NOTHING)
        assert going["purchases_per_s"] is going["latency"] is None
        assert going["tickets_per_s"] == {}


def test_what_was_sold_before_an_event_was_known_is_no_rate() -> None:
    unknown = replace(NOTHING, sold={}, remaining=None, receipts_pending=None)  # started without the store
    found = replace(unknown, at_s=unknown.at_s + 5, sold={"1": 9000}, remaining=1000, receipts_pending=0)
    assert rates([unknown], found)["tickets_per_s"] == {}
    later_on = replace(found, at_s=found.at_s + 5, sold={"1": 9010})
    assert rates([unknown, found], later_on)["tickets_per_s"] == {"1": pytest.approx(2.0)}
    assert history([replace(NOTHING, at_s=NOTHING.at_s - 5), unknown, found])["remaining"] == [None, 1000]


def test_without_a_known_event_what_is_left_and_pending_is_unknown() -> None:
    reading = take_reading(Exposition(CollectorRegistry()), [], store_up=False)
    assert reading.remaining is reading.receipts_pending is None
    assert (reading.sold, reading.outage) == ({}, True)


def test_a_sale_whose_rate_is_shown_as_nothing_has_no_end_in_sight() -> None:
    assert _sold_out_in_s(10_000, 0.0049) is _sold_out_in_s(0, 5.0) is None
    assert _sold_out_in_s(10_000, 0.0068) == round(10_000 / 0.0068)


def test_a_counter_that_began_anew_does_not_run_backwards() -> None:
    before = later(NOTHING, 5, sold=100)
    after = replace(later(NOTHING, 5, sold=3), at_s=before.at_s + 5)
    assert rates([before], after)["purchases_per_s"] == 0
    assert history([before, after])["purchases_per_s"] == [0]


def test_the_history_has_a_value_a_step_in_each_list() -> None:
    kept = [NOTHING, later(NOTHING, 5, sold=10)]
    kept.append(replace(later(kept[-1], 5, sold=0), outage=True, receipts_pending=7))
    assert history(kept) == {
        "step_s": 5.0,
        "purchases_per_s": [2.0, 0.0],
        "latency_p99_ms": [10.0, None],
        "receipts_pending": [0, 7],
        "remaining": [80, 80],
        "outage": [False, True],
    }
    assert history([NOTHING])["remaining"] == history([])["remaining"] == []


@pytest.mark.parametrize("pages", [1, 10, 200, 1000, 100_000])
def test_however_many_pages_poll_the_polls_stay_few(pages: int) -> None:
    clock = Clock()
    pace = Pace(10.0, clock)
    due_s = [clock.now_s + LEAST_S * i / pages for i in range(pages)]
    polls = 0
    for _ in range(240):  # steps of a second
        clock.now_s += 1
        asking = [i for i, at_s in enumerate(due_s) if at_s <= clock.now_s]
        polls = len(asking)
        for i in asking:
            after_s = pace.after_s()
            assert LEAST_S <= after_s <= MOST_S
            due_s[i] = clock.now_s + after_s * (0.9 + 0.2 * (i % 11) / 10)
    in_the_end = sum(at_s <= clock.now_s + 10 for at_s in due_s) / 10
    assert in_the_end <= max(30.0, 1.5 * pages / MOST_S)
    assert polls <= max(60.0, 3 * pages / MOST_S)


def test_pages_that_are_few_again_are_told_to_ask_soon_again() -> None:
    clock = Clock()
    pace = Pace(10.0, clock)
    for _ in range(10_000):
        clock.now_s += 0.001
        pace.after_s()
    assert pace.after_s() > LEAST_S
    for _ in range(10):
        clock.now_s += 10
        after_s = pace.after_s()
    assert after_s == LEAST_S


def test_an_address_may_be_wrong_a_few_times_a_minute() -> None:
    clock = Clock()
    tries = Tries(clock)
    for _ in range(TRIES):
        assert tries.wait_s(b"a") == 0
        tries.count_wrong(b"a")
        clock.now_s += 1
    assert tries.wait_s(b"a") == TRIES_S - TRIES
    assert tries.wait_s(b"b") == 0
    clock.now_s += TRIES_S - TRIES
    assert tries.wait_s(b"a") == 0


def test_addresses_that_were_wrong_take_little_memory() -> None:
    tries = Tries()
    for number in range(3 * ADDRESSES_MAX):
        tries.count_wrong(str(number).encode())
    assert len(tries._wrong_s) == ADDRESSES_MAX


@pytest.fixture
def kept_faults(tmp_path: Path) -> Faults:
    kept = Faults(tmp_path / "new" / "faults.jsonl")
    before = set(logger._core.handlers)  # type: ignore[attr-defined]
    kept.keep()
    yield kept
    for sink in set(logger._core.handlers) - before:  # type: ignore[attr-defined]
        logger.remove(sink)


def test_the_last_faults_are_kept_newest_first_without_what_fetches_a_receipt(kept_faults: Faults) -> None:
    assert kept_faults.last(5) == []
    logger.info("nothing wrong")
    logger.bind(part="sweeper").warning("it waits for {}", "1.VkM8W82ZrmQv-PITD8a0jAwJC2hi")
    logger.error("x" * 1000)
    newest, oldest = kept_faults.last(5)
    assert (oldest["level"], oldest["part"], oldest["message"]) == ("WARNING", "sweeper", "it waits for 1.VkM8W8…")
    assert (newest["level"], len(newest["message"])) == ("ERROR", faults.MESSAGE_CHARACTERS)
    assert kept_faults.last(1) == [newest]


def test_the_file_of_faults_stays_small_and_half_a_line_does_no_harm(kept_faults: Faults, tmp_path: Path) -> None:
    for number in range(1000):
        logger.warning("fault {} {}", number, "y" * 300)
    path = tmp_path / "new" / "faults.jsonl"
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 3 * faults.FILE_BYTES
    with path.open("a") as file:
        file.write(json.dumps({"time": "now"})[:8])
    assert [fault["message"].split()[1] for fault in kept_faults.last(3)] == ["999", "998"]


def test_of_two_processes_that_find_the_file_full_one_moves_it_aside(kept_faults: Faults, tmp_path: Path) -> None:
    path = tmp_path / "new" / "faults.jsonl"
    logger.warning("long ago")
    with path.open("a") as second:
        with path.open("a") as first:
            kept_faults._move_aside(first)
        logger.warning("since then")
        kept_faults._move_aside(second)  # found it full before it was moved
    assert [fault["message"] for fault in kept_faults.last(5)] == ["since then", "long ago"]


def test_what_strangers_cause_does_not_push_our_faults_out(
    kept_faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(faults.time, "monotonic", clock)
    logger.error("ours")
    for _ in range(3):
        for number in range(100):
            logger.bind(**{BY_STRANGERS: True}).warning("wrong token {}", number)
        clock.now_s += faults.STRANGERS_S
    assert [fault["message"] for fault in kept_faults.last(10)] == ["wrong token 0"] * 3 + ["ours"]


def test_where_faults_cannot_be_written_nothing_else_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = Faults(tmp_path / "file" / "faults.jsonl")
    sink = logger.add(kept._write, level="WARNING", catch=False)
    logger.error("nobody hears it")
    logger.remove(sink)
    assert kept.last(1) == []
