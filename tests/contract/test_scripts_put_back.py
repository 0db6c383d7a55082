"""put_back.lua on both backends: what was answered comes back with its own tickets, or is listed and nothing moves."""

import random
from typing import Any

import pytest

from tests.leases import K, Leasing, journalled
from tests.sales import LATER_MS, SEED, Sale, a_request, account, everything
from ticketing.errors import ScriptFailed
from ticketing.model import Outcome, PurchaseRequest
from ticketing.sale.audit import audit
from ticketing.store.connection import Store
from ticketing.store.decisions import DecisionStore, Verdict
from ticketing.store.leases import LeaseStore
from ticketing.store.put_back import PutBack, PutBackStore, Report, ReportAsk, ReportStanding, Told

BACK, KNOWN, LATER = PutBack.PUT_BACK, PutBack.KNOWN, PutBack.LATER
ME = "host:1:me"
REPORT = Report(ME, "mark", 1, 2, 3, whole=True, evidence=False)


class Shop:
    """A sale whose store can be put back to where it was, and a process that remembers what it was answered."""

    def __init__(self, store: Store, tickets: int = 100, search_most: int = 10**6, **changes: Any) -> None:
        self.store, self.sale = store, Sale(store)
        self.sale.open(tickets, **changes)
        self.backs = PutBackStore(store, self.sale.versions, due_ms=LATER_MS, search_most=search_most)
        self.leases = LeaseStore(store, self.sale.versions, due_ms=LATER_MS)

    def sell(self, *quantities: int, **changes: Any) -> list[Told]:
        return self.sell_these(*(a_request(quantity, **changes) for quantity in quantities))

    def sell_these(self, *requests: PurchaseRequest) -> list[Told]:
        replies = self.sale.buy(*requests)
        assert {reply.outcome for reply in replies} == {Outcome.SOLD}
        pairs = zip(requests, replies, strict=True)
        return [(request.purchase_id, reply.detail, request.contact, True) for request, reply in pairs]

    def go_back(self) -> dict[str, Any]:
        """What the store holds now, to be restored later."""
        return {key: self.store.one("DUMP", key) for key in self.store.one("KEYS", "*")}

    def lose(self, *lost: Told) -> None:
        """As an older copy has it: not sold, their tickets at the head of the pool."""
        for purchase_id, record, _, _ in reversed(lost):
            fingerprint, _, tickets, buyer = record.split("|")
            ids = tickets.split(",")
            self.store.one("HDEL", K.purchases, purchase_id)
            self.store.one("HDEL", K.contacts, purchase_id)
            self.store.one("ZREM", K.receipts, purchase_id)
            self.store.one("LPUSH", K.tickets, *reversed(ids))
            self.store.one("HINCRBY", K.info, "sold", -len(ids))
            if buyer and self.store.one("HGET", K.info, "buyer_max"):
                self.store.one("HINCRBY", K.buyers, buyer, -len(ids))
            assert fingerprint

    def halt(self) -> None:
        self.leases.halt("1", "a test wants it")

    def put_back(self, *told: Told, report: Report | None = None) -> list[PutBack]:
        outcomes = self.backs.put_back("1", SEED, told, report)
        assert isinstance(outcomes, list)
        sound(self.store)
        return outcomes

    def records(self) -> dict[str, str]:
        flat = self.store.one("HGETALL", K.purchases)
        return dict(zip(flat[::2], flat[1::2], strict=True))


def sound(store: Store) -> None:
    assert audit(store).violations == []
    account(store).check()


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store)


def test_what_was_lost_comes_back_with_its_own_tickets_and_all_that_goes_with_it(shop: Shop, store: Store) -> None:
    kept = shop.sell(2)
    lost = shop.sell(3, 1, 2, buyer_tag="ada", contact='{"name":"Ada"}')
    before = shop.records()
    shop.lose(*lost)
    shop.halt()
    version = int(store.one("HGET", K.info, "version"))
    assert shop.put_back(*kept, *lost) == [KNOWN, BACK, BACK, BACK]
    assert shop.records() == before
    held = account(store).check()
    assert (held.tickets_sold, len(held.pool), held.outbox) == (8, 92, before.keys())
    assert held.contacts == {told[0] for told in lost}
    assert held.pool == [f"E1-{number:06d}" for number in range(9, 101)]
    assert int(store.one("HGET", K.info, "version")) > version


def test_the_same_twice_changes_nothing_and_overlapping_processes_put_back_once(shop: Shop, store: Store) -> None:
    lost = shop.sell(2, 1, 3)
    shop.lose(*lost)
    shop.halt()
    assert shop.put_back(*lost[:2]) == [BACK, BACK]
    held = everything(store)
    assert shop.put_back(*lost[:2]) == [KNOWN, KNOWN]
    assert everything(store) == held
    assert shop.put_back(*lost) == [KNOWN, KNOWN, BACK]
    assert shop.put_back(*lost) == [KNOWN] * 3


def test_one_that_stands_twice_in_a_call_is_put_back_once(shop: Shop) -> None:
    lost = shop.sell(2)
    shop.lose(*lost)
    shop.halt()
    assert shop.put_back(*lost, *lost) == [BACK, KNOWN]


def test_a_limit_a_buyer_counts_what_came_back(store: Store) -> None:
    shop = Shop(store, buyer_max=4)
    lost = shop.sell(3, buyer_tag="ada")
    shop.lose(*lost)
    shop.halt()
    assert shop.put_back(*lost) == [BACK]
    assert account(store).check().held == {"ada": 3}


def test_a_ticket_in_another_purchase_is_a_conflict_and_nothing_moves(shop: Shop, store: Store) -> None:
    lost = shop.sell(2, 2, contact='{"name":"A|B"}')
    shop.lose(*lost)
    shop.sell(1)  # a process that did not know of it
    shop.halt()
    held = {key: value for key, value in everything(store).items() if key != K.put_back}
    assert shop.put_back(lost[0]) == [PutBack.TAKEN]
    info = held.pop(K.info)
    after = everything(store)
    assert after.pop(K.put_back) == {f"conflict:{lost[0][0]}": f"taken|{lost[0][1]}|{lost[0][2]}"}
    assert after.pop(K.info) == info | {"version": str(int(info["version"]) + 1)}
    assert after == held
    assert shop.put_back(*lost) == [PutBack.TAKEN, BACK]


@pytest.mark.parametrize("tombstone", [False, True])
def test_an_id_that_stands_for_something_else_is_a_conflict(shop: Shop, store: Store, tombstone: bool) -> None:
    asked = a_request(2)
    lost = shop.sell_these(asked)
    shop.lose(*lost)
    if tombstone:
        shop.sale.sales.void("1", SEED, [asked.purchase_id])
    else:
        shop.sell(1)
        shop.sell_these(asked)  # the same key, other tickets
    shop.halt()
    why = PutBack.VOIDED if tombstone else PutBack.OTHER
    assert shop.put_back(*lost) == [why]
    assert store.one("HGET", K.put_back, f"conflict:{asked.purchase_id}") == f"{why}|{lost[0][1]}|"


def test_two_that_claim_one_ticket_are_not_both_put_back(shop: Shop) -> None:
    [lost] = shop.sell(2)
    shop.lose(lost)
    shop.halt()
    twin = ("1.twin", lost[1].replace("E1-000001", "E1-000003"), "", True)
    assert shop.put_back(lost, twin) == [BACK, PutBack.TAKEN]


def test_a_conflict_that_is_resolved_is_not_listed_any_more(shop: Shop, store: Store) -> None:
    lost = shop.sell(2)
    shop.lose(*lost)
    shop.halt()
    assert store.one("LPOP", K.tickets) == "E1-000001"
    assert shop.backs.put_back("1", SEED, lost) == [PutBack.TAKEN]
    store.one("LPUSH", K.tickets, "E1-000001")
    assert shop.put_back(*lost) == [BACK]
    assert store.one("HLEN", K.put_back) == 0


def test_tickets_that_an_older_lease_holds_come_out_of_it(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    request = a_request(2)
    before = everything(store)
    [outcome] = holder.settle(journalled(request))
    record = store.one("HGET", K.purchases, request.purchase_id)
    assert outcome == "settled"
    for key in (K.purchases, K.receipts, K.leases):
        store.one("DEL", key)
    store.one("HSET", K.leases, *[word for pair in before[K.leases].items() for word in pair])
    store.one("HINCRBY", K.info, "sold", -2)
    holder.leases.halt("1", "a test wants it")
    backs = PutBackStore(store, holder.sale.versions, due_ms=LATER_MS)
    assert backs.put_back("1", SEED, [(request.purchase_id, record, "", True)]) == [BACK]
    held = holder.sound()
    assert (len(held.leased), held.sold.keys()) == (3, {request.purchase_id})


def test_settling_tells_the_records_of_what_it_wrote_and_of_what_was_there(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    one, two, barred = a_request(2), a_request(1), a_request(1)
    holder.sale.sales.void("1", SEED, [barred.purchase_id])
    holder.settle(journalled(one))
    entries = [journalled(request) for request in (one, two, barred)]
    [reply] = holder.leases.settle([holder.settling(*entries)])
    known = store.one("HMGET", K.purchases, one.purchase_id, two.purchase_id)
    assert reply.records == (*known, "")  # type: ignore[union-attr]
    assert [outcome.value for outcome in reply.outcomes] == ["known", "settled", "voided"]  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", [SEED, "seed-2"])
def test_nothing_is_done_where_nothing_is_halted_or_the_sale_is_another(shop: Shop, store: Store, seed: str) -> None:
    lost = shop.sell(2)
    shop.lose(*lost)
    if seed != SEED:
        shop.halt()
    held = everything(store)
    assert shop.backs.put_back("1", seed, lost, REPORT) is Outcome.NO_EVENT
    assert everything(store) == held


@pytest.mark.parametrize("planted", ["tickets", "receipts", "buyers", "contacts", "leases", "put_back", "purchases"])
def test_a_key_of_a_wrong_type_stops_it_and_loses_nothing(shop: Shop, store: Store, planted: str) -> None:
    lost = shop.sell(2)
    shop.lose(*lost)
    shop.halt()
    store.one("DEL", getattr(K, planted))
    store.one("SET", getattr(K, planted), "not what should be here")
    held = everything(store)
    with pytest.raises(ScriptFailed):
        shop.backs.put_back("1", SEED, lost, REPORT)
    assert everything(store) == held


@pytest.mark.parametrize("record", ["", "f|1|", "f|1||b", "f|1"])
def test_a_damaged_record_stops_it_and_loses_nothing(shop: Shop, store: Store, record: str) -> None:
    lost = shop.sell(2)
    shop.lose(*lost)
    shop.halt()
    held = everything(store)
    with pytest.raises(ScriptFailed):
        shop.backs.put_back("1", SEED, [*lost, ("1.damaged", record, "", True)])
    assert everything(store) == held


def test_what_a_process_had_only_repeated_is_marked_as_no_proof_until_the_halt_ends(shop: Shop, store: Store) -> None:
    lost = shop.sell(2, 1)
    shop.lose(*lost)
    shop.halt()
    replayed = (*lost[0][:3], False)
    assert shop.put_back(replayed, lost[1], report=REPORT) == [BACK, BACK]
    asks = [ReportAsk("1", told[0]) for told in lost]
    assert shop.backs.reports_of(ME, asks) == [
        ReportStanding(REPORT, lost[0][1], replayed=True),
        ReportStanding(REPORT, lost[1][1], replayed=False),
    ]
    assert shop.backs.reports_of("another", asks)[0] == ReportStanding(None, lost[0][1], replayed=True)
    shop.backs.put_back("1", SEED, [("1.gone", "f|1|E1-000001|", "", True)])
    [standing] = DecisionStore(store).standings(["1"])
    assert DecisionStore(store).accept_event(standing, 0).verdict is Verdict.ACCEPTED
    assert store.one("HKEYS", K.put_back) == ["lost:1.gone"]


def test_a_decision_on_what_was_seen_before_the_last_report_does_nothing(shop: Shop, store: Store) -> None:
    shop.halt()
    [seen] = DecisionStore(store).standings(["1"])
    assert shop.put_back(report=REPORT) == []
    assert DecisionStore(store).accept_event(seen, 0).verdict is Verdict.MOVED_ON


def test_tickets_deep_in_a_long_pool_are_found_and_what_takes_too_long_comes_later(store: Store) -> None:
    shop = Shop(store, tickets=120_000, search_most=1)
    lost = shop.sell(*[1] * 4)
    shop.lose(*lost)
    for told in lost[1:]:  # its ticket was given back to the end of the pool
        ticket = told[1].split("|")[2]
        store.one("LREM", K.tickets, 1, ticket)
        store.one("RPUSH", K.tickets, ticket)
    shop.halt()
    assert shop.put_back(*lost) == [BACK, BACK, LATER, LATER]
    assert shop.put_back(*lost[2:]) == [BACK, LATER]
    gone = ("1.gone", "f|1|E1-999999|", "", True)
    assert shop.put_back(gone, lost[3]) == [PutBack.TAKEN, LATER]
    assert shop.put_back(lost[3]) == [BACK]


def test_thousands_come_back_in_any_order(store: Store) -> None:
    shop = Shop(store, tickets=30_000)
    lost = [told for _ in range(10) for told in shop.sell(*[1, 2, 3] * 60)]
    before = shop.records()
    shop.lose(*lost)
    shop.halt()
    random.Random(1).shuffle(lost)
    for first in range(0, len(lost), 200):
        assert set(shop.backs.put_back("1", SEED, lost[first : first + 200])) == {BACK}
    assert shop.records() == before
    sound(store)


def test_who_has_something_to_put_back_is_enrolled_and_leaves(shop: Shop) -> None:
    now_ms = shop.backs.enrol(ME)
    assert shop.backs.enrolled() == {ME: now_ms}
    shop.backs.leave()
    shop.backs.leave(ME, "another")
    assert shop.backs.enrolled() == {}
