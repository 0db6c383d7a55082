"""lease.lua: every reply that it documents, on both backends, and the account to the ticket after each."""

import pytest

from tests.leases import HOST, K, Leasing, glances
from tests.sales import SEED, a_request, everything
from ticketing.errors import ScriptFailed
from ticketing.model import Outcome
from ticketing.store.connection import Store
from ticketing.store.leases import GlanceAsk, LeaseReply

pytestmark = pytest.mark.on_cluster


def test_a_first_lease_takes_the_last_tickets_of_the_pool(store: Store) -> None:
    holder = Leasing(store)
    change = holder.change(3)
    assert holder.send(change) == LeaseReply(False, change.token, 3)
    assert store.one("HGET", K.leases, holder.holder) == f"{change.token}|E1-000100,E1-000099,E1-000098"
    assert len(holder.sound().pool) == 97


def test_a_lease_takes_no_more_than_its_share_of_the_pool(store: Store) -> None:
    holder = Leasing(store, 1000)
    assert holder.lease(50, share=10).leased == 10
    assert holder.lease(50, share=10).leased == 19  # 1 % of 990
    assert holder.lease(19, share=0).leased == 19


def test_a_pool_that_is_too_small_for_its_share_leases_nothing_and_the_token_changes(store: Store) -> None:
    holder = Leasing(store, 99)
    assert holder.lease(50, share=10).leased == 0
    assert store.one("HGET", K.leases, holder.holder) == f"{holder.token}|"


def test_a_lease_that_wants_more_than_there_is_gets_the_pool(store: Store) -> None:
    holder = Leasing(store, 7)
    assert holder.lease(1000).leased == 7
    assert holder.sound().pool == []
    assert holder.sale.tags(a_request()) == ["sold_out"]


def test_a_smaller_lease_gives_the_rest_back_and_raises_the_epoch(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(6)
    epoch = int(holder.sound().info["epoch"])
    assert holder.lease(2).leased == 2
    after = holder.sound()
    assert (len(after.pool), int(after.info["epoch"])) == (8, epoch + 1)
    assert holder.lease(0).leased == 0
    assert len(holder.sound().pool) == 10


def test_a_lease_that_is_as_it_should_be_changes_its_token_only(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(4)
    before = holder.sound()
    assert holder.lease(4).leased == 4
    after = holder.sound()
    assert (after.pool, after.leased, after.info["epoch"]) == (before.pool, before.leased, before.info["epoch"])


def test_every_change_raises_the_version_and_it_is_remembered(store: Store) -> None:
    holder = Leasing(store)
    before = holder.version()
    holder.lease(3)
    holder.lease(0)
    assert holder.version() == holder.sale.versions.seen("1", SEED) == before + 2


@pytest.mark.parametrize(("first", "second"), [(5, 9), (5, 0), (0, 5)])
def test_a_command_that_comes_twice_acts_once_and_says_that_it_had_run(store: Store, first: int, second: int) -> None:
    holder = Leasing(store)
    holder.lease(first)
    change = holder.change(second)
    assert holder.send(change) == LeaseReply(False, change.token, second)
    held = everything(store)
    assert holder.send(change) == LeaseReply(True, change.token, second)
    assert everything(store) == held


def test_a_late_lease_fills_no_record_that_was_emptied_meanwhile(store: Store) -> None:
    """H2: the command was lost, sent again, answered and given back; then the first copy arrives."""
    holder = Leasing(store)
    late = holder.change(5)
    holder.send(late)
    holder.lease(0)
    held = everything(store)
    assert holder.send(late) == LeaseReply(True, holder.token, 0)
    assert everything(store) == held


def test_a_late_give_back_takes_nothing_from_a_lease_that_was_filled_again(store: Store) -> None:
    """H3: without the compare-and-set it would give away tickets that are being sold."""
    holder = Leasing(store)
    holder.lease(5)
    late = holder.change(0)
    holder.send(late)
    holder.lease(8)
    held = everything(store)
    assert holder.send(late) == LeaseReply(True, holder.token, 8)
    assert everything(store) == held


def test_a_foreign_token_is_told_and_nothing_is_done(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    held = everything(store)
    assert holder.send(holder.change(0, token="somebody-else")) == LeaseReply(True, holder.token, 5)
    assert holder.send(holder.change(0, token="")) == LeaseReply(True, holder.token, 5)
    assert everything(store) == held


def test_a_token_is_expected_where_there_is_no_record(store: Store) -> None:
    holder = Leasing(store)
    held = everything(store)
    assert holder.send(holder.change(5, token="was-once")) == LeaseReply(True, "", 0)
    assert everything(store) == held


def test_two_holders_share_a_pool_to_the_ticket(store: Store) -> None:
    one = Leasing(store, 10)
    two = Leasing(store, 0, holder=f"{HOST}-1")
    assert (one.lease(4).leased, two.lease(9).leased) == (4, 6)
    assert one.lease(9).leased == 4
    assert one.lease(0).leased == 0
    assert two.lease(9).leased == 9
    assert len(one.sound().pool) == 1


@pytest.mark.parametrize(
    ("fields", "seed", "outcome"),
    [
        ({"halted": "1"}, SEED, Outcome.HALTED),
        ({"version": "1"}, SEED, Outcome.WENT_BACK),
        ({}, "seed-2", Outcome.NO_EVENT),
    ],
)
@pytest.mark.parametrize("wanted", [0, 9])
def test_an_event_that_is_not_as_it_was_is_left_alone(
    store: Store, fields: dict[str, str], seed: str, outcome: Outcome, wanted: int
) -> None:
    holder = Leasing(store)
    holder.lease(5)
    for field, value in fields.items():
        store.one("HSET", K.info, field, value)
    held = everything(store)
    if seed != SEED:
        holder.sale.versions.saw("1", seed, 1)
    assert holder.send(holder.change(wanted, seed=seed)) is outcome
    assert everything(store) == held


@pytest.mark.parametrize("planted", ["tickets", "info", "leases"])
@pytest.mark.parametrize("wanted", [0, 9])
def test_a_key_of_a_wrong_type_stops_the_lease_and_loses_nothing(store: Store, planted: str, wanted: int) -> None:
    holder = Leasing(store)
    holder.lease(5)
    store.one("DEL", getattr(K, planted))
    store.one("SET", getattr(K, planted), "not what should be here")
    held = everything(store)
    assert isinstance(holder.send(holder.change(wanted)), ScriptFailed)
    assert everything(store) == held


def test_one_event_of_a_wrong_type_hides_no_reply_of_another(store: Store) -> None:
    holder = Leasing(store)
    holder.sale.open(10, event_id="2")
    store.one("DEL", "event:{2}:tickets")
    store.one("SET", "event:{2}:tickets", "not what should be here")
    change = holder.change(3)
    other = type(change)("2", SEED, holder.holder, "", "t", 3, 1000)
    failed, leased = holder.leases.lease([other, change])
    assert isinstance(failed, ScriptFailed)
    assert leased == LeaseReply(False, change.token, 3)


def test_a_paused_or_closed_sale_gives_its_lease_back(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    store.one("HSET", K.info, "paused", "1", "closes_ms", "1")
    assert holder.lease(0).leased == 0


def test_a_thousand_tickets_come_back_in_one_call(store: Store) -> None:
    holder = Leasing(store, 1000)
    assert holder.lease(1000).leased == 1000
    assert holder.lease(0).leased == 0
    assert len(holder.sound().pool) == 1000


def test_a_refusal_says_how_many_tickets_are_leased(store: Store) -> None:
    holder = Leasing(store, 10)
    holder.lease(9)
    [reply] = holder.sale.buy(a_request(2))
    assert reply.level is not None
    assert (reply.outcome, reply.level.left, reply.level.leased) == (Outcome.SOLD_OUT, 1, 9)


def test_a_glance_tells_the_token_and_the_purchase_that_was_asked_for(store: Store) -> None:
    holder = Leasing(store, 10, closes_ms=1_900_000_000_000)
    bought = a_request(2)
    [reply] = holder.sale.buy(bought)
    asks = [GlanceAsk("1", holder.holder, bought.purchase_id), GlanceAsk("2", holder.holder, "")]
    before, absent = glances(holder.leases, *asks)
    assert (before.seed, before.pool, before.records, before.token, before.record) == (SEED, 8, 0, "", reply.detail)
    assert (before.paused, before.opens_ms, before.closes_ms) == (False, None, 1_900_000_000_000)
    assert (absent.seed, absent.record) == (None, None)
    holder.lease(3)
    [after] = glances(holder.leases, asks[0])
    assert (after.pool, after.records, after.token) == (5, 1, holder.token)
    assert holder.leases.glance([]) == []


def test_a_halted_event_does_nothing_until_the_mark_is_gone(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    version = holder.version()
    assert holder.leases.halt("1", "a test wants it") == version + 1
    held = everything(store)
    assert holder.leases.halt("1", "another reason") == version + 1
    assert holder.send(holder.change(0)) is Outcome.HALTED
    assert holder.sale.tags(a_request()) == ["halted"]
    assert everything(store) == held
    store.one("HDEL", K.info, "halted")
    assert holder.lease(0).leased == 0


def test_an_event_that_a_host_has_seen_and_the_store_not_is_halted_from_its_beginning(store: Store) -> None:
    """H7, H12: an empty server is not seeded anew under open journals, whose keys would sell again."""
    holder = Leasing(store, 0)
    holder.leases.halt("1", "it is gone")
    with pytest.raises(Exception, match="halted"):
        holder.sale.open(10)
    assert holder.sale.tags(a_request()) == ["halted"]
