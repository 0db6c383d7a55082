"""A selling process behind a spoiled connection to a real server: what is answered, and what the store holds then.

The account at the end is exact: pool + leased + sold = issued, no ticket twice, each `sold` answer is in the store as
it was told, and each 503 without a key holds nothing.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy import Proxy
from tests.sales import SEED, Account, Sale, account, an_event
from tests.servers import ValkeyServer, wait_until
from tests.shop import Shop
from ticketing.store import scripts
from ticketing.store.connection import Store

PURCHASE = scripts.load("purchase", True).sha
KEY, OTHER_KEY = "a key of sixteen", "another key of 16"
PATIENT_S = 6.0  # a timeout so long that nothing expires while a test holds a command back
HEALED_S = 20.0


@pytest.fixture
def proxy(valkey_server: ValkeyServer) -> Iterator[Proxy]:
    made = Proxy(valkey_server.port)
    yield made
    made.stop()


@pytest.fixture
def sale(real_store: Store) -> Sale:
    """The test's own way to the store, past the proxy. 20 tickets are on sale."""
    made = Sale(real_store)
    made.open(20)
    real_store.one("DEL", "ticketing:id-secret")  # the shops have another
    return made


@pytest.fixture
def shop(proxy: Proxy, sale: Sale, tmp_path: Path) -> Iterator[Shop]:
    yield from _open(proxy.url, tmp_path, 0.5)


@pytest.fixture
def patient(proxy: Proxy, sale: Sale, tmp_path: Path) -> Iterator[Shop]:
    """A shop that waits long for replies, so that late commands are still within their deadline."""
    yield from _open(proxy.url, tmp_path, PATIENT_S)


def _open(url: str, folder: Path, timeout_s: float) -> Iterator[Shop]:
    made = Shop(url, folder, timeout_s=timeout_s)
    assert made.buy()["answer"] == "sold"  # it knows the event, and its connections are open
    yield made
    made.stop()


def held_after(sale: Sale, shop: Shop, *answers: dict[str, Any]) -> Account:
    """The account once all voids are done; it agrees with what was answered."""
    shop.wait_for_store()
    return agrees(account(sale.store).check(), answers)


def agrees(held: Account, answers: Any) -> Account:
    for answer in answers:
        if answer["answer"] in {"sold", "replayed"}:
            assert held.sold[answer["purchase_id"]] == answer["tickets"]
        elif answer["answer"] == "PurchaseUnavailable" and not answer["keyed"]:
            assert answer["purchase_id"] not in held.sold
    return held


def test_swallowed_replies_end_in_503_and_hold_nothing_without_a_key(proxy: Proxy, sale: Sale, shop: Shop) -> None:
    proxy.swallows_replies = True
    answers = shop.answers([shop.ask(2), shop.ask(3), shop.ask(1)])
    assert [answer["answer"] for answer in answers] == ["PurchaseUnavailable"] * 3
    sold = account(sale.store).check().sold  # the server had sold those that came in time to be of one batch
    unheard = {answer["purchase_id"] for answer in answers if answer["purchase_id"] in sold}
    assert (answers[0]["purchase_id"] in unheard, len(sold)) == (True, 1 + len(unheard))
    proxy.heal()
    held = held_after(sale, shop, *answers)
    assert (held.tickets_sold, held.tombstones) == (1, unheard)
    assert shop.buy(2)["answer"] == "sold"


def test_a_swallowed_reply_with_a_key_is_told_when_the_key_is_sent_again(proxy: Proxy, sale: Sale, shop: Shop) -> None:
    proxy.swallows_replies = True
    lost = shop.buy(3, key=KEY)
    proxy.heal()
    shop.wait_for_store()
    again = shop.buy(3, key=KEY)
    assert (lost["answer"], again["answer"]) == ("PurchaseUnavailable", "replayed")
    assert lost["purchase_id"] == again["purchase_id"]
    held = held_after(sale, shop, lost, again)
    assert (held.tickets_sold, held.tombstones) == (4, set())


def test_a_key_that_is_sent_again_before_anything_is_healed_buys_once(proxy: Proxy, sale: Sale, shop: Shop) -> None:
    proxy.swallows_replies = True
    lost = [shop.buy(3, key=KEY) for _ in range(3)]
    proxy.heal()
    shop.wait_for_store()
    again = shop.buy(3, key=KEY)
    assert {answer["answer"] for answer in lost} == {"PurchaseUnavailable"}
    assert again["answer"] == "replayed"
    assert held_after(sale, shop, again).tickets_sold == 4


def test_after_one_lost_round_trip_nothing_more_is_sent_until_the_store_answers(
    proxy: Proxy, sale: Sale, shop: Shop
) -> None:
    proxy.swallows_replies = True
    lost = shop.buy(1)
    sold = account(sale.store).check().tickets_sold
    refused = [shop.buy(1) for _ in range(3)]
    assert {answer["answer"] for answer in (lost, *refused)} == {"PurchaseUnavailable"}
    assert account(sale.store).check().tickets_sold == sold == 2
    assert shop.voids_left() == 1  # the refused ones need none
    proxy.heal()
    assert held_after(sale, shop, lost, *refused).tickets_sold == 1


def test_a_late_purchase_that_comes_after_its_void_sells_nothing(proxy: Proxy, sale: Sale, patient: Shop) -> None:
    proxy.keeps_commands = True
    asked = patient.ask(3)
    wait_until(lambda: proxy.keeps(PURCHASE), 5, "the purchase is on its way")
    proxy.drop_clients()
    lost = patient.answer(asked)
    proxy.heal()
    held = held_after(sale, patient, lost)
    assert (lost["answer"], held.tickets_sold, held.tombstones) == ("PurchaseUnavailable", 1, {lost["purchase_id"]})
    proxy.deliver()
    wait_until(lambda: proxy.kept() == 0, 5)
    sale.store.ping()  # a server takes commands in the order in which they come
    assert patient.buy(1)["answer"] == "sold"
    held = held_after(sale, patient, lost)
    assert (held.tickets_sold, held.tombstones) == (2, {lost["purchase_id"]})


def test_a_late_purchase_that_comes_before_its_void_is_taken_back(proxy: Proxy, sale: Sale, patient: Shop) -> None:
    proxy.keeps_commands = True
    asked = patient.ask(3)
    wait_until(lambda: proxy.keeps(PURCHASE), 5, "the purchase is on its way")
    proxy.refuses = True
    proxy.drop_clients()
    lost = patient.answer(asked)
    proxy.deliver()
    wait_until(lambda: lost["purchase_id"] in account(sale.store).sold, 5, "the late purchase is sold")
    proxy.heal()
    held = held_after(sale, patient, lost)
    assert (lost["answer"], held.tickets_sold, held.tombstones) == ("PurchaseUnavailable", 1, {lost["purchase_id"]})


def test_a_late_purchase_with_a_key_past_its_deadline_is_expired(proxy: Proxy, sale: Sale, shop: Shop) -> None:
    proxy.keeps_commands = True
    lost = shop.buy(3, key=KEY)  # answered when the deadline is over, not before
    proxy.deliver()
    proxy.heal()
    shop.wait_for_store()
    assert account(sale.store).check().tickets_sold == 1
    again = shop.buy(3, key=KEY)
    assert (lost["answer"], again["answer"]) == ("PurchaseUnavailable", "sold")
    assert held_after(sale, shop, lost, again).tickets_sold == 4


def test_a_key_that_was_told_sold_out_never_gets_a_purchase_from_a_late_command(
    proxy: Proxy, sale: Sale, shop: Shop
) -> None:
    """A reset connection tells nothing sooner than a silent one: the command may still be on its way."""
    rest = shop.buy(9)
    proxy.keeps_commands = True
    asked = shop.ask(10, key=KEY)
    wait_until(lambda: proxy.keeps(PURCHASE), 5, "the purchase is on its way")
    proxy.drop_clients()
    proxy.heal()  # new connections work; the kept command is still on its way
    wait_until(lambda: shop.logged("outage: "), 5, "it has noticed")
    shop.wait_for_store()
    others = shop.buy(10)
    lost, refused = shop.answer(asked), shop.buy(10, key=KEY)
    assert [answer["answer"] for answer in (others, lost, refused)] == ["sold", "PurchaseUnavailable", "SoldOut"]
    sale.sales.void("1", SEED, [others["purchase_id"]])
    proxy.deliver()
    wait_until(lambda: proxy.kept() == 0, 5)
    assert shop.buy(1)["answer"] == "sold"
    held = held_after(sale, shop, rest, lost, refused)
    assert lost["purchase_id"] not in held.sold
    assert held.tickets_sold == 1 + 9 + 1


def test_cut_connections_are_made_anew_and_nothing_is_lost(proxy: Proxy, sale: Sale, shop: Shop) -> None:
    answers: list[dict[str, Any]] = []
    for _ in range(5):
        proxy.cut()
        # Where the keeper was asking just then, nothing is sent for a moment.
        wait_until(lambda: answers.append(shop.buy(1)) or answers[-1]["answer"] == "sold", HEALED_S, "it sells again")
    held = held_after(sale, shop, *answers)
    # The closed connection is noticed before anything is sent on it: nothing was ever in doubt.
    assert (held.tickets_sold, held.tombstones) == (6, set())


def test_connections_that_can_not_be_made_are_refusals_and_leave_nothing_to_void(
    proxy: Proxy, sale: Sale, shop: Shop
) -> None:
    proxy.refuses = True
    proxy.cut()
    answers = [shop.buy(1), shop.buy(1, key=KEY)]
    assert [answer["answer"] for answer in answers] == ["PurchaseUnavailable"] * 2
    proxy.heal()
    shop.wait_for_store()
    wait_until(lambda: shop.buy(1)["answer"] == "sold", HEALED_S)
    assert len(account(sale.store).check().tombstones) <= 1  # where the proxy had accepted before it cut


def test_a_half_open_connection_costs_one_round_trip(proxy: Proxy, sale: Sale, shop: Shop) -> None:
    """Nobody answers and nobody hangs up: commands go nowhere for ever."""
    proxy.keeps_commands = True
    answers = shop.answers([shop.ask(1), shop.ask(1, key=KEY)])
    assert [answer["answer"] for answer in answers] == ["PurchaseUnavailable"] * 2
    proxy.heal()
    held = held_after(sale, shop, *answers)
    assert (held.tickets_sold, held.tombstones) == (1, {answers[0]["purchase_id"]})
    assert shop.buy(1, key=KEY)["answer"] == "sold"


def test_slow_replies_within_the_timeout_are_answers(proxy: Proxy, sale: Sale, patient: Shop) -> None:
    proxy.delay_s = 0.1
    answers = patient.answers([patient.ask(1, key=key) for key in (None, KEY, OTHER_KEY, None)])
    assert [answer["answer"] for answer in answers] == ["sold"] * 4
    proxy.heal()
    assert held_after(sale, patient, *answers).tickets_sold == 5


def test_an_event_that_is_replaced_while_a_purchase_is_asked_is_sold_under_its_new_seed(
    proxy: Proxy, sale: Sale, shop: Shop
) -> None:
    sale.open(3, "2")
    wait_until(lambda: shop.buy(9, event_id="2")["answer"] == "NotEnoughTickets", 5, "the shop knows the new event")
    sale.events.replace(an_event("2"), old_seed=SEED, new_seed="seed-2", planned=5)
    sale.events.add_more("2", "seed-2", 0, 5)
    answers = shop.answers([shop.ask(1, event_id="2") for _ in range(7)])
    assert sorted(answer["answer"] for answer in answers) == ["SoldOut"] * 2 + ["sold"] * 5
    agrees(account(sale.store, "2").check(), answers)


@pytest.mark.parametrize("luck", [1, 2])
def test_two_shops_behind_changing_faults_end_with_an_exact_account(
    valkey_server: ValkeyServer, real_store: Store, tmp_path: Path, luck: int
) -> None:
    chance = random.Random(luck)
    sale = Sale(real_store)
    sale.open(60)
    real_store.one("DEL", "ticketing:id-secret")
    proxies = [Proxy(valkey_server.port) for _ in range(2)]
    shops = [Shop(proxy.url, tmp_path, timeout_s=0.3) for proxy in proxies]
    keys = [f"the shared key no {number}" for number in range(20)]
    asked: list[tuple[Shop, int]] = []
    try:
        for shop in shops:
            wait_until(lambda shop=shop: shop.buy(9)["answer"] != "PurchaseUnavailable", HEALED_S)
        for _ in range(20):
            spoil(chance, chance.choice(proxies))
            for shop in shops:
                for _ in range(chance.randint(1, 4)):
                    quantity = chance.randint(1, 3)
                    key = f"{chance.choice(keys)} {quantity}" if chance.random() < 0.5 else None
                    asked.append((shop, shop.ask(quantity, key=key)))
            wait_until(lambda: asked[-1][0].has_answered(asked[-1][1]), HEALED_S)
        for proxy in proxies:
            proxy.heal()
        answers = [shop.answer(number) for shop, number in asked]
        for shop in shops:
            shop.wait_for_store()
        for proxy in proxies:
            proxy.deliver()  # the last late ones
        wait_until(lambda: not any(proxy.kept() for proxy in proxies), HEALED_S)
        for shop in shops:
            shop.buy(99)  # behind them
        held = agrees(account(real_store).check(), answers)
        assert {"sold", "PurchaseUnavailable"} <= {answer["answer"] for answer in answers}
        assert held.tickets_sold > 18
    finally:
        for part in (*shops, *proxies):
            part.stop()


def spoil(chance: random.Random, proxy: Proxy) -> None:
    """One fault, or none any more."""
    fault = chance.choice(["heal", "heal", "heal", "keep", "swallow", "cut", "drop", "deliver", "refuse"])
    proxy.heal()
    if fault == "keep":
        proxy.keeps_commands = True
    elif fault == "swallow":
        proxy.swallows_replies = True
    elif fault == "refuse":
        proxy.refuses = True
    elif fault in {"cut", "drop", "deliver"}:
        {"cut": proxy.cut, "drop": proxy.drop_clients, "deliver": proxy.deliver}[fault]()
