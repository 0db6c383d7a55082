"""The reserve of one event: each of its rules."""

import pytest

from tests.sales import SEED, a_request
from ticketing.outage.reserve import EventReserve, ReserveSize, UnexplainedToken
from ticketing.store.leases import (
    Glance,
    JournalledPurchase,
    LeaseChange,
    LeaseReply,
    SettleChange,
    Settled,
)

SIZE = ReserveSize(tickets=10, share_per_mille=100, low_water=5)
NOW_MS = 1_000


def glance(pool: int = 1_000, token: str = "", **changes: object) -> Glance:
    told = {"records": 1, "paused": False, "opens_ms": None, "closes_ms": None, "record": None, "seed": SEED}
    return Glance(pool=pool, token=token, **{**told, **changes})  # type: ignore[arg-type]


def a_reserve(leased: int = 0, **changes: object) -> EventReserve:
    """One that was won with so many tickets, or is new."""
    made = EventReserve("1", SEED, "host-0", "nonce", quantity_max=10, **changes)  # type: ignore[arg-type]
    if leased:
        made.token, made.possible, made.won, made.leased, made.sellable = (
            "won",
            frozenset({"won"}),
            True,
            leased,
            leased,
        )
    return made


def lease(reserve: EventReserve, pool: int = 1_000, **changes: object) -> LeaseChange | None:
    return reserve.next_lease(glance(pool, reserve.token, **changes), SIZE, NOW_MS)


def bought(reserve: EventReserve, quantity: int = 1, *, keyed: bool = True) -> JournalledPurchase:
    """A purchase that is on disk."""
    request = a_request(quantity, keyed=keyed)
    assert reserve.take(request)
    entry = JournalledPurchase(request, SEED, NOW_MS)
    reserve.journalled(entry)
    return entry


def leased(change: LeaseChange | SettleChange | None, tickets: int, *outcomes: Settled) -> LeaseReply:
    assert change is not None
    return LeaseReply(False, change.token, tickets, outcomes)


def test_rule_1_a_count_is_lowered_with_the_change_and_raised_by_nothing_but_the_answer() -> None:
    reserve = a_reserve(10)
    change = reserve.next_lease(glance(50, "won"), SIZE, NOW_MS)
    assert change is not None
    assert (change.wanted, reserve.sellable, reserve.snapshot(reserve.sellable).sellable) == (5, 5, 5)
    growing = a_reserve()
    growing.met("")
    first = lease(growing)
    assert first is not None
    assert (first.expected, first.wanted, growing.sellable, growing.most_sellable()) == ("", 10, 0, 0)
    growing.answered(leased(first, 10))
    assert (growing.sellable, growing.most_sellable()) == (0, 10)


def test_rule_2_while_a_change_has_no_answer_only_what_both_outcomes_leave_may_be_sold() -> None:
    reserve = a_reserve(10)
    bought(reserve, 7)
    growing = lease(reserve)
    assert growing is not None
    assert (growing.wanted, reserve.sellable) == (17, 3)
    assert reserve.take(a_request(3))
    assert not reserve.take(a_request(1))
    settling = a_reserve(10)
    bought(settling, 4)
    settling.next_settle()
    assert settling.most_sellable() == settling.sellable == 6


def test_rule_3_one_change_at_a_time_and_the_same_again_until_it_is_answered() -> None:
    reserve = a_reserve(10)
    bought(reserve, 8)
    change = reserve.next_settle()
    assert reserve.next_settle() is None
    assert lease(reserve) is None
    assert reserve.pending is change
    reserve.answered(leased(change, 2, Settled.SETTLED))
    assert (reserve.pending, reserve.leased, reserve.promised, reserve.open) == (None, 2, 0, {})
    assert lease(reserve) is not None


def test_rule_4_wanted_counts_every_journalled_ticket_that_is_not_settled() -> None:
    """H10: those on disk, those whose fsync is under way, and those of a key in a poisoned journal."""
    reserve = a_reserve(10)
    bought(reserve, 1)
    in_flight, kept, voided = a_request(2), a_request(3, keyed=True), a_request(1)
    for request in (in_flight, kept, voided):
        assert reserve.take(request)
    reserve.lost_in_the_journal(kept)
    reserve.lost_in_the_journal(voided)
    assert reserve.promised == 1 + 2 + 3
    change = lease(reserve, paused=True)
    assert change is not None
    assert (change.wanted, reserve.sellable) == (6, 0)


def test_rule_5_a_count_that_was_read_is_not_sold_until_it_was_won() -> None:
    """H9: the store tells a lease of 10; the late give-back of a dead process may still land."""
    heir = a_reserve()
    heir.inherit(a_reserve(10).snapshot(4), 4)
    heir.met("won")
    assert (heir.sellable, heir.won) == (4, False)
    change = heir.next_lease(glance(1_000, "won"), SIZE, NOW_MS)
    assert change is not None
    assert (change.expected, change.wanted, heir.sellable) == ("won", 0, 0)
    assert heir.answered(leased(change, 0)) == []
    assert (heir.won, heir.most_sellable()) == (True, 0)


def test_rule_5_a_late_change_of_the_dead_is_met_and_its_count_is_not_sold() -> None:
    dead = a_reserve(10)
    late = dead.next_lease(glance(50, "won"), SIZE, NOW_MS)
    assert late is not None
    heir = a_reserve()
    heir.inherit(dead.snapshot(dead.sellable), 5)
    heir.met("won")
    heir.next_lease(glance(1_000, "won"), SIZE, NOW_MS)
    assert heir.answered(LeaseReply(True, late.token, 5)) == []
    assert (heir.won, heir.sellable, heir.most_sellable(), heir.token) == (False, 0, 0, late.token)
    again = heir.next_lease(glance(1_000, late.token), SIZE, NOW_MS)
    assert again is not None
    heir.answered(leased(again, 0))
    assert heir.won


def test_rule_5_a_settle_that_keeps_its_token_wins_nothing() -> None:
    heir = a_reserve()
    heir.inherit(a_reserve(10).snapshot(4), 4)
    heir.open["1.a"] = JournalledPurchase(a_request(1, "1.a"), SEED, NOW_MS)
    change = heir.next_settle(keep_token=True)
    assert change is not None
    assert change.token == change.expected == "won"
    heir.answered(leased(change, 9, Settled.SETTLED))
    assert (heir.won, heir.most_sellable(), heir.open) == (False, 4, {})


def test_rule_6_a_token_that_nobody_here_set_is_not_explained() -> None:
    reserve = a_reserve(10)
    assert reserve.explains("won")
    assert not reserve.explains("foreign")
    change = lease(reserve, paused=True)
    assert change is not None
    assert reserve.explains(change.token)
    with pytest.raises(UnexplainedToken):
        reserve.answered(LeaseReply(True, "foreign", 3))
    assert (reserve.sellable, reserve.pending) == (0, change)


def test_rule_6_what_the_journal_says_of_a_change_under_way_is_explained_to_the_heir() -> None:
    dead = a_reserve(10)
    bought(dead, 1)
    change = dead.next_settle()
    assert change is not None
    heir = a_reserve()
    heir.inherit(dead.snapshot(dead.sellable), dead.sellable)
    assert heir.explains("won")
    assert heir.explains(change.token)
    assert not heir.explains("")


def test_rule_6_where_nothing_was_known_the_first_token_that_is_met_is() -> None:
    reserve = a_reserve()
    assert reserve.explains("whatever")
    reserve.met("whatever")
    assert not reserve.explains("something else")
    assert reserve.snapshot(0).tokens == ("whatever",)


def test_after_moved_on_with_the_own_token_the_outcomes_are_lost_and_asked_for_again() -> None:
    reserve = a_reserve(10)
    entry = bought(reserve, 2)
    change = reserve.next_settle()
    assert change is not None
    assert reserve.answered(LeaseReply(True, change.token, 8)) == []
    again = reserve.next_settle()
    assert again is not None
    assert (again.purchases, again.expected) == ((entry,), change.token)
    assert again.token != change.token
    assert reserve.answered(leased(again, 8, Settled.KNOWN)) == [(entry, Settled.KNOWN)]
    assert reserve.most_sellable() == 8


@pytest.mark.parametrize("outcome", [Settled.UNFUNDED, Settled.VOIDED, Settled.KEY_REUSED])
def test_what_could_not_be_settled_is_parked_and_no_longer_promised(outcome: Settled) -> None:
    reserve = a_reserve(10)
    entry = bought(reserve, 2)
    change = reserve.next_settle()
    reserve.answered(leased(change, 10, outcome))
    assert reserve.parked == {entry.request.purchase_id: outcome}
    assert (reserve.promised, reserve.owes_nothing, reserve.holds_something) == (0, True, True)
    assert reserve.next_settle() is None


@pytest.mark.parametrize(
    "changes",
    [{"paused": True}, {"closes_ms": NOW_MS}, {"opens_ms": NOW_MS + 1}, {"pool": 30, "records": 3}, {"pool": 0}],
)
def test_a_lease_is_given_back_at_a_pause_at_closing_before_opening_and_near_the_end(
    changes: dict[str, object],
) -> None:
    reserve = a_reserve(5)
    size = ReserveSize(tickets=10, share_per_mille=100, low_water=5)
    change = reserve.next_lease(glance(**{"token": "won", **changes}), size, NOW_MS)  # type: ignore[arg-type]
    assert change is not None
    assert change.wanted == (2 if changes == {"pool": 30, "records": 3} else 0)


def test_an_event_with_a_limit_a_buyer_leases_nothing() -> None:
    reserve = a_reserve(10)
    reserve.limited = True
    change = lease(reserve)
    assert change is not None
    assert change.wanted == 0


def test_a_lease_is_filled_up_when_half_of_it_is_sold_and_not_before() -> None:
    reserve = a_reserve(10)
    bought(reserve, 4)
    assert lease(reserve) is None
    bought(reserve, 1)
    change = lease(reserve)
    assert change is not None
    assert change.wanted == 15


def test_a_halted_event_does_nothing_until_an_operator_decided() -> None:
    reserve = a_reserve(10)
    bought(reserve, 2)
    reserve.halt(7)
    assert reserve.sellable == reserve.most_sellable() == 0
    assert (reserve.next_settle(), lease(reserve)) == (None, None)
    reserve.go_on()
    assert (reserve.promised, reserve.most_sellable(), reserve.explains("anything")) == (2, 0, True)
    assert reserve.next_settle() is not None


def test_a_sale_is_open_by_its_last_known_times() -> None:
    reserve = a_reserve(10, opens_ms=100, closes_ms=200)
    assert [reserve.is_on_sale(now_ms) for now_ms in (99, 100, 199, 200)] == [False, True, True, False]
    reserve.paused = True
    assert not reserve.is_on_sale(150)


def test_what_was_under_way_when_an_operator_decided_is_sent_again_and_explained() -> None:
    reserve = a_reserve()
    reserve.met("")
    change = lease(reserve)
    assert change is not None
    reserve.halt(7)
    reserve.go_on(1_000)
    reserve.met("")
    assert (reserve.pending, reserve.explains(change.token), reserve.explains("anything")) == (change, True, False)
    heir = a_reserve()
    heir.inherit(reserve.snapshot(0), 0)
    heir.go_on(1_000)
    heir.met("")
    assert (heir.explains(change.token), heir.explains("anything")) == (True, False)


def test_a_lease_that_was_won_after_a_decision_trusts_no_token_any_more() -> None:
    reserve = a_reserve(10)
    change = lease(reserve, 50)
    reserve.go_on(1_000)
    reserve.answered(leased(change, 5))
    assert (reserve.won, reserve.explains("anything")) == (True, False)


def test_a_token_of_a_decision_that_is_known_already_is_no_explanation() -> None:
    reserve = a_reserve(10)
    lease(reserve, 50)
    reserve.decided = 1_000
    with pytest.raises(UnexplainedToken):
        reserve.answered(LeaseReply(True, "accepted-1000-a", 0))
    other = a_reserve(10)
    lease(other, 50)
    assert other.answered(LeaseReply(True, "accepted-1000-a", 0)) == []
    assert (other.decided, other.won, other.sellable, other.token) == (1_000, False, 0, "accepted-1000-a")


@pytest.mark.parametrize(("records", "wanted"), [(2, 50), (60, 33), (2_001, 0)])
def test_the_more_may_lease_the_less_each_of_them_does(records: int, wanted: int) -> None:
    """Records of hosts that are gone count too; they make reserves small, and none of them vanish all at once."""
    change = a_reserve(1).next_lease(glance(10_000, "won", records=records), ReserveSize(50, 10), NOW_MS)
    assert change is not None
    assert change.wanted == wanted
