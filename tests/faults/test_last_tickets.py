"""The last tickets of a pool are sold although several processes had leased some, and nobody is told otherwise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.outages import Market, a_market, told
from tests.servers import wait_until
from tests.shop import Shop

KEY, OTHER_KEY = "a key of sixteen", "another key of 16"
SHOPS = 3
TICKETS = 3_000
RESERVE = 30
AT_ONCE = 40  # a shop
SELL_OUT_S = 60.0


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with a_market(tmp_path, TICKETS) as made:
        for number in range(SHOPS):
            made.start_shop(RESERVE, host=f"host {number}", url=made.server.url)
        for shop in made.shops:
            made.await_shop(shop, RESERVE)
        yield made


def sell_out(market: Market, quantity: int, *, keyed: bool = False) -> list[list[dict[str, Any]]]:
    """Rush after rush to all shops at once, until one finds nothing; the answers of each."""
    rushes: list[list[dict[str, Any]]] = []

    def ask(shop: Shop, number: int) -> int:
        return shop.ask(quantity, key=f"a key of rush {len(rushes)}, {number} {id(shop)}" if keyed else None)

    def is_sold_out() -> bool:
        numbers = [(shop, ask(shop, number)) for number in range(AT_ONCE) for shop in market.shops]
        rushes.append([shop.answer(number) for shop, number in numbers])
        return "sold" not in told(rushes[-1])

    wait_until(is_sold_out, SELL_OUT_S, "nothing is left")
    return rushes


def all_of(rushes: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [answer for rush in rushes for answer in rush]


def test_the_last_ticket_is_sold_before_anybody_is_told_that_none_is_left(market: Market) -> None:
    rushes = sell_out(market, 1)
    held = market.check(*all_of(rushes))
    assert (held.tickets_sold, held.leased, held.pool) == (TICKETS, [], [])
    assert told(all_of(rushes))["sold"] == TICKETS - SHOPS
    *full, _, last = rushes
    assert {answer["answer"] for answer in all_of(full)} == {"sold"}
    assert told(last) == {"SoldOut": AT_ONCE * SHOPS}


def test_a_key_is_never_refused_while_something_is_leased(market: Market) -> None:
    rushes = sell_out(market, 1, keyed=True)
    held = market.check(*all_of(rushes))
    assert (held.tickets_sold, held.leased, held.pool) == (TICKETS, [], [])
    *full, _, last = rushes
    assert {answer["answer"] for answer in all_of(full)} == {"sold"}
    assert told(last) == {"SoldOut": AT_ONCE * SHOPS}


def test_the_lease_of_a_dead_shop_keeps_keys_waiting_and_others_for_a_moment_only(market: Market) -> None:
    """Its heir gives the tickets back; until then nobody knows what its journal holds."""
    market.shops.pop().kill()
    rushes = sell_out(market, 1)
    assert told(all_of(rushes))["sold"] == TICKETS - SHOPS - RESERVE
    assert told(rushes[-1]) == {"SoldOut": AT_ONCE * (SHOPS - 1)}
    shop = market.shops[0]
    assert told([shop.buy(1, key=KEY) for _ in range(5)]) == {"PurchaseUnavailable": 5}
    market.start_shop(RESERVE, host=f"host {SHOPS - 1}", url=market.server.url)
    wait_until(lambda: shop.buy(1, key=KEY)["answer"] == "sold", SELL_OUT_S, "the tickets are back")
    rest = sell_out(market, 1)
    held = market.check(*all_of(rushes), *all_of(rest))
    assert (held.tickets_sold, held.leased, held.pool) == (TICKETS, [], [])
    assert shop.buy(1, key=OTHER_KEY)["answer"] == "SoldOut"
