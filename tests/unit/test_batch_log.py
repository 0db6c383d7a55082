"""BatchLog: what an operator reads of a sale, and how seldom."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from ticketing.model import Outcome
from ticketing.sale.batch import BatchReport
from ticketing.sale.batch_log import BatchLog
from ticketing.telemetry import logs


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What the JSON log has."""
    found: list[dict[str, Any]] = []
    sink = logger.add(lambda message: found.append(json.loads(logs._as_json(message.record))), format="{message}")
    yield found
    logger.remove(sink)


def report(event_id: str, reason: str = "", **outcomes: int) -> BatchReport:
    """Of a script call with so many purchases of each outcome, two tickets each."""
    counts = {Outcome(name): count for name, count in outcomes.items()}
    return BatchReport(event_id, sum(counts.values()), counts, [], 2 * outcomes.get("sold", 0), 0.0123, reason)


def test_a_round_trip_with_one_event_is_a_line_that_names_it(lines: list[dict[str, Any]]) -> None:
    BatchLog().tell([report("gala", sold=3, sold_out=1)])
    [line] = lines
    assert line["message"] == "event gala: 6 tickets, 3 sold, 1 sold_out in 12.3 ms"
    assert line["event_id"] == "gala"
    assert (line["tickets"], line["outcomes"], line["duration_ms"]) == (6, {"sold": 3, "sold_out": 1}, 12.3)


def test_however_many_events_a_round_trip_sold_it_is_one_line(lines: list[dict[str, Any]]) -> None:
    BatchLog().tell([report(str(number), sold=1, replayed=number % 2) for number in range(200)])
    [line] = lines
    assert line["message"] == "200 events: 400 tickets, 200 sold, 100 replayed in 12.3 ms"
    assert line["event_ids"] == [str(number) for number in range(200)]


def test_a_crowd_that_is_split_into_calls_is_still_one_event(lines: list[dict[str, Any]]) -> None:
    BatchLog().tell([report("gala", sold=1000), report("gala", sold=5)])
    assert [line["message"] for line in lines] == ["event gala: 2010 tickets, 1005 sold in 12.3 ms"]


def test_an_event_in_trouble_is_named_when_that_begins_and_again_after_it_sold(lines: list[dict[str, Any]]) -> None:
    log = BatchLog()
    for _ in range(3):
        log.tell([report("1", sold=1), report("2", "it is damaged", script_failed=4), report("3", halted=1)])
    log.tell([report("2", sold=1)])
    log.tell([report("2", "once more", went_back=1)])
    assert [line["message"] for line in lines if line["level"] == "ERROR"] == [
        "event 2: nothing is sold of it now: 4 script_failed it is damaged",
        "event 3: nothing is sold of it now: 1 halted ",
        "event 2: nothing is sold of it now: 1 went_back once more",
    ]
    assert [line["event_id"] for line in lines if line["level"] == "INFO"] == ["1", "1", "1", "2"]
