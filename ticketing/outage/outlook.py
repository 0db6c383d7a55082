"""What an outage has left: this host's journals, the store's leases, what is wrong, and which command decides it.

What must stay true: it reads only; it works while the store is away, and says so; no purchase id is shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ticketing.errors import TicketingError
from ticketing.outage import inspection, risks
from ticketing.outage.inspection import FoundJournal, Owed
from ticketing.outage.words import Said, counted, counted_is, printable
from ticketing.store.decisions import DecisionStore, EventStanding

NO_PROCESS = "this host, no process"


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything that was found."""

    folder: Path
    journals: list[tuple[FoundJournal, list[Owed]]]
    standings: list[EventStanding] | None  # None where the store can't be asked
    why_away: str = ""
    enrolled: Mapping[str, int] = field(default_factory=dict)  # processes with answers to put back, ms ago
    why_unconfirmed: str = ""  # which replicas are missing, where they are

    def wrong(self) -> list[Said]:
        """What is wrong, and which command decides it; empty where nothing is."""
        of_journals = [said for found, rows in self.journals for said in self._of(found, rows)]
        return [*self._of_the_store(), *of_journals, *self._of_left_leases()]

    def notes(self) -> list[Said]:
        """What is as it should be, and good to know."""
        leases = [lease for standing in self.standings or () for lease in standing.leases]
        said = [risks.stay_lost(standing) for standing in self.standings or () if standing.lost]
        others = sum(lease.tickets for lease in leases if not self._is_mine(lease.holder))
        if not others:
            return said
        held = f"{counted_is(others, 'ticket')} leased to other hosts, as should be. Of one that is lost for good:"
        return [*said, Said(held, "release-host HOST")]

    def where(self, holder: str) -> str:
        """Whose lease it is. Raises JournalError."""
        if not self._is_mine(holder):
            return "other host"
        alive = inspection.is_slot_held(self.folder, holder)
        return "this host" if alive else NO_PROCESS

    def _of_the_store(self) -> Iterator[Said]:
        if self.standings is None:
            yield Said(f"Redis can't be asked: {printable(self.why_away)}")
            yield Said("What follows is from this host's disk alone.")
        for standing in self.standings or ():
            if standing.halted:
                yield from self._of_a_halt(standing)

    def _of_a_halt(self, standing: EventStanding) -> Iterator[Said]:
        event_id = printable(standing.event_id)
        if not standing.seed:
            yield Said(
                f"Event {event_id} is halted: nothing of it is sold or settled. Put a younger copy of the "
                "store back, or decide to take it as it is:",
                f"accept event {event_id}",
            )
            return
        left = risks.not_put_back(standing, self.enrolled)
        back = sum(report.put_back for report in standing.reports)
        by = f"{counted_is(back, 'purchase')} put back by {counted(len(standing.reports), 'process', 'processes')}"
        then = "but:" if left else "and nothing is left to put back."
        yield Said(f"Event {event_id} is halted: nothing of it is sold or settled. {by}, {then}")
        yield from left
        either = "Put a younger copy of the store back, or take the sale up:" if left else "To take the sale up:"
        yield Said(either, f"resume {event_id}")

    def _of(self, found: FoundJournal, rows: Sequence[Owed]) -> Iterator[Said]:
        if found.damage:
            yield Said(
                f"{found.name} can't be read: {found.damage}. Nobody touches it. To give up what it holds:",
                f"accept journal {found.name}",
            )
            return
        halted = self._halted()
        waiting = sum(row.purchases for row in rows if row.event_id in halted)
        if waiting:
            yield Said(f"{found.name} holds {counted(waiting, 'purchase')} of a halted event: they wait for that.")
        purchases = sum(row.purchases for row in rows) - waiting
        voids = sum(intent.event_id not in halted for intent in found.content.voids.values())
        if purchases or voids:
            yield self._unsettled(found, f"{found.name} holds {_what(purchases, voids)}")

    def _unsettled(self, found: FoundJournal, holds: str) -> Said:
        if self.standings is None:
            return Said(f"{holds}, as far as can be told without Redis, and waits for it.")
        if self.why_unconfirmed:
            return Said(
                f"{holds}. The store can't confirm what is written: {self.why_unconfirmed}. Bring the replica back, "
                "and it is settled within seconds: there is nothing to give up."
            )
        if not found.held:
            return Said(f"{holds}, and no process. To settle that:", "settle")
        return Said(
            f"{holds}. Its process settles that within a second. What stays can't be settled: its sale is gone, or the "
            "store has another answer for it. To give that up, stop the service on this host, then:",
            f"accept journal {found.name}",
        )

    def _of_left_leases(self) -> Iterator[Said]:
        """Leases of this host that no process sells from, and that no other sentence leads to."""
        left = {
            lease.holder
            for standing in self.standings or ()
            for lease in standing.leases
            if lease.tickets and not standing.halted and self.where(lease.holder) == NO_PROCESS
        }
        journals = {found.holder: (found, rows) for found, rows in self.journals}
        for holder in sorted(left - journals.keys()):
            yield Said(f"No process and no journal of this host has the leases of {holder}.", f"accept lease {holder}")
        clear = [holder for holder, (found, rows) in journals.items() if _is_clear(found, rows)]
        if idle := [journals[holder][0].name for holder in clear if holder in left]:
            yield Said(f"No process sells from the leases of {', '.join(idle)}. To give them back:", "settle")

    def _halted(self) -> list[str]:
        return [standing.event_id for standing in self.standings or () if standing.halted]

    def _is_mine(self, holder: str) -> bool:
        this_host = inspection.host_id(self.folder)
        return bool(this_host) and holder.rpartition("-")[0] == this_host


def look(folder: Path, store: DecisionStore | None, why_away: str = "") -> Outlook:
    """What is found now. Raises JournalError where a journal can't be looked at."""
    found = inspection.journals(folder)
    try:
        return _look_at_both(folder, found, store, why_away)
    except TicketingError as error:
        return _look_at_both(folder, found, None, str(error))


def _look_at_both(folder: Path, found: list[FoundJournal], store: DecisionStore | None, why_away: str) -> Outlook:
    unwritten = inspection.everything if store is None else store.unwritten
    journals = [(journal, inspection.owed(journal, unwritten)) for journal in found]
    if store is None:
        return Outlook(folder, journals, None, why_away)
    named = {*store.event_ids(), *inspection.event_ids(found)}
    standings = [standing for standing in store.standings(sorted(named)) if standing.is_anything]
    return Outlook(folder, journals, standings, enrolled=store.enrolled(), why_unconfirmed=store.why_unconfirmed())


def _what(purchases: int, voids: int) -> str:
    both = ((purchases, "unsettled purchase"), (voids, "void intent"))
    return " and ".join(counted(number, thing) for number, thing in both if number)


def _is_clear(found: FoundJournal, rows: Sequence[Owed]) -> bool:
    return not (found.damage or found.content.voids or any(row.purchases for row in rows))


def journal_table(outlook: Outlook) -> Table:
    """This host's journals, an event a line."""
    table = _table("slot", "process", "event")
    for heading in ("unsettled", "tickets", "sellable", "voids", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found, rows in outlook.journals:
        for line in _journal_lines(found, rows or [Owed("-", 0, 0, 0)]):
            table.add_row(*line, style="bold red" if found.damage else None)
    return table


def _journal_lines(found: FoundJournal, rows: Sequence[Owed]) -> Iterator[tuple[str | Text, ...]]:
    """A line an event; what holds for the whole journal stands in the first."""
    head = (found.name, "lives" if found.held else "none")
    tail = (f"{len(found.content.voids):,}", f"{found.size_bytes:,}")
    for row in rows:
        numbers = (f"{row.purchases:,}", f"{row.tickets:,}", f"{row.sellable:,}")
        yield (*head, Text(printable(row.event_id)), *numbers, *tail)
        head = tail = ("", "")


def event_table(standings: Sequence[EventStanding]) -> Table:
    """Events, as far as a decision about them matters."""
    table = _table("event", "halted")
    for heading in ("version", "pool", "leased"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("because", overflow="fold")
    for standing in standings:
        numbers = (f"{standing.version:,}", f"{standing.pool:,}", f"{standing.leased:,}")
        halted = "yes" if standing.halted else "no"
        why = Text(printable(standing.halted_why))
        style = "bold red" if standing.halted else None
        table.add_row(Text(printable(standing.event_id)), halted, *numbers, why, style=style)
    return table


def report_table(outlook: Outlook) -> Table:
    """Of each halted event, which process has put back how much."""
    table = _table("event", "process")
    for heading in ("put back", "known", "conflicts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for standing in outlook.standings or ():
        reports = {report.process: report for report in standing.reports if standing.halted}
        for process in sorted({*reports, *(outlook.enrolled if standing.halted and standing.seed else ())}):
            report = reports.get(process)
            numbers = (report.put_back, report.known, report.conflicts) if report else ("not yet", "", "")
            table.add_row(Text(printable(standing.event_id)), Text(printable(process)), *map(str, numbers))
    return table


def lease_table(outlook: Outlook) -> Table:
    """Every lease that holds tickets."""
    table = _table("event", "holder")
    table.add_column("tickets", justify="right", no_wrap=True)
    table.add_column("whose", no_wrap=True)
    for standing in outlook.standings or ():
        for lease in standing.leases:
            if lease.tickets:
                names = (Text(printable(standing.event_id)), Text(printable(lease.holder)))
                table.add_row(*names, f"{lease.tickets:,}", outlook.where(lease.holder))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
