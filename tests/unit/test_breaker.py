"""The breaker: one failure opens it, one answered greeting closes it, and trouble that returns is believed later."""

from collections.abc import Iterator

import pytest
from loguru import logger

from ticketing.outage import breaker as breaker_module
from ticketing.outage.breaker import Breaker


class Clock:
    now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(breaker_module, "time", made)
    return made


@pytest.fixture
def lines() -> Iterator[list[str]]:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["level"].name), level="INFO")
    yield said
    logger.remove(sink)


def test_an_outage_is_said_once_when_it_begins_and_once_when_it_ends(clock: Clock, lines: list[str]) -> None:
    began: list[int] = []
    breaker = Breaker(lambda: began.append(1))
    for _ in range(3):
        breaker.trip("refused")
    assert (breaker.is_open, began, lines) == (True, [1], ["WARNING"])
    assert breaker.may_close()
    breaker.close()
    breaker.close()
    assert (breaker.is_open, lines) == (False, ["WARNING", "INFO"])
    breaker.say_settled()
    assert lines == ["WARNING", "INFO", "WARNING"]


def test_trouble_that_returns_soon_is_believed_later_each_time(clock: Clock) -> None:
    breaker = Breaker()
    waited = []
    for _ in range(8):
        breaker.trip("reset")
        began_s = clock.now_s
        while not breaker.may_close():
            clock.now_s += 0.25
        waited.append(clock.now_s - began_s)
        breaker.close()
    assert waited == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    clock.now_s += 11
    breaker.trip("reset")
    assert breaker.may_close()


def test_a_closed_breaker_has_nothing_to_close(clock: Clock) -> None:
    assert not Breaker().may_close()


def test_what_was_counted_is_kept_until_it_was_said(clock: Clock) -> None:
    breaker = Breaker()
    breaker.trip("once")
    breaker.counts.sold += 3
    breaker.close()
    breaker.trip("and again before it was settled")
    breaker.counts.sold += 1
    assert breaker.counts.sold == 4
    breaker.say_settled()
    assert breaker.counts.sold == 0
