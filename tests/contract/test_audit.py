"""The audit finds each kind of damage that is planted, and nothing else."""

import threading
from collections.abc import Callable

import pytest

from tests.seeded import SeededEvent, new_purchase_id
from tests.servers import ValkeyServer, wait_until
from ticketing.model import Outcome
from ticketing.sale.audit import AuditReport, Violation, audit
from ticketing.store import keys
from ticketing.store.connection import Store

pytestmark = pytest.mark.on_cluster

K = keys.of_event("1")
FINGERPRINT = "0123456789abcdef"
TICKETS = 10


def record(*tickets: str, buyer: str = "") -> str:
    return f"{FINGERPRINT}|1800000000000|{','.join(tickets)}|{buyer}"


class Crime:
    """An event of ten tickets, three of them sold in two purchases, one purchase voided; sound until it is damaged."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shop = SeededEvent(store, TICKETS)
        self.one, self.two, self.voided = self.shop.sell(1, 2, 1)  # E1-000001, 2 and 3, 4
        self.shop.void(self.voided)

    def give_to_a_purchase(self, *tickets: str) -> object:
        """A further purchase holds these, and the counter says so."""
        self.store.one("HSET", K.purchases, new_purchase_id("1"), record(*tickets))
        return self.store.one("HINCRBY", K.info, "sold", len(tickets))

    def do(self, *command: str | int) -> object:
        return self.store.one(*command)


Damage = Callable[[Crime], object]

# What is planted; the invariant that it breaks; words of the finding. The counters are put right where that is
# possible, so that it is the kind of damage that is found and not only its sum.
DAMAGES: dict[str, tuple[Damage, int, str]] = {
    "a ticket in two purchases": (
        lambda c: (c.give_to_a_purchase("E1-000001"), c.do("LREM", K.tickets, 1, "E1-000009")),
        1,
        "ticket E1-000001 is in purchase",
    ),
    "a ticket in a purchase and the pool": (
        lambda c: (c.do("RPUSH", K.tickets, "E1-000002"), c.do("LREM", K.tickets, 1, "E1-000009")),
        1,
        "and in the pool",
    ),
    "a ticket in a purchase and a lease": (
        lambda c: (c.do("HSET", K.leases, "host-1", "t1|E1-000001"), c.do("LREM", K.tickets, 1, "E1-000009")),
        1,
        "and in the lease of 'host-1'",
    ),
    "a ticket in two leases": (
        lambda c: (
            c.do("HSET", K.leases, "a-0", "t|E1-000009", "a-1", "t|E1-000009"),
            c.do("LREM", K.tickets, 1, "E1-000009"),
            c.do("LREM", K.tickets, 1, "E1-000008"),
        ),
        1,
        "and in the lease of",
    ),
    "a ticket in a lease and the pool": (
        lambda c: (c.do("HSET", K.leases, "a-0", "t|E1-000009"), c.do("LREM", K.tickets, 1, "E1-000008")),
        1,
        "ticket E1-000009 is in the lease of 'a-0' and in the pool",
    ),
    "a ticket twice in the pool": (
        lambda c: (c.do("RPUSH", K.tickets, "E1-000007"), c.do("LREM", K.tickets, 1, "E1-000009")),
        1,
        "ticket E1-000007 is twice in the pool",
    ),
    "a ticket twice in one purchase": (
        lambda c: c.do("HSET", K.purchases, c.two, record("E1-000002", "E1-000002")),
        1,
        "holds one ticket twice",
    ),
    "a ticket of another event in the pool": (
        lambda c: (c.do("RPUSH", K.tickets, "E2-000001"), c.do("LREM", K.tickets, 1, "E1-000009")),
        1,
        "ticket E2-000001 of another event is in the pool",
    ),
    "a ticket of another event in a purchase": (
        lambda c: c.do("HSET", K.purchases, c.one, record("E2-000001")),
        1,
        "ticket E2-000001 of another event is in purchase",
    ),
    "a malformed ticket id": (
        lambda c: (c.do("RPUSH", K.tickets, "E1-7"), c.do("LREM", K.tickets, 1, "E1-000009")),
        2,
        "'E1-7' is in the pool, and is no ticket id",
    ),
    "a number that was never issued": (
        lambda c: (c.do("RPUSH", K.tickets, "E1-000011"), c.do("LREM", K.tickets, 1, "E1-000009")),
        2,
        "ticket E1-000011 is in the pool, and was never issued",
    ),
    "a ticket that is nowhere": (
        lambda c: c.do("LREM", K.tickets, 1, "E1-000009"),
        2,
        "nothing holds E1-000009: neither pool nor lease nor purchase",
    ),
    "tickets that are nowhere, hidden in the counter": (
        lambda c: (c.do("LTRIM", K.tickets, 2, -1), c.do("HINCRBY", K.info, "sold", 2)),
        2,
        "nothing holds E1-000005 to E1-000006",
    ),
    "a counter of sold tickets that is wrong": (
        lambda c: c.do("HINCRBY", K.info, "sold", 1),
        2,
        "`sold` says 4, and the purchases hold 3 tickets",
    ),
    "counters that do not add up": (
        lambda c: c.do("HINCRBY", K.info, "issued", 1),
        2,
        "pool 7 + leased 0 + sold 3 is not what was issued: 11",
    ),
    "a counter that is no number": (
        lambda c: c.do("HSET", K.info, "sold", "many"),
        2,
        "the counter `sold` is no number",
    ),
    "a counter that is missing": (lambda c: c.do("HDEL", K.info, "issued"), 2, "the counter `issued` is no number"),
    "a counter beyond all measure": (
        lambda c: c.do("HSET", K.info, "issued", 10**15),
        2,
        "the counter `issued` is 1000000000000000",
    ),
    "a counter of voided ids that is wrong": (
        lambda c: c.do("HINCRBY", K.info, "voided", 1),
        3,
        "`voided` says 2, and there are 1 tombstones",
    ),
    "a purchase that vanished": (lambda c: c.do("HDEL", K.purchases, c.two), 2, "nothing holds E1-000002 to E1-000003"),
    "a malformed record": (lambda c: c.do("HSET", K.purchases, c.one, "damaged"), 3, "is malformed"),
    "a record without tickets": (lambda c: c.do("HSET", K.purchases, c.one, record()), 3, "is malformed"),
    "a purchase id of another event": (
        lambda c: c.do("HSET", K.purchases, new_purchase_id("2"), record("E1-000009")),
        3,
        "is no purchase id of this event",
    ),
    "a purchase id that is a path": (
        lambda c: c.do("HSET", K.purchases, "1./../../etc/passwd", record("E1-000009")),
        3,
        "is no purchase id of this event",
    ),
    "a voided purchase in the outbox": (
        lambda c: c.do("ZADD", K.receipts, 1, c.voided),
        5,
        "is voided and is in the outbox",
    ),
    "a voided purchase among the failed": (
        lambda c: c.do("HSET", K.failed, c.voided, 1),
        5,
        "is voided and stands among the failed receipts",
    ),
    "a voided purchase with a contact": (
        lambda c: c.do("HSET", K.contacts, c.voided, "{}"),
        5,
        "is voided and still has a contact",
    ),
    "an outbox entry without a purchase": (
        lambda c: c.do("ZADD", K.receipts, 1, new_purchase_id("1")),
        4,
        "is in the outbox and does not exist",
    ),
    "a failed receipt without a purchase": (
        lambda c: c.do("HSET", K.failed, new_purchase_id("1"), 1),
        4,
        "stands among the failed receipts and does not exist",
    ),
    "a contact without a purchase": (
        lambda c: c.do("HSET", K.contacts, new_purchase_id("1"), "{}"),
        4,
        "still has a contact and does not exist",
    ),
    "an event without info": (
        lambda c: c.do("UNLINK", K.info),
        4,
        "the event is listed, and the store knows nothing of it",
    ),
}


@pytest.fixture
def crime(store: Store) -> Crime:
    return Crime(store)


def details(report: AuditReport, invariant: int) -> list[str]:
    return [violation.detail for violation in report.violations if violation.invariant == invariant]


@pytest.mark.parametrize("name", DAMAGES)
def test_every_kind_of_damage_is_found(crime: Crime, name: str) -> None:
    damage, invariant, words = DAMAGES[name]
    assert audit(crime.store).violations == []
    damage(crime)
    report = audit(crime.store)
    assert not report.ok
    assert [detail for detail in details(report, invariant) if words in detail], report.violations


@pytest.mark.parametrize("name", DAMAGES)
def test_no_finding_shows_a_whole_purchase_id(crime: Crime, name: str) -> None:
    DAMAGES[name][0](crime)
    ids = [purchase_id for purchase_id, _ in _pairs(crime.store.one("HGETALL", K.purchases))]
    ids += crime.store.one("ZRANGE", K.receipts, 0, -1)
    told = "\n".join(audit(crime.store).sentences())
    assert [purchase_id for purchase_id in ids if purchase_id in told and "/" not in purchase_id] == []


def test_an_untouched_event_is_clean_and_its_counters_are_told(store: Store) -> None:
    crime = Crime(store)
    report = audit(store)
    assert report.ok
    (event,) = report.events
    assert (event.event_id, event.issued, event.sold, event.remaining, event.pool) == ("1", 10, 3, 7, 7)
    assert (event.leased, event.purchases, event.receipts_pending, event.receipts_failed) == (0, 2, 2, 0)
    assert event.undecided == 0
    assert list(report.sentences()) == ["1 event: every invariant holds"]
    crime.do("HSET", K.leases, "host-0", "token|E1-000005,E1-000006", "host-1", "token|")
    crime.do("LPOP", K.tickets, 2)
    leased = audit(store)
    assert leased.ok
    assert (leased.events[0].leased, leased.events[0].pool) == (2, 5)


def test_a_store_without_events_is_clean(store: Store) -> None:
    assert audit(store) == AuditReport([], [])


def test_only_the_events_asked_for_are_looked_at(store: Store) -> None:
    SeededEvent(store, 5, "a")
    SeededEvent(store, 5, "b")
    store.one("HINCRBY", keys.of_event("b").info, "issued", 1)
    assert audit(store, ["a"]).ok
    assert [violation.event_id for violation in audit(store).violations] == ["b", "b"]
    unknown = audit(store, ["c"])
    assert unknown.violations == [Violation("c", 4, "the event is listed, and the store knows nothing of it")]


def test_a_purchase_needs_a_receipt_or_a_place_in_the_outbox_or_among_the_failed(store: Store) -> None:
    shop = SeededEvent(store, 10)
    stored, due, failed, lost = shop.sell(1, 1, 1, 1)
    store.one("ZREM", K.receipts, stored, failed, lost)
    store.one("HSET", K.failed, failed, 1)
    assert audit(store).ok
    report = audit(store, stored=lambda purchase_id: purchase_id == stored)
    assert [violation.invariant for violation in report.violations] == [6]
    assert report.violations[0].detail == f"purchase {lost[:8]}… has no receipt, and none is due"
    assert report.events[0].receipts_failed == 1
    assert due in store.one("ZRANGE", K.receipts, 0, -1)


def test_a_receipt_that_is_stored_a_moment_later_is_no_violation(store: Store) -> None:
    shop = SeededEvent(store, 10)
    (purchase_id,) = shop.sell(1)
    store.one("ZREM", K.receipts, purchase_id)
    answers = iter([False, True])
    assert audit(store, stored=lambda _: next(answers)).ok


def test_a_buyer_that_is_miscounted_is_found(store: Store) -> None:
    shop = SeededEvent(store, 20, buyer_max=4)
    shop.sell(2, 1, buyer="annaannaann")
    (voided,) = shop.sell(3, buyer="benbenbenbe")
    shop.void(voided)
    shop.sell(1, buyer="claraclarac")
    assert audit(store).ok
    store.read(("HSET", K.buyers, "annaannaann", 2), ("HDEL", K.buyers, "claraclarac"), ("HSET", K.buyers, "nobody", 1))
    report = audit(store)
    assert details(report, 2) == [
        "a buyer (anna…) is counted with 2 tickets and holds 3",
        "a buyer (clar…) is counted with 0 tickets and holds 1",
        "a buyer (nobo…) is counted with 1 tickets and holds 0",
    ]


def test_of_much_alike_only_the_first_is_told_and_the_rest_counted(store: Store) -> None:
    shop = SeededEvent(store, 100)
    for purchase_id in shop.sell(*[1] * 50):
        store.one("HSET", K.purchases, purchase_id, "damaged")
    found = details(audit(store), 3)
    assert len(found) == 21
    assert found[-1] == "30 more: malformed records"


def test_a_hash_that_is_too_big_for_one_chunk_is_read_whole(store: Store) -> None:
    shop = SeededEvent(store, 5_000)
    for _ in range(3):
        shop.sell(*[1] * 1_000)
    assert audit(store).ok
    (lost,) = store.one("LPOP", K.tickets, 1)
    assert f"nothing holds {lost}: neither pool nor lease nor purchase" in details(audit(store), 2)


def test_a_sale_that_goes_on_never_gives_a_false_alarm(valkey_server: ValkeyServer) -> None:
    """Four threads buy and void, the smallest pool is empty most of the time, more tickets come; 20 audits look on."""
    store = valkey_server.store()
    shops = [
        SeededEvent(store, 3_000, "quick"),
        SeededEvent(store, 60, "tiny"),
        SeededEvent(store, 2_000, "limited", buyer_max=100),
    ]
    over = threading.Event()
    failures: list[BaseException] = []
    sold: list[int] = []

    def trade(number: int) -> None:
        own = valkey_server.store()
        mine = [SeededEvent(own, 0, shop.event_id) for shop in shops]
        try:
            while not over.is_set():
                for shop in mine:
                    answered = shop.ask(1, 2, 3, buyer=f"buyer{number:06d}")
                    bought = [i for i, reply in answered if reply.outcome is Outcome.SOLD]
                    sold.append(len(bought))
                    if bought[:-1] or shop.event_id == "tiny":
                        shop.void(*bought[:-1], new_purchase_id(shop.event_id))
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=trade, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        reports = []
        for _ in range(20):
            reports.append(audit(store, stored=lambda _: True))
            shops[0].add(50)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert [violation for report in reports for violation in report.violations] == []
    assert sum(sold) > 100
    final = audit(store)
    assert final.ok
    assert [event.issued for event in final.events] == [2_000, 4_000, 60]
    store.close()


def test_damage_is_found_while_the_sale_goes_on(valkey_server: ValkeyServer) -> None:
    store = valkey_server.store()
    shop = SeededEvent(store, 50_000)
    doubled, lost = store.one("LRANGE", K.tickets, -2, -1)
    store.read(("LREM", K.tickets, -1, lost), ("LINSERT", K.tickets, "BEFORE", doubled, doubled))
    over = threading.Event()

    def trade() -> None:
        own = valkey_server.store()
        mine = SeededEvent(own, 0)
        while not over.is_set():
            mine.ask(1, 2, 1)
        own.close()

    thread = threading.Thread(target=trade)
    thread.start()
    try:
        wait_until(lambda: shop.state().sold > 0, 10)
        report = audit(store)
        sold = shop.state().sold
    finally:
        over.set()
        thread.join()
    assert [violation.detail for violation in report.violations] == [
        f"ticket {doubled} is twice in the pool",
        f"nothing holds {lost}: neither pool nor lease nor purchase",
    ]
    assert report.events[0].sold < sold  # it went on
    store.close()


def _pairs(flat: list[str]) -> list[tuple[str, str]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
