"""The twelve holes of the simpler protocol (sale.md, H1 to H12): each is shut, and open again without its rule.

What must stay true: each story is told twice with the product's own scripts and outage code on a real server, once as
they are and once with the rule dropped that shuts the hole; so a rule that is no longer needed, or no longer works, is
noticed. A story returns what became of its buyers. A second rule is dropped only where it would hide the first.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.contract.test_settlement import NOW_MS, Host
from tests.leases import glances
from tests.machine.outage import process, rules
from tests.machine.parts import copy_store, restore_copy, script_without
from tests.sales import SEED, Sale, a_request, account
from ticketing.errors import Unavailable, WrongIdSecret
from ticketing.model import PurchaseRequest
from ticketing.outage import settlement
from ticketing.outage.reserve import EventReserve, ReserveSize
from ticketing.sale.identity import Identity
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.events import EventConflict
from ticketing.store.leases import GlanceAsk, LeaseChange, SettleChange, Settled
from ticketing.store.sale import SaleStore

TICKETS, LEASED = 100, 10
THE_TOKEN = (rules.CAS, "")
LOOKING_UP = (rules.LOOK_UP, "local record = fresh[id]")
NOTHING = ReserveSize(tickets=0, share_per_mille=100)
SEEDED_ANEW_WHEN_UNLEASED = ("if string.sub(lease, -1) ~= '|' then return {'leased', version} end", "")

Fresh = Callable[[], Host]


@pytest.fixture
def fresh(real_store: Store, tmp_path: Path) -> Fresh:
    """Makes an empty store on which an event of 100 tickets is on sale, and a process that leases 10 of them."""
    made: list[Host] = []

    def make() -> Host:
        real_store.one("FLUSHALL")
        Sale(real_store).open(TICKETS)
        made.append(Host(real_store, tmp_path / f"slot-{len(made)}.journal"))
        made[-1].round()
        assert made[-1].sellable == LEASED
        return made[-1]

    return make


# What the stories are made of.


@contextlib.contextmanager
def nobody_looks_back() -> Iterator[None]:
    """A store that went back in time, or knows another sale, is not noticed by looking at it."""
    with patch.object(settlement, "_went_back", lambda *_: None):
        yield


@contextlib.contextmanager
def a_failing_disk() -> Iterator[None]:
    """It takes what is appended, and never says that it has it."""
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    with patch.object(os, "fsync", side_effect=error), patch.object(os, "ftruncate", side_effect=error):
        yield


def reserve_of(host: Host) -> EventReserve:
    return host.holder.reserve("1", SEED)


def lease_change(host: Host, size: ReserveSize) -> LeaseChange:
    """The next command to the lease, journalled as it must be before it is sent."""
    [glance] = glances(host.settlement._leases, GlanceAsk("1", host.holder.name, ""))
    change = reserve_of(host).next_lease(glance, size, NOW_MS)
    assert change is not None
    host.holder.journal_changes([reserve_of(host)])
    return change


def settle_change(host: Host) -> SettleChange:
    """The next settle, journalled likewise."""
    change = reserve_of(host).next_settle()
    assert change is not None
    host.holder.journal_changes([reserve_of(host)])
    return change


def arrives(host: Host, change: LeaseChange | SettleChange) -> None:
    """A copy of the command reaches the store, and nobody waits for its reply."""
    leases = host.settlement._leases
    leases.lease([change]) if isinstance(change, LeaseChange) else leases.settle([change])


def others_buy_all(host: Host) -> None:
    """Other processes sell whatever is in the pool."""
    while pool := account(host.store).pool:
        assert set(host.sale.tags(*[a_request(1) for _ in pool[:50]])) == {"sold"}


def tickets_of(host: Host, request: PurchaseRequest) -> int:
    """How many tickets the store holds for a purchase."""
    return len(account(host.store).sold.get(request.purchase_id, ()))


def last_outcome(host: Host) -> Settled:
    """What became of the purchase that was settled last."""
    host.round()
    return host.outcomes[-1]


# The stories, each with its test.


def settled_by_the_dead_and_again_by_the_heir(host: Host) -> tuple[bool, int]:
    """The settle ran, its reply was lost, the process died. Whether the buyer's tickets stay; how many are sold."""
    bought = host.sell(2)
    arrives(host, settle_change(host))
    before = account(host.store).sold[bought.purchase_id]
    host.die().round()
    after = account(host.store)
    return after.sold[bought.purchase_id] == before, int(after.info["sold"])


def test_h1_settling_twice_sells_once_because_the_purchase_is_looked_up(fresh: Fresh) -> None:
    assert settled_by_the_dead_and_again_by_the_heir(fresh()) == (True, 2)
    with script_without("settle", LOOKING_UP):
        assert settled_by_the_dead_and_again_by_the_heir(fresh()) == (False, 4)


def a_lease_comes_when_all_was_given_back(host: Host) -> tuple[int, int]:
    """It was lost, sent again, answered, given back. Tickets that the holder knows of, and that the store leases."""
    assert host.settlement.give_back(NOW_MS)
    late = lease_change(host, host.settlement._size)
    host.round()
    assert host.settlement.give_back(NOW_MS)
    arrives(host, late)
    return reserve_of(host).leased, len(account(host.store).leased)


def test_h2_a_late_lease_fills_no_record_because_its_token_is_no_longer_expected(fresh: Fresh) -> None:
    assert a_lease_comes_when_all_was_given_back(fresh()) == (0, 0)
    with script_without("lease", THE_TOKEN):
        assert a_lease_comes_when_all_was_given_back(fresh()) == (0, LEASED)


def a_give_back_comes_after_a_sale(host: Host) -> Settled:
    """It was lost, sent again, answered; leased anew; 2 tickets were sold in an outage; then the first copy comes."""
    late = lease_change(host, NOTHING)
    arrives(host, late)
    host.round()
    assert host.sellable == LEASED
    host.sell(2)
    arrives(host, late)
    others_buy_all(host)
    return last_outcome(host)


def test_h3_a_late_give_back_takes_nothing_that_was_sold_meanwhile(fresh: Fresh) -> None:
    assert a_give_back_comes_after_a_sale(fresh()) is Settled.SETTLED
    with script_without("lease", THE_TOKEN), rules.any_token_is_explained():
        assert a_give_back_comes_after_a_sale(fresh()) is Settled.UNFUNDED


def a_settle_comes_after_a_sale(host: Host) -> Settled:
    """The same with a settle: its late copy would take tickets for a purchase that has its own."""
    host.sell(6)
    late = settle_change(host)
    arrives(host, late)
    host.round()
    host.round()
    assert host.sellable > 0
    host.sell(host.sellable)
    arrives(host, late)
    others_buy_all(host)
    return last_outcome(host)


def test_h4_a_late_settle_takes_nothing_that_was_sold_meanwhile(fresh: Fresh) -> None:
    """Its token shuts the hole, and so does looking up the purchase: either is enough, without both it is open."""
    assert a_settle_comes_after_a_sale(fresh()) is Settled.SETTLED
    with script_without("settle", THE_TOKEN), rules.any_token_is_explained():
        assert a_settle_comes_after_a_sale(fresh()) is Settled.SETTLED
    with script_without("settle", LOOKING_UP):
        assert a_settle_comes_after_a_sale(fresh()) is Settled.SETTLED
    with script_without("settle", THE_TOKEN, LOOKING_UP), rules.any_token_is_explained():
        assert a_settle_comes_after_a_sale(fresh()) is Settled.UNFUNDED


def a_sale_comes_when_its_buyer_was_told_503(host: Host) -> int:
    """The purchase timed out, the process died, its heir did what the journal asks for. Tickets that are held."""
    asked = a_request(2)
    host.holder.void_later("1", SEED, asked.purchase_id)
    host.die().round()
    host.sale.buy(asked)  # the first copy, which a stopped server runs when it goes on
    return tickets_of(host, asked)


def test_h5_a_late_sale_sells_to_nobody_because_its_id_was_voided(fresh: Fresh) -> None:
    assert a_sale_comes_when_its_buyer_was_told_503(fresh()) == 0
    with rules.nothing_is_voided():
        assert a_sale_comes_when_its_buyer_was_told_503(fresh()) == 2


def a_key_is_asked_for_elsewhere(host: Host) -> tuple[str, int]:
    """Its purchase is in a journal; another process finds the pool sold out. What it says, and what the key holds."""
    bought = host.sell(2)
    others_buy_all(host)
    [reply] = host.sale.buy(bought)
    assert reply.level is not None
    told = "409" if process.may_refuse(bought, reply.level.leased) else "503"
    host.round()
    return told, tickets_of(host, bought)


def test_h6_a_key_is_not_refused_while_a_journal_may_hold_it(fresh: Fresh) -> None:
    assert a_key_is_asked_for_elsewhere(fresh()) == ("503", 2)
    with rules.refused_while_tickets_are_leased():
        assert a_key_is_asked_for_elsewhere(fresh()) == ("409", 2)


def an_event_is_seeded_anew(host: Host) -> tuple[bool, int]:
    """Under an open journal entry. Whether the entry is still there, and the tickets that its buyer holds."""
    bought = host.sell(2)
    with contextlib.suppress(EventConflict):
        host.sale.events.replace(host.sale.events.read(["1"])[0].event, old_seed=SEED, new_seed="new", planned=9)
        host.sale.events.add_more("1", "new", 0, 9)
    host.round()
    kept = bought.purchase_id in reserve_of(host).open
    return kept, tickets_of(host, bought)


def test_h7_an_event_is_not_seeded_anew_under_an_open_journal(fresh: Fresh) -> None:
    """Refused while anything is leased. Were it done all the same, the entry would be parked for an operator."""
    assert an_event_is_seeded_anew(fresh()) == (False, 2)
    with script_without("replace", SEEDED_ANEW_WHEN_UNLEASED):
        assert an_event_is_seeded_anew(fresh()) == (True, 0)
        with nobody_looks_back():
            assert an_event_is_seeded_anew(fresh()) == (False, 0)


def a_key_reaches_two_processes_with_two_secrets(store: Store) -> int:
    """How many purchases one key has made."""
    for secret in ("one secret", "another secret"):
        identity, sale = Identity(secret), Sale(store, greeted=False)
        sale.clock.saw(store.clock_ms())
        with contextlib.suppress(WrongIdSecret):
            sale.sales.greet(identity.secret_fingerprint)
            sale.buy(a_request(1, identity.purchase_id_of_key("1", "one key"), keyed=True))
    return len(account(store).sold)


def test_h8_one_key_buys_once_because_the_store_knows_its_id_secret(fresh: Fresh) -> None:
    store = fresh().store
    store.one("DEL", keys.ID_SECRET)
    assert a_key_reaches_two_processes_with_two_secrets(store) == 1
    store = fresh().store
    with patch.object(SaleStore, "greet", lambda *_: None):
        assert a_key_reaches_two_processes_with_two_secrets(store) == 2


def an_heir_reads_a_count(host: Host) -> list[Settled]:
    """The dead gave all back, which comes late. What became of that which the heir sold until then."""
    late = lease_change(host, NOTHING)
    heir = host.die()
    heir.settlement._look(heir.settlement._due())
    with contextlib.suppress(Unavailable):
        heir.sell(2)
    arrives(heir, late)
    others_buy_all(heir)
    heir.round()
    return heir.outcomes


def test_h9_an_heir_sells_no_count_that_it_only_read(fresh: Fresh) -> None:
    assert an_heir_reads_a_count(fresh()) == []
    host = fresh()
    with rules.selling_counts_that_were_read(host.store):
        assert an_heir_reads_a_count(host) == [Settled.UNFUNDED]


def all_is_given_back_while_a_purchase_is_open(host: Host) -> Settled:
    """What became of that purchase, when others had bought all that was given back."""
    host.sell(2)
    arrives(host, lease_change(host, NOTHING))
    others_buy_all(host)
    return last_outcome(host)


def test_h10_giving_back_all_leaves_what_open_purchases_need(fresh: Fresh) -> None:
    assert all_is_given_back_while_a_purchase_is_open(fresh()) is Settled.SETTLED
    with rules.giving_back_everything():
        assert all_is_given_back_while_a_purchase_is_open(fresh()) is Settled.UNFUNDED


def a_key_in_a_poisoned_journal_is_bought_elsewhere(host: Host) -> int:
    """The fsync failed, so that 503 was told; then another process sold the key. The tickets that it holds."""
    asked = a_request(2, keyed=True)
    with a_failing_disk(), pytest.raises(Unavailable):
        host.holder.sell(SEED, asked, NOW_MS)
    assert host.sale.tags(asked) == ["sold"]
    host.round()
    return tickets_of(host, asked)


def test_h11_a_key_in_a_poisoned_journal_is_not_voided(fresh: Fresh) -> None:
    assert a_key_in_a_poisoned_journal_is_bought_elsewhere(fresh()) == 2
    with rules.poisoned_keys_are_voided():
        assert a_key_in_a_poisoned_journal_is_bought_elsewhere(fresh()) == 0


def a_restored_store_is_overtaken(host: Host) -> tuple[int, list[str]]:
    """Buyers who hold one and the same ticket, and what an old process tells the next one."""
    copy_store(host.store)
    asked = a_request(1)
    [old] = host.sale.buy(asked)
    host.answered.saw("1", SEED, asked.purchase_id, old.detail, sold_now=True)
    restore_copy(host.store)
    [new, *_] = [Sale(host.store).buy(a_request(1))[0] for _ in range(5)]
    twice = old.detail.split("|")[2] == new.detail.split("|")[2]
    host.round()
    return 1 + twice, host.sale.tags(a_request(1))


def test_h12_a_restored_store_that_was_overtaken_sells_no_more_because_old_processes_look_back(fresh: Fresh) -> None:
    """By its version the store looks newer than what the old process saw. What was sold by then stays sold twice."""
    assert a_restored_store_is_overtaken(fresh()) == (2, ["halted"])
    with nobody_looks_back():
        assert a_restored_store_is_overtaken(fresh()) == (2, ["sold"])


def an_heir_finds_what_a_failed_journal_holds(host: Host) -> int:
    """The fsync failed, 503 was told, the store answered, the process died. The tickets that the purchase holds."""
    asked = a_request(2)
    with a_failing_disk():
        with pytest.raises(Unavailable):
            host.holder.sell(SEED, asked, NOW_MS)
        host.round()
    heir = host.die()
    assert reserve_of(heir).open.keys() == {asked.purchase_id}
    heir.round()
    return tickets_of(heir, asked)


def test_without_a_key_what_a_failed_journal_holds_is_voided_before_an_heir_could_settle_it(fresh: Fresh) -> None:
    assert an_heir_finds_what_a_failed_journal_holds(fresh()) == 0
    with rules.poisoned_ids_are_not_voided():
        assert an_heir_finds_what_a_failed_journal_holds(fresh()) == 2
