"""Settlement and ring against both backends: from the halt to the decision, as one process goes through it."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_scripts_put_back import Shop, sound
from tests.contract.test_settlement import NOW_MS, Host
from tests.leases import K
from tests.sales import LATER_MS, SEED, Sale, a_request, everything
from ticketing.errors import OutcomeUnknown, StoreError
from ticketing.outage import decision, putting_back
from ticketing.outage.decision import Decision, Refused
from ticketing.outage.lookback import Answered
from ticketing.outage.putting_back import ENROL_EVERY_S, GONE_MS, PuttingBack
from ticketing.outage.ring import TURN_S, Ring
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.decisions import DecisionStore, EventStanding
from ticketing.store.put_back import PutBackStore, Report, Told


class Process(Host):
    """One that remembers what it answers."""

    def __init__(self, store: Store, path: Path, name: str = "me") -> None:
        super().__init__(store, path)
        self.ring, self.fresh, self.name = Ring(1_000), 0, name
        self.answered = self.settlement._answered = Answered(self.ring)
        self.backs = PutBackStore(store, self.sale.versions, due_ms=LATER_MS)
        self.putting_back = self.settlement._putting_back = PuttingBack(self.ring, self.backs, name)
        self.settlement._afresh = self._afresh

    def _afresh(self) -> None:
        self.fresh += 1

    def buys(self, count: int, *, sold_now: bool = True) -> list[Told]:
        requests = [a_request() for _ in range(count)]
        pairs = list(zip(requests, self.sale.buy(*requests), strict=True))
        for request, reply in pairs:
            self.answered.saw("1", SEED, request.purchase_id, reply.detail, sold_now=sold_now)
        return [(request.purchase_id, reply.detail, "", sold_now) for request, reply in pairs]

    def report(self) -> Report:
        [report] = [one for one in self.standing().reports if one.process == self.name]
        return report

    def standing(self) -> EventStanding:
        [standing] = DecisionStore(self.store).standings(["1"])
        return standing

    def resuming(self) -> Decision:
        told = decision.about_resuming("1", DecisionStore(self.store), self.path.parent)
        assert isinstance(told, Decision)
        return told


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store, 1_000)


@pytest.fixture
def process(shop: Shop, store: Store, tmp_path: Path) -> Process:
    made = Process(store, tmp_path / "slot-0.journal")
    made.round()
    return made


def test_from_a_step_back_to_the_sale_going_on(process: Process, shop: Shop, store: Store) -> None:
    kept, lost = process.buys(2), process.buys(3)
    provisional = process.sell(2)
    before = shop.records()
    shop.lose(*lost)
    process.settlement._afresh()
    process.round()
    assert store.one("HGET", K.info, "halted") == "1"
    process.round()
    assert shop.records() == before
    report = process.report()
    assert (report.put_back, report.known, report.conflicts) == (3, 2, 0)
    assert (report.whole, report.evidence) == (True, True)
    held = everything(store)
    process.round()
    assert everything(store) == held
    told = process.resuming()
    assert told.risks == []
    assert told.carry_out().ok
    for _ in range(4):
        process.round()
    assert shop.records().items() >= before.items()
    assert process.written == [provisional.purchase_id]
    assert process.standing().reports == ()
    assert shop.records().keys() == {*before, provisional.purchase_id}
    assert not process.ring.held
    assert {one[0] for one in kept} <= shop.records().keys()
    sound(store)


def test_a_connection_that_led_to_an_older_store_halts_nothing(
    process: Process, shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.buys(1)
    process.round()
    assert process.fresh == 0
    real = process.settlement._leases.glance
    older = [real]

    def older_once(asks: Any) -> Any:
        older.pop()
        monkeypatch.setattr(process.settlement._leases, "glance", real)
        return [glance.__class__(**{**_fields(glance), "version": 0}) for glance in real(asks)]

    monkeypatch.setattr(process.settlement._leases, "glance", older_once)
    process.round()
    assert (older, process.fresh, store.one("HGET", K.info, "halted")) == ([], 1, None)
    process.round()
    assert process.fresh == 1
    assert Sale(store).tags(a_request()) == ["sold"]


def _fields(glance: Any) -> dict[str, Any]:
    return {name: getattr(glance, name) for name in glance.__slots__}


def test_a_loss_that_may_reach_further_back_than_what_is_remembered_waits_for_the_operator(
    process: Process, shop: Shop
) -> None:
    lost = process.buys(3)
    shop.lose(*lost)
    for _ in range(3):
        process.round()
    report = process.report()
    assert (report.put_back, report.whole, report.evidence) == (3, False, False)
    assert "does not remember anything from before" in process.resuming().risks[0].text


def test_what_others_put_back_before_is_no_evidence(process: Process, shop: Shop, store: Store, tmp_path: Path) -> None:
    """Its buyer asked again elsewhere, so two remember it; the first to put it back must not prove it for the other."""
    [lost] = process.buys(1)
    other = Process(store, tmp_path / "slot-1.journal", "other")
    other.answered.saw("1", SEED, lost[0], lost[1], sold_now=False)
    shop.lose(lost)
    for one in (other, other, process, process):
        one.round()
    assert (process.report().whole, process.report().known) == (False, 1)
    assert (other.report().put_back, other.report().whole, other.report().evidence) == (1, True, False)


def test_the_one_that_was_let_go_last_shows_that_nothing_older_is_lost(process: Process, shop: Shop) -> None:
    [kept] = process.buys(1)
    for turn in range(1, 4):
        process.ring.turn(turn * TURN_S)
    lost = process.buys(2)
    shop.lose(*lost)
    for _ in range(2):
        process.round()
    assert process.ring.witness(("1", SEED)) == kept
    assert (process.report().put_back, process.report().known, process.report().whole) == (2, 1, True)


def test_what_is_answered_after_the_report_is_put_back_too(process: Process, shop: Shop) -> None:
    """Its reply was on its way while the halt came."""
    process.buys(1)
    lost, late = process.buys(1), shop.sell(1)
    shop.lose(*late, *lost)
    for _ in range(2):
        process.round()
    process.answered.saw("1", SEED, late[0][0], late[0][1], sold_now=True)
    process.round()
    assert late[0][0] in shop.records()
    assert (process.report().put_back, process.report().known, process.report().evidence) == (2, 1, True)


def test_a_lost_reply_is_followed_by_the_same_again(
    process: Process, shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.buys(1)
    lost = process.buys(2)
    shop.lose(*lost)
    real = process.backs.put_back

    def reply_lost(*told: Any) -> Any:
        real(*told)
        raise OutcomeUnknown("lost")

    monkeypatch.setattr(process.backs, "put_back", reply_lost)
    with pytest.raises(StoreError):
        process.round()
    process.putting_back.interrupted()
    monkeypatch.setattr(process.backs, "put_back", real)
    process.round()
    report = process.report()
    assert (report.known, report.conflicts, report.whole, report.evidence) == (3, 0, True, True)
    sound(store)


def test_a_store_that_goes_back_once_more_in_the_halt_is_given_everything_again(
    process: Process, shop: Shop, store: Store
) -> None:
    process.buys(1)
    lost = process.buys(2)
    shop.lose(*lost)
    for _ in range(2):
        process.round()
    process.putting_back.interrupted()
    shop.lose(*lost)
    store.one("DEL", K.put_back)
    process.round()
    assert {told[0] for told in lost} <= shop.records().keys()
    assert (process.report().put_back, process.report().evidence) == (2, True)


def test_an_outage_that_is_noticed_while_something_is_put_back_has_all_looked_through_again(
    process: Process, shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By who sells, say: the store came back older still before the keeper asked it again."""
    process.buys(1)
    lost = process.buys(3)
    shop.lose(*lost)
    monkeypatch.setattr(putting_back, "AT_ONCE", 2)
    real, calls = process.backs.put_back, []

    def interrupted(*told: Any) -> Any:
        outcomes = real(*told)
        if not calls:
            process.putting_back.interrupted()
            shop.lose(lost[0])
        calls.append(told)
        return outcomes

    monkeypatch.setattr(process.backs, "put_back", interrupted)
    for _ in range(3):
        process.round()
    assert {told[0] for told in lost} <= shop.records().keys()
    assert process.report().put_back == 3
    sound(store)


def test_conflicts_and_processes_that_did_not_report_are_what_an_operator_is_told(
    process: Process, shop: Shop, store: Store
) -> None:
    process.buys(1)
    lost = process.buys(2)
    shop.lose(*lost)
    [other] = shop.sell(1)
    process.backs.enrol("gone:1:abc")
    for _ in range(2):
        process.round()
    risks = " ".join(said.text for said in process.resuming().risks)
    assert "gone:1:abc has not put back yet" in risks
    assert f"{lost[0][0][:8]}… E1-000002: somebody else has a ticket of it by now" in risks
    assert lost[0][0] not in risks
    assert other[0] in shop.records()
    told = process.resuming()
    assert told.carry_out().ok
    assert (process.standing().conflicts, process.standing().lost) == ((), 1)


def test_a_key_of_a_wrong_type_stops_putting_back_and_not_the_round(
    process: Process, shop: Shop, store: Store, log: list[Any]
) -> None:
    lost = process.buys(2)
    shop.lose(*lost)
    store.one("SET", K.put_back, "not what should be here")
    for _ in range(3):
        process.round()
    assert [record["level"].name for record in log if "put back" in record["message"]] == ["ERROR"]


def test_an_event_that_is_gone_is_accepted_and_not_resumed(process: Process, store: Store) -> None:
    store.one("DEL", K.info, K.tickets, K.purchases, K.leases)
    process.round()
    told = decision.about_resuming("1", DecisionStore(store), process.path.parent)
    assert isinstance(told, Refused)
    assert told.why.verb == "accept event 1"


def test_what_was_settled_is_remembered_with_its_tickets(process: Process, shop: Shop, store: Store) -> None:
    sold = process.sell(2)
    process.round()
    [told] = process.ring.told(("1", SEED))
    assert told == (sold.purchase_id, shop.records()[sold.purchase_id], "", True)


def test_a_process_is_enrolled_while_it_remembers_and_forgets_those_that_ended_long_ago(
    process: Process, store: Store
) -> None:
    def turn(now_s: float) -> set[str]:
        process.putting_back.turn(now_s)
        return set(process.backs.enrolled())

    assert turn(0.0) == set()
    process.buys(1)
    assert turn(1.0) == set()
    store.one("HSET", keys.PROCESSES, "ended", 1)
    assert turn(ENROL_EVERY_S) == {"me", "ended"}
    last_s = GONE_MS / 1000
    now_s = ENROL_EVERY_S
    while now_s < last_s:
        now_s += ENROL_EVERY_S
        process.buys(1)
        assert turn(now_s) == {"me", "ended"}
    assert turn(now_s + ENROL_EVERY_S) == {"me"}
    for turns in range(3):
        left = turn(now_s + (turns + 2) * TURN_S)
    assert left == set()


def test_nothing_is_settled_or_leased_while_it_is_put_back(process: Process, shop: Shop, store: Store) -> None:
    process.buys(1)
    shop.lose(*process.buys(2))
    process.sell(1)
    leases = store.one("HGETALL", K.leases)
    for _ in range(3):
        process.settlement.round(process.sale.events.read(["1"]), NOW_MS)
    assert store.one("HGETALL", K.leases) == leases
    assert process.written == []


def test_what_an_operator_gave_up_is_not_put_back_in_the_next_halt(process: Process, shop: Shop, store: Store) -> None:
    """Its key may have bought anew: of that one must not come back what was given up."""
    process.buys(1)
    [lost] = process.buys(1)
    shop.lose(lost)
    shop.sell(1)  # somebody else has its ticket
    process.round()
    assert process.resuming().carry_out().ok
    process.round()
    assert lost not in process.ring.told(("1", SEED))
    assert process.ring.count(("1", SEED)) == 1
