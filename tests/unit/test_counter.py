"""Counter: what a buyer is told of each reply of the store, with and without a key."""

from dataclasses import dataclass, field

import pytest
from gevent import GreenletExit

from tests.keepers import FakeKeeper
from tests.sales import an_event
from ticketing.errors import (
    BadBuyer,
    BadQuantity,
    BuyerLimit,
    KeyReused,
    NotEnoughTickets,
    NotOnSale,
    PurchaseUnavailable,
    SoldOut,
    StoreRefused,
    Unavailable,
    UnknownEvent,
)
from ticketing.model import NOBODY, Buyer, EventState, Outcome, PoolLevel, PurchaseRequest, SaleReply
from ticketing.outage.lookback import Answered
from ticketing.sale import give_backs
from ticketing.sale.counter import Counter
from ticketing.sale.identity import Identity, fingerprint
from ticketing.sale.sold_out import SoldOutMemory
from ticketing.sale.till import Till

KEY = "a key of sixteen characters"
IDENTITY = Identity("an id secret of tests, long enough")
EVER_ALLOWED = 4
LEVEL = PoolLevel(epoch=1, left=0, leased=0, quantity_max=4, buyer_max=6, opens_ms=None)
RECORD = "0123456789abcdef|1700000000000|E1-000001,E1-000002|"


def a_state(event_id: str = "1", seed: str = "s") -> EventState:
    return EventState(
        an_event(event_id), seed, 1, 1, issued=10, planned=10, sold=0, pool=10, leased=0, paused=False, halted=False,
        receipts_pending=0, receipts_failed=0, purchases=0, oldest_pending_ms=None, as_of_ms=0,
    )  # fmt: skip


@dataclass
class FakeDesk:
    """Answers with the replies that it was given, in order, the last one for ever."""

    replies: list[SaleReply]
    asked: list[tuple[str, PurchaseRequest]] = field(default_factory=list)
    too_late_s: float = 0.0

    def ask(self, seed: str, request: PurchaseRequest) -> SaleReply:
        self.asked.append((seed, request))
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@dataclass
class FakeCatalogue:
    """Knows one event, and another state of it once it is read anew."""

    known: EventState | None = field(default_factory=a_state)
    anew: EventState | None = None
    reads: int = 0
    down: bool = False

    def find(self, event_id: str) -> EventState | None:
        if self.down:
            raise StoreRefused("away")
        return self.known

    def find_since(self, event_id: str, moment_s: float) -> EventState | None:
        self.reads += 1
        if self.down:
            raise StoreRefused("away")
        return self.anew


class Scene:
    """A counter with its till, and fakes behind them."""

    def __init__(self, *replies: SaleReply, memory_ms: int = 0) -> None:
        self.desk, self.catalogue, self.keeper = FakeDesk(list(replies)), FakeCatalogue(), FakeKeeper()
        self.answered = Answered()
        till = Till(self.desk, self.keeper, self.answered)
        self.counter = Counter(IDENTITY, self.catalogue, till, self.keeper, SoldOutMemory(memory_ms))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for leases here: test_give_backs.py does."""
    monkeypatch.setattr(give_backs, "PATIENCE_S", 0.0)


def refusal(outcome: Outcome, detail: str = "", **level: object) -> SaleReply:
    return SaleReply(outcome, detail, LEVEL._replace(**level))


def test_a_sold_purchase_is_answered_as_the_store_recorded_it() -> None:
    scene = Scene(SaleReply(Outcome.SOLD, RECORD, LEVEL))
    bought = scene.counter.buy("1", 2)
    [(seed, request)] = scene.desk.asked
    assert (seed, request.quantity, request.keyed, request.contact, request.buyer_tag) == ("s", 2, False, "", "")
    assert request.fingerprint == fingerprint(2, NOBODY)
    assert IDENTITY.is_genuine(request.purchase_id)
    assert (bought.purchase_id, bought.ticket_ids) == (request.purchase_id, ("E1-000001", "E1-000002"))
    assert (bought.replayed, bought.sold_at_ms) == (False, 1_700_000_000_000)


def test_a_replayed_purchase_says_so_and_its_id_is_that_of_the_key() -> None:
    scene = Scene(SaleReply(Outcome.REPLAYED, RECORD, LEVEL))
    bought = scene.counter.buy("1", 2, key=KEY)
    assert bought.replayed
    assert bought.purchase_id == IDENTITY.purchase_id_of_key("1", KEY)


def test_what_a_buyer_says_goes_to_the_store_as_tag_contact_and_fingerprint() -> None:
    scene = Scene(SaleReply(Outcome.SOLD, RECORD, LEVEL))
    buyer = Buyer("ann", "Zoë", "zoe@example.org")
    scene.counter.buy("1", 2, buyer)
    [(_, request)] = scene.desk.asked
    assert request.contact == '{"name":"Zoë","email":"zoe@example.org"}'
    assert request.buyer_tag == IDENTITY.buyer_tag("1", "ann")
    assert request.fingerprint == fingerprint(2, buyer)


TOLD = {
    Outcome.SOLD_OUT: (refusal(Outcome.SOLD_OUT), SoldOut, {"requested": 2, "remaining": 0}),
    Outcome.KEY_REUSED: (refusal(Outcome.KEY_REUSED), KeyReused, {}),
    Outcome.VOIDED: (refusal(Outcome.VOIDED), KeyReused, {}),
    Outcome.NOT_ON_SALE: (refusal(Outcome.NOT_ON_SALE, "paused"), NotOnSale, {"state": "paused", "opens_at_ms": None}),
    Outcome.BAD_QUANTITY: (refusal(Outcome.BAD_QUANTITY, str(EVER_ALLOWED)), BadQuantity, {"limit": 4}),
    Outcome.BUYER_LIMIT: (refusal(Outcome.BUYER_LIMIT, "5"), BuyerLimit, {"limit": 6, "held": 5}),
    Outcome.BUYER_REQUIRED: (refusal(Outcome.BUYER_REQUIRED), BadBuyer, {}),
    Outcome.EXPIRED: (refusal(Outcome.EXPIRED), PurchaseUnavailable, {"keyed": True}),
    Outcome.WENT_BACK: (SaleReply(Outcome.WENT_BACK), PurchaseUnavailable, {"keyed": True}),
    Outcome.HALTED: (SaleReply(Outcome.HALTED), PurchaseUnavailable, {"keyed": True}),
    Outcome.SCRIPT_FAILED: (SaleReply(Outcome.SCRIPT_FAILED, "WRONGTYPE"), PurchaseUnavailable, {"keyed": True}),
    Outcome.REFUSED: (SaleReply(Outcome.REFUSED, "away"), PurchaseUnavailable, {"keyed": True}),
    Outcome.UNKNOWN: (SaleReply(Outcome.UNKNOWN, "broken"), PurchaseUnavailable, {"keyed": True}),
    Outcome.NODE_AWAY: (SaleReply(Outcome.NODE_AWAY, "away"), PurchaseUnavailable, {"keyed": True}),
    Outcome.NODE_FAILED: (SaleReply(Outcome.NODE_FAILED, "broken"), PurchaseUnavailable, {"keyed": True}),
}


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("outcome", TOLD)
def test_each_reply_is_told_as_what_it_means(outcome: Outcome, key: str | None) -> None:
    reply, told, members = TOLD[outcome]
    scene = Scene(reply)
    with pytest.raises(told) as caught:
        scene.counter.buy("1", 2, key=key)
    assert type(caught.value) is told
    expected = {name: key is not None if name == "keyed" else value for name, value in members.items()}
    assert {name: getattr(caught.value, name) for name in members} == expected


def test_every_outcome_is_told_somehow() -> None:
    not_of_the_store = {Outcome.PROVISIONAL}  # the reserve says it
    assert set(Outcome) - not_of_the_store == {*TOLD, Outcome.SOLD, Outcome.REPLAYED, Outcome.NO_EVENT}


def test_something_left_but_too_little_is_not_the_same_as_sold_out() -> None:
    scene = Scene(refusal(Outcome.SOLD_OUT, left=1))
    with pytest.raises(NotEnoughTickets) as caught:
        scene.counter.buy("1", 2)
    assert (caught.value.requested, caught.value.remaining) == (2, 1)


def test_only_an_upcoming_sale_says_when_it_opens() -> None:
    for state, opens in (("upcoming", 123), ("paused", None), ("closed", None)):
        with pytest.raises(NotOnSale) as caught:
            Scene(refusal(Outcome.NOT_ON_SALE, state, opens_ms=123)).counter.buy("1", 1)
        assert (caught.value.state, caught.value.opens_at_ms) == (state, opens)


DOUBTFUL = [Outcome.SOLD_OUT, Outcome.NOT_ON_SALE, Outcome.BAD_QUANTITY, Outcome.BUYER_LIMIT]


@pytest.mark.parametrize("outcome", DOUBTFUL)
def test_a_key_is_not_refused_while_tickets_are_leased(outcome: Outcome) -> None:
    """Another process may have this very purchase in its journal."""
    detail = TOLD[outcome][0].detail
    with pytest.raises(Unavailable, match="leased"):
        Scene(refusal(outcome, detail, leased=1)).counter.buy("1", 2, key=KEY)
    with pytest.raises(TOLD[outcome][1]):
        Scene(refusal(outcome, detail, leased=1)).counter.buy("1", 2)


def test_more_than_was_ever_allowed_is_refused_whatever_is_leased() -> None:
    """No process can have sold it."""
    with pytest.raises(BadQuantity):
        Scene(refusal(Outcome.BAD_QUANTITY, str(EVER_ALLOWED), leased=1)).counter.buy("1", EVER_ALLOWED + 1, key=KEY)


@pytest.mark.parametrize("outcome", [Outcome.KEY_REUSED, Outcome.VOIDED, Outcome.BUYER_REQUIRED])
def test_what_no_journal_could_change_is_told_to_a_key_whatever_is_leased(outcome: Outcome) -> None:
    with pytest.raises(TOLD[outcome][1]):
        Scene(refusal(outcome, leased=1)).counter.buy("1", 2, key=KEY)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.SCRIPT_FAILED, Outcome.NODE_FAILED])
def test_an_unknown_outcome_without_a_key_is_voided_and_with_one_it_is_not(outcome: Outcome) -> None:
    scene = Scene(SaleReply(outcome))
    with pytest.raises(Unavailable):
        scene.counter.buy("1", 2)
    [(_, request)] = scene.desk.asked
    assert scene.keeper.voided == [("1", "s", request.purchase_id)]
    with pytest.raises(Unavailable):
        scene.counter.buy("1", 2, key=KEY)
    assert len(scene.keeper.voided) == 1


@pytest.mark.parametrize("outcome", sorted(set(TOLD) - {Outcome.UNKNOWN, Outcome.SCRIPT_FAILED, Outcome.NODE_FAILED}))
def test_what_certainly_sold_nothing_is_not_voided(outcome: Outcome) -> None:
    scene = Scene(TOLD[outcome][0])
    with pytest.raises(TOLD[outcome][1]):
        scene.counter.buy("1", 2)
    assert scene.keeper.voided == []


def test_an_expired_purchase_is_asked_for_once_more_with_the_same_id() -> None:
    scene = Scene(refusal(Outcome.EXPIRED), SaleReply(Outcome.SOLD, RECORD, LEVEL))
    bought = scene.counter.buy("1", 2)
    assert [request.purchase_id for _, request in scene.desk.asked] == [bought.purchase_id] * 2


def test_a_purchase_that_expires_twice_is_unavailable_and_not_asked_for_again() -> None:
    scene = Scene(refusal(Outcome.EXPIRED))
    with pytest.raises(Unavailable, match="too slow twice"):
        scene.counter.buy("1", 2)
    assert len(scene.desk.asked) == 2
    assert scene.keeper.voided == []


def test_a_purchase_that_expires_and_is_then_unknown_is_voided() -> None:
    scene = Scene(refusal(Outcome.EXPIRED), SaleReply(Outcome.UNKNOWN))
    with pytest.raises(Unavailable):
        scene.counter.buy("1", 2)
    assert len(scene.keeper.voided) == 1


def test_an_event_that_was_replaced_is_asked_once_more_under_its_new_seed() -> None:
    scene = Scene(SaleReply(Outcome.NO_EVENT), SaleReply(Outcome.SOLD, RECORD, LEVEL))
    scene.catalogue.anew = a_state(seed="t")
    bought = scene.counter.buy("1", 2)
    assert [(seed, request.purchase_id) for seed, request in scene.desk.asked] == [
        ("s", bought.purchase_id),
        ("t", bought.purchase_id),
    ]
    assert scene.catalogue.reads == 1


def test_an_unknown_outcome_under_the_new_seed_is_voided_under_the_new_seed() -> None:
    scene = Scene(SaleReply(Outcome.NO_EVENT), SaleReply(Outcome.UNKNOWN))
    scene.catalogue.anew = a_state(seed="t")
    with pytest.raises(Unavailable):
        scene.counter.buy("1", 2)
    assert [(event_id, seed) for event_id, seed, _ in scene.keeper.voided] == [("1", "t")]


def test_an_event_that_is_gone_is_unknown_only_where_this_host_never_saw_it() -> None:
    scene = Scene(SaleReply(Outcome.NO_EVENT))
    with pytest.raises(UnknownEvent):
        scene.counter.buy("1", 2)
    assert len(scene.desk.asked) == 1
    scene.keeper.known = ("s", 4)
    with pytest.raises(Unavailable, match="any more"):
        scene.counter.buy("1", 2)
    assert scene.keeper.looks == 1


def test_an_event_that_is_replaced_again_and_again_is_unavailable_and_not_asked_for_ever() -> None:
    scene = Scene(SaleReply(Outcome.NO_EVENT))
    scene.catalogue.anew = a_state(seed="t")
    with pytest.raises(Unavailable):
        scene.counter.buy("1", 2)
    assert (len(scene.desk.asked), scene.keeper.voided) == (2, [])


def test_a_seed_that_can_not_be_read_is_unavailable_and_leaves_nothing_to_void() -> None:
    scene = Scene(SaleReply(Outcome.NO_EVENT))
    scene.catalogue.find_since = lambda *_: (_ for _ in ()).throw(StoreRefused("away"))  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="away"):
        scene.counter.buy("1", 2)
    assert scene.keeper.voided == []


def test_an_event_that_nobody_knows_is_unknown_and_the_store_is_not_asked() -> None:
    scene = Scene(SaleReply(Outcome.SOLD, RECORD, LEVEL))
    scene.catalogue.known = None
    with pytest.raises(UnknownEvent):
        scene.counter.buy("1", 2)
    assert scene.desk.asked == []


def test_a_store_that_was_never_reached_is_unavailable() -> None:
    scene = Scene(SaleReply(Outcome.SOLD, RECORD, LEVEL))
    scene.catalogue.down = True
    with pytest.raises(Unavailable):
        scene.counter.buy("1", 2)


def test_a_purchase_that_might_need_a_void_is_not_sent_where_no_more_can_be_kept() -> None:
    scene = Scene(SaleReply(Outcome.SOLD, RECORD, LEVEL))
    scene.keeper.is_full = True
    with pytest.raises(Unavailable, match="unknown outcome"):
        scene.counter.buy("1", 2)
    assert scene.desk.asked == []
    assert scene.counter.buy("1", 2, key=KEY).quantity == 2  # a key can ask again


def test_the_crowd_after_the_last_ticket_is_answered_without_the_store_and_a_key_never_is() -> None:
    scene = Scene(refusal(Outcome.SOLD_OUT, left=1), refusal(Outcome.SOLD_OUT, left=1), memory_ms=60_000)
    with pytest.raises(NotEnoughTickets):
        scene.counter.buy("1", 2)
    for _ in range(3):
        with pytest.raises(NotEnoughTickets) as caught:
            scene.counter.buy("1", 3)
        assert (caught.value.requested, caught.value.remaining) == (3, 1)
    assert len(scene.desk.asked) == 1
    with pytest.raises(NotEnoughTickets):
        scene.counter.buy("1", 2, key=KEY)
    assert len(scene.desk.asked) == 2


def test_the_limit_of_an_event_is_told_without_the_store() -> None:
    scene = Scene(SaleReply(Outcome.UNKNOWN))
    assert scene.counter.quantity_max("1") == 10
    assert scene.desk.asked == []


@pytest.mark.parametrize("before", [[], [refusal(Outcome.EXPIRED)], [SaleReply(Outcome.NO_EVENT)]], ids=len)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_caller_that_is_killed_in_any_try_leaves_a_void_unless_a_key_can_ask(
    before: list[SaleReply], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(*before, SaleReply(Outcome.UNKNOWN))
    scene.catalogue.anew = a_state()
    answer = scene.desk.ask

    def killed_in_the_last_try(seed: str, request: PurchaseRequest) -> SaleReply:
        if len(scene.desk.asked) == len(before):
            raise GreenletExit
        return answer(seed, request)

    monkeypatch.setattr(scene.desk, "ask", killed_in_the_last_try)
    with pytest.raises(GreenletExit):
        scene.counter.buy("1", 2, key=key)
    assert len(scene.keeper.voided) == (1 if key is None else 0)


PROVISIONAL = SaleReply(Outcome.PROVISIONAL, "1700000000000")


@pytest.mark.parametrize("failure", [Outcome.REFUSED, Outcome.UNKNOWN])
@pytest.mark.parametrize("key", [None, KEY])
def test_where_the_store_fails_the_reserve_sells_under_the_same_id(failure: Outcome, key: str | None) -> None:
    scene = Scene(SaleReply(failure))
    scene.keeper.reserve = PROVISIONAL
    bought = scene.counter.buy("1", 2, key=key)
    [(_, request)] = scene.desk.asked
    [asked] = scene.keeper.asked
    assert asked == ("s", request, failure is Outcome.UNKNOWN)
    assert (bought.purchase_id, bought.quantity, bought.ticket_ids) == (request.purchase_id, 2, ())
    assert (bought.status, bought.sold_at_ms, bought.replayed) == ("provisional", 1_700_000_000_000, False)
    assert scene.keeper.voided == []


def test_in_an_outage_the_store_is_not_asked_and_nothing_is_in_doubt() -> None:
    scene = Scene(SaleReply(Outcome.SOLD, RECORD, LEVEL))
    scene.keeper.breaker.is_open = True
    with pytest.raises(PurchaseUnavailable, match="reserve is empty"):
        scene.counter.buy("1", 2)
    scene.keeper.reserve = PROVISIONAL
    assert scene.counter.buy("1", 2).status == "provisional"
    assert (scene.desk.asked, scene.keeper.voided) == ([], [])
    assert [in_doubt for _, _, in_doubt in scene.keeper.asked] == [False, False]


def test_a_purchase_in_the_own_journal_is_replayed() -> None:
    scene = Scene(SaleReply(Outcome.REFUSED))
    scene.keeper.reserve = PROVISIONAL._replace(replayed=True)
    assert scene.counter.buy("1", 2, key=KEY).replayed


def test_a_key_that_the_journal_holds_with_other_content_is_reused_unless_the_store_may_have_sold_it() -> None:
    scene = Scene(SaleReply(Outcome.UNKNOWN))
    scene.keeper.reserve = SaleReply(Outcome.KEY_REUSED, "1700000000000", replayed=True)
    with pytest.raises(PurchaseUnavailable):
        scene.counter.buy("1", 2, key=KEY)
    scene.keeper.breaker.is_open = True
    with pytest.raises(KeyReused):
        scene.counter.buy("1", 2, key=KEY)


def test_before_the_store_was_ever_reached_the_journal_says_what_can_be_sold() -> None:
    scene = Scene(SaleReply(Outcome.REFUSED))
    scene.catalogue.down = True
    scene.keeper.known, scene.keeper.reserve = ("s", 4), PROVISIONAL
    assert scene.counter.quantity_max("1") == 4
    assert scene.counter.buy("1", 2).status == "provisional"


def test_what_the_store_answered_is_remembered_to_be_looked_up_again() -> None:
    scene = Scene(SaleReply(Outcome.SOLD, RECORD, LEVEL))
    bought = scene.counter.buy("1", 2)
    assert scene.answered.newest("1", "s") == (bought.purchase_id, RECORD)
