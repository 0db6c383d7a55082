"""Every way in which Redis can fail a shop: it sells from its reserve, then nothing, and all is settled afterwards."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.contract.test_server_refusals import REFUSING
from tests.outages import Market, a_market, told
from tests.servers import wait_until

GREETING = {"TIME", "SET", "GET"}
KEYS = [f"the key of purchase {number}" for number in range(8)]
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
RESERVE, QUANTITY = 20, 2

Trouble = Callable[[Market], AbstractContextManager[None]]


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with a_market(tmp_path) as made:
        yield made


@contextmanager
def refused(market: Market) -> Iterator[None]:
    market.server.kill()
    try:
        yield
    finally:
        market.server.start()


@contextmanager
def stopped(market: Market) -> Iterator[None]:
    market.server.suspend()
    try:
        yield
    finally:
        market.server.resume()


@contextmanager
def half_open(market: Market) -> Iterator[None]:
    market.proxy.keeps_commands = True
    yield
    market.proxy.heal()
    market.proxy.deliver()


@contextmanager
def loading(market: Market) -> Iterator[None]:
    """The proxy says so: a server that loads for as long as a test wants it to can't be had."""
    market.proxy.answer = LOADING
    yield
    market.proxy.heal()


def refusing(code: str) -> Trouble:
    return lambda market: REFUSING[code](market.server, market.store)


TROUBLES: dict[str, Trouble] = {
    "refused": refused,
    "stopped": stopped,
    "half-open": half_open,
    "LOADING": loading,
    **{code: refusing(code) for code in ("READONLY", "OOM", "MISCONF", "BUSY")},
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_whatever_fails_the_reserve_is_sold_once_and_no_more(market: Market, trouble: str) -> None:
    shop = market.open_shop(RESERVE, url=market.server.url if trouble == "refused" else "")
    with TROUBLES[trouble](market):
        numbers = [shop.ask(QUANTITY, key=key) for key in KEYS for key in (key, None)]
        answers = shop.answers(numbers)
        assert told(answers) == {"provisional": RESERVE // QUANTITY, "PurchaseUnavailable": 6}
        assert shop.tell() == {"outage": True, "reserve": 0, "unsettled": 10, "voids": shop.voids_left()}
    held = market.check(*answers)
    assert held.tickets_sold == 1 + RESERVE
    again = [shop.buy(QUANTITY, key=key) for key in KEYS]
    bought = {answer["purchase_id"] for answer in answers if answer["answer"] == "provisional"}
    for answer in again:
        assert answer["answer"] == ("replayed" if answer["purchase_id"] in bought else "sold")
    assert market.check(*answers, *again).tickets_sold == 1 + RESERVE + 3 * QUANTITY
    wait_until(lambda: shop.logged("the outage is over: 10 purchases sold from the reserve, 10 settled, 6 refused"), 10)


def test_purchases_that_are_on_their_way_when_the_connection_is_reset_come_from_the_reserve(market: Market) -> None:
    shop = market.open_shop(RESERVE)
    market.proxy.keeps_commands = True
    numbers = [shop.ask(QUANTITY, key=key) for key in (*KEYS[:2], None)]
    wait_until(market.proxy.kept, 10, "the purchases are on their way")
    market.proxy.refuses = True
    market.proxy.drop_clients()
    answers = shop.answers(numbers)
    assert told(answers) == {"provisional": 3}
    market.proxy.deliver()  # what was lost for the shop is sold by the store all the same, under the same ids
    market.proxy.heal()
    assert market.check(*answers).tickets_sold == 1 + 3 * QUANTITY


def test_scripts_that_the_server_has_forgotten_are_no_outage(market: Market) -> None:
    shop = market.open_shop(RESERVE)
    market.store.one("SCRIPT", "FLUSH")
    answers = shop.answers([shop.ask() for _ in range(5)])
    assert told(answers) == {"sold": 5}
    assert not shop.logged("outage: ")


def test_a_queue_that_is_away_stops_no_sale(market: Market) -> None:
    shop = market.open_shop(RESERVE, queue_url="redis://127.0.0.1:1/0")
    answers = [shop.buy(key=key) for key in (*KEYS, None)]
    assert told(answers) == {"sold": 9}
    assert not shop.logged("outage: ")
    assert len(market.check(*answers).outbox) == 1 + 9


def test_a_shop_that_is_cut_off_and_one_that_is_not_sell_one_key_once(market: Market) -> None:
    near = market.open_shop(RESERVE, url=market.server.url, host="near")
    far = market.open_shop(RESERVE, host="far")
    market.proxy.refuses = True
    market.proxy.cut()
    promised = [far.buy(QUANTITY, key=key) for key in KEYS]
    elsewhere = [near.buy(QUANTITY, key=key) for key in KEYS[:4]]
    assert (told(promised), told(elsewhere)) == ({"provisional": 8}, {"sold": 4})
    assert not near.logged("outage: ")
    market.proxy.heal()
    held = market.check(*promised, *elsewhere)
    assert held.tickets_sold == 2 + 8 * QUANTITY
    assert [near.buy(QUANTITY, key=key)["answer"] for key in KEYS] == ["replayed"] * 8


def test_a_way_on_which_every_fourth_command_is_lost_loses_no_purchase(market: Market) -> None:
    shop = market.open_shop(200, timeout_s=0.3)
    market.proxy.loses_share = 0.25
    answers = []
    for turn in range(20):
        keys = [f"the key of turn {turn}, purchase {number}" for number in range(2)]
        answers += shop.answers([shop.ask(QUANTITY, key=key) for key in (*keys, None)])
    # Still on this way: between losses it sells from the store too.
    wait_until(lambda: answers.append(shop.buy()) or answers[-1]["answer"] == "sold", 30, "the store sells")
    market.proxy.heal()
    held = market.check(*answers)
    assert {"sold", "provisional"} <= told(answers).keys() <= {"sold", "provisional", "PurchaseUnavailable"}
    bought = [answer for answer in answers if answer["answer"] != "PurchaseUnavailable"]
    assert len(held.sold) >= 1 + len(bought)


@pytest.mark.parametrize("silent", [True, False], ids=["nobody answers", "it is loading"])
def test_an_answer_from_the_reserve_asks_the_store_nothing(market: Market, silent: bool) -> None:
    shops = [market.start_shop(300) for _ in range(2)]
    for shop in shops:
        market.await_shop(shop, 300)
    if silent:
        market.proxy.keeps_commands = True
    else:
        market.proxy.answer = LOADING
    first = [shop.buy() for shop in shops]
    wait_until(lambda: market.proxy.connections() <= len(shops), 10, "connections of before are closed")
    market.proxy.asked.clear()
    numbers = [(shop, shop.ask()) for _ in range(250) for shop in shops]
    most = 0

    def all_answered() -> bool:
        nonlocal most
        most = max(most, market.proxy.connections())
        return all(shop.has_answered(number) for shop, number in numbers)

    wait_until(all_answered, 30)
    answers = [shop.answer(number) for shop, number in numbers]
    assert told(answers + first) == {"provisional": 502}
    wait_until(lambda: market.proxy.asked, 10, "the keeper goes on greeting")
    assert set(market.proxy.asked) <= GREETING
    assert most <= len(shops)
    market.proxy.heal()
    market.proxy.deliver()
    market.check(*answers, *first)
