"""A real server that is stopped, killed and started again from its append-only file, while processes sell from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sales import SEED, Account, Sale, account
from tests.servers import ID_SECRET, ValkeyServer, wait_until
from tests.shop import Shop
from ticketing.sale.identity import Identity
from ticketing.store import keys

HEALED_S = 20.0
KEY = "a key of sixteen"
FIRST_OF_SHOPS = {"E1-000001", "E1-000002"}  # what the fixture bought
IDENTITY = Identity(ID_SECRET)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server of this test's own, with 100,000 tickets on sale."""
    made = ValkeyServer(tmp_path / "valkey")
    made.start()
    store = made.store()
    Sale(store, greeted=False).open(100_000)
    store.close()
    yield made
    made.stop()


@pytest.fixture
def shops(server: ValkeyServer, tmp_path: Path) -> Iterator[list[Shop]]:
    """Two selling processes whose connections are open."""
    made = [Shop(server.url, tmp_path, timeout_s=0.5) for _ in range(2)]
    for shop in made:
        assert shop.buy()["answer"] == "sold"
    yield made
    for shop in made:
        shop.stop()


def settled(server: ValkeyServer, shops: list[Shop], answers: list[dict[str, Any]]) -> Account:
    """The account once every void is done; it holds what was answered, and nothing else."""
    for shop in shops:
        shop.wait_for_store()
    store = server.store()
    held = account(store).check()
    store.close()
    for answer in answers:
        if answer["answer"] in {"sold", "replayed"}:
            assert held.sold[answer["purchase_id"]] == answer["tickets"]
        elif not answer["keyed"]:
            assert answer["purchase_id"] not in held.sold
    return held


def test_a_stopped_server_that_goes_on_sells_nothing_to_those_who_were_told_503(
    server: ValkeyServer, shops: list[Shop]
) -> None:
    server.suspend()
    asked = [(shop, shop.ask(2, key=key)) for shop in shops for key in (None, KEY, None)]
    lost = [shop.answer(number) for shop, number in asked]
    assert {answer["answer"] for answer in lost} == {"PurchaseUnavailable"}
    server.resume()
    held = settled(server, shops, lost)
    assert held.tickets_sold == 2  # what came late was past its deadline
    # Those of the round trip that was under way; what came after it was never sent.
    assert set() < held.tombstones <= {answer["purchase_id"] for answer in lost if not answer["keyed"]}
    again = [shop.buy(2, key=KEY) for shop in shops]
    assert [answer["answer"] for answer in again] == ["sold", "replayed"]
    assert again[0]["tickets"] == again[1]["tickets"]
    assert settled(server, shops, [*lost, *again]).tickets_sold == 4


def test_a_server_that_is_stopped_for_less_than_the_timeout_answers_everybody(
    server: ValkeyServer, tmp_path: Path
) -> None:
    patient = Shop(server.url, tmp_path, timeout_s=10)
    try:
        assert patient.buy()["answer"] == "sold"
        server.suspend()
        asked = [patient.ask(1) for _ in range(20)]
        server.resume()
        answers = patient.answers(asked)
        assert [answer["answer"] for answer in answers] == ["sold"] * 20
        assert settled(server, [patient], answers).tickets_sold == 21
    finally:
        patient.stop()


def test_a_restarted_server_is_sold_from_without_one_lost_purchase_where_nobody_was_asking(
    server: ValkeyServer, shops: list[Shop]
) -> None:
    """Each pooled connection was closed long ago: that is noticed before anything is sent on it."""
    answers = []
    for _ in range(2):
        server.stop()
        server.start()
        for shop in shops:
            shop.wait_for_store()
        answers += [shop.buy(key=key) for shop in shops for key in (None, KEY)]
    with_key = [answer["answer"] for answer in answers if answer["keyed"]]
    without = [answer["answer"] for answer in answers if not answer["keyed"]]
    assert (with_key, without) == (["sold", "replayed", "replayed", "replayed"], ["sold"] * 4)
    held = settled(server, shops, answers)
    assert (held.tickets_sold, held.tombstones) == (2 + 5, set())


def test_after_kills_of_the_server_every_acknowledged_purchase_exists_and_no_other(
    server: ValkeyServer, shops: list[Shop]
) -> None:
    asked: list[tuple[Shop, int]] = []
    keys_of: dict[str, tuple[int, str]] = {}  # purchase id -> what to ask again
    seen = [shop.buy() for shop in shops]

    def ask(count: int) -> None:
        for number in range(count):
            for shop in shops:
                quantity, key = 1 + number % 4, f"key {len(asked)} of sixteen" if number % 3 == 0 else None
                if key is not None:
                    keys_of[IDENTITY.purchase_id_of_key("1", key)] = quantity, key
                asked.append((shop, shop.ask(quantity, key=key)))

    for _ in range(3):
        ask(400)
        wait_until(lambda: sum(shop.has_answered(number) for shop, number in asked[-800:]) > 50, HEALED_S)
        server.kill()
        ask(20)
        server.start()
        for shop in shops:
            wait_until(lambda shop=shop: seen.append(shop.buy()) or seen[-1]["answer"] == "sold", HEALED_S)
    answers = [shop.answer(number) for shop, number in asked]
    assert {answer["answer"] for answer in answers} == {"sold", "PurchaseUnavailable"}
    lost = [answer["purchase_id"] for answer in answers if answer["keyed"] and answer["answer"] != "sold"]
    again = [shops[0].buy(keys_of[purchase_id][0], key=keys_of[purchase_id][1]) for purchase_id in lost]
    assert {answer["answer"] for answer in again} <= {"sold", "replayed"}
    every = [*seen, *answers, *again]
    held = settled(server, shops, every)
    told = {answer["purchase_id"] for answer in every if answer["answer"] != "PurchaseUnavailable"}
    assert held.sold.keys() - told == {first for first in held.sold if held.sold[first][0] in FIRST_OF_SHOPS}


def test_a_server_that_came_back_without_its_last_writes_sells_nothing(server: ValkeyServer, shops: list[Shop]) -> None:
    """Not by a crash, as the file is written before each answer; by an older file or a failover."""
    store = server.store()
    store.one("HINCRBY", keys.of_event("1").info, "version", -2)
    answers = [shop.buy(key=key) for shop in shops for key in (None, KEY)]
    assert {answer["answer"] for answer in answers} == {"PurchaseUnavailable"}
    wait_until(lambda: store.one("HGET", keys.of_event("1").info, "halted") == "1", HEALED_S, "the event is halted")
    for shop in shops:  # who looks over fresh connections has closed those on which somebody may just have asked
        wait_until(lambda shop=shop: shop.buy()["reason"] == "halted", HEALED_S, "every shop is told so")
    assert account(store).tickets_sold == 2
    store.close()


def test_scripts_that_a_restarted_server_does_not_know_are_sent_whole(server: ValkeyServer, shops: list[Shop]) -> None:
    store = server.store()
    store.one("SCRIPT", "FLUSH")
    answers = shops[0].answers([shops[0].ask() for _ in range(10)])
    assert {answer["answer"] for answer in answers} == {"sold"}
    assert account(store).check().tickets_sold == 12
    assert store.one("HGET", keys.of_event("1").info, "seed") == SEED
    store.close()
