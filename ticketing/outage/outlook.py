"""What an outage has left: this host's journals, the store's leases, what is wrong, and which command decides it.

What must stay true: it reads only; it works while the store is away, and says so; no purchase id is shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ticketing.errors import TicketingError
from ticketing.outage import inspection
from ticketing.outage.inspection import FoundJournal, Owed
from ticketing.outage.words import COMMAND, counted, printable
from ticketing.store.decisions import DecisionStore, EventStanding, Lease


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything that was found."""

    folder: Path
    journals: list[tuple[FoundJournal, list[Owed]]]
    standings: list[EventStanding] | None  # None where the store can't be asked
    why_away: str = ""

    def sentences(self) -> list[str]:
        """What is wrong, and which command decides it; empty where nothing is."""
        said = [*self._of_the_store(), *(said for found, rows in self.journals for said in self._of(found, rows))]
        return said + list(self._of_left_leases())

    def notes(self) -> list[str]:
        """What is as it should be, and good to know."""
        others = sum(lease.tickets for standing in self.standings or () for lease in self._elsewhere(standing))
        if not others:
            return []
        return [
            f"{counted(others, 'ticket')} are leased to other hosts, as should be. Only of one that is lost for good, "
            f"with its disk: {COMMAND} accept lease HOLDER"
        ]

    def where(self, holder: str) -> str:
        """Whose lease it is. Raises JournalError."""
        if not self._is_mine(holder):
            return "other host"
        alive = inspection.is_slot_held(self.folder, holder)
        return "this host" if alive else "this host, no process"

    def _of_the_store(self) -> Iterator[str]:
        if self.standings is None:
            yield f"Redis can't be asked ({printable(self.why_away)}): what follows is from this host's disk alone."
            return
        for standing in self.standings:
            if not standing.halted:
                continue
            yield (
                f"Event {standing.event_id} is halted: nothing of it is sold or settled. Put a younger copy of the "
                f"store back, or take it as it is: {COMMAND} accept event {standing.event_id}"
            )

    def _of(self, found: FoundJournal, rows: Sequence[Owed]) -> Iterator[str]:
        accept = f"{COMMAND} accept journal {found.name}"
        if found.damage:
            yield f"{found.name} can't be read ({found.damage}) and is left alone. To give it up: {accept}"
            return
        purchases, voids = sum(row.purchases for row in rows), len(found.content.voids)
        if not (purchases or voids):
            return
        what = f"{found.name} holds {counted(purchases, 'unsettled purchase')} and {counted(voids, 'void intent')}"
        if self.standings is None:
            yield f"{what}{', as far as can be told without Redis' if purchases else ''}. They wait for it."
        elif found.held:
            yield (
                f"{what}. Its process settles them within a second; what stays is parked: its event is halted or made "
                f"anew, or its buyers had another answer. To give that up stop the service here, then: {accept}"
            )
        else:
            yield f"{what}, and no process. Settle them: {COMMAND} settle"

    def _of_left_leases(self) -> Iterator[str]:
        """Leases of this host that nobody sells from and no journal leads to, or that only wait for a settle."""
        with_journal = {found.holder for found, _ in self.journals}
        left = {
            lease.holder
            for standing in self.standings or ()
            for lease in standing.leases
            if lease.tickets and not standing.halted and self.where(lease.holder) == "this host, no process"
        }
        for holder in sorted(left):
            verb = "settle" if holder in with_journal else f"accept lease {holder}"
            yield f"No process sells from the leases of {holder} on this host. Give them back: {COMMAND} {verb}"

    def _elsewhere(self, standing: EventStanding) -> list[Lease]:
        return [lease for lease in standing.leases if not self._is_mine(lease.holder)]

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
    return Outlook(folder, journals, standings)


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
    """The events that are halted or leased from."""
    table = _table("event", "sale")
    for heading in ("version", "pool", "leased"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("halted because", overflow="fold")
    for standing in standings:
        numbers = (f"{standing.version:,}", f"{standing.pool:,}", f"{standing.leased:,}")
        state = "halted" if standing.halted else "goes on" if standing.seed else "gone"
        why = Text(printable(standing.halted_why))
        style = "bold red" if standing.halted else None
        table.add_row(Text(printable(standing.event_id)), state, *numbers, why, style=style)
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
