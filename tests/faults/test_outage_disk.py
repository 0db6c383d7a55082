"""The journal's disk fails, is full, is not there or was damaged: nothing is promised that it does not hold."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.outages import Market, a_market, told
from tests.servers import run_module, wait_until
from tests.shop import Shop

KEYS = [f"the key of purchase {number}" for number in range(4)]
RESERVE = 100
BACK_S = 40.0


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with a_market(tmp_path) as made:
        yield made


def go_away(market: Market) -> None:
    """New connections are closed as soon as they are made."""
    market.proxy.refuses = True
    market.proxy.cut()


def under_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "journal"


def with_too_long_a_name(folder: Path) -> Path:
    return folder / ("long" * 100) / "journal"


def read_only(folder: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (folder / "read-only").mkdir(mode=0o500)
    return folder / "read-only" / "journal"


def not_to_be_entered(folder: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may enter everything")
    (folder / "closed").mkdir(mode=0o000)
    return folder / "closed" / "journal"


@pytest.mark.parametrize("folder", [under_a_file, with_too_long_a_name, read_only, not_to_be_entered])
def test_without_a_journal_folder_the_store_is_sold_from_and_what_is_in_doubt_is_voided(
    market: Market, tmp_path: Path, folder: Callable[[Path], Path]
) -> None:
    shop = market.start_shop(RESERVE, journal_folder=folder(tmp_path))
    assert told([shop.buy(key=key) for key in (*KEYS, None)]) == {"sold": 5}
    market.proxy.swallows_replies = True  # the server sells them, and nobody hears of it
    answers = shop.answers([shop.ask(2, key=key) for key in (None, None, "a key of sixteen")])
    answers += [shop.buy(2)]
    assert told(answers) == {"PurchaseUnavailable": 4}
    sold = market.sold()
    unheard = [one["keyed"] for one in answers if one["purchase_id"] in sold]  # what was not sent is not in doubt
    keyed = sum(unheard)
    assert keyed < len(unheard)
    market.proxy.heal()
    held = market.check(*answers)
    assert (held.tickets_sold, len(held.tombstones), held.leased) == (5 + 2 * keyed, len(unheard) - keyed, [])
    assert shop.tell()["reserve"] == 0
    assert len(shop.logged("CRITICAL")) == len(shop.logged("CRITICAL", "no reserve")) == 1


def disk_is_full(market: Market, shop: Shop) -> Callable[[], None]:
    """There is room for the half of a purchase."""
    shop.limit_files(market.journal().stat().st_size + 150)
    return lambda: shop.limit_files(None)


def fsync_fails(market: Market, shop: Shop) -> Callable[[], None]:
    shop.fail_fsync(True)
    return lambda: shop.fail_fsync(False)


@pytest.mark.parametrize(
    ("fail", "store_first"),
    [(disk_is_full, True), (fsync_fails, False), (fsync_fails, True)],
    ids=["full, mended after the store", "fsync, mended before the store", "fsync, mended after the store"],
)
def test_a_disk_that_fails_in_an_outage_loses_and_doubles_nothing(
    market: Market, fail: Callable[[Market, Shop], Callable[[], None]], store_first: bool
) -> None:
    shop = market.open_shop(RESERVE)
    go_away(market)
    promised = [shop.buy(2, key=key) for key in (*KEYS, None)]
    mend = fail(market, shop)
    lost = shop.answers([shop.ask(2, key=f"another {key}") for key in KEYS] + [shop.ask(2) for _ in range(4)])
    again = [shop.buy(2, key=f"another {key}") for key in KEYS] + [shop.buy(2)]
    assert (told(promised), told(lost + again)) == ({"provisional": 5}, {"PurchaseUnavailable": 13})
    assert shop.tell()["reserve"] == 0
    if store_first:
        market.proxy.heal()
        wait_until(lambda: shop.buy(1)["answer"] == "sold", BACK_S, "the store is sold from")
        mend()
    else:
        mend()
        assert shop.buy(1)["answer"] == "PurchaseUnavailable"  # who knows what the disk holds
        market.proxy.heal()
    wait_until(lambda: shop.tell()["reserve"] > RESERVE // 2, BACK_S, "the reserve is sold from again")
    later = [shop.buy(2, key=f"another {key}") for key in KEYS]
    assert told(later) == {"sold": 4}
    held = market.check(*promised, *lost, *again, *later)
    assert held.tickets_sold == 1 + 5 * 2 + 4 * 2 + store_first
    assert not shop.logged("Traceback")
    assert len(shop.logged("CRITICAL", "the journal failed")) == 1

    go_away(market)
    assert shop.buy(2)["answer"] == "provisional"
    market.proxy.heal()
    market.check()


def test_a_disk_that_is_full_from_the_start_is_said_and_stops_no_sale(market: Market) -> None:
    market.open_shop(RESERVE).stop()
    market.shops.clear()
    shop = market.start_shop(RESERVE)  # its journal is there already
    shop.limit_files(0)
    wait_until(lambda: shop.logged("CRITICAL", "the journal failed"), BACK_S, "it is said")
    assert told([shop.buy() for _ in range(3)]) == {"sold": 3}
    go_away(market)
    assert shop.buy()["answer"] == "PurchaseUnavailable"
    market.proxy.heal()
    assert market.check().tickets_sold == 1 + 3
    assert len(shop.logged("CRITICAL")) == 1
    shop.limit_files(None)
    wait_until(lambda: shop.tell()["reserve"] == RESERVE, BACK_S, "there is a reserve again")


def test_a_torn_last_line_of_a_killed_process_is_cut_and_the_rest_is_settled_by_one_that_lives(market: Market) -> None:
    heir, unlucky = market.open_shop(RESERVE), market.open_shop(RESERVE)
    go_away(market)
    promised = [unlucky.buy(2, key=key) for key in KEYS]
    market.shops.remove(unlucky)
    unlucky.kill()
    with market.journal(1).open("ab") as journal:
        journal.write(market.journal(1).read_bytes().splitlines()[-1][:40])
    market.proxy.heal()
    wait_until(lambda: heir.logged("slot-1 of a process that ended: 4 purchases"), BACK_S, "it is settled")
    held = market.check(*promised)
    assert (held.tickets_sold, len(held.leased)) == (2 + 4 * 2, RESERVE)
    assert market.journal(1).read_bytes().count(b'"purchase"') == 0


def test_a_journal_that_is_damaged_in_the_middle_is_parked_and_another_slot_serves(market: Market) -> None:
    unlucky = market.open_shop(RESERVE)
    go_away(market)
    promised = [unlucky.buy(2, key=key) for key in KEYS]
    market.shops.remove(unlucky)
    unlucky.kill()
    lines = market.journal().read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:-3], lines[-3].replace(b'"quantity":2', b'"quantity":9'), *lines[-2:]])
    market.journal().write_bytes(damaged)
    market.proxy.heal()
    shop = market.open_shop(RESERVE)
    assert shop.logged("CRITICAL", "slot-0.journal is parked")
    assert shop.buy(2, key=KEYS[0])["answer"] == "sold"  # nobody can tell what the damaged one says
    wait_until(lambda: shop.logged("CRITICAL", "slot-0 could not be settled whole"), BACK_S, "it was met as an heir")
    assert market.journal().read_bytes() == damaged
    shown = run_module(
        "ticketing", "outage", "show", data_dir=market.folder / "host" / "data", REDIS_URL=market.server.url
    )
    assert shown.returncode == 1
    assert "damaged" in shown.stdout
    held = market.check()
    assert {answer["purchase_id"] for answer in promised[1:]}.isdisjoint(held.sold)
    assert len(held.leased) == 2 * RESERVE
