"""What an operator may decide after an outage, when no rule can: about a halted event, a lost lease, a parked journal.

What must stay true: nothing is done before `carry_out`; what it would do and risk is said before, exactly and honestly;
it is refused where something milder does. Every deed is a compare-and-set on what was seen, so that a second one, or a
late one, does nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ticketing.outage import inspection, risks, slots
from ticketing.outage.inspection import FoundJournal
from ticketing.outage.journal import Journal, JournalError, sync_folder
from ticketing.outage.words import Said, counted, counted_is, printable
from ticketing.store.decisions import DecisionReply, DecisionStore, EventStanding, Lease, Verdict


@dataclass(frozen=True, slots=True)
class Done:
    """What a deed did, in sentences, and whether it did what was decided."""

    said: list[Said]
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What would be done, what it risks (empty: nothing that could be known), and the deed itself."""

    would: list[Said]
    risks: list[Said]
    carry_out: Callable[[], Done]  # raises StoreError, JournalError


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing is to be decided here, or not yet."""

    why: Said


def about_event(event_id: str, store: DecisionStore, folder: Path) -> Decision | Refused:
    """The store as it is now would be the truth about a halted event. Raises StoreError, JournalError."""
    [standing] = store.standings([event_id])
    if not standing.halted:
        known = "is not halted: nothing is to be decided" if standing.is_anything else "is not in the store"
        return Refused(Said(f"event {printable(event_id)} {known}."))
    if not standing.seed and (standing.pool or standing.records or standing.leased):
        return Refused(risks.remains(standing))
    found = inspection.journals(folder)
    seen = inspection.highest_version(found, event_id)
    return Decision(
        [*risks.event_that_goes_on(standing), _unsettled_here(standing, found, store)],
        risks.of_going_on(standing),
        lambda: _event_done(standing, store.accept_event(standing, seen)),
    )


def about_resuming(event_id: str, store: DecisionStore, folder: Path) -> Decision | Refused:
    """A halted sale would be taken up, after what was lost of it was put back. Raises StoreError, JournalError."""
    told = about_event(event_id, store, folder)
    if isinstance(told, Refused):
        return told
    [standing] = store.standings([event_id])
    if not standing.seed:
        return Refused(
            Said(f"the store knows nothing of event {event_id}: nothing can be put back.", f"accept event {event_id}")
        )
    left = risks.not_put_back(standing, store.enrolled())
    would = [*risks.put_back(standing), *told.would]
    return replace(told, would=would, risks=[*left, *told.risks] if left else [])


def about_lease(holder: str, event_id: str | None, store: DecisionStore, folder: Path) -> Decision | Refused:
    """The tickets of a lost holder would go back to the pool. Raises StoreError, JournalError."""
    found = inspection.journals(folder)
    if (why := lives_here(holder, found, store, folder)) is not None:
        return Refused(why)
    wanted = store.event_ids() if event_id is None else [event_id]
    held = [
        (standing, lease)
        for standing in store.standings(sorted(wanted))
        for lease in standing.leases
        if lease.holder == holder and lease.tickets
    ]
    if not held:
        return Refused(Said(f"{printable(holder)} holds no tickets{'' if event_id is None else ' of this event'}."))
    if halted := [standing.event_id for standing, _ in held if standing.halted]:
        first = f"event {halted[0]} is halted: decide that first, which empties its leases too:"
        return Refused(Said(first, f"accept event {halted[0]}"))
    return _lost_lease(holder, held, store, found)


def about_journal(name: str, folder: Path, store: DecisionStore | None) -> Decision | Refused:
    """What a journal holds would be given up, and its slot works again. Raises StoreError, JournalError."""
    journal = next((found for found in inspection.journals(folder) if found.name == name), None)
    if journal is None:
        return Refused(Said(f"there is no journal {printable(name)} in {folder}."))
    if journal.held:
        return Refused(Said(f"a living process holds {name}, and settles what can be. Stop the service here first."))
    rows = inspection.owed(journal, inspection.everything if store is None else store.unwritten)
    purchases, tickets = sum(row.purchases for row in rows), sum(row.tickets for row in rows)
    if not (purchases or journal.content.voids or journal.damage):
        return Refused(Said(f"nothing in {name} waits for a decision. To empty it:", "settle"))
    lost = risks.what_is_lost(journal, purchases, tickets, at_most=store is None)
    return Decision(
        [Said(f"{name} holds {lost}."), Said("The file would be kept under another name, and the slot begin empty.")],
        risks.of_a_lost_journal(journal, purchases),
        lambda: _set_aside(journal.path, lost),
    )


def _unsettled_here(standing: EventStanding, found: Sequence[FoundJournal], store: DecisionStore) -> Said:
    rows = [row for journal in found for row in inspection.owed(journal, store.unwritten)]
    mine = [row for row in rows if row.event_id == standing.event_id and row.purchases]
    if not mine:
        return Said("No journal of this host holds an unsettled purchase of it. Other hosts' can't be seen from here.")
    purchases, tickets = sum(row.purchases for row in mine), sum(row.tickets for row in mine)
    then = "would be settled from the pool then" if standing.seed else "would stay parked"
    return Said(
        f"Journals of this host hold {counted(purchases, 'unsettled purchase')} of it, {counted(tickets, 'ticket')}: "
        f"they {then}. Other hosts' can't be seen from here."
    )


def _event_done(standing: EventStanding, reply: DecisionReply) -> Done:
    event = standing.event_id
    if reply.verdict is Verdict.NOT_HALTED:
        return Done([Said(f"Event {event} is not halted any more: somebody decided already.")])
    if reply.verdict is not Verdict.ACCEPTED:
        return Done([Said(f"Event {event}: nothing was done ({reply.verdict}), it changed meanwhile.", "show")], False)
    if not standing.seed:
        return Done([Said(f"Event {event}: the mark is gone. `python -m seeds` can make it anew.")])
    back = f"{counted_is(reply.tickets, 'ticket')} in the pool again, of {counted(reply.leases, 'lease')}"
    return Done(
        [
            Said(f"Event {event} goes on; {back}."),
            Said("Running processes settle what they hold within a second. To see what could not be:", "show"),
            Said("Check the store: python -m ticketing audit"),
        ]
    )


def lives_here(holder: str, found: Sequence[FoundJournal], store: DecisionStore, folder: Path) -> Said | None:
    """Why a lease of this host is not lost; None where it may be."""
    this_host = inspection.host_id(folder)
    if not this_host or holder.rpartition("-")[0] != this_host:
        return None
    if inspection.is_slot_held(folder, holder):
        return Said(f"{holder} is a living process of this host: it gives its leases back itself when it ends.")
    journal = next((one for one in found if one.holder == holder), None)
    if journal is None:
        return None
    if journal.damage:
        return Said(f"{journal.name} of this host is damaged: decide about it first:", f"accept journal {journal.name}")
    if journal.content.voids or any(row.purchases for row in inspection.owed(journal, store.unwritten)):
        return Said(f"{journal.name} of this host holds what is not settled. Settle it first:", "settle")
    return None


def _lost_lease(
    holder: str, held: Sequence[tuple[EventStanding, Lease]], store: DecisionStore, found: Sequence[FoundJournal]
) -> Decision:
    def accept(standing: EventStanding, lease: Lease) -> DecisionReply:
        seen = inspection.highest_version(found, standing.event_id, standing.seed)
        return store.accept_lease(standing, lease, seen)

    def carry_out() -> Done:
        done = [(standing, accept(standing, lease)) for standing, lease in held]
        return Done(
            [lease_sentence(standing, reply) for standing, reply in done],
            all(reply.verdict is Verdict.ACCEPTED for _, reply in done),
        )

    return Decision(risks.leases_that_go_back(holder, held), risks.of_a_lost_holder(held), carry_out)


def lease_sentence(standing: EventStanding, reply: DecisionReply) -> Said:
    """What became of one lost lease."""
    event = standing.event_id
    if reply.verdict is Verdict.ACCEPTED:
        return Said(f"Event {event}: {counted_is(reply.tickets, 'ticket')} in the pool again.")
    if reply.verdict is Verdict.MOVED_ON:
        return Said(f"Event {event}: nothing was done. The lease has changed: its holder lives, or somebody decided.")
    return Said(f"Event {event}: nothing was done ({reply.verdict}), it changed meanwhile.", "show")


def _set_aside(path: Path, lost: str) -> Done:
    """Under the slot's lock, the file has another name, and an empty one is in its place. Raises JournalError."""
    slot = slots.take(path)
    if slot is None:
        return Done([Said(f"A process has taken {path.stem} meanwhile: nothing was done.")], False)
    kept = path.with_name(f"{path.name}.accepted-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        path.chmod(0o600)
        kept.hardlink_to(path)  # raises where there is one: no file is written over
        path.unlink()
        sync_folder(path.parent)
        _begin(path)
    except OSError as error:
        raise JournalError(f"{kept}: {error.strerror}") from error
    finally:
        slot.release()
    return Done(
        [
            Said(f"Given up: {lost}."),
            Said(f"Kept as {kept.name}; {path.stem} begins empty. To give back what it leased:", "settle"),
        ]
    )


def _begin(path: Path) -> None:
    """An empty journal, so that an heir of this slot finds it and gives its leases back."""
    journal = Journal(path)
    try:
        journal.read()
    finally:
        journal.close()
