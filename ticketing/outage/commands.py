"""python -m ticketing outage: the operator's verbs after an outage, and how they read on a terminal.

What must stay true: `show` and a decision without --yes change nothing. Exit codes as of every command: 0 all is well,
or done; 1 something is wrong, refused, or was only shown; an error that is raised becomes 2.
"""

from rich.console import Console
from rich.table import Table

from ticketing.config import Settings
from ticketing.errors import TicketingError
from ticketing.outage import decision, heirs, outlook
from ticketing.outage.decision import Decision, Refused
from ticketing.outage.heirs import HeirParts, Inheritance
from ticketing.outage.words import COMMAND, counted
from ticketing.store.connection import Store, StoreClock, open_store
from ticketing.store.decisions import DecisionStore
from ticketing.store.events import EventStore
from ticketing.store.leases import LeaseStore, Settled
from ticketing.store.sale import SaleStore, Versions

WHY_PARKED = {
    Settled.UNFUNDED: "neither lease nor pool covers them: their buyers have no ticket",
    Settled.VOIDED: "the store holds a tombstone for them: they were voided before",
    Settled.KEY_REUSED: "the store holds their keys with another content",
    "halted": f"their event is halted: {COMMAND} accept event",
    "sale_gone": "the store does not know their sale: it was made anew, or the event is gone",
    "waiting": "the store did not take them: see the log above",
}


def show(settings: Settings) -> int:
    """Print what journals and store hold, what is wrong, and which command decides it. Raises JournalError."""
    store, why_away = _store_or_why(settings)
    found = outlook.look(settings.journal_dir, store, why_away)
    print(f"Journals of this host, in {settings.journal_dir}:")
    _print_table(outlook.journal_table(found), "  none")
    if found.standings is not None:
        print("\nEvents in the store:")
        _print_table(outlook.event_table(found.standings), "  none")
        print("\nLeases:")
        _print_table(outlook.lease_table(found), "  none")
    wrong = found.sentences()
    print()
    print("\n".join([*found.notes(), *(wrong or ["Nothing is left to decide."])]))
    return 1 if wrong else 0


def settle(settings: Settings, secret_fingerprint: str) -> int:
    """Settle what this host's journals hold that no living process does. Raises JournalError, StoreError."""
    parts = _heir_parts(settings, secret_fingerprint)
    folder = settings.journal_dir
    inherited = heirs.settle_all(folder, parts) if folder.is_dir() else []
    for one in inherited:
        print("\n".join(_of(one)))
    if not inherited:
        print(f"No journal in {folder} is without a living process: nothing to settle.")
    return 0 if all(_is_settled(one) for one in inherited) else 1


def accept_event(settings: Settings, event_id: str, *, yes: bool) -> int:
    """Decide about a halted event. Raises JournalError, StoreError."""
    return _decide(decision.about_event(event_id, _decisions(settings), settings.journal_dir), yes)


def accept_lease(settings: Settings, holder: str, event_id: str | None, *, yes: bool) -> int:
    """Decide about a lost holder. Raises JournalError, StoreError."""
    return _decide(decision.about_lease(holder, event_id, _decisions(settings), settings.journal_dir), yes)


def accept_journal(settings: Settings, name: str, *, yes: bool) -> int:
    """Decide about a journal of this host; the store may be away. Raises JournalError, StoreError."""
    return _decide(decision.about_journal(name, settings.journal_dir, _store_or_why(settings)[0]), yes)


def _decide(decided: Decision | Refused, yes: bool) -> int:
    if isinstance(decided, Refused):
        print(f"Refused: {decided.why}.")
        return 1
    if not yes:
        print("\n".join([*decided.would, "", "What this risks:", *(f"- {risk}" for risk in decided.risks)]))
        print("\nNothing was done. To do it, say --yes.")
        return 1
    done = decided.carry_out()
    print("\n".join(done.sentences))
    return 0 if done.ok else 1


def _of(inherited: Inheritance) -> list[str]:
    """What became of one journal, in sentences."""
    if inherited.damage:
        return [
            f"{inherited.name}: can't be read ({inherited.damage}), nothing was settled. To give it up: "
            f"{COMMAND} accept journal {inherited.name}"
        ]
    said = [
        f"{inherited.name}: event {event_id}: {counted(count, 'purchase')} {outcome}"
        for (event_id, outcome), count in sorted(inherited.outcomes.items())
    ]
    said += [
        f"{inherited.name}: event {parked.event_id}: {counted(parked.purchases, 'purchase')} parked: "
        f"{WHY_PARKED[parked.why]}"
        for parked in inherited.parked
    ]
    if done := inherited.before.voids - inherited.voids_left:
        said.append(f"{inherited.name}: {counted(done, 'void intent')} carried out")
    if inherited.voids_left:
        said.append(f"{inherited.name}: {counted(inherited.voids_left, 'void intent')} left")
    if inherited.handed_back:
        said.append(f"{inherited.name}: {counted(inherited.handed_back, 'ticket')} given back to the pool")
    if inherited.parked or inherited.voids_left:
        said.append(f"{inherited.name}: what stays is kept. To give it up: {COMMAND} accept journal {inherited.name}")
    return said or [f"{inherited.name}: nothing was open"]


def _is_settled(inherited: Inheritance) -> bool:
    return not (inherited.damage or inherited.parked or inherited.voids_left)


def _print_table(table: Table, otherwise: str) -> None:
    if table.row_count:
        Console().print(table)
    else:
        print(otherwise)


def _heir_parts(settings: Settings, secret_fingerprint: str) -> HeirParts:
    """For a store that answers, and is sold from with this host's id secret. Raises StoreError, SettingsError."""
    store, versions = _open(settings), Versions()
    timeout_ms, due_ms = int(settings.store_timeout_s * 1000), settings.receipt_due_ms
    sales = SaleStore(store, versions, StoreClock(), timeout_ms=timeout_ms, due_ms=due_ms)
    sales.greet(secret_fingerprint)
    events = EventStore(store, versions)
    leases = LeaseStore(store, versions, due_ms=due_ms)
    return HeirParts(leases, sales, versions, lambda: events.read(events.ids()))


def _decisions(settings: Settings) -> DecisionStore:
    return DecisionStore(_open(settings))


def _store_or_why(settings: Settings) -> tuple[DecisionStore | None, str]:
    """The store, or why it can't be asked."""
    try:
        return _decisions(settings), ""
    except TicketingError as error:
        return None, str(error)


def _open(settings: Settings) -> Store:
    """A store that answered. Raises StoreError, SettingsError."""
    store = open_store(
        settings.store_url,
        timeout_s=settings.store_timeout_s,
        connect_timeout_s=settings.store_connect_timeout_s,
        connections=1,
    )
    store.ping()
    return store
