"""The sold-out memory: short, for purchases without a key, and never stricter than the pool was."""

import pytest

from ticketing.model import PoolLevel
from ticketing.sale import sold_out as subject
from ticketing.sale.sold_out import SoldOutMemory


class Clock:
    """Monotonic time as a test sets it."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(subject, "time", made)
    return made


@pytest.fixture
def memory(clock: Clock) -> SoldOutMemory:
    return SoldOutMemory(memory_ms=200)


def left(memory: SoldOutMemory, quantity: int, event_id: str = "1", keyed: bool = False) -> int | None:
    return memory.left(event_id, quantity, keyed=keyed)


def level(left: int, epoch: int = 1) -> PoolLevel:
    return PoolLevel(epoch, left, leased=0, quantity_max=10, buyer_max=0, opens_ms=None)


def test_it_knows_nothing_until_a_pool_could_not_cover_a_purchase(memory: SoldOutMemory) -> None:
    assert left(memory, 1) is None
    memory.saw("1", level(0), refused=False)  # the last ticket was just sold: the next one finds out
    assert left(memory, 1) is None


def test_it_answers_what_wants_more_than_is_left_and_lets_the_rest_through(memory: SoldOutMemory) -> None:
    memory.saw("1", level(2), refused=True)
    assert [left(memory, quantity) for quantity in (1, 2, 3, 10)] == [None, None, 2, 2]


def test_it_forgets_after_its_time(memory: SoldOutMemory, clock: Clock) -> None:
    memory.saw("1", level(0), refused=True)
    clock.now_s += 0.199
    assert left(memory, 1) == 0
    clock.now_s += 0.002
    assert left(memory, 1) is None


def test_a_key_always_reaches_the_store(memory: SoldOutMemory) -> None:
    memory.saw("1", level(0), refused=True)
    assert left(memory, 1, keyed=True) is None


def test_each_event_has_a_memory_of_its_own(memory: SoldOutMemory) -> None:
    memory.saw("1", level(0), refused=True)
    assert left(memory, 1, event_id="2") is None


def test_a_new_epoch_ends_it_at_once_and_the_same_one_does_not(memory: SoldOutMemory) -> None:
    memory.saw("1", level(0), refused=True)
    memory.saw("1", level(0), refused=False)
    assert left(memory, 1) == 0
    memory.saw("1", level(50, epoch=2), refused=False)
    assert left(memory, 1) is None


def test_a_later_refusal_is_what_counts(memory: SoldOutMemory, clock: Clock) -> None:
    memory.saw("1", level(5), refused=True)
    clock.now_s += 0.1
    memory.saw("1", level(1, epoch=2), refused=True)
    clock.now_s += 0.15
    assert [left(memory, quantity) for quantity in (1, 2)] == [None, 1]


def test_a_memory_of_no_time_remembers_nothing(clock: Clock) -> None:
    memory = SoldOutMemory(memory_ms=0)
    memory.saw("1", level(0), refused=True)
    assert left(memory, 1) is None
