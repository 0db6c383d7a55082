"""A host that is gone for good: its leases go back to the pool, because an operator decided so.

What must stay true: it is withheld while the host gives signs of life, and shown before it is done; each lease is a
compare-and-set on what was seen, and gets a token that the host's processes take for a decision when they come back. It
promises that no ticket is sold twice, not that everybody who bought from the host in an outage gets tickets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from ticketing.outage import inspection, risks
from ticketing.outage.decision import Decision, Done, Refused, lease_sentence, lives_here
from ticketing.outage.inspection import FoundJournal
from ticketing.outage.words import Said, counted, printable
from ticketing.store.decisions import DecisionStore, EventStanding, Lease, Verdict
from ticketing.store.hosts import Contact, Contacts, HostStore, State, host_of
from ticketing.store.leases import decided_at

OUTAGES_SHOWN = 10
PREFIX_LEAST = 6  # characters of a host id that name it, where no other begins so
Held = list[tuple[EventStanding, Lease]]


@dataclass(frozen=True, slots=True)
class Host:
    """What the store knows of one host."""

    host_id: str
    held: Held  # every lease record of it, empty ones too
    contacts: list[Contact]

    @property
    def tickets(self) -> int:
        """Leased to it, of all events."""
        return sum(lease.tickets for _, lease in self.held)

    @property
    def last_ms(self) -> int:
        """When it was heard last, by the store's clock; 0 for never."""
        return max((one.contact_ms for one in self.contacts), default=0)


def hosts_of(standings: Sequence[EventStanding], contacts: Contacts) -> list[Host]:
    """Every host that leases something, did so, or was heard, by its id."""
    leases = [(standing, lease) for standing in standings for lease in standing.leases]
    ids = {host_of(lease.holder) for _, lease in leases} | {one.host_id for one in contacts.all}
    return [
        Host(
            host_id,
            [(standing, lease) for standing, lease in leases if host_of(lease.holder) == host_id],
            [one for one in contacts.all if one.host_id == host_id],
        )
        for host_id in sorted(ids)
    ]


def about_host(name: str, store: DecisionStore, heard: HostStore, folder: Path) -> Decision | Refused:
    """Every lease of a host that is gone would be empty. Raises StoreError, JournalError."""
    contacts, standings = heard.contacts(), store.standings(sorted(store.event_ids()))
    known = hosts_of(standings, contacts)
    named = [
        one for one in known if one.host_id == name or (len(name) >= PREFIX_LEAST and one.host_id.startswith(name))
    ]
    if len(named) != 1:
        why = "no host is known by that id" if not named else "several hosts have an id that begins so"
        return Refused(Said(f"{printable(name)}: {why}.", "show"))
    [host] = named
    found = inspection.journals(folder)
    if (why_not := _why_not(host, contacts, found, store, folder)) is not None:
        return Refused(why_not)
    return Decision(
        [*_what_it_holds(host), *_when_it_was_heard(host, contacts, store)],
        [*risks.of_a_lost_holder(host.held), risks.ONLY_NO_DOUBLES],
        lambda: _release(host, store, heard, found),
    )


def _why_not(
    host: Host, contacts: Contacts, found: Sequence[FoundJournal], store: DecisionStore, folder: Path
) -> Said | None:
    """Why the host is not gone, or what must be decided before; None where it may be released."""
    if living := [one for one in host.contacts if contacts.lives(one)]:
        ago = _ago(contacts.now_ms - max(one.contact_ms for one in living))
        return Said(f"{host.host_id} lives: it was heard {ago}. Stop it there, and it gives its leases back itself.")
    for holder in sorted({lease.holder for _, lease in host.held}):
        if (why := lives_here(holder, found, store, folder)) is not None:
            return why
    halted = [standing.event_id for standing, lease in host.held if standing.halted and lease.tickets]
    if halted:
        first = f"event {halted[0]} is halted: decide that first, which empties its leases too:"
        return Said(first, f"accept event {halted[0]}")
    return None


def _what_it_holds(host: Host) -> Iterator[Said]:
    holding = [(standing, lease) for standing, lease in host.held if lease.tickets]
    if not holding:
        yield Said(f"{host.host_id} holds no tickets. Its name would be forgotten.")
        return
    yield Said(f"{host.host_id} holds {counted(host.tickets, 'ticket')}, which would be in the pool again:")
    for event_id in dict.fromkeys(standing.event_id for standing, _ in holding):
        leases = [lease for standing, lease in holding if standing.event_id == event_id]
        tickets = counted(sum(lease.tickets for lease in leases), "ticket")
        yield Said(f"- event {event_id}: {tickets} of {counted(len(leases), 'lease')}")


def _when_it_was_heard(host: Host, contacts: Contacts, store: DecisionStore) -> Iterator[Said]:
    if not host.last_ms:
        yield Said("Nobody knows when it was heard last: it gave no sign of life that this store still has.")
    else:
        yield Said(f"It was heard last at {_at(host.last_ms)}, {_ago(contacts.now_ms - host.last_ms)}.")
    since = [
        (one.telling.outage_began_ms, one.telling.outage_ended_ms, one.holder)
        for one in contacts.all
        if one.telling.outage_ended_ms >= host.last_ms > 0
    ]
    for began_ms, ended_ms, holder in sorted(since)[-OUTAGES_SHOWN:]:
        whose = "itself" if host_of(holder) == host.host_id else f"as {holder} tells"
        yield Said(f"- Redis was away from {_at(began_ms)} to {_at(ended_ms)}, {whose}. It may have sold meanwhile.")
    uptime_s = store.uptime_s()
    started_ms = 0 if uptime_s is None else contacts.now_ms - uptime_s * 1000
    if started_ms > host.last_ms > 0:
        yield Said(f"- Redis was started at {_at(started_ms)}, after that. It may have sold before.")
    elif not since:
        yield Said("- No other host has told of an outage since. It may have been cut off by itself.")


def _release(host: Host, store: DecisionStore, heard: HostStore, found: Sequence[FoundJournal]) -> Done:
    """An empty lease too: a command of the host that is on its way yet would fill it."""
    said, ok = [], True
    for standing, lease in host.held:
        if not lease.tickets and decided_at(lease.token):
            continue
        seen = inspection.highest_version(found, standing.event_id, standing.seed)
        reply = store.accept_lease(standing, lease, seen)
        ok = ok and reply.verdict is Verdict.ACCEPTED
        if lease.tickets or reply.verdict is not Verdict.ACCEPTED:
            said.append(lease_sentence(standing, reply))
    if ok:
        heard.forget(one.holder for one in host.contacts)
        said.append(Said("Should it come back, it finds that, and settles what it sold from the pool."))
    return Done(said, ok)


def copied(hosts: Sequence[Host], contacts: Contacts) -> list[Said]:
    """Host ids that live twice."""
    return [
        Said(
            f"Two hosts use the host id {host.host_id}: a journal folder was copied. One of them has no reserve. See "
            "the runbook, A host id is used twice."
        )
        for host in hosts
        if any(contacts.lives(one) and one.telling.state == State.COPIED for one in host.contacts)
    ]


def host_table(hosts: Sequence[Host], contacts: Contacts, this_host: str) -> Table:
    """Every host, and when it was heard last."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("host", overflow="fold")
    for heading in ("processes", "tickets"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("heard last", no_wrap=True)
    table.add_column("", no_wrap=True)
    for host in hosts:
        living = sum(map(contacts.lives, host.contacts))
        heard = _ago(contacts.now_ms - host.last_ms) if host.last_ms else "never"
        note = "this host" if host.host_id == this_host else ""
        table.add_row(printable(host.host_id), f"{living:,}", f"{host.tickets:,}", heard, note)
    return table


def _at(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"


def _ago(ms: int) -> str:
    seconds = max(0, ms) // 1000
    for length, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * length:
            return f"{counted(seconds // length, name)} ago"
    return f"{counted(seconds, 'second')} ago"
