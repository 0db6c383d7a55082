"""A state machine of what an outage does to a sale, and what ends it: leases, reserves, journals, heirs, steps back.

Processes are cut off and sell from what they leased, replies are lost, calls come many steps later, processes die with
their journals and are followed by heirs; the store is put back to an older copy, and an operator decides. After each
step the store is read with plain commands and compared with a model of counts and sets. In the end everything is
healed: nothing is leased, what was told `provisional` is there once, and a 503 without a key holds nothing.

What must stay true: nothing here predicts what a script does; only what was told, and what the store holds, is judged.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.machine.model import Wish
from tests.machine.outage_model import OutageModel, Standing
from tests.machine.outage_process import Process, script_of, too_late
from tests.machine.parts import Faulty, a_wish, copy_store, request_of, restore_copy
from tests.sales import Sale, account, an_event
from ticketing.model import PurchaseRequest
from ticketing.outage import decision, slots
from ticketing.outage.decision import Decision, Refused
from ticketing.outage.journal import parse
from ticketing.sale.audit import audit
from ticketing.store import keys
from ticketing.store.connection import Command, Store
from ticketing.store.decisions import VERSION_RISE, DecisionStore
from ticketing.store.events import EventConflict
from ticketing.store.leases import Settled

EVENTS = ("1", "gala")
PROCESSES_MAX = 3
KEYS = 4
HEALING_ROUNDS = 8
MET = (
    *("lease leased", "lease moved_on", "settle settled", "settle moved_on", "outcome settled", "outcome known"),
    *("purchase ok", "void ok", "told sold", "told provisional", "told 409", "told 503"),
    *("told provisional again", "provisional without a key", "sold by an heir alone", "journals settled by an heir"),
    *("lost lease", "lost settle", "lost void", "lost purchase", "late lease", "late settle", "late void"),
    *("late purchase", "late lease leased", "late lease moved_on", "late settle settled", "late settle moved_on"),
    *("late void ok", "late purchase ok", "crashes", "sales amid settle", "sales amid lease"),
    *("steps back", "halted", "accepted", "refused while halted"),
    *("replaced", "not replaced under a lease", "paused under a lease"),
)

MET_BY_PUTTING_BACK = ("put back", "resumed", "resumed without a risk", "lost put_back", "late put_back", "accepted")

event_ids = st.sampled_from(EVENTS)
whose = st.integers(0, PROCESSES_MAX - 1)
faults = st.sampled_from(["lost", "late"])
sizes = st.sampled_from([9, 9, 5, 2, 0])
Asked = tuple[str, int, int]  # event; which key, or 0 for none; quantity of one without a key
one_wish = st.tuples(event_ids, st.integers(0, KEYS), st.sampled_from([1, 1, 2, 3]))
wishes = st.lists(one_wish, min_size=1, max_size=3)


class Holding(NamedTuple):
    """What a store holds of an event, as far as it matters while it is halted."""

    pool: list[str]
    purchases: dict[str, str]
    leases: dict[str, tuple[str, list[str]]]  # token, tickets


class OutageMachine(RuleBasedStateMachine):
    """A store, some processes of one host, and the model of what they promised."""

    def __init__(self, store: Store, folder: Path, met: Counter[str]) -> None:
        super().__init__()
        self.store, self.met = store, met
        self.store.one("FLUSHALL")
        self.folder = Path(mkdtemp(dir=folder))
        self.model = OutageModel()
        self.office = Sale(store)  # opens, pauses and replaces events, and sells; nothing ever happens to it
        self.seeds: dict[str, str] = {}
        self.processes: list[Process] = []
        self.late: list[list[Command]] = []
        self.unaware: set[str] = set()  # holders that have not looked since the store went back, or an operator decided
        self.frozen: dict[str, Holding] = {}  # what a halted event holds
        self.copied = False
        self.numbers = 0

    # --- events

    @initialize(tickets=st.sampled_from([20, 40, 10]), others=st.sampled_from([15, 30]))
    def open(self, tickets: int, others: int) -> None:
        for event_id, issued in zip(EVENTS, (tickets, others), strict=True):
            self.seeds[event_id], self.model.issued[event_id] = self.new_seed(), issued
            self.office.open(issued, event_id, self.seeds[event_id], quantity_max=4)
        for _ in range(2):
            self.start(cut=False)
        for which in range(2):
            self.round(which)

    @rule(event_id=event_ids, more=st.integers(1, 9))
    def add(self, event_id: str, more: int) -> None:
        with contextlib.suppress(EventConflict):
            issued = self.model.issued[event_id]
            self.model.issued[event_id] = self.office.events.add_more(event_id, self.seeds[event_id], issued, more)

    @rule(event_id=event_ids, paused=st.sampled_from([True, False, False]))
    def pause(self, event_id: str, paused: bool) -> None:
        with contextlib.suppress(EventConflict):
            self.office.events.set_paused(event_id, self.seeds[event_id], paused)
            self.met["paused under a lease"] += paused and bool(account(self.store, event_id).leased)

    @rule(event_id=event_ids, planned=st.integers(5, 12), given_back=st.booleans())
    def replace(self, event_id: str, planned: int, given_back: bool) -> None:
        """Only while nothing is sold and nothing is leased: journals may hold what the store does not know yet."""
        for process in self.processes if given_back else ():
            process.give_back()
        held, seed = account(self.store, event_id), self.new_seed()
        event = an_event(event_id, quantity_max=4)
        try:
            self.office.events.replace(event, old_seed=self.seeds[event_id], new_seed=seed, planned=planned)
        except EventConflict:
            self.met["not replaced under a lease"] += bool(held.leased) and not held.sold
            return
        assert not held.leased
        assert not held.sold
        self.met["replaced"] += 1
        self.seeds[event_id] = seed
        self.model.replaced(event_id)
        self.model.issued[event_id] = self.office.events.add_more(event_id, seed, 0, planned)

    # --- purchases

    @rule(which=whose, asked=wishes, mended=st.booleans())
    def buy(self, which: int, asked: list[Asked], mended: bool) -> None:
        """Keys for the first time or again, here or at another process; from the store, or in an outage not."""
        if mended:
            self.mend(which)
        for one in asked:
            self.ask(which, self.wish(one))

    @rule(which=whose, asked=wishes, back=st.booleans())
    def outage(self, which: int, asked: list[Asked], back: bool) -> None:
        """The process is cut off and sells from its reserve."""
        if (process := self.process(which)) is not None:
            process.line.cut = True
            self.buy(which, asked, mended=False)
            process.line.cut = not back

    @rule(which=whose, one=one_wish, fault=faults)
    def buy_with_a_fault(self, which: int, one: Asked, fault: str) -> None:
        """The store sells and nobody hears of it, or it will yet."""
        process, wish = self.process(which), self.wish(one)
        if process is None or process.line.cut or not process.asks_the_store:
            return
        with self.fault(process, fault, "purchase"):
            told = self.ask(which, wish)
        if is_keyed(wish) and told == "503" and fault == "late":  # said only when the deadline is over
            self.late[-1] = [too_late(command, self.store.shebang) for command in self.late[-1]]

    @rule(which=whose, event_id=event_ids, fault=faults, then=st.sampled_from(["lost", "late", ""]))
    def buy_with_a_fault_and_no_reserve(self, which: int, event_id: str, fault: str, then: str) -> None:
        """The buyer is told 503, and what carries out the intent to void it may be lost or come late, too."""
        if (process := self.process(which)) is None:
            return
        process.line.cut = False
        process.resize(0)
        self.round(which)
        self.buy_with_a_fault(which, (event_id, 0, 1), fault)
        if then:
            self.round_with_a_fault(which, [], then, "void", 0)

    @rule(which=whose, event_id=event_ids, number=st.integers(1, KEYS), sold_out=st.booleans())
    def ask_elsewhere_for_what_a_journal_holds(self, which: int, event_id: str, number: int, sold_out: bool) -> None:
        """Sold out or paused: the key is not refused while a journal may hold it."""
        if len(self.processes) > 1:
            self.outage(which, [(event_id, number, 1)], back=False)
            if sold_out:
                self.sell_out(event_id, left=0)
            else:
                self.pause(event_id, paused=True)
            self.buy(which + 1, [(event_id, number, 1)], mended=True)

    @rule(which=whose, event_id=event_ids)
    def ask_when_all_is_sold(self, which: int, event_id: str) -> None:
        self.sell_out(event_id, left=0)
        self.buy(which, [(event_id, 0, 1), (event_id, 1, 1)], mended=True)

    @rule(which=whose, event_id=event_ids, number=st.integers(1, KEYS))
    def buy_something_else_with_a_used_key(self, which: int, event_id: str, number: int) -> None:
        """At a process that can know: of others a journal may hold the key, and then only settling tells."""
        process, wish = self.process(which), a_key(event_id, number)
        if process is None or wish.purchase_id not in self.model.sold or not process.asks_the_store:
            return
        other = a_wish(wish.purchase_id, wish.quantity + 1, wish.buyer)
        told, _ = process.buy(self.seeds[event_id], request_of(event_id, other, keyed=True))
        assert told in ("409", "503")

    @rule(event_id=event_ids, left=st.sampled_from([0, 0, 3]))
    def sell_out(self, event_id: str, left: int) -> None:
        """What was given away by mistake is sold at once."""
        for _ in range(len(account(self.store, event_id).pool) - left):
            wish = self.wish((event_id, 0, 1))
            [reply] = self.office.buy(request_of(event_id, wish), seed=self.seeds[event_id])
            if reply.outcome != "sold":
                return
            self.model.wishes[wish.purchase_id] = wish
            self.model.sent.add(wish.purchase_id)
            self.model.told(wish, "sold", reply.detail, keyed=False, sure=True)

    # --- the network

    @rule(which=whose)
    def cut(self, which: int) -> None:
        if (process := self.process(which)) is not None:
            process.line.cut = True

    @rule(which=whose)
    def mend(self, which: int) -> None:
        if (process := self.process(which)) is not None:
            process.line.cut = False
            self.round(which)

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 20))
    def deliver(self, which: int) -> None:
        """A late call reaches the store, after whatever has happened since."""
        commands = self.late.pop(which % len(self.late))
        for command in commands:
            [reply] = self.store.exchange([command])
            if isinstance(reply, list):
                self.met[f"late {script_of(command, self.store.shebang)} {reply[0]}"] += 1

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 20))
    def deliver_one_more(self, which: int) -> None:
        self.deliver(which)

    # --- processes

    @rule(which=whose)
    def round(self, which: int) -> None:
        """Look, void, settle, lease or give back."""
        if (process := self.process(which)) is not None:
            self.looked(process, process.round())

    @rule(which=whose, tickets=sizes)
    def resize(self, which: int, tickets: int) -> None:
        """Its leases grow or shrink."""
        if (process := self.process(which)) is not None:
            process.resize(tickets)
            self.round(which)

    @rule(
        which=whose,
        asked=st.lists(one_wish, max_size=2),
        fault=faults,
        script=st.sampled_from(["lease", "settle", "settle", "void"]),
        tickets=sizes,
    )
    def round_with_a_fault(self, which: int, asked: list[Asked], fault: str, script: str, tickets: int) -> None:
        """After an outage. It does not know whether its lease changed, its purchases are settled, its ids voided."""
        if (process := self.process(which)) is not None:
            self.outage(which, asked, back=True)
            process.resize(tickets)
            with self.fault(process, fault, script):
                self.looked(process, process.round())

    @rule(which=whose, asked=wishes, amid=wishes, script=st.sampled_from(["settle", "settle", "lease"]), tickets=sizes)
    def round_amid_sales(self, which: int, asked: list[Asked], amid: list[Asked], script: str, tickets: int) -> None:
        """Others can't reach the store while it settles or leases, and buy from the reserve."""
        if (process := self.process(which)) is not None:
            self.outage(which, asked, back=True)
            process.resize(tickets)
            process.line.strikes, process.line.amid = script, lambda: self.outage(which, amid, back=True)
            self.looked(process, process.round())
            self.met[f"sales amid {script}"] += process.line.amid is None
            process.line.amid = None

    @rule(
        which=whose,
        asked=wishes,
        fault=faults,
        script=st.sampled_from(["lease", "settle"]),
        tickets=sizes,
        cut=st.booleans(),
    )
    def crash_amid_a_change(
        self, which: int, asked: list[Asked], fault: str, script: str, tickets: int, cut: bool
    ) -> None:
        """The heir knows what the journal says."""
        if self.process(which) is not None:
            self.round_with_a_fault(which, asked, fault, script, tickets)
            self.crash_and_start(which, cut=cut)

    @rule(which=whose)
    def give_back(self, which: int) -> None:
        """As at a stop that is called off."""
        if (process := self.process(which)) is not None:
            process.give_back()

    @precondition(lambda self: self.processes)
    @rule(which=whose)
    def crash(self, which: int) -> None:
        process = self.process(which)
        assert process is not None
        self.processes.remove(process)
        process.die()
        self.met["crashes"] += 1

    @rule(which=whose, cut=st.booleans())
    def crash_and_start(self, which: int, cut: bool) -> None:
        """The heir begins before the store is back, or after it."""
        if self.process(which) is not None:
            self.crash(which)
            self.start(cut=cut)

    @precondition(lambda self: len(self.processes) < PROCESSES_MAX)
    @rule(cut=st.booleans())
    def start(self, cut: bool) -> None:
        process = Process(self.store, self.folder, EVENTS, self.met, self.settled, cut=cut)
        self.processes.append(process)

    @rule(which=whose)
    def settle_heirs(self, which: int) -> None:
        """A living process settles what dead ones left."""
        process = self.process(which)
        if process is None:
            return
        dead = [path for path in slots.journals(self.folder) if path.stem not in self.living()]
        if process.settle_heirs():
            self.met["journals settled by an heir"] += len(dead)
            self.unaware -= {self.holder_of(path) for path in dead}

    # --- a store that goes back, and the operator

    @rule()
    def copy(self) -> None:
        if not self.frozen:
            for key in self.store.one("KEYS", "copy of *"):
                self.store.one("DEL", key)
            copy_store(self.store)
            self.copied = True

    @precondition(lambda self: self.copied)
    @rule()
    def restore(self) -> None:
        """An older file: what was written since the copy is gone, and what was on its way to the other server."""
        restore_copy(self.store)
        self.late.clear()
        self.frozen.clear()
        self.copied = False
        for event_id in EVENTS:
            self.seeds[event_id] = self.store.one("HGET", keys.of_event(event_id).info, "seed")
            self.model.stepped_back(event_id, account(self.store, event_id))
        self.met["steps back"] += 1
        self.nobody_has_looked()

    @precondition(lambda self: self.frozen)
    @rule(which=whose, number=st.integers(0, KEYS))
    def buy_while_halted(self, which: int, number: int) -> None:
        """Whoever asks the store gets nothing, a process that has just started too."""
        process = self.process(which)
        if process is not None and process.asks_the_store and not process.line.cut:
            for event_id in list(self.frozen):
                assert self.ask(which, self.wish((event_id, number, 1))) == "503"
                self.met["refused while halted"] += 1

    @precondition(lambda self: self.frozen)
    @rule(event_id=event_ids)
    def accept(self, event_id: str) -> None:
        """The operator takes the store as it is for the truth."""
        if event_id in self.frozen:
            self.decide(event_id, decision.about_event(event_id, DecisionStore(self.store), self.folder))
            self.met["accepted"] += 1

    def decide(self, event_id: str, decided: Decision | Refused) -> None:
        assert isinstance(decided, Decision)
        before = int(account(self.store, event_id).info["version"])
        assert decided.carry_out().ok
        after = account(self.store, event_id)
        assert int(after.info["version"]) >= before + VERSION_RISE
        assert after.leased == []
        del self.frozen[event_id]
        self.nobody_has_looked()

    # --- what must hold

    @invariant()
    def the_store_holds_what_was_promised(self) -> None:
        asked = [
            command
            for k in map(keys.of_event, self.seeds)
            for command in (("HGETALL", k.purchases), ("HGETALL", k.leases), ("HGET", k.info, "halted"))
        ]
        read = self.store.read(*asked) if asked else []
        for at, event_id in enumerate(self.seeds):
            purchases, leases, halted = read[3 * at : 3 * at + 3]
            held, leases = account(self.store, event_id), pairs(leases)
            self.model.compare(held, pairs(purchases))
            self.model.compare_holders(event_id, self.standings(event_id, leases), held)
            self.only_what_was_lost_comes_back_while(
                halted == "1",
                event_id,
                Holding(held.pool, pairs(purchases), {name: of_lease(leases[name]) for name in leases}),
            )

    def only_what_was_lost_comes_back_while(self, halted: bool, event_id: str, holds: "Holding") -> None:
        if not halted:
            self.frozen.pop(event_id, None)  # it was put right
            return
        if event_id not in self.frozen:  # what somebody remembered is back by now
            self.met["halted"] += 1
            known = {key: record.split("|")[2].split(",") for key, record in holds.purchases.items() if "|" in record}
            self.met["put back"] += sum(known.get(key) == tickets for key, tickets in self.model.lost.items())
        before = self.frozen.setdefault(event_id, holds)
        assert before.purchases.items() <= holds.purchases.items()
        back: set[str] = set()
        for purchase_id in holds.purchases.keys() - before.purchases.keys():
            assert holds.purchases[purchase_id].split("|")[2].split(",") == self.model.lost.get(purchase_id)
            back.update(self.model.lost[purchase_id])
            self.met["put back"] += 1
        assert holds.pool == [ticket for ticket in before.pool if ticket not in back]
        left = {name: (token, [one for one in ids if one not in back]) for name, (token, ids) in before.leases.items()}
        assert holds.leases == left
        self.frozen[event_id] = holds

    def teardown(self) -> None:
        """Everything is healed, some of what is late comes before and some after; then every promise is judged."""
        try:
            if self.seeds:
                self.heal()
                self.judge()
        finally:
            for process in self.processes:
                process.die()

    def heal(self) -> None:
        if not self.processes:
            self.start(cut=False)
        for process in self.processes:
            process.line.cut = False
        self.clear_up()
        for _ in range(len(self.late) // 2):
            self.deliver(0)
        self.clear_up()
        while self.late:
            self.deliver(0)
        self.clear_up()

    def clear_up(self) -> None:
        """The operator accepts, living processes settle what there is, and give everything back."""
        before: object = None
        for _ in range(HEALING_ROUNDS):
            given_back = False not in [self.clear_up_one(which) for which in range(len(self.processes))]
            leased = any(account(self.store, event_id).leased for event_id in EVENTS)
            left = [process.keeper.tally() for process in self.processes]
            # After a step back something may be parked, and stays so.
            if not leased and (given_back or (self.model.went_back and not self.frozen and left == before)):
                return
            before = left
        raise AssertionError(f"not healed: {left}, leased: {leased}, halted: {[*self.frozen]}")

    def clear_up_one(self, which: int) -> bool:
        self.round(which)
        self.the_store_holds_what_was_promised()
        for event_id in list(self.frozen):
            self.accept(event_id)
        self.round(which)
        self.settle_heirs(which)
        return self.processes[which].give_back()

    def judge(self) -> None:
        self.the_store_holds_what_was_promised()
        in_journals = {
            purchase_id for path in slots.journals(self.folder) for purchase_id in parse(path.read_bytes())[1].purchases
        }
        for event_id in EVENTS:
            self.model.end(account(self.store, event_id), in_journals)
        report = audit(self.store)
        assert report.ok, report.violations

    # --- words of the above

    def nobody_has_looked(self) -> None:
        """Whoever can reach the store looks at it soon; of the others, and of the dead, nothing can be expected."""
        self.unaware = {self.holder_of(path) for path in slots.journals(self.folder)}
        for which in range(len(self.processes)):
            self.round(which)

    def process(self, which: int) -> Process | None:
        return self.processes[which % len(self.processes)] if self.processes else None

    def ask(self, which: int, wish: Wish) -> str:
        """What the process told the buyer, whom the model believes."""
        process, event_id, keyed = self.process(which), event_of(wish), is_keyed(wish)
        if process is None:
            return ""
        if process.asks_the_store and not process.line.cut:
            self.model.sent.add(wish.purchase_id)
        again = wish.purchase_id in self.model.owed
        self.model.wishes[wish.purchase_id] = wish
        told, detail = process.buy(self.seeds[event_id], request_of(event_id, wish, keyed=keyed))
        self.model.told(wish, told, detail, keyed=keyed, sure=process.name not in self.unaware)
        self.met[f"told {told}"] += 1
        if told == "provisional":
            self.met["told provisional again"] += again
            self.met["provisional without a key"] += not keyed
            self.met["sold by an heir alone"] += not process.has_won(event_id, self.seeds[event_id])
        return told

    @contextlib.contextmanager
    def fault(self, process: Process, kind: str, script: str) -> Iterator[None]:
        """The next call of the script is struck; what is late is kept."""
        process.line.strikes = script
        with Faulty(process.line, kind):
            yield
        self.late += process.line.kept
        process.line.kept.clear()

    def looked(self, process: Process, answered: bool) -> None:
        if answered:
            self.unaware.discard(process.name)

    def settled(self, outcomes: list[Settled]) -> None:
        self.met.update(f"outcome {outcome}" for outcome in outcomes)
        unkept = set(outcomes) - {Settled.SETTLED, Settled.KNOWN}
        assert not unkept or self.model.went_back, f"a provisional purchase is {unkept}"
        assert Settled.KEY_REUSED not in unkept

    def standings(self, event_id: str, leases: dict[str, str]) -> Iterator[Standing]:
        """Of each holder, dead ones by their journals; not of one that has not looked since the store went back."""
        living = self.living()
        for path in slots.journals(self.folder):
            name = self.holder_of(path)
            if name not in self.unaware:
                sale = (event_id, self.seeds[event_id])
                sellable, unsettled = in_memory(living[path.stem], sale) if path.stem in living else on_disk(path, sale)
                tickets = leases.get(name, "").partition("|")[2]
                leased = len(tickets.split(",")) if tickets else 0
                yield Standing(name, sellable, {one.purchase_id: one.quantity for one in unsettled}, leased)

    def living(self) -> dict[str, Process]:
        return {process.keeper._slot.journal_path.stem: process for process in self.processes if process.keeper._slot}

    def holder_of(self, path: Path) -> str:
        return f"{slots.host_id(self.folder)}-{path.stem.removeprefix('slot-')}"

    def new_seed(self) -> str:
        self.numbers += 1
        return f"seed-{self.numbers}"

    def wish(self, asked: Asked) -> Wish:
        event_id, number, quantity = asked
        if number:
            return a_key(event_id, number)
        self.numbers += 1
        return a_wish(f"{event_id}.new{self.numbers:025d}", quantity, "")


class PutBackMachine(OutageMachine):
    """The same, where a store that went back is often met by processes that remember what it lost."""

    @precondition(lambda self: not self.frozen)
    @rule(
        asked=wishes,
        before=st.sampled_from([True, True, False]),
        fault=st.sampled_from(["", "lost", "late"]),
        crashes=st.sampled_from([False, False, True]),
        then=st.booleans(),
    )
    def go_back(self, asked: list[Asked], before: bool, fault: str, crashes: bool, then: bool) -> None:
        """Each process sells, before the copy and after it, that comes back then: halted, and put back."""
        for which in range(len(self.processes)):
            if before:
                self.buy(which, [(event_id, 0, 1) for event_id in EVENTS], mended=True)
        self.copy()
        for which in range(len(self.processes)):
            self.buy(which, asked, mended=True)
        if crashes and self.processes:
            self.crash_and_start(0, cut=False)
        self.the_store_holds_what_was_promised()
        if fault and (process := self.process(1)) is not None:
            with self.fault(process, fault, "put_back"):
                self.restore()
        else:
            self.restore()
        self.the_store_holds_what_was_promised()
        for event_id in list(self.frozen) if then else ():
            self.resume(event_id)

    @precondition(lambda self: self.frozen)
    @rule(event_id=event_ids)
    def resume(self, event_id: str) -> None:
        """The operator takes the sale up; without a risk only where nothing is lost that somebody remembers."""
        if event_id not in self.frozen:
            return
        told = decision.about_resuming(event_id, DecisionStore(self.store), self.folder)
        assert isinstance(told, Decision)
        if not told.risks:
            self.met["resumed without a risk"] += 1
            records = pairs(self.store.one("HGETALL", keys.of_event(event_id).purchases))
            for process in self.processes:
                if process.name not in self.unaware:
                    for purchase_id, record, _, _ in process.answered.ring.told((event_id, self.seeds[event_id])):
                        assert records.get(purchase_id) == record, "what was answered was not put back"
        self.decide(event_id, told)
        self.met["resumed"] += 1


def event_of(wish: Wish) -> str:
    return wish.purchase_id.partition(".")[0]


def is_keyed(wish: Wish) -> bool:
    return ".key" in wish.purchase_id


def a_key(event_id: str, number: int) -> Wish:
    """Whoever asks for this key asks for the same."""
    return a_wish(f"{event_id}.key{number:025d}", 1 + number % 3, ("annannannan", "")[number % 2])


def pairs(flat: list[str] | dict[str, str]) -> dict[str, str]:
    """A hash as a plain command reads it."""
    return dict(flat) if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


def of_lease(record: str) -> tuple[str, list[str]]:
    """The token of a lease, and its tickets."""
    token, _, tickets = record.partition("|")
    return token, [ticket for ticket in tickets.split(",") if ticket]


def in_memory(process: Process, sale: tuple[str, str]) -> tuple[int, list[PurchaseRequest]]:
    """What a living process may sell, and has sold and not settled, without what an operator must decide about."""
    reserve = process.keeper._holder.events.get(sale)
    if reserve is None:
        return 0, []
    return reserve.sellable, [entry.request for key, entry in reserve.open.items() if key not in reserve.parked]


def on_disk(path: Path, sale: tuple[str, str]) -> tuple[int, list[PurchaseRequest]]:
    """The same of a dead one."""
    content = parse(path.read_bytes())[1]
    unsettled = [one.request for one in content.purchases.values() if (one.request.event_id, one.seed) == sale]
    return content.sellable.get(sale, 0), unsettled
