"""A host that is gone is released by an operator, and comes back after all: killed, or alive and cut off meanwhile.

What must hold: nothing is released while the host gives signs of life, or without --yes; the released tickets are sold
to others; what the host sold in the outage is settled as far as tickets are there, else parked, loudly; no double.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.outages import WELL_S, Market, a_market, told
from tests.proxy import Proxy
from tests.sales import account
from tests.servers import run_module, wait_until
from ticketing.outage.decision import Decision, Refused
from ticketing.outage.release import about_host
from ticketing.sale.audit import audit
from ticketing.store.decisions import DecisionStore
from ticketing.store.hosts import HostStore

TICKETS, RESERVE = 62, 20  # what is sold before, two reserves, and the pool that is left of it
SETTINGS: dict[str, Any] = {"reserve_low_water": 0}
UNFUNDED = ("CRITICAL", "journalled purchases are unfunded: parked")


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with a_market(tmp_path, TICKETS) as made:
        yield made


@pytest.fixture
def own_way(market: Market) -> Iterator[Proxy]:
    """The way of the host that is cut off."""
    made = Proxy(market.server.port)
    yield made
    made.stop()


def host_id(market: Market, host: str) -> str:
    return (market.folder / host / "data" / "journal" / "host-id").read_text()


def operator(market: Market, *words: str) -> tuple[int, str]:
    folder = market.folder / "operator"
    folder.mkdir(exist_ok=True)
    done = run_module("ticketing", "outage", *words, data_dir=folder, REDIS_URL=market.server.url)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def decide(market: Market, host: str) -> Decision | Refused:
    return about_host(
        host, DecisionStore(market.store), HostStore(market.store), market.folder / "operator" / "journal"
    )


def journalled(market: Market, host: str) -> int:
    return (market.folder / host / "data" / "journal" / "slot-0.journal").read_text().count('"kind":"purchase"')


def lost(market: Market) -> bool:
    contacts = HostStore(market.store).contacts()
    return len(contacts.all) == 2 and not contacts.living()


def test_two_hosts_are_released_one_killed_and_one_cut_off_and_come_back(market: Market, own_way: Proxy) -> None:
    killed = market.open_shop(RESERVE, host="killed", **SETTINGS)
    parted = market.open_shop(RESERVE, host="parted", url=own_way.url, **SETTINGS)
    ids = {host: host_id(market, host) for host in ("killed", "parted")}
    refused = decide(market, ids["killed"])
    assert isinstance(refused, Refused)
    assert "lives: it was heard" in refused.why.text
    # Both sell from their reserves; then one is killed, and the other goes on alone.
    market.proxy.refuses, own_way.refuses = True, True
    market.proxy.cut(), own_way.cut()
    wait_until(lambda: killed.tell()["outage"] and parted.tell()["outage"], WELL_S, "an outage")
    sold = [killed.buy(8), killed.buy(8), parted.buy(8)]
    killed.kill()
    market.shops.remove(killed)
    market.proxy.heal()
    wait_until(lambda: lost(market), WELL_S, "neither host was heard for long")
    assert journalled(market, "killed") == 2
    code, said = operator(market, "show")
    assert f"{ids['killed']} 0 20" in said
    code, said = operator(market, "release-host", ids["parted"][:12])
    assert (code, "Nothing was done" in said, "event 1: 20 tickets of 1 lease" in said) == (1, True, True)
    assert "It was heard last at 20" in said
    assert "No other host has told of an outage since" in said
    assert "not certain that everybody who bought from the host gets tickets" in said
    assert len(account(market.store).leased) == 2 * RESERVE
    code, said = operator(market, "release-host", ids["parted"][:12], "--yes")
    assert (code, "20 tickets are in the pool again" in said) == (0, True)
    decided = decide(market, ids["killed"])
    assert isinstance(decided, Decision)
    assert decided.carry_out().ok
    assert not decided.carry_out().ok  # late, or twice: it does nothing
    assert account(market.store).check().leased == []
    # The released tickets are sold to others, but for so many that the promises of one host can be kept.
    others = market.start_shop(0, host="others", **SETTINGS)
    bought = [others.buy(9) for _ in range(4)]
    assert told(bought) == {"sold": 4}
    sold.append(parted.buy(8))  # cut off, it goes on selling its count
    assert told(sold) == {"provisional": 4}
    assert parted.buy(8)["answer"] == "PurchaseUnavailable"
    left = TICKETS - 2 - 4 * 9  # 24
    own_way.heal()
    parted.wait_for_store()
    back = market.start_shop(RESERVE, host="killed", **SETTINGS)
    wait_until(lambda: bool(back.logged(*UNFUNDED) or parted.logged(*UNFUNDED)), WELL_S, "what has no ticket is loud")
    held = account(market.store).check()
    settled = sum(answer["purchase_id"] in held.sold for answer in sold)
    assert settled in (left // 8, left // 8 - 1)  # of four; the rest of the pool may be leased again meanwhile
    assert audit(market.store).violations == []
    assert not [line for shop in market.shops for line in shop.logged("halted: the store went back")]
