"""An operator's decisions on both backends: what the scripts do to the ticket, and how every process goes on after."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_settlement import NOW_MS, SIZE, Host, sound
from tests.leases import HOST, K, Leasing, journalled
from tests.sales import LATER_MS, SEED, Sale, a_request, account, an_event, everything
from ticketing.errors import ScriptFailed, StoreError
from ticketing.outage import decision, heirs, outlook, slots
from ticketing.outage.decision import Decision, Refused
from ticketing.outage.heirs import HeirParts
from ticketing.outage.journal import Journal
from ticketing.store.connection import Store
from ticketing.store.decisions import VERSION_RISE, DecisionReply, DecisionStore, EventStanding, Lease, Verdict
from ticketing.store.leases import LeaseReply, LeaseStore, Settled, decided_at

pytestmark = pytest.mark.on_cluster

FAR = f"{'f' * 32}-0"


def standing_of(store: Store, event_id: str = "1") -> EventStanding:
    [standing] = DecisionStore(store).standings([event_id])
    return standing


def accept(store: Store, highest_seen: int = 0) -> DecisionReply:
    return DecisionStore(store).accept_event(standing_of(store), highest_seen)


def accept_lease(store: Store, holder: str, highest_seen: int = 0) -> DecisionReply:
    standing = standing_of(store)
    [lease] = [lease for lease in standing.leases if lease.holder == holder]
    return DecisionStore(store).accept_lease(standing, lease, highest_seen)


def halted(store: Store, holder: Leasing) -> int:
    return holder.leases.halt("1", "a test wants it")


# --- accept.lua


def test_an_accepted_event_goes_on_with_every_lease_empty_and_no_token_that_anybody_expects(store: Store) -> None:
    one, two = Leasing(store), Leasing(store, 0, holder=FAR)
    one.lease(5)
    two.lease(7)
    one.sale.buy(a_request(3))
    epoch, version = int(one.sound().info["epoch"]), halted(store, one)
    assert accept(store) == DecisionReply(Verdict.ACCEPTED, tickets=12, leases=2)
    after = one.sound()
    assert (len(after.pool), after.leased, int(after.info["epoch"])) == (97, [], epoch + 1)
    assert int(after.info["version"]) == int(after.info["accepted"]) == version + VERSION_RISE
    assert not {"halted", "halted_why"} & after.info.keys()
    leases = standing_of(store).leases
    assert [(lease.holder, lease.tickets) for lease in leases] == [(one.holder, 0), (two.holder, 0)]
    assert {decided_at(lease.token) for lease in leases} == {version + VERSION_RISE}
    assert one.sale.tags(a_request()) == ["sold"]


def test_a_decision_that_comes_twice_acts_once_and_not_at_all_where_nothing_is_halted(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    held = everything(store)
    assert accept(store).verdict is Verdict.NOT_HALTED
    assert everything(store) == held
    halted(store, holder)
    seen = standing_of(store)
    assert DecisionStore(store).accept_event(seen, 0).verdict is Verdict.ACCEPTED
    held = everything(store)
    assert DecisionStore(store).accept_event(seen, 0).verdict is Verdict.NOT_HALTED
    assert everything(store) == held


def test_a_late_decision_does_not_end_the_next_halt(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    halted(store, holder)
    late = standing_of(store)
    accept(store)
    halted(store, holder)
    held = everything(store)
    assert DecisionStore(store).accept_event(late, 0).verdict is Verdict.MOVED_ON
    assert everything(store) == held


def test_another_seed_than_the_operator_saw_is_left_alone(store: Store) -> None:
    holder = Leasing(store)
    halted(store, holder)
    seen = standing_of(store)
    store.one("HSET", K.info, "seed", "seed-2")
    assert DecisionStore(store).accept_event(seen, 0).verdict is Verdict.MOVED_ON
    assert store.one("HGET", K.info, "halted") == "1"


def test_the_version_rises_above_what_a_journal_says_and_stays_exact_after_many_decisions(store: Store) -> None:
    holder = Leasing(store)
    halted(store, holder)
    seen = 1_000 * VERSION_RISE + 7
    accept(store, seen)
    assert holder.version() == seen + VERSION_RISE
    assert holder.sale.tags(a_request()) == ["sold"]
    assert holder.version() == holder.sale.versions.seen("1", SEED) == seen + VERSION_RISE + 1


@pytest.mark.parametrize("planted", ["tickets", "info", "purchases", "leases"])
def test_a_key_of_a_wrong_type_stops_the_decision_and_loses_nothing(store: Store, planted: str) -> None:
    holder = Leasing(store)
    holder.lease(5)
    halted(store, holder)
    seen = standing_of(store)
    store.one("DEL", getattr(K, planted))
    store.one("SET", getattr(K, planted), "not what should be here")
    held = everything(store)
    with pytest.raises(ScriptFailed):
        DecisionStore(store).accept_event(seen, 0)
    assert everything(store) == held


@pytest.mark.parametrize("damage", [(K.leases, FAR, "no bar"), (K.info, "epoch", "none")])
def test_a_damaged_record_stops_the_decision_and_loses_nothing(store: Store, damage: tuple[str, ...]) -> None:
    holder = Leasing(store)
    holder.lease(5)
    halted(store, holder)
    store.one("HSET", *damage)
    held = everything(store)
    with pytest.raises(ScriptFailed):
        accept(store)
    assert everything(store) == held


def test_thousands_of_leased_tickets_come_back_in_one_call(store: Store) -> None:
    holders = [Leasing(store, 3_000), *(Leasing(store, 0, holder=f"{HOST}-{number}") for number in (1, 2))]
    for holder in holders:
        holder.lease(900)
    halted(store, holders[0])
    assert accept(store) == DecisionReply(Verdict.ACCEPTED, tickets=2_700, leases=3)
    assert len(holders[0].sound().pool) == 3_000


def test_what_was_sent_before_the_decision_finds_another_token(store: Store) -> None:
    holder = Leasing(store)
    holder.lease(5)
    late = [holder.change(9), holder.change(0)]
    late_settle = holder.settling(journalled(a_request(2)))
    halted(store, holder)
    accept(store)
    token = store.one("HGET", K.leases, holder.holder).rstrip("|")
    held = everything(store)
    for change in (*late, late_settle):
        assert holder.send(change) == LeaseReply(True, token, 0)
    assert everything(store) == held


# --- an event that the store does not know


def test_an_event_that_is_gone_is_accepted_by_taking_the_mark_away_and_can_be_made_anew(store: Store) -> None:
    holder = Leasing(store, 0)
    holder.leases.halt("1", "it is gone")
    store.one("SADD", "events", "1")
    assert holder.sale.events.read(["1"]) == []
    assert accept(store, 40) == DecisionReply(Verdict.ACCEPTED)
    assert holder.sale.events.read(["1"]) == []
    assert holder.sale.tags(a_request()) == ["no_event"]
    holder.sale.open(10, seed="seed-2")
    assert holder.version() > VERSION_RISE + 40
    assert int(store.one("HGET", K.info, "accepted")) == VERSION_RISE + 40
    assert holder.sale.tags(a_request(), seed="seed-2") == ["sold"]
    holder.sound()


@pytest.mark.parametrize(
    "left",
    [("RPUSH", K.tickets, "E1-000001"), ("HSET", K.purchases, "1.a", "-1"), ("HSET", K.leases, FAR, "t|E1-000001")],
)
def test_an_event_that_lost_its_description_and_still_holds_something_is_not_accepted(
    store: Store, left: tuple[str, ...], tmp_path: Path
) -> None:
    Leasing(store, 0).leases.halt("1", "it is gone")
    store.one(*left)
    held = everything(store)
    assert accept(store).verdict is Verdict.REMAINS
    told = decision.about_event("1", DecisionStore(store), tmp_path)
    assert isinstance(told, Refused)
    assert "Put a copy of the store back" in told.why.text
    assert everything(store) == held


def test_what_was_decided_is_known_also_after_a_replacement(store: Store) -> None:
    holder = Leasing(store)
    halted(store, holder)
    accept(store)
    decided = store.one("HGET", K.info, "accepted")
    holder.sale.events.replace(an_event(), old_seed=SEED, new_seed="seed-2", planned=5)
    assert store.one("HGET", K.info, "accepted") == decided


# --- accept_lease.lua


def test_the_tickets_of_a_lost_holder_are_in_the_pool_and_its_late_commands_do_nothing(store: Store) -> None:
    here, lost = Leasing(store), Leasing(store, 0, holder=FAR)
    here.lease(5)
    lost.lease(7)
    late, version = lost.change(9), here.version()
    assert accept_lease(store, FAR) == DecisionReply(Verdict.ACCEPTED, tickets=7)
    after = here.sound()
    assert (len(after.pool), len(after.leased), here.version()) == (95, 5, version + 1)
    assert store.one("HGET", K.leases, FAR).startswith(f"accepted-{version + 1}-")
    assert lost.send(late) == LeaseReply(True, standing_of(store).leases[1].token, 0)
    assert len(here.sound().pool) == 95


def test_a_lease_that_changed_since_the_operator_looked_is_left_alone(store: Store) -> None:
    lost = Leasing(store, holder=FAR)
    lost.lease(7)
    seen = standing_of(store)
    lost.lease(8)
    held = everything(store)
    assert DecisionStore(store).accept_lease(seen, seen.leases[0], 0).verdict is Verdict.MOVED_ON
    assert everything(store) == held


@pytest.mark.parametrize(
    ("fields", "seen", "verdict"),
    [
        ({"halted": "1"}, 0, Verdict.HALTED),
        ({}, 1_000, Verdict.WENT_BACK),
        ({"seed": "seed-2"}, 0, Verdict.NO_EVENT),
    ],
)
def test_a_lease_of_an_event_that_is_not_as_it_was_is_left_alone(
    store: Store, fields: dict[str, str], seen: int, verdict: Verdict
) -> None:
    Leasing(store, holder=FAR).lease(7)
    looked = standing_of(store)
    for field, value in fields.items():
        store.one("HSET", K.info, field, value)
    held = everything(store)
    assert DecisionStore(store).accept_lease(looked, looked.leases[0], seen).verdict is verdict
    assert everything(store) == held


@pytest.mark.parametrize("planted", ["tickets", "info", "leases"])
def test_a_key_of_a_wrong_type_stops_the_decision_about_a_lease(store: Store, planted: str) -> None:
    Leasing(store, holder=FAR).lease(7)
    looked = standing_of(store)
    store.one("DEL", getattr(K, planted))
    store.one("SET", getattr(K, planted), "not what should be here")
    held = everything(store)
    with pytest.raises(ScriptFailed):
        DecisionStore(store).accept_lease(looked, looked.leases[0], 0)
    assert everything(store) == held


# --- how the processes go on


@pytest.fixture
def host(store: Store, tmp_path: Path) -> Host:
    Sale(store).open(1_000)
    made = Host(store, tmp_path / "slot-0.journal")
    made.round()
    assert made.sellable == 10
    return made


def lease_of(store: Store, host: Host) -> Lease:
    [lease] = [lease for lease in standing_of(store).leases if lease.holder == host.holder.name]
    return lease


def test_a_process_that_halted_goes_on_settles_what_it_promised_and_leases_anew(host: Host, store: Store) -> None:
    bought, sold = a_request(1), host.sell(2)
    [reply] = host.sale.buy(bought)
    host.answered.saw("1", SEED, bought.purchase_id, reply.detail, sold_now=True)
    store.one("HSET", K.leases, host.holder.name, "older|" + lease_tickets(store, host))
    host.round()
    host.round()
    assert (store.one("HGET", K.info, "halted"), host.written, host.sellable) == ("1", [], 0)
    assert accept(store).tickets == 10
    for _ in range(4):
        host.round()
    assert (host.written, host.sellable, host.holder.tally().parked) == ([sold.purchase_id], 10, 0)
    assert store.one("HGET", K.info, "halted") is None
    sound(store)


def lease_tickets(store: Store, host: Host) -> str:
    return store.one("HGET", K.leases, host.holder.name).partition("|")[2]


def test_what_the_pool_does_not_cover_after_the_decision_is_parked_as_unfunded(host: Host, store: Store) -> None:
    first, second = host.sell(2), host.sell(5)
    host.settlement._leases.halt("1", "a test wants it")
    host.round()
    accept(store)
    pool = len(account(store).pool)
    while pool > 3:  # others were quicker
        host.sale.buy(a_request(min(10, pool - 3)))
        pool = len(account(store).pool)
    for _ in range(3):
        host.round()
    assert (host.written, host.outcomes) == ([first.purchase_id], [Settled.SETTLED, Settled.UNFUNDED])
    assert host.holder.reserve("1", SEED).parked == {second.purchase_id: Settled.UNFUNDED}
    assert store.one("HGET", K.info, "halted") is None
    sound(store)


@pytest.mark.parametrize("lost", [False, True])
def test_a_process_that_saw_neither_halt_nor_decision_goes_on_and_does_not_halt_again(
    host: Host, store: Store, lost: bool
) -> None:
    """Cut off meanwhile; with `lost` the store that was accepted did not know its lease, nor what it had answered."""
    bought, sold = a_request(1), host.sell(2)
    [reply] = host.sale.buy(bought)
    host.answered.saw("1", SEED, bought.purchase_id, reply.detail, sold_now=True)
    elsewhere = Leasing(store, 0, holder=FAR)
    if lost:
        store.one("FLUSHALL")
        elsewhere.sale.open(1_000)
    halted(store, elsewhere)
    accept(store)
    also = host.sell(3)
    for _ in range(4):
        host.round()
    assert (host.written, host.sellable) == ([sold.purchase_id, also.purchase_id], 10)
    assert store.one("HGET", K.info, "halted") is None
    sound(store)


def test_a_process_that_takes_the_journal_after_the_decision_goes_on_too(host: Host, store: Store) -> None:
    sold = host.sell(2)
    host.settlement._leases.halt("1", "a test wants it")
    accept(store)
    heir = host.die()
    for _ in range(4):
        heir.round()
    assert (heir.written, heir.sellable) == ([sold.purchase_id], 10)
    again = heir.die()
    again.round()
    assert (again.holder.reserve("1", SEED).decided, store.one("HGET", K.info, "halted")) == (
        heir.sale.versions.seen("1", SEED),
        None,
    )
    sound(store)


def test_a_decision_between_the_look_and_the_change_halts_nothing(host: Host, store: Store) -> None:
    sold = host.sell(2)
    reserve = host.holder.reserve("1", SEED)
    host.settlement._look(host.settlement._due())
    assert reserve.next_settle() is not None
    host.settlement._leases.halt("1", "a test wants it")
    accept(store)
    host.settlement._send([reserve])
    assert (store.one("HGET", K.info, "halted"), host.sellable) == (None, 0)
    for _ in range(4):
        host.round()
    assert (host.written, host.sellable) == ([sold.purchase_id], 10)
    sound(store)


def test_a_first_lease_that_comes_after_the_decision_is_no_surprise(store: Store, tmp_path: Path) -> None:
    """The store knew no lease of this holder, so the command that it expects none with still runs."""
    Sale(store).open(1_000)
    host = Host(store, tmp_path / "slot-0.journal")
    host.holder.learn(host.sale.events.read(["1"]))
    reserve = host.holder.reserve("1", SEED)
    late = reserve.next_lease(host.settlement._look(host.settlement._due())["1", SEED], SIZE, NOW_MS)
    assert late is not None
    assert host.holder.journal_changes([reserve]) == [reserve]
    host.settlement._leases.halt("1", "a test wants it")
    accept(store)
    assert host.settlement._leases.lease([late]) == [LeaseReply(False, late.token, 10)]
    for _ in range(3):
        host.round()
    assert (store.one("HGET", K.info, "halted"), host.sellable) == (None, 10)
    sound(store)


def test_a_halted_process_goes_on_by_its_own_look_whatever_states_it_is_told(host: Host, store: Store) -> None:
    sold = host.sell(2)
    host.settlement._leases.halt("1", "a test wants it")
    host.settlement.round([], NOW_MS)
    accept(store)
    for _ in range(2):
        host.settlement.round([], NOW_MS)
    assert host.written == [sold.purchase_id]


def test_while_the_store_is_halted_a_process_says_so_once_and_asks_for_nothing(
    host: Host, store: Store, log: list[Any]
) -> None:
    host.sell(2)
    host.settlement._leases.halt("1", "another process found it")
    host.round()
    held = everything(store)
    for _ in range(3):
        host.round()
    assert everything(store) == held
    assert [record["level"].name for record in log] == ["CRITICAL"]


def test_a_halt_that_loses_its_mark_is_judged_anew_and_halted_once_more(host: Host, store: Store) -> None:
    """The store went back a second time, to before the mark: nobody has decided anything."""
    store.one("HSET", K.leases, host.holder.name, "older|" + lease_tickets(store, host))
    host.round()
    store.one("HDEL", K.info, "halted", "halted_why")
    host.settlement.round([], NOW_MS)
    assert (store.one("HGET", K.info, "halted"), host.sellable) == ("1", 0)


def test_a_purchase_that_is_missing_is_still_missing_when_the_mark_is_lost(host: Host, store: Store) -> None:
    bought = a_request(1)
    [reply] = host.sale.buy(bought)
    host.answered.saw("1", SEED, bought.purchase_id, reply.detail, sold_now=True)
    store.one("HDEL", K.purchases, bought.purchase_id)
    host.round()
    store.one("HDEL", K.info, "halted", "halted_why")
    host.settlement.round([], NOW_MS)
    assert store.one("HGET", K.info, "halted") == "1"


def test_a_store_that_was_put_right_goes_on_without_a_decision(host: Host, store: Store) -> None:
    sold, right = host.sell(2), store.one("HGET", K.leases, host.holder.name)
    store.one("HSET", K.leases, host.holder.name, "older|" + right.partition("|")[2])
    host.round()
    assert store.one("HGET", K.info, "halted") == "1"
    store.read(("HDEL", K.info, "halted", "halted_why"), ("HSET", K.leases, host.holder.name, right))
    for _ in range(3):
        host.settlement.round([], NOW_MS)
    assert (store.one("HGET", K.info, "halted"), host.written) == (None, [sold.purchase_id])
    sound(store)


def test_a_halt_that_comes_after_the_decision_does_nothing(host: Host, store: Store) -> None:
    leases = host.settlement._leases
    version = leases.halt("1", "a test wants it", 0)
    assert version == leases.halt("1", "again", 0)
    accept(store)
    held = everything(store)
    assert leases.halt("1", "it comes late", 0) is None
    assert everything(store) == held
    host.settlement._halt(host.holder.reserve("1", SEED), "looked before the decision")
    assert (everything(store), host.holder.reserve("1", SEED).halted_at) == (held, None)
    assert leases.halt("1", "one who knows the decision", int(store.one("HGET", K.info, "accepted"))) is not None
    assert store.one("HGET", K.info, "halted") == "1"


def test_a_store_that_goes_back_to_a_decision_that_was_met_already_is_halted(host: Host, store: Store) -> None:
    host.settlement._leases.halt("1", "a test wants it")
    accept(store)
    then = lease_of(store, host).token
    for _ in range(4):
        host.round()
    store.one("HSET", K.leases, host.holder.name, f"{then}|{lease_tickets(store, host)}")
    host.round()
    assert store.one("HGET", K.info, "halted") == "1"


@pytest.mark.parametrize("restarted", [False, True])
def test_what_is_left_of_a_sale_that_is_gone_is_parked_and_does_not_halt_the_new_one(
    host: Host, store: Store, restarted: bool
) -> None:
    sold = host.sell(2)
    store.one("FLUSHALL")
    if not restarted:
        host.round()
    else:
        host.settlement._leases.halt("1", "another process found it")
    accept(store)
    Sale(store).open(1_000, seed="seed-2")
    host = host.die() if restarted else host
    for _ in range(4):
        host.round()
    assert store.one("HGET", K.info, "halted") is None
    assert host.holder.reserve("1", SEED).open.keys() == {sold.purchase_id}
    assert host.holder.reserve("1", "seed-2").sellable == 10
    assert host.die().holder.reserve("1", SEED).open.keys() == {sold.purchase_id}
    sound(store)


def test_a_sale_that_is_gone_and_owes_nothing_is_forgotten(host: Host, store: Store) -> None:
    store.one("FLUSHALL")
    host.settlement._leases.halt("1", "another process found it")
    accept(store)
    Sale(store).open(100, seed="seed-2")
    for _ in range(3):
        host.round()
    assert list(host.holder.events) == [("1", "seed-2")]
    assert store.one("HGET", K.info, "halted") is None


def test_a_lost_holder_that_comes_back_settles_from_the_pool(host: Host, store: Store) -> None:
    sold = host.sell(2)
    accept_lease(store, host.holder.name)
    also = host.sell(1)
    for _ in range(4):
        host.round()
    assert (host.written, host.sellable) == ([sold.purchase_id, also.purchase_id], 10)
    assert store.one("HGET", K.info, "halted") is None
    sound(store)


# --- settling and deciding from the command line


class Left:
    """A host whose one process was killed, and an operator's commands there."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.decisions = DecisionStore(store)
        slot = slots.take_lowest(folder)
        self.path = slot.journal_path
        process = Host(store, self.path)
        process.holder.name = slot.holder
        self.process, self.slot = process, slot

    def killed(self) -> None:
        self.process.writer.stop()
        self.slot.release()

    def settle(self) -> list[heirs.Inheritance]:
        sale = Sale(self.store)
        leases = LeaseStore(self.store, sale.versions, due_ms=LATER_MS)
        parts = HeirParts(
            leases,
            sale.sales,
            sale.versions,
            states=lambda: sale.events.read(sale.events.ids()),
            on_settled=lambda *_: None,
            on_voided=lambda _: None,
            offload=lambda work: work(),
            open_journal=Journal,
        )
        return heirs.settle_all(self.folder, parts)

    def look(self) -> outlook.Outlook:
        return outlook.look(self.folder, self.decisions)

    def verbs(self) -> list[str]:
        return [said.verb for said in self.look().wrong()]


@pytest.fixture
def left(store: Store, tmp_path: Path) -> Left:
    Sale(store).open(1_000)
    made = Left(store, tmp_path / "journal")
    made.process.round()
    return made


def test_settling_gives_the_leases_of_a_killed_process_back_and_says_what_it_did(left: Left, store: Store) -> None:
    sold, asked = left.process.sell(2), a_request(1)
    left.process.holder.void_later("1", SEED, asked.purchase_id)
    assert left.settle() == []  # a living process holds it
    left.killed()
    assert left.verbs() == ["settle"]
    [done] = left.settle()
    assert (dict(done.outcomes), done.handed_back, done.voids_left) == ({("1", Settled.SETTLED): 1}, 8, 0)
    assert (done.is_settled, done.emptied, left.verbs()) == (True, True, [])
    held = account(store).check()
    assert (list(held.sold), held.leased, held.tombstones) == ([sold.purchase_id], [], {asked.purchase_id})
    sound(store)


def test_an_idle_journal_only_leads_to_settle_and_a_lease_without_one_to_accept(left: Left) -> None:
    left.killed()
    assert left.verbs() == ["settle"]
    left.path.unlink()
    assert left.verbs() == [f"accept lease {left.slot.holder}"]
    assert left.look().where(left.slot.holder) == outlook.NO_PROCESS
    told = decision.about_lease(left.slot.holder, None, left.decisions, left.folder)
    assert isinstance(told, Decision)
    assert told.carry_out().ok
    assert left.verbs() == []


def test_what_waits_for_a_decision_is_kept_by_settle_and_settled_after_it(left: Left, store: Store) -> None:
    sold = left.process.sell(2)
    left.process.settlement._leases.halt("1", "a test wants it")
    left.killed()
    [done] = left.settle()
    assert [(one.why, one.purchases) for one in done.parked] == [(heirs.EVENT_HALTED, 1)]
    assert (done.halted, done.is_settled, done.is_parked_for_good) == (["1"], False, False)
    told = decision.about_event("1", left.decisions, left.folder)
    assert isinstance(told, Decision)
    assert "1 unsettled purchase" in " ".join(said.text for said in told.would)
    held = everything(store)
    told = decision.about_event("1", left.decisions, left.folder)
    assert everything(store) == held
    assert isinstance(told, Decision)
    assert told.carry_out().ok
    [done] = left.settle()
    assert done.is_settled
    assert list(account(store).check().sold) == [sold.purchase_id]
    sound(store)


def test_what_the_store_voided_stays_parked_until_the_journal_is_given_up(left: Left, store: Store) -> None:
    gone = left.process.sell(2)
    left.process.sale.sales.void("1", SEED, [gone.purchase_id])
    refused = decision.about_journal("slot-0", left.folder, left.decisions)
    assert isinstance(refused, Refused)
    assert "a living process holds slot-0" in refused.why.text
    left.killed()
    [done] = left.settle()
    assert [(one.why, one.purchases) for one in done.parked] == [(Settled.VOIDED, 1)]
    told = decision.about_journal("slot-0", left.folder, left.decisions)
    assert isinstance(told, Decision)
    assert told.would[0].text == "slot-0 holds 1 unsettled purchase (2 tickets)."
    before = left.path.read_bytes()
    done_ = told.carry_out()
    assert done_.ok
    [kept] = left.folder.glob("slot-0.journal.accepted-*")
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (before, 0o600)
    [again] = left.settle()
    assert (again.is_settled, left.verbs()) == (True, [])
    assert isinstance(decision.about_journal("slot-0", left.folder, left.decisions), Refused)


def test_a_damaged_journal_is_left_alone_until_it_is_given_up_and_its_leases_come_back_then(
    left: Left, store: Store
) -> None:
    left.process.sell(2)
    left.process.sell(1)
    left.killed()
    data = left.path.read_bytes()
    left.path.write_bytes(data[:60] + b"#" + data[61:])
    assert left.verbs() == ["accept journal slot-0"]
    [done] = left.settle()
    assert (bool(done.damage), done.is_settled) == (True, False)
    assert left.path.read_bytes()[60:61] == b"#"
    refused = decision.about_lease(left.slot.holder, None, left.decisions, left.folder)
    assert isinstance(refused, Refused)
    assert refused.why.verb == "accept journal slot-0"
    for asked in (left.decisions, None):
        told = decision.about_journal("slot-0", left.folder, asked)
        assert isinstance(told, Decision)
        assert "2 unsettled purchases (3 tickets)" in told.would[0].text
        assert "damaged" in told.would[0].text
    assert told.carry_out().ok
    [done] = left.settle()
    assert (done.is_settled, done.handed_back, account(store).check().leased) == (True, 0, [])
    sound(store)


def test_a_lease_is_refused_as_lost_while_its_process_lives_or_its_journal_is_unsettled(left: Left) -> None:
    left.process.sell(2)
    alive = decision.about_lease(left.slot.holder, None, left.decisions, left.folder)
    left.killed()
    unsettled = decision.about_lease(left.slot.holder, "1", left.decisions, left.folder)
    nothing = decision.about_lease(FAR, None, left.decisions, left.folder)
    assert isinstance(alive, Refused)
    assert isinstance(unsettled, Refused)
    assert isinstance(nothing, Refused)
    assert "is a living process of this host" in alive.why.text
    assert unsettled.why.verb == "settle"
    assert "holds no tickets" in nothing.why.text


def test_a_lease_of_another_host_is_a_note_and_of_a_halted_event_refused(left: Left, store: Store) -> None:
    far = Leasing(store, 0, holder=FAR)
    far.lease(3)
    assert [said.verb for said in left.look().notes()] == ["release-host HOST"]
    halted(store, far)
    refused = decision.about_lease(FAR, None, left.decisions, left.folder)
    assert isinstance(refused, Refused)
    assert refused.why.verb == "accept event 1"


def test_a_second_decision_says_that_it_was_decided(left: Left, store: Store) -> None:
    left.process.settlement._leases.halt("1", "a test wants it")
    first = decision.about_event("1", left.decisions, left.folder)
    second = decision.about_event("1", left.decisions, left.folder)
    assert isinstance(first, Decision)
    assert isinstance(second, Decision)
    assert first.carry_out().ok
    held = everything(store)
    assert "somebody decided already" in second.carry_out().said[0].text
    assert everything(store) == held
    assert isinstance(decision.about_event("1", left.decisions, left.folder), Refused)
    assert isinstance(decision.about_event("2", left.decisions, left.folder), Refused)


def test_the_version_of_this_hosts_journals_is_what_the_decision_goes_above(left: Left, store: Store) -> None:
    left.process.sell(1)
    seen = left.process.sale.versions.seen("1", SEED)
    store.one("HSET", K.info, "version", 1)
    left.process.settlement._leases.halt("1", "a test wants it")
    told = decision.about_event("1", left.decisions, left.folder)
    assert isinstance(told, Decision)
    told.carry_out()
    assert int(store.one("HGET", K.info, "version")) == seen + VERSION_RISE


def test_nothing_that_is_shown_holds_a_purchase_id(left: Left, store: Store) -> None:
    sold = left.process.sell(2)
    left.process.holder.void_later("1", SEED, a_request(1).purchase_id)
    left.killed()
    shown = repr(left.look().wrong()) + repr(left.look().notes()) + repr(left.settle()[0].parked)
    assert sold.purchase_id not in shown


def test_a_store_that_is_away_is_said_and_the_disk_is_shown(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    left.process.sell(2)
    left.killed()

    def away(*_: object) -> list[object]:
        raise StoreError("nobody answers")

    monkeypatch.setattr(DecisionStore, "event_ids", away)
    found = left.look()
    assert found.standings is None
    assert [row.purchases for _, rows in found.journals for row in rows] == [1]
    assert "nobody answers" in found.wrong()[0].text
