"""python -m ticketing outage: the operator's verbs after an outage, and how they read on a terminal.

What must stay true: `show` and a decision without --yes change nothing. Exit codes as of every command: 0 all is well,
or done; 1 something is wrong, refused, or was only shown; an error that is raised becomes 2.
"""

from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.table import Table

from ticketing.config import Settings
from ticketing.errors import StoreError, TicketingError
from ticketing.outage import decision, heirs, inspection, machine, outlook, release, slots, words
from ticketing.outage.decision import Decision, Refused
from ticketing.outage.heirs import HeirParts, Inheritance
from ticketing.outage.journal import Journal
from ticketing.outage.settlement import OnVoided
from ticketing.outage.words import Said, counted
from ticketing.store.connection import Store, StoreClock
from ticketing.store.decisions import DecisionStore
from ticketing.store.events import EventStore
from ticketing.store.hosts import HostStore
from ticketing.store.leases import LeaseStore, Settled
from ticketing.store.opening import store_of
from ticketing.store.sale import SaleStore, Versions

WIDTH_MOST = 100  # characters a line; the window's, where it is narrower
WHY_PARKED = {
    Settled.UNFUNDED: "neither lease nor pool covers them, their buyers have no ticket",
    Settled.VOIDED: "the store holds a tombstone for them, they were voided before",
    Settled.KEY_REUSED: "the store holds another purchase under their keys",
    heirs.EVENT_HALTED: "their event is halted",
    heirs.SALE_GONE: "the store does not know their sale: it was made anew, or the event is gone",
    heirs.NOT_TAKEN: "the store did not take them, as was said above",
}
GOOD = {Settled.SETTLED: "settled", Settled.KNOWN: "settled before"}


def show(settings: Settings) -> int:
    """Print what journals and store hold, what is wrong, and which command decides it. Raises JournalError."""
    store, why_away = _store_or_why(settings)
    found = outlook.look(settings.journal_dir, store, why_away)
    _print_table(f"Journals of this host, in {settings.journal_dir}", outlook.journal_table(found))
    if found.standings is not None:
        shown = [standing for standing in found.standings if standing.halted or standing.leased or not standing.seed]
        others = len(found.standings) - len(shown)
        _print_table(f"Events that are halted or leased from (others: {others:,})", outlook.event_table(shown))
        _print_table("Leases", outlook.lease_table(found))
        if any(standing.halted for standing in found.standings):
            _print_table("Put back into halted events", outlook.report_table(found))
    wrong = found.wrong() + _show_hosts(settings, found)
    _say([*found.notes(), *(wrong or [Said("Nothing is left to decide.")])])
    return 1 if wrong else 0


def _show_hosts(settings: Settings, found: outlook.Outlook) -> list[Said]:
    """Print who sells from the store; what is wrong with that."""
    if found.standings is None:
        return []
    try:
        contacts = HostStore(_open(settings)).contacts()
    except StoreError as error:
        return [Said(f"Which hosts live can't be said: {error}")]
    hosts = release.hosts_of(found.standings, contacts)
    _print_table("Hosts", release.host_table(hosts, contacts, inspection.host_id(settings.journal_dir)))
    return release.copied(hosts, contacts)


def settle(settings: Settings, secret_fingerprint: str, on_voided: OnVoided) -> int:
    """Settle what this host's journals hold that no living process does. Raises JournalError, StoreError."""
    folder = settings.journal_dir
    if folder.is_dir():
        machine.keep_apart(folder)
        slots.check_secret(folder, secret_fingerprint)
    parts = _heir_parts(settings, secret_fingerprint, on_voided)
    inherited = heirs.settle_all(folder, parts) if folder.is_dir() else []
    for one in inherited:
        _say(_of(one))
    for event_id in sorted({event_id for one in inherited for event_id in one.halted}):
        _say([Said(f"Event {event_id} is halted. What that means, and what ends it:", "show")])
    if not inherited:
        _say([Said(f"No journal in {folder} is without a living process: nothing to settle.")])
    return 0 if all(one.is_settled for one in inherited) else 1


def resume(settings: Settings, event_ids: Sequence[str], *, yes: bool) -> int:
    """Take halted sales up: those of which nothing is left to put back, or with `yes` all. Raises as accept_event."""
    store = _decisions(settings)
    halted = [one.event_id for one in store.standings(sorted(store.event_ids())) if one.halted]
    if not (event_ids or halted):
        _say([Said("No event is halted.")])
    codes = [
        _decide(told, yes or (isinstance(told, Decision) and not told.risks))
        for event_id in event_ids or halted
        for told in [decision.about_resuming(event_id, store, settings.journal_dir)]
    ]
    return max(codes, default=0)


def accept_event(settings: Settings, event_id: str, *, yes: bool) -> int:
    """Decide about a halted event. Raises JournalError, StoreError."""
    return _decide(decision.about_event(event_id, _decisions(settings), settings.journal_dir), yes)


def release_host(settings: Settings, host: str, *, yes: bool) -> int:
    """Decide about a host that is gone for good. Raises JournalError, StoreError."""
    store = _open(settings)
    return _decide(release.about_host(host, DecisionStore(store), HostStore(store), settings.journal_dir), yes)


def accept_lease(settings: Settings, holder: str, event_id: str | None, *, yes: bool) -> int:
    """Decide about a lost holder. Raises JournalError, StoreError."""
    return _decide(decision.about_lease(holder, event_id, _decisions(settings), settings.journal_dir), yes)


def accept_journal(settings: Settings, name: str, *, yes: bool) -> int:
    """Decide about a journal of this host; the store may be away. Raises JournalError, StoreError."""
    return _decide(decision.about_journal(name, settings.journal_dir, _store_or_why(settings)[0]), yes)


def _decide(decided: Decision | Refused, yes: bool) -> int:
    if isinstance(decided, Refused):
        _say([Said(f"Refused: {decided.why.text}", decided.why.verb)])
        return 1
    if not yes:
        _say(decided.would)
        print("\nWhat this risks:")
        _say(decided.risks, bullet="- ")
        print("\nNothing was done. To do it, say --yes.")
        return 1
    done = decided.carry_out()
    _say(done.said)
    return 0 if done.ok else 1


def _of(inherited: Inheritance) -> list[Said]:
    """What became of one journal."""
    name = inherited.name
    give_up = f"accept journal {name}"
    if inherited.damage:
        return [
            Said(f"{name} can't be read: {inherited.damage}. Nothing was settled. To give up what it holds:", give_up)
        ]
    said = [
        Said(f"{name}: {counted(count, 'purchase')} of event {event_id} {GOOD[outcome]}.")
        for (event_id, outcome), count in sorted(inherited.outcomes.items())
        if outcome in GOOD
    ]
    said += [
        Said(f"{name}: {counted(one.purchases, 'purchase')} of event {one.event_id} parked: {WHY_PARKED[one.why]}.")
        for one in inherited.parked
    ]
    if done := inherited.before.voids - inherited.voids_left:
        said.append(Said(f"{name}: {counted(done, 'void intent')} carried out."))
    if inherited.voids_left:
        said.append(Said(f"{name}: {counted(inherited.voids_left, 'void intent')} left to do."))
    if inherited.handed_back:
        said.append(Said(f"{name}: {counted(inherited.handed_back, 'ticket')} given back to the pool."))
    if inherited.is_parked_for_good:
        said.append(Said(f"{name}: what stays is kept. To give it up:", give_up))
    return said or [Said(f"{name}: nothing was open.")]


def _say(said: Sequence[Said], bullet: str = "") -> None:
    for line in words.lines(said, min(WIDTH_MOST, Console().width), bullet=bullet):
        print(line)


def _print_table(title: str, table: Table) -> None:
    print(f"{title}:")
    if table.row_count:
        Console().print(table)
    else:
        print("none")
    print()


def _heir_parts(settings: Settings, secret_fingerprint: str, on_voided: OnVoided) -> HeirParts:
    """For a store that answers, and is sold from with this host's id secret. Raises StoreError, SettingsError."""
    store, versions = _open(settings), Versions()
    timeout_ms, due_ms = int(settings.store_timeout_s * 1000), settings.receipt_due_ms
    sales = SaleStore(store, versions, StoreClock(), timeout_ms=timeout_ms, due_ms=due_ms)
    sales.greet(secret_fingerprint)
    events = EventStore(store, versions)
    leases = LeaseStore(store, versions, due_ms=due_ms)
    return HeirParts(
        leases,
        sales,
        versions,
        states=lambda: events.read_sound(events.ids()),
        on_settled=lambda *_: None,  # the sweeper enqueues their receipts
        on_voided=on_voided,
        offload=lambda work: work(),
        open_journal=partial(Journal, fsync=settings.journal_fsync),
        hosts=HostStore(store),
    )


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
    store = store_of(settings, connections=1)
    store.ping()
    return store
