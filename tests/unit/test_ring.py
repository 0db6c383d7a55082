"""What a process remembers of its answers, and what it lets go."""

from ticketing.outage.lookback import Answered
from ticketing.outage.ring import TURN_S, Ring
from ticketing.store.put_back import Told, holds

ROCK, JAZZ = ("rock", "seed"), ("jazz", "seed")


def told(number: int, *, own: bool = True) -> Told:
    return (f"rock.{number}", f"f|{number}|E-{number}|", "", own)


def filled(*numbers: int, most: int = 100) -> Ring:
    ring = Ring(most)
    ring.turn(0.0)
    for number in numbers:
        ring.add(ROCK, told(number))
    return ring


def test_an_answer_is_remembered_for_one_turn_at_least_and_two_at_most() -> None:
    ring = filled(1, 2)
    ring.turn(TURN_S - 1)
    ring.turn(TURN_S)
    ring.add(ROCK, told(3))
    assert (ring.told(ROCK), ring.count(ROCK)) == ([told(1), told(2), told(3)], 3)
    ring.turn(2 * TURN_S)
    assert (ring.told(ROCK), ring.count(ROCK)) == ([told(2), told(3)], 1)  # the last of those that were let go
    ring.turn(3 * TURN_S)
    assert (ring.told(ROCK), ring.is_empty) == ([told(3)], True)


def test_a_rush_makes_it_forget_sooner_so_that_its_memory_is_bounded() -> None:
    ring = filled(*range(95), most=20)
    assert 10 <= ring.count(ROCK) <= 20
    assert ring.told(ROCK)[-1] == told(94)
    assert filled(1, most=0).told(ROCK) == []


def test_of_a_halted_sale_nothing_is_forgotten_until_it_is_let_go() -> None:
    ring = filled(1, 2)
    ring.hold(ROCK)
    for turn in range(1, 5):
        ring.turn(turn * TURN_S)
        ring.add(JAZZ, told(turn))
    assert ring.told(ROCK) == [told(1), told(2)]
    assert len(ring.told(JAZZ)) == 3
    ring.let_go(ROCK)
    ring.turn(5 * TURN_S)
    ring.turn(6 * TURN_S)
    assert ring.told(ROCK) == [told(2)]


def test_only_what_this_process_sold_itself_is_a_witness() -> None:
    ring = Ring(100)
    assert ring.witness(ROCK) is None
    ring.add(ROCK, told(1, own=False))
    assert ring.witness(ROCK) is None
    ring.add(ROCK, told(2))
    ring.add(ROCK, told(3))
    assert ring.witness(ROCK) == told(2)
    for turn in range(1, 4):
        ring.turn(turn * TURN_S)
    assert ring.witness(ROCK) == told(3)


def test_the_newest_of_each_sale_is_what_a_fresh_connection_must_show_but_for_halted_ones() -> None:
    answered = Answered(Ring(100))
    answered.saw("rock", "seed", "rock.1", "first", sold_now=True)
    answered.saw("rock", "seed", "rock.2", "second", sold_now=True)
    answered.saw("rock", "seed", "rock.1", "first", sold_now=False)
    answered.saw("jazz", "seed", "jazz.1", "other", sold_now=False)
    assert sorted(answered.at_stake()) == [("jazz", "jazz.1", "other"), ("rock", "rock.2", "second")]
    assert [one[3] for one in answered.ring.told(ROCK)] == [True, True, False]
    answered.ring.hold(ROCK)
    assert list(answered.at_stake()) == [("jazz", "jazz.1", "other")]


def test_a_server_that_lacks_one_or_holds_another_record_is_not_sold_from() -> None:
    newest = [("rock", "rock.1", "record"), ("jazz", "jazz.1", "other")]
    asked: list[object] = []
    assert holds(lambda commands: asked.extend(commands) or ["record", "other"], newest)
    assert asked == [("HGET", "event:{rock}:purchases", "rock.1"), ("HGET", "event:{jazz}:purchases", "jazz.1")]
    assert not holds(lambda _: ["record", None], newest)
    assert not holds(lambda _: ["record", "changed"], newest)
    assert holds(lambda _: ["record", Exception("MOVED 7 elsewhere")], newest)
    asked.clear()
    assert holds(lambda commands: asked.extend(commands) or [], [])
    assert asked == []  # a process that was answered nothing asks nothing
