"""The rules of the protocol that can be dropped, one at a time: what the simulation must then find.

What must stay true: each takes one rule away and nothing else, for the time of one run.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

from tests.machine.outage import process as process_module
from tests.machine.outage.world import World
from ticketing.errors import StoreError
from ticketing.outage.holder import Holder
from ticketing.outage.journal import VoidIntent
from ticketing.outage.reserve import EventReserve, ReserveSize
from ticketing.outage.settlement import Settlement
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.store.leases import JournalledPurchase, LeaseChange, LeaseReply

CAS = "if now_token ~= expected then return {'moved_on', version, now_token, #ids} end"
LOOK_UP = "local record = fresh[id] or call('HGET', purchases, id)"


@contextlib.contextmanager
def any_token_is_explained() -> Iterator[None]:
    """Rule 6 of the reserve would notice some of what follows, and halt the event: no harm is seen then."""
    answered = EventReserve.answered

    def without(reserve: EventReserve, reply: LeaseReply) -> object:
        reserve.won = reserve.won and not reply.moved_on
        return answered(reserve, reply)

    with patch.object(EventReserve, "explains", lambda *_: True), patch.object(EventReserve, "answered", without):
        yield


@contextlib.contextmanager
def lease_without_compare_and_set(world: World) -> Iterator[None]:
    """H2, H3: a late lease fills a record that no memory knows; a late give-back takes what is being sold."""
    world.network.mutate("lease", CAS, "")
    with any_token_is_explained():
        yield


@contextlib.contextmanager
def settle_without_looking_up(world: World) -> Iterator[None]:
    """H1: a settle that runs twice sells twice."""
    world.network.mutate("settle", LOOK_UP, "local record = fresh[id]")
    yield


@contextlib.contextmanager
def nothing_is_voided(world: World | None = None) -> Iterator[None]:
    """H5: 503 told, then the late script sells to nobody."""
    with patch.object(Holder, "void_later", lambda *_: None):
        yield


@contextlib.contextmanager
def refused_while_tickets_are_leased(world: World | None = None) -> Iterator[None]:
    """H6: 409 told to a key that another holder's journal holds."""
    with patch.object(process_module, "may_refuse", lambda *_: True):
        yield


@contextlib.contextmanager
def giving_back_everything(world: World | None = None) -> Iterator[None]:
    """H10: `wanted` is 0 although purchases are open."""
    begin = EventReserve._begin_lease

    def without(reserve: EventReserve, target: int, size: ReserveSize) -> LeaseChange:
        reserve.pending = replace(begin(reserve, target, size), wanted=target)
        return reserve.pending

    with patch.object(EventReserve, "_begin_lease", without):
        yield


@contextlib.contextmanager
def in_flight_is_not_counted(world: World) -> Iterator[None]:
    """Rule 4 of the reserve without those whose fsync is under way."""

    def promised(reserve: EventReserve) -> int:
        return sum(entry.request.quantity for key, entry in reserve.open.items() if key not in reserve.parked)

    with patch.object(EventReserve, "promised", property(promised)):
        yield


@contextlib.contextmanager
def selling_what_is_being_given_back(world: World | None = None) -> Iterator[None]:
    """Rule 2 of the reserve: the count is lowered only by the answer."""
    begin = EventReserve._begin_lease

    def without(reserve: EventReserve, target: int, size: ReserveSize) -> LeaseChange:
        before = reserve.sellable
        change = begin(reserve, target, size)
        reserve.sellable = before
        return change

    with patch.object(EventReserve, "_begin_lease", without):
        yield


@contextlib.contextmanager
def raised_before_the_answer(world: World) -> Iterator[None]:
    """Rule 1 of the reserve: the journal says the new count before the lease has it."""
    snapshot = EventReserve.snapshot

    def without(reserve: EventReserve, sellable: int) -> object:
        change = reserve.pending
        raised = change.wanted - reserve.promised if isinstance(change, LeaseChange) else sellable
        return snapshot(reserve, max(0, raised))

    with patch.object(EventReserve, "snapshot", without):
        yield


@contextlib.contextmanager
def not_lowered_in_the_journal(world: World | None = None) -> Iterator[None]:
    """Rule 1 of the reserve: the lowered count is in memory only, and an heir sells the old one."""

    def without(holder: Holder, reserves: list[EventReserve]) -> list[EventReserve]:
        return [reserve for reserve in reserves if reserve.pending is not None]

    with patch.object(Holder, "journal_changes", without), any_token_is_explained():
        yield


@contextlib.contextmanager
def emptied_while_something_is_in_flight(world: World) -> Iterator[None]:
    """Rule 2 of the holder: the journal is truncated under a purchase whose fsync is under way."""
    with patch.object(Holder, "_may_empty", lambda holder: True):
        yield


@contextlib.contextmanager
def poisoned_keys_are_voided(world: World | None = None) -> Iterator[None]:
    """H11: a keyed 503, sold elsewhere, then voided here."""
    lost = EventReserve.lost_in_the_journal
    journal_sale = Holder._journal_sale

    def forgotten(reserve: EventReserve, request: object) -> None:
        lost(reserve, request)  # type: ignore[arg-type]
        reserve.kept.clear()

    def without(holder: Holder, reserve: EventReserve, purchase: JournalledPurchase) -> object:
        try:
            return journal_sale(holder, reserve, purchase)
        except Exception:
            purchase_id = purchase.request.purchase_id
            holder.voids[purchase_id] = VoidIntent(reserve.event_id, reserve.seed, purchase_id)
            raise

    with patch.object(EventReserve, "lost_in_the_journal", forgotten), patch.object(Holder, "_journal_sale", without):
        yield


@contextlib.contextmanager
def poisoned_ids_are_not_voided(world: World | None = None) -> Iterator[None]:
    """Rule 3 of the holder: what a failed journal may hold is forgotten, and its heir settles it."""
    journal_sale = Holder._journal_sale

    def without(holder: Holder, reserve: EventReserve, purchase: JournalledPurchase) -> object:
        try:
            return journal_sale(holder, reserve, purchase)
        finally:
            holder.voids.pop(purchase.request.purchase_id, None)

    with patch.object(Holder, "_journal_sale", without):
        yield


@contextlib.contextmanager
def a_lost_command_is_taken_as_not_done(world: World | None = None) -> Iterator[None]:
    """Rule 3 of the reserve: after a lost reply all is as before, and another command comes when there is a need."""
    send = Settlement._send

    def without(settlement: Settlement, reserves: list[EventReserve]) -> None:
        try:
            send(settlement, reserves)
        except StoreError:
            for reserve in reserves:
                reserve.pending = None
                reserve.sellable = reserve.most_sellable()
            raise

    with patch.object(Settlement, "_send", without), any_token_is_explained():
        yield


@contextlib.contextmanager
def selling_counts_that_were_read(store: Store) -> Iterator[None]:
    """H9: an heir sells what the store said, without having won it."""
    met = EventReserve.met

    def without(reserve: EventReserve, token: str) -> None:
        met(reserve, token)
        lease = store.one("HGET", keys.of_event(reserve.event_id).leases, reserve.holder) or "|"
        if not reserve.won:
            reserve.sellable = max(0, len([i for i in lease.partition("|")[2].split(",") if i]) - reserve.promised)

    with patch.object(EventReserve, "met", without):
        yield


@contextlib.contextmanager
def a_count_that_was_read_is_sold(world: World) -> Iterator[None]:
    """H9."""
    with selling_counts_that_were_read(world.store):
        yield


# The seed that finds each soonest. A change of the simulation makes it another world, which may need other seeds:
# `python -m tests.machine.outage 60 0 RULE` lists them. Two rules are too rare for so few runs, and their stories are
# told by hand in test_outage_holes.py: a_count_that_was_read_is_sold (H9; 1 of 60 seeds), and
# poisoned_ids_are_not_voided, where a process must die between its voids and the truncation.
FOUND_BY = {
    lease_without_compare_and_set: 6,
    settle_without_looking_up: 0,
    nothing_is_voided: 0,
    refused_while_tickets_are_leased: 1,
    giving_back_everything: 21,
    in_flight_is_not_counted: 1,
    selling_what_is_being_given_back: 0,
    raised_before_the_answer: 2,
    not_lowered_in_the_journal: 2,
    emptied_while_something_is_in_flight: 10,
    poisoned_keys_are_voided: 59,
    a_lost_command_is_taken_as_not_done: 1,
}
