"""A state machine that does to a sale whatever can happen to it, in any sequence, and compares it with a plain model.

Calls are answered, or their reply is lost, or they arrive many steps later; processes restart, scripts are forgotten,
events are replaced. After each step the store is read with plain commands: invariants 1, 2 and 3 of sale.md hold, what
was answered stays (4), and every purchase has its receipt or is on the way to it (6). In the end every late call is
delivered, what was told 503 without a key is voided, and then it holds nothing (5).

EXPLORE=5000 pytest tests/machine looks for new sequences; without it, the same ones run each time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import NoScriptError

from tests.machine.model import TRIES, EventModel, Wish
from tests.machine.parts import Faulty, Line, a_wish, request_of, steady
from tests.sales import RECEIPT_TRIES, Sale, account, an_event
from ticketing.errors import OutcomeUnknown
from ticketing.model import SaleReply
from ticketing.sale.audit import audit
from ticketing.store.connection import Command, Store
from ticketing.store.events import EventConflict, create
from ticketing.store.sale import EventBatch

STEADY = steady(100)
assert TRIES == RECEIPT_TRIES

EVENTS = ("1", "gala")
BUYERS = ("", "annannannan", "bobbobbobbo")
Asked = tuple[str, int, int, str]  # new, of a key, or a key with other content; which key; quantity; buyer
event_ids = st.sampled_from(EVENTS)
clerks = st.integers(0, 1)
quantities = st.sampled_from([1, 1, 1, 2, 3, 4, 5])
wishes = st.lists(
    st.tuples(
        st.sampled_from(["new", "new", "key", "key", "other"]), st.integers(0, 5), quantities, st.sampled_from(BUYERS)
    ),
    min_size=1,
    max_size=4,
)


@dataclass
class Late:
    """A purchase call that is still on its way."""

    event_id: str
    seed: str
    wishes: list[Wish]
    commands: list[Command]
    expires: bool


@dataclass
class Promises:
    """What buyers were told."""

    sold: dict[str, list[str]] = field(default_factory=dict)
    in_doubt: set[str] = field(default_factory=set)  # 503 without a key


class SaleMachine(RuleBasedStateMachine):
    """Both the store and the model, step by step."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.store.one("FLUSHALL")
        self.models: dict[str, EventModel] = {}
        self.seeds: dict[str, list[str]] = {event_id: [] for event_id in EVENTS}
        self.late: list[Late] = []
        self.promises = Promises()
        self.asked_before: list[tuple[str, list[Wish]]] = []
        self.new_ids = 0
        self.lines = [Line(store) for _ in range(2)]
        self.clerks = [Sale(line) for line in self.lines]
        self.hasty = [Sale(line, timeout_ms=-1000) for line in self.lines]  # whatever they send comes too late

    # --- events

    @initialize(tickets=st.sampled_from([30, 12, 5]), buyer_max=st.sampled_from([0, 5]))
    def open_one(self, tickets: int, buyer_max: int) -> None:
        self.create("1", tickets, buyer_max)
        self.add(0, "1", tickets, 0)

    @initialize(tickets=st.sampled_from([12, 30, 0]))
    def open_the_other(self, tickets: int) -> None:
        if tickets:
            self.create("gala", tickets, 0)
            self.add(1, "gala", tickets, 0)

    @rule(event_id=event_ids, planned=st.integers(0, 6), buyer_max=st.sampled_from([0, 0, 3]))
    def create(self, event_id: str, planned: int, buyer_max: int) -> None:
        seed = f"{event_id}-seed-{len(self.seeds[event_id])}"
        event = an_event(event_id, quantity_max=4, buyer_max=buyer_max)
        seeding = create(self.store, event, seed=seed, planned=planned)
        if event_id in self.models:
            known = self.models[event_id]
            assert (seeding.seed, seeding.issued, seeding.created) == (known.seed, known.issued, False)
            return
        assert seeding.created
        self.models[event_id] = EventModel(event_id, seed, planned, buyer_max=buyer_max)
        self.seeds[event_id].append(seed)

    @rule(clerk=clerks, event_id=event_ids, more=st.integers(3, 9), behind=st.sampled_from([0, 0, 0, 1, 3]))
    def add(self, clerk: int, event_id: str, more: int, behind: int) -> None:
        """`behind` is by how much the caller's count is too low, as when an answer was lost."""
        model = self.models.get(event_id)
        if model is None:
            return
        expected = max(0, model.issued - behind)
        model.add(model.seed, expected, more)
        assert self.clerks[clerk].events.add_chunk(event_id, model.seed, expected, more) == model.issued

    @precondition(lambda self: self.models)
    @rule(clerk=clerks, event_id=event_ids, more=st.integers(1, 3))
    def add_with_a_lost_answer(self, clerk: int, event_id: str, more: int) -> None:
        model = self.models.get(event_id)
        if model is None:
            return
        expected = model.issued
        with self.fault(clerk, "lost"), pytest.raises(OutcomeUnknown):
            self.clerks[clerk].events.add_chunk(event_id, model.seed, expected, more)
        if self.lines[clerk].ran:
            model.add(model.seed, expected, more)
        model.add(model.seed, expected, more)  # asked again
        assert self.clerks[clerk].events.add_chunk(event_id, model.seed, expected, more) == model.issued

    @rule(clerk=clerks, event_id=event_ids, paused=st.sampled_from([False, False, True]))
    def pause(self, clerk: int, event_id: str, paused: bool) -> None:
        if model := self.models.get(event_id):
            model.pause(model.seed, paused)
            self.clerks[clerk].events.set_paused(event_id, model.seed, paused)

    @rule(
        clerk=clerks,
        event_id=event_ids,
        quantity_max=st.sampled_from([2, 4, 4]),
        closed=st.sampled_from([False, False, True]),
    )
    def describe(self, clerk: int, event_id: str, quantity_max: int, closed: bool) -> None:
        if model := self.models.get(event_id):
            event = an_event(
                event_id, quantity_max=quantity_max, buyer_max=model.buyer_max, closes_ms=1 if closed else None
            )
            assert self.clerks[clerk].events.describe(event, model.seed) is model.describe(
                quantity_max=quantity_max, closed=closed
            )

    @rule(clerk=clerks, event_id=event_ids, planned=st.integers(0, 3), old=st.sampled_from([False, False, True]))
    def replace(self, clerk: int, event_id: str, planned: int, old: bool) -> None:
        model = self.models.get(event_id)
        if model is None:
            return
        old_seed = self.seeds[event_id][0] if old else model.seed
        new_seed = f"{event_id}-seed-{len(self.seeds[event_id])}"
        event = an_event(event_id, quantity_max=4, buyer_max=model.buyer_max)
        after = model.replaced(old_seed, new_seed, planned)
        replace = self.clerks[clerk].events.replace
        if isinstance(after, str):
            with pytest.raises(EventConflict):
                replace(event, old_seed=old_seed, new_seed=new_seed, planned=planned)
            return
        replace(event, old_seed=old_seed, new_seed=new_seed, planned=planned)
        self.models[event_id] = after
        self.seeds[event_id].append(new_seed)

    # --- purchases

    @rule(clerk=clerks, event_id=event_ids, asked=wishes)
    def buy(self, clerk: int, event_id: str, asked: list[Asked]) -> None:
        self.buy_and_compare(clerk, event_id, self.seed(event_id), self.wishes(event_id, asked))

    @rule(clerk=clerks, event_id=event_ids, asked=wishes)
    def buy_more(self, clerk: int, event_id: str, asked: list[Asked]) -> None:
        """The same: what a shop is for should happen more often than the rest."""
        self.buy(clerk, event_id, asked)

    @rule(clerk=clerks, event_id=event_ids, asked=wishes)
    def buy_too_late(self, clerk: int, event_id: str, asked: list[Asked]) -> None:
        """The server takes the call up only after its deadline."""
        self.buy_and_compare(clerk, event_id, self.seed(event_id), self.wishes(event_id, asked), expires=True)

    @rule(clerk=clerks, event_id=event_ids, asked=wishes)
    def buy_under_an_old_seed(self, clerk: int, event_id: str, asked: list[Asked]) -> None:
        """As a process does that has not heard of a replacement."""
        self.buy_and_compare(clerk, event_id, self.seed(event_id, age=1), self.wishes(event_id, asked))

    @precondition(lambda self: self.asked_before)
    @rule(clerk=clerks, first=st.integers(0, 100), count=st.integers(1, 3))
    def ask_again(self, clerk: int, first: int, count: int) -> None:
        """The same purchases as at some time before, whatever became of them."""
        event_id, known = self.asked_before[first % len(self.asked_before)]
        # Who was told 503 and has no key can't ask again.
        again = [wish for wish in known if wish.purchase_id not in self.promises.in_doubt][:count]
        if again:
            self.buy_and_compare(clerk, event_id, self.seed(event_id), again * (1 + first % 2))

    @rule(clerk=clerks, event_id=event_ids, asked=wishes)
    def buy_with_a_lost_reply(self, clerk: int, event_id: str, asked: list[Asked]) -> None:
        seed, wanted = self.seed(event_id), self.wishes(event_id, asked)
        with self.fault(clerk, "lost"):
            replies = self.send(clerk, event_id, seed, wanted)
        assert {reply.outcome for reply in replies} == {"unknown"}
        if self.lines[clerk].ran:
            self.purchase(event_id, seed, wanted, too_late=False)
        self.doubt(asked, wanted)

    @rule(clerk=clerks, event_id=event_ids, asked=wishes, expires=st.sampled_from([False, False, True]))
    def buy_with_a_late_call(self, clerk: int, event_id: str, asked: list[Asked], expires: bool) -> None:
        seed, wanted = self.seed(event_id), self.wishes(event_id, asked)
        with self.fault(clerk, "late"):
            replies = self.send(clerk, event_id, seed, wanted, expires=expires)
        assert {reply.outcome for reply in replies} == {"unknown"}
        self.late.append(Late(event_id, seed, wanted, self.lines[clerk].kept.pop(), expires))
        self.doubt(asked, wanted)

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 20))
    def deliver(self, which: int) -> None:
        """A late call reaches the store, after whatever has happened since."""
        call = self.late.pop(which % len(self.late))
        [reply] = self.store.exchange(call.commands)
        if isinstance(reply, NoScriptError):  # the server has forgotten the script, and nobody waits to send it whole
            return
        told = self.purchase(call.event_id, call.seed, call.wishes, too_late=call.expires)
        assert reply[0] == "no_event" if told[0] == "no_event" else reply[-2] == told

    @precondition(lambda self: self.promises.in_doubt)
    @rule(clerk=clerks, count=st.integers(1, 5), lost=st.booleans(), barred=st.booleans())
    def void(self, clerk: int, count: int, lost: bool, barred: bool) -> None:
        """What was told 503 without a key is made to hold nothing; the call may have to be repeated."""
        by_event: dict[str, list[str]] = {}
        for purchase_id in sorted(self.promises.in_doubt)[:count]:
            by_event.setdefault(purchase_id.partition(".")[0], []).append(purchase_id)
        for event_id, ids in by_event.items():
            if barred:
                ids.append(self.new_id(event_id))
            self.void_of(clerk, event_id, ids, lost=lost)

    # --- receipts

    @rule(
        clerk=clerks,
        event_id=event_ids,
        first=st.integers(0, 5),
        count=st.integers(1, 4),
        times=st.sampled_from([1, 1, 1, TRIES + 1]),
    )
    def begin(self, clerk: int, event_id: str, first: int, count: int, times: int) -> None:
        """More than once: as when each worker that draws them is killed."""
        ids = self.some_ids(event_id, first, count)
        for _ in range(times if ids else 0):
            model = self.models[event_id]
            due = self.clerks[clerk].outbox.begin(event_id, ids)
            assert [one.purchase.purchase_id for one in due] == model.begin(ids)
            for one in due:
                bought = model.sold[one.purchase.purchase_id]
                assert (list(one.purchase.ticket_ids), one.contact.name) == (bought.tickets, bought.contact)

    @rule(clerk=clerks, event_id=event_ids, first=st.integers(0, 5), count=st.integers(1, 4))
    def finish(self, clerk: int, event_id: str, first: int, count: int) -> None:
        ids = self.some_ids(event_id, first, count)
        if ids and (model := self.models.get(event_id)):
            assert self.clerks[clerk].outbox.finish(event_id, ids) == model.finish(ids)

    @rule(clerk=clerks)
    def sweep(self, clerk: int) -> None:
        for event_id in self.models:
            self.clerks[clerk].due_now(event_id)
        assert self.swept(clerk) == {name: model.outbox for name, model in self.models.items() if model.outbox}
        assert self.swept(clerk) == {}  # what was swept is not swept again at once

    @rule(clerk=clerks, event_id=event_ids, first=st.integers(0, 5))
    def request(self, clerk: int, event_id: str, first: int) -> None:
        if (model := self.models.get(event_id)) is not None:
            ids = sorted(model.stored) or self.some_ids(event_id, first, 1)
            assert self.clerks[clerk].outbox.request(event_id, ids[0], 1000) == model.request(ids[0])

    @rule(clerk=clerks, event_id=event_ids)
    def retry(self, clerk: int, event_id: str) -> None:
        if model := self.models.get(event_id):
            assert self.clerks[clerk].outbox.retry_failed(event_id, 1000) == model.retry()

    # --- the world

    @rule(clerk=clerks)
    def restart(self, clerk: int) -> None:
        """A fresh process knows no version and no time."""
        self.clerks[clerk], self.hasty[clerk] = Sale(self.lines[clerk]), Sale(self.lines[clerk], timeout_ms=-1000)

    @rule()
    def forget_scripts(self) -> None:
        self.store.one("SCRIPT", "FLUSH")

    # --- what must hold

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        for event_id, model in self.models.items():
            held = account(self.store, event_id).check()
            assert held.pool == model.pool
            assert held.sold == {name: bought.tickets for name, bought in model.sold.items()}
            assert held.tombstones == model.tombstones
            assert (held.outbox, held.failed) == (model.outbox.keys(), model.failed)
            assert held.tries == {name for name, tries in model.outbox.items() if tries or name in model.asked_again}
            assert held.contacts == {name for name, bought in model.sold.items() if bought.contact}
            assert held.info["seed"] == model.seed
            assert (int(held.info["version"]), int(held.info["epoch"])) == (model.version, model.epoch)

    @invariant()
    def what_was_answered_stays_and_has_its_receipt_or_will(self) -> None:
        for purchase_id, tickets in self.promises.sold.items():
            model = self.models[purchase_id.partition(".")[0]]
            assert model.sold[purchase_id].tickets == tickets
            assert purchase_id in model.outbox.keys() | model.failed | model.stored

    def teardown(self) -> None:
        """Every late call arrives, every void is done, half of them before and half after."""
        doubtful = sorted(self.promises.in_doubt)
        for purchase_id in doubtful[::2]:
            self.void_of(0, purchase_id.partition(".")[0], [purchase_id], lost=False)
        while self.late:
            self.deliver(0)
        for purchase_id in doubtful[1::2]:
            self.void_of(1, purchase_id.partition(".")[0], [purchase_id], lost=False)
        self.the_store_holds_what_the_model_holds()
        for purchase_id in doubtful:
            model = self.models.get(purchase_id.partition(".")[0])
            assert model is None or purchase_id not in model.sold
        report = audit(self.store)
        assert report.ok, report.violations

    # --- words of the above

    def swept(self, clerk: int) -> dict[str, dict[str, int]]:
        """What a sweep hands out: tries by purchase id, by event."""
        handed = self.clerks[clerk].outbox.sweep(list(EVENTS), 1000)
        return {event_id: {one.purchase_id: one.tries for one in overdue} for event_id, overdue in handed}

    def seed(self, event_id: str, age: int = 0) -> str:
        """The newest seed, or an older one."""
        known = self.seeds[event_id]
        return known[max(0, len(known) - 1 - age)] if known else "never-made"

    def new_id(self, event_id: str) -> str:
        self.new_ids += 1
        return f"{event_id}.new{self.new_ids:025d}"

    def wishes(self, event_id: str, asked: list[Asked]) -> list[Wish]:
        """New purchases, those of a key with its own content, and those of a key with other content."""
        made = []
        for kind, number, quantity, buyer in asked:
            if kind == "new":
                made.append(a_wish(self.new_id(event_id), quantity, buyer))
            else:
                key_id = f"{event_id}.key{number:025d}"
                fixed = 1 + number % 3, BUYERS[number % 3]
                made.append(a_wish(key_id, *(fixed if kind == "key" else (quantity, buyer))))
        self.asked_before.append((event_id, made))
        return made

    def buy_and_compare(
        self, clerk: int, event_id: str, seed: str, wanted: list[Wish], *, expires: bool = False
    ) -> None:
        told = self.purchase(event_id, seed, wanted, too_late=expires)
        replies = self.send(clerk, event_id, seed, wanted, expires=expires)
        assert [str(reply.outcome) for reply in replies] == told
        for wish, reply in zip(wanted, replies, strict=True):
            if reply.outcome in {"sold", "replayed"}:
                tickets = reply.detail.split("|")[2].split(",")
                assert self.promises.sold.setdefault(wish.purchase_id, tickets) == tickets
            if reply.level is not None:
                assert reply.level.left == len(self.models[event_id].pool)

    def purchase(self, event_id: str, seed: str, wanted: list[Wish], *, too_late: bool) -> list[str]:
        model = self.models.get(event_id)
        return ["no_event"] * len(wanted) if model is None else model.purchase(seed, wanted, too_late=too_late)

    def send(
        self, clerk: int, event_id: str, seed: str, wanted: list[Wish], *, expires: bool = False
    ) -> list[SaleReply]:
        sale = (self.hasty if expires else self.clerks)[clerk]
        requests = [request_of(event_id, wish) for wish in wanted]
        return sale.sales.purchase([EventBatch(event_id, seed, requests)])[0]

    def doubt(self, asked: list[Asked], wanted: list[Wish]) -> None:
        self.promises.in_doubt |= {
            wish.purchase_id for (kind, *_), wish in zip(asked, wanted, strict=True) if kind == "new"
        }

    def void_of(self, clerk: int, event_id: str, ids: list[str], *, lost: bool) -> None:
        seed = self.seed(event_id)
        model = self.models.get(event_id)
        void: Callable[[], object] = lambda: self.clerks[clerk].sales.void(event_id, seed, ids)  # noqa: E731
        if lost:
            with self.fault(clerk, "lost"), pytest.raises(OutcomeUnknown):
                void()
            if model is not None and self.lines[clerk].ran:
                model.void(seed, ids)
        assert void() == ("no_event" if model is None else model.void(seed, ids))

    def some_ids(self, event_id: str, first: int, count: int) -> list[str]:
        """Purchases, tombstones and ids that do not exist, in a fixed sequence."""
        model = self.models.get(event_id)
        if model is None:
            return []
        known = sorted({*model.sold, *model.tombstones, f"{event_id}.of-nothing"})
        return [known[(first + i) % len(known)] for i in range(min(count, len(known)))]

    def fault(self, clerk: int, kind: str) -> Faulty:
        return Faulty(self.lines[clerk], kind)


def test_a_sale_holds_its_promises_whatever_happens_to_it(store: Store) -> None:
    run_state_machine_as_test(lambda: SaleMachine(store), settings=STEADY)
