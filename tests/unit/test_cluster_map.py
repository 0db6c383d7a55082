"""Which node serves what, and which nodes are away: what the store on a cluster knows, without one."""

from collections.abc import Callable

import pytest

from ticketing.errors import StoreRefused
from ticketing.store import absences as subject
from ticketing.store import keys
from ticketing.store.absences import Absences
from ticketing.store.pipeline import key_of, own_key_beside
from ticketing.store.slots import Range, SlotMap, replicas_told, slot_of, slots_told

LEFT, RIGHT, OTHER = ("left", 1), ("right", 2), ("other", 3)


@pytest.fixture
def slots() -> SlotMap:
    return SlotMap([Range(9_000, 16_383, RIGHT), Range(0, 8_000, LEFT)])


@pytest.mark.parametrize(
    ("slot", "host"), [(0, LEFT), (8_000, LEFT), (8_001, None), (8_999, None), (9_000, RIGHT), (16_383, RIGHT)]
)
def test_a_slot_is_of_one_primary_or_of_nobody(slots: SlotMap, slot: int, host: object) -> None:
    assert slots.host_of(slot) == host


def test_nobody_serves_anything_where_nothing_was_told() -> None:
    assert SlotMap([]).host_of(0) is None
    assert SlotMap([]).hosts == []


def test_a_slot_that_moved_is_of_who_was_named_and_the_others_stay(slots: SlotMap) -> None:
    slots.move(5, OTHER)
    assert [slots.host_of(slot) for slot in (4, 5, 6)] == [LEFT, OTHER, LEFT]


def test_every_primary_has_a_tag_of_its_own(slots: SlotMap) -> None:
    for host in slots.hosts:
        assert slots.host_of(slot_of(keys.confirm(slots.tag_of(host)))) == host


@pytest.mark.timeout(20)
def test_who_serves_no_slot_has_no_tag_and_is_not_searched_for_ever(slots: SlotMap) -> None:
    with pytest.raises(StoreRefused, match="other:3 serves no slot"):
        slots.tag_of(OTHER)
    slots.move(5, OTHER)
    assert slot_of(slots.tag_of(OTHER)) == 5


def test_all_keys_of_an_event_and_what_is_written_beside_them_are_in_one_slot() -> None:
    k = keys.of_event("7")
    own_key = own_key_beside(("EVALSHA", "sha", len(k), *k, "an argument"))
    assert len({slot_of(key) for key in (*k, own_key)}) == 1


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), "a"),
        (("EVALSHA", "sha", 2, "a", "b", "c"), "a"),
        (("EVAL", "return 1", 1, "a"), "a"),
        (("PING",), None),
        (("CONFIG", "GET", "append*"), None),
        (("SCRIPT", "LOAD", "return 1"), None),
    ],
)
def test_the_key_says_where_a_command_goes(command: tuple[str | int, ...], key: str | None) -> None:
    assert key_of(command) == key


@pytest.mark.parametrize(
    ("key", "tag"), [("event:{7}:info", "7"), ("events", "events"), ("a{}b", "a{}b"), ("{a", "{a")]
)
def test_a_tag_is_what_the_slot_comes_from(key: str, tag: str) -> None:
    assert keys.tag_of(key) == tag
    assert slot_of(key) == slot_of(tag)


def test_a_node_that_does_not_know_its_address_is_the_one_that_was_asked() -> None:
    told = [[0, 5, ["", 1, "id", []], ["there", 2, "id", []]], [6, 9, [None, 3, "id", []]]]
    assert slots_told(told, "asked") == (
        [Range(0, 5, ("asked", 1)), Range(6, 9, ("asked", 3))],
        [("asked", 1), ("there", 2), ("asked", 3)],
    )


def test_replicas_are_counted_whatever_their_health() -> None:
    def node(role: str, health: str) -> list[object]:
        return ["id", "x", "port", 1, "role", role, "replication-offset", 0, "health", health]

    told = [
        ["slots", [0, 5], "nodes", [node("master", "online"), node("replica", "fail"), node("replica", "online")]],
        ["slots", [6, 9], "nodes", [node("master", "online")]],
        ["slots", [], "nodes", [node("master", "online"), node("replica", "online")]],
    ]
    assert replicas_told(told) == [2, 0]


class Clock:
    """Monotonic time as a test sets it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(subject, "time", made)
    return made


def failing(tried: list[object]) -> Callable[[object], None]:
    def try_node(host: object) -> None:
        tried.append(host)
        raise StoreRefused("still away")

    return try_node


def test_a_node_that_is_away_is_tried_less_and_less_often(clock: Clock) -> None:
    tried: list[object] = []
    absences = Absences(failing(tried))
    absences.failed(LEFT, "it is away")
    at: list[float] = []
    while clock.now_s < 120:
        before = len(tried)
        absences.try_again()
        if len(tried) > before:
            at.append(clock.now_s - 100)
        clock.now_s += 0.25
    assert at[:6] == [0.25, 0.75, 1.75, 3.75, 7.75, 11.75]
    assert absences.why(LEFT) == "still away"
    assert absences.why(RIGHT) is None


def test_a_node_that_answers_again_is_asked_again(clock: Clock) -> None:
    absences = Absences(lambda _: None)
    absences.failed(LEFT, "it is away")
    assert absences.are([LEFT])
    clock.now_s += 1
    absences.try_again()
    assert (absences.hosts(), absences.why(LEFT), absences.are([LEFT])) == ([], None, False)


def test_one_node_at_a_time_is_tried(clock: Clock) -> None:
    """Each may hang, and somebody waits for it."""
    tried: list[object] = []
    absences = Absences(failing(tried))
    for host in (LEFT, RIGHT):
        absences.failed(host, "it is away")
    clock.now_s += 1
    absences.try_again()
    assert tried == [LEFT]
    absences.try_again()
    assert tried == [LEFT, RIGHT]


def test_who_serves_nothing_any_more_is_not_away(clock: Clock) -> None:
    absences = Absences(failing([]))
    for host in (LEFT, RIGHT):
        absences.failed(host, "it is away")
    absences.keep([RIGHT, OTHER])
    assert absences.hosts() == [RIGHT]
