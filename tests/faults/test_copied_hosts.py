"""Two hosts with one id: a journal folder was copied, and both sell from one store.

What must hold: it shows at once, in the process that spoke under the name first or in the one that finds its journal
older than the store; that one has no reserve any more and sells on from Redis; no ticket is sold twice, whatever both
sold in an outage; the audit is clean.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outages import WELL_S, Market, a_market, told
from tests.sales import account
from tests.servers import wait_until
from tests.shop import Shop
from ticketing.outage import machine, slots
from ticketing.sale.audit import audit
from ticketing.store.hosts import HostStore, State

RESERVE = 20
LOUD = ("CRITICAL", "another host sells under this host's id")


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with a_market(tmp_path) as made:
        yield made


def copy(market: Market, *, image: bool = True) -> None:
    """The disk of `host` as it is now is that of `copy` too; an image of a machine: nothing tells them apart."""
    folder = market.folder / "copy" / "data" / "journal"
    shutil.copytree(market.folder / "host" / "data" / "journal", folder)
    if image:
        (folder / machine.FILE).unlink(missing_ok=True)


def is_loud(shop: Shop) -> bool:
    return bool(shop.logged(*LOUD))


def cut(market: Market) -> None:
    """Redis is away for both, and both have noticed."""
    market.server.kill()
    wait_until(lambda: all(shop.tell()["outage"] for shop in market.shops), WELL_S, "an outage")


def heal(market: Market) -> None:
    market.server.start()
    for shop in market.shops:
        shop.wait_for_store()


def test_a_folder_that_was_copied_before_its_first_use_shows_in_the_first_that_used_it(market: Market) -> None:
    slots.host_id(market.folder / "host" / "data" / "journal")
    copy(market)
    first, second = market.open_shop(RESERVE), market.open_shop(RESERVE, host="copy")
    wait_until(lambda: is_loud(first), WELL_S, "the first host finds the second")
    wait_until(lambda: first.tell()["reserve"] == 0, WELL_S, "the first has no reserve")
    bought = [shop.buy() for shop in market.shops for _ in range(3)]
    assert told(bought) == {"sold": 6}
    cut(market)
    provisional = [shop.buy(10) for shop in market.shops]
    assert [answer["answer"] for answer in provisional] == ["PurchaseUnavailable", "provisional"]
    heal(market)
    wait_until(lambda: second.tell()["reserve"] == RESERVE, WELL_S, "the second goes on with its reserve")
    market.check(*bought, *provisional)
    assert not is_loud(second)
    hosts = HostStore(market.store)
    wait_until(lambda: len(hosts.contacts().living()) == 2, WELL_S, "both give signs of life")
    contacts = hosts.contacts().living()
    assert [one.telling.state for one in contacts] == ["", State.COPIED]
    assert len({one.host_id for one in contacts}) == 1


def test_a_copy_whose_journal_is_older_than_the_store_leaves_the_other_host_alone(market: Market) -> None:
    first = market.open_shop(RESERVE)
    copy(market)
    cut(market)
    assert first.buy(10)["answer"] == "provisional"
    heal(market)
    wait_until(lambda: first.tell()["reserve"] == RESERVE, WELL_S, "its lease has changed since the copy")
    second = market.start_shop(RESERVE, host="copy")
    assert second.buy()["answer"] == "sold"
    wait_until(lambda: is_loud(second), WELL_S, "the copy finds that its journal is old")
    assert second.tell()["reserve"] == 0
    assert first.tell()["reserve"] == RESERVE
    market.check()
    assert not is_loud(first)
    assert account(market.store).info.get("halted") != "1"


@pytest.mark.parametrize("tickets", [10_000, 2 + RESERVE + 5])
def test_what_two_hosts_sold_from_one_count_is_settled_as_far_as_tickets_go_and_never_twice(
    tmp_path: Path, tickets: int
) -> None:
    """The copy starts in the outage, so nothing but the machine could tell it: of an image, nothing can."""
    with a_market(tmp_path, tickets) as market:
        market.open_shop(RESERVE, reserve_low_water=0)
        copy(market)
        cut(market)
        second = market.start_shop(RESERVE, host="copy", reserve_low_water=0)
        wait_until(lambda: second.tell()["outage"], WELL_S, "the copy starts in the outage")
        bought = [
            shop.buy(5, key=f"{name}, key {n:016}")
            for name, shop in zip("ab", market.shops, strict=True)
            for n in range(5)
        ]
        assert told(bought) == {"provisional": 8, "PurchaseUnavailable": 2}
        heal(market)
        wait_until(lambda: any(map(is_loud, market.shops)), WELL_S, "it shows")
        held = account(market.store).check()
        settled = sum(answer["purchase_id"] in held.sold for answer in bought)
        if tickets > 2 * RESERVE:
            assert settled == 8
            market.check(*bought)
        else:  # the one lease, and what is in the pool, unless the other host has leased that meanwhile
            assert settled in (4, 5)
            assert any(
                shop.logged("CRITICAL", f"{8 - settled} journalled purchases are unfunded") for shop in market.shops
            )
            assert audit(market.store).violations == []


def test_a_folder_that_was_copied_file_by_file_has_no_count_of_its_original_not_even_in_an_outage(
    market: Market,
) -> None:
    first = market.open_shop(RESERVE)
    cut(market)
    bought = [first.buy(5, key="a key that both journals hold")]
    copy(market, image=False)
    second = market.start_shop(RESERVE, host="copy")
    wait_until(lambda: second.tell()["outage"], WELL_S, "the copy starts in the outage")
    assert bool(second.logged("CRITICAL", "was copied from another machine"))
    assert second.tell() == {"outage": True, "reserve": 0, "unsettled": 1, "voids": 0}
    assert told([first.buy(5), second.buy(5)]) == {"provisional": 1, "PurchaseUnavailable": 1}
    heal(market)
    for shop in market.shops:
        wait_until(lambda shop=shop: shop.tell()["reserve"] > RESERVE // 2, WELL_S, "each has a reserve of its own")
    held = market.check(*bought)
    assert (len(held.sold), held.tickets_sold) == (3, 11)
    assert not any(map(is_loud, market.shops))
