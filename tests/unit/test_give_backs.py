"""The wait for leased tickets: one asks for all who wait, nobody waits longer than the patience, a window each time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
import pytest

from ticketing.model import Outcome, PoolLevel, SaleReply
from ticketing.sale import give_backs
from ticketing.sale.give_backs import PATIENCE_S, GiveBacks


def level(left: int = 0, leased: int = 0) -> PoolLevel:
    return PoolLevel(epoch=1, left=left, leased=leased, quantity_max=10, buyer_max=0, opens_ms=None)


LEASED = SaleReply(Outcome.SOLD_OUT, "", level(leased=5))
NOTHING_LEASED = SaleReply(Outcome.SOLD_OUT, "", level())
SOLD = SaleReply(Outcome.SOLD, "a record", level(left=1, leased=-1))
REPLAYED = SaleReply(Outcome.REPLAYED, "a record", level(leased=-1))
UNAVAILABLE = SaleReply(Outcome.REFUSED, "Redis is away")


@dataclass
class Clock:
    """Time that passes only where somebody sleeps; something may happen meanwhile."""

    now_s: float = 0.0
    meanwhile: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.meanwhile()
        gevent.sleep(0)


@dataclass
class Scene:
    """Those who wait, and what the store says."""

    clock: Clock
    reply: SaleReply = LEASED
    asked: list[float] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        self.waiting = GiveBacks(self._look)

    def _look(self) -> None:
        self.looks += 1

    def ask(self) -> SaleReply:
        self.asked.append(self.clock.now_s)
        return self.reply

    def await_for(self, reply: SaleReply = LEASED, event_id: str = "1") -> SaleReply:
        return self.waiting.await_for(event_id, reply, self.ask)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    clock = Clock()
    monkeypatch.setattr(give_backs, "time", clock)
    monkeypatch.setattr(give_backs, "gevent", clock)
    return Scene(clock)


@pytest.mark.parametrize("reply", [SOLD, NOTHING_LEASED, UNAVAILABLE, REPLAYED])
def test_a_reply_that_no_leased_ticket_could_change_is_told_at_once(scene: Scene, reply: SaleReply) -> None:
    assert scene.await_for(reply) is reply
    assert (scene.asked, scene.looks) == ([], 0)


def test_the_first_who_waits_has_this_process_look_at_its_leases(scene: Scene) -> None:
    scene.clock.meanwhile = lambda: setattr(scene, "reply", SOLD)
    assert scene.await_for() is SOLD
    assert (len(scene.asked), scene.looks) == (1, 1)


def test_one_asks_while_many_wait_and_then_each_asks_for_itself(scene: Scene) -> None:
    waiting = [gevent.spawn(scene.await_for) for _ in range(50)]

    def give_back_later() -> None:
        if scene.clock.now_s > 0.3:
            scene.reply = SOLD

    scene.clock.meanwhile = give_back_later
    gevent.joinall(waiting, timeout=10)
    assert [greenlet.value for greenlet in waiting] == [SOLD] * 50
    alone, together = [at_s for at_s in scene.asked if at_s < 0.3], [at_s for at_s in scene.asked if at_s > 0.3]
    assert len(alone) == len(set(alone)) >= 5
    assert (len(together), scene.looks) == (50, 1)


def test_the_window_ends_and_then_nobody_waits_any_more(scene: Scene) -> None:
    waiting = [gevent.spawn(scene.await_for) for _ in range(5)]
    gevent.joinall(waiting, timeout=10)
    assert [greenlet.value for greenlet in waiting] == [LEASED] * 5
    assert scene.clock.now_s == pytest.approx(PATIENCE_S, abs=0.1)
    asked = len(scene.asked)
    assert scene.await_for() is LEASED
    assert len(scene.asked) == asked
    assert scene.looks == 1


def test_a_new_window_begins_after_the_pool_covered_somebody(scene: Scene) -> None:
    scene.await_for()
    assert scene.await_for(SOLD) is SOLD
    began_s = scene.clock.now_s
    assert scene.await_for() is LEASED
    assert scene.clock.now_s - began_s == pytest.approx(PATIENCE_S, abs=0.1)
    assert scene.looks == 2


def test_a_repeated_purchase_is_no_sign_of_more_tickets(scene: Scene) -> None:
    scene.await_for()
    scene.await_for(REPLAYED)
    began_s = scene.clock.now_s
    assert scene.await_for() is LEASED
    assert scene.clock.now_s == began_s


def test_nobody_waits_longer_than_the_patience_while_others_are_covered(scene: Scene) -> None:
    """Who wants ten of the last tickets must not wait for as long as others buy one each."""
    scene.clock.meanwhile = lambda: scene.waiting.await_for("1", SOLD, scene.ask) and None
    waiting = [gevent.spawn(scene.await_for) for _ in range(2)]
    gevent.joinall(waiting, timeout=10)
    assert [greenlet.value for greenlet in waiting] == [LEASED] * 2
    assert scene.clock.now_s <= PATIENCE_S + 0.1


def test_each_event_has_its_own_window(scene: Scene) -> None:
    scene.await_for(event_id="1")
    began_s = scene.clock.now_s
    scene.await_for(event_id="2")
    assert scene.clock.now_s - began_s == pytest.approx(PATIENCE_S, abs=0.1)


def test_an_outage_ends_the_wait_of_all(scene: Scene) -> None:
    scene.clock.meanwhile = lambda: setattr(scene, "reply", UNAVAILABLE)
    waiting = [gevent.spawn(scene.await_for) for _ in range(5)]
    gevent.joinall(waiting, timeout=10)
    assert [greenlet.value for greenlet in waiting] == [UNAVAILABLE] * 5
    assert len(scene.asked) == 5


def test_one_whose_question_fails_leaves_the_asking_to_another(scene: Scene) -> None:
    def fail() -> SaleReply:
        raise RuntimeError("killed, say")

    def wait_in_vain() -> None:
        with pytest.raises(RuntimeError):
            scene.waiting.await_for("1", LEASED, fail)

    unlucky = gevent.spawn(wait_in_vain)
    waiting = [gevent.spawn(scene.await_for) for _ in range(5)]
    gevent.joinall([unlucky, *waiting], timeout=10)
    assert unlucky.successful()
    assert [greenlet.value for greenlet in waiting] == [LEASED] * 5
    assert scene.clock.now_s == pytest.approx(PATIENCE_S, abs=0.1)
