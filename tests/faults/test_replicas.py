"""A selling process whose purchases replicas confirm: what it answers while they don't, and when the primary dies.

The account at the end is exact, and each answer is compared with it: nothing that was acknowledged is lost.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.groups import SentinelGroup, a_group
from tests.outages import BOUGHT, WELL_S
from tests.sales import Account, Sale, account
from tests.servers import ID_SECRET, wait_until
from tests.shop import Shop
from ticketing.config import Settings
from ticketing.outage.outlook import look
from ticketing.sale.audit import audit
from ticketing.store import opening
from ticketing.store.decisions import DecisionStore

KEY, OTHER_KEY = "a key of sixteen", "another key of 16"
RESERVE = 20
TICKETS = 2_000
CONFIRMED = {"replicas_to_confirm": 1, "confirm_timeout_ms": 200, "timeout_s": 0.6}
RUSH = 10
PATIENT_MS = 60_000  # a sentinel's: nobody is called down in a test that stops somebody


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    with a_group(tmp_path / "group") as made:
        store = made.primary().server.store()
        Sale(store, greeted=False).open(TICKETS)
        store.close()
        yield made


def open_shop(group: SentinelGroup, folder: Path, reserve: int) -> Shop:
    settings = {"reserve_tickets": reserve, "reserve_per_mille": 1000, **CONFIRMED}
    shop = Shop(group.url, folder, **settings)
    assert shop.buy()["answer"] == "sold"
    wait_until(lambda: shop.tell()["reserve"] == reserve, WELL_S, "its reserve is full")
    return shop


@pytest.fixture
def shop(group: SentinelGroup, tmp_path: Path) -> Iterator[Shop]:
    made = open_shop(group, tmp_path, RESERVE)
    yield made
    made.stop()


@pytest.fixture
def bare_shop(group: SentinelGroup, tmp_path: Path) -> Iterator[Shop]:
    """Without a reserve."""
    made = open_shop(group, tmp_path, 0)
    yield made
    made.stop()


def compare(group: SentinelGroup, shop: Shop, *answers: dict[str, Any]) -> Account:
    """All is settled, and each answer is as the primary has it."""
    shop.wait_for_store()
    store = group.primary().server.store()
    held = account(store).check()
    assert audit(store).violations == []
    store.close()
    for answer in answers:
        tickets = held.sold.get(answer["purchase_id"], [])
        if answer["answer"] in BOUGHT:
            assert len(tickets) == answer["quantity"], answer
            assert answer["tickets"] in ([], (), tickets), answer
        elif not answer["keyed"]:
            assert (answer["answer"], tickets) == ("PurchaseUnavailable", []), answer
    return held


def be_patient(group: SentinelGroup) -> None:
    for sentinel in group.sentinels:
        sentinel.ask("SET", "sale", "down-after-milliseconds", PATIENT_MS)


def sold_at(group: SentinelGroup, answer: dict[str, Any]) -> list[str]:
    store = group.primary().server.store()
    held = account(store).sold.get(answer["purchase_id"], [])
    store.close()
    return held


def test_what_a_stopped_replica_does_not_confirm_is_sold_from_the_reserve_and_is_one_purchase(
    group: SentinelGroup, shop: Shop
) -> None:
    be_patient(group)
    [replica] = group.replicas
    replica.suspend()
    first = shop.buy(2, key=KEY)
    assert first["answer"] == "provisional"
    in_doubt = sold_at(group, first)
    assert len(in_doubt) == 2  # the primary had sold it, and nobody was told of these tickets
    assert shop.tell()["outage"]
    later = [shop.buy() for _ in range(3)]
    assert [answer["answer"] for answer in later] == ["provisional"] * 3
    replica.resume()
    shop.wait_for_store()
    again = shop.buy(2, key=KEY)
    assert (again["answer"], again["tickets"]) == ("replayed", in_doubt)
    assert compare(group, shop, first, again, *later).tickets_sold == 1 + 2 + 3


def test_while_nobody_confirms_the_operator_is_told_to_wait_and_to_give_up_nothing(
    group: SentinelGroup, shop: Shop, tmp_path: Path
) -> None:
    [replica] = group.replicas
    replica.kill()
    answers = [shop.buy() for _ in range(3)]
    assert {answer["answer"] for answer in answers} == {"provisional"}
    settings = Settings(_env_file=None, redis_url=group.url, id_secret=ID_SECRET, replicas_to_confirm=1)
    store = opening.store_of(settings, connections=1)
    (said,) = look(tmp_path / "data" / "journal", DecisionStore(store)).wrong()
    store.close()
    assert said.verb == ""
    assert "0 of 1 replicas that must confirm follow" in said.text
    group.restart(replica)
    assert compare(group, shop, *answers).tickets_sold == 1 + 3


def test_without_a_reserve_it_is_503_and_holds_nothing_unless_its_key_is_asked_again(
    group: SentinelGroup, bare_shop: Shop
) -> None:
    be_patient(group)
    [replica] = group.replicas
    answers = []
    for key, voids in ((None, 1), (KEY, 0)):
        replica.suspend()
        answers.append(bare_shop.buy(2, key=key))
        assert answers[-1]["answer"] == "PurchaseUnavailable"
        assert len(sold_at(group, answers[-1])) == 2
        assert bare_shop.voids_left() == voids
        answers.append(bare_shop.buy())  # it is never sent
        assert answers[-1]["answer"] == "PurchaseUnavailable"
        assert bare_shop.voids_left() == voids
        replica.resume()
        bare_shop.wait_for_store()
    answers.append(bare_shop.buy(2, key=KEY))
    assert answers[-1]["answer"] == "replayed"
    assert compare(group, bare_shop, *answers).tickets_sold == 1 + 2


def test_a_primary_that_dies_during_the_sale_takes_nothing_along(group: SentinelGroup, shop: Shop) -> None:
    answers: list[dict[str, Any]] = []

    def rush() -> bool:
        """Whether all of it was sold: a replica that is slow for once confirms nothing in time."""
        answers.extend(shop.answers([shop.ask(key=f"a key of rush {len(answers)}, {n}") for n in range(RUSH)]))
        return [answer["answer"] for answer in answers[-RUSH:]] == ["sold"] * RUSH

    for _ in range(10):
        wait_until(rush, WELL_S, "it sells")
    in_flight = [shop.ask() for _ in range(RUSH)]
    old = group.kill_primary()
    answers.extend(shop.answers(in_flight))
    group.wait_until_failed_over(old)
    rush()
    assert shop.tell()["outage"]  # nobody confirms
    group.restart(old)
    shop.wait_for_store()
    wait_until(rush, WELL_S, "it sells again")
    assert any(answer["answer"] == "provisional" for answer in answers)
    group.wait_until_complete()
    compare(group, shop, *answers)


def test_without_any_sentinel_nothing_is_sent_and_nothing_voided(group: SentinelGroup, bare_shop: Shop) -> None:
    for sentinel in group.sentinels:
        sentinel.kill()
    group.nodes[0].kill()
    wait_until(lambda: bool(bare_shop.tell()["outage"]), WELL_S, "it has noticed: what it sent before is in doubt")
    answers = [bare_shop.buy(), bare_shop.buy(key=OTHER_KEY)]
    assert [answer["answer"] for answer in answers] == ["PurchaseUnavailable"] * 2
    assert bare_shop.voids_left() == 0
    assert bare_shop.logged("outage", "no sentinel names a primary")
