"""What an operator is told before a decision: what it would do, and who may lose by it.

What must stay true: a risk is said exactly, with whom it hits and by how much where that can be known; a purchase id is
its buyer's secret, so none is shown.
"""

from collections.abc import Sequence

from ticketing.outage.inspection import FoundJournal
from ticketing.outage.words import Said, counted, printable
from ticketing.store.decisions import EventStanding, Lease

Held = Sequence[tuple[EventStanding, Lease]]

GONE = [
    Said(
        "Nobody who bought before has a purchase in the store any more. Made anew under this id, the event issues the "
        "same ticket ids again: two people would hold a genuine code for one ticket."
    ),
    Said(
        "An Idempotency-Key that was used before buys once more when it is sent again, under the same purchase id, for "
        "which an old receipt may still be stored."
    ),
    Said("What the journals of any host hold of the old sale can't be settled any more: it stays parked there."),
    Said("Put a copy of the store back instead, if there is one; or make the event anew under another id."),
]
WENT_BACK = [
    Said(
        "Purchases that were answered and that this store does not hold any more stay lost. Their buyers have "
        "receipts, and the same tickets can be sold to others: two people would hold a genuine code for one ticket."
    ),
    Said("An Idempotency-Key of such a purchase buys once more when it is sent again."),
    Said(
        "A process that can't reach the store now, on this host or another, goes on selling what its journal allows. "
        "All that is journalled is settled from the pool; what the pool does not cover comes out `unfunded`: those "
        "buyers were told `provisional` and have no ticket."
    ),
    Said(
        "If a younger copy of the store can be had, put that back instead: while the event is halted it gets no worse."
    ),
]


def event_that_goes_on(standing: EventStanding) -> list[Said]:
    """What accepting a halted event would do."""
    why = Said(f"Event {standing.event_id} is halted: {printable(standing.halted_why)}.")
    if not standing.seed:
        gone = "The store knows nothing of it but that. The mark would be taken away, and `python -m seeds` could make "
        return [why, Said(f"{gone}the event anew, as another sale.")]
    holding = [lease for lease in standing.leases if lease.tickets]
    back = f"{counted(standing.leased, 'ticket')} of {counted(len(holding), 'lease')} would be in the pool again"
    return [
        why,
        Said("The store as it is now would be taken for the truth, and the sale would go on."),
        Said(f"{back}, which would hold {standing.pool + standing.leased:,}{':' if holding else '.'}"),
        *(Said(f"- {printable(lease.holder)}: {counted(lease.tickets, 'ticket')}") for lease in holding),
    ]


def of_going_on(standing: EventStanding) -> list[Said]:
    """What accepting a halted event risks."""
    return WENT_BACK if standing.seed else GONE


def remains(standing: EventStanding) -> Said:
    """Why an event without a description can't be accepted."""
    return Said(
        f"the store has lost the description of event {standing.event_id}, and still holds "
        f"{counted(standing.records, 'purchase')} and {counted(standing.pool + standing.leased, 'ticket')} of it: "
        "made anew beside them it would sell twice. Put a copy of the store back."
    )


def leases_that_go_back(holder: str, held: Held) -> list[Said]:
    """What accepting a lost lease would do."""
    return [
        Said(f"Event {standing.event_id}: {counted(lease.tickets, 'ticket')} of {holder} would be in the pool again.")
        for standing, lease in held
    ]


def of_a_lost_holder(held: Held) -> list[Said]:
    """What accepting a lost lease risks."""
    tickets = counted(sum(lease.tickets for _, lease in held), "ticket")
    return [
        Said(
            f"The holder may have sold up to {tickets} that it could not settle. If its disk is lost, those buyers "
            "were told `provisional` and have no ticket, and nobody can tell who they are."
        ),
        Said(
            "If its process still runs and is only cut off, it goes on selling up to as many. They are settled from "
            "the pool when it is back; what that does not cover comes out `unfunded`: those buyers have no ticket."
        ),
        Said("If the host or its disk may come back, wait. There nothing is lost with:", "settle"),
    ]


ONLY_NO_DOUBLES = Said(
    "It is certain that no ticket is sold twice by it. It is not certain that everybody who bought from the host gets "
    "tickets: what the pool does not cover is parked as `unfunded`, loudly, on the host when it is back."
)


def what_is_lost(journal: FoundJournal, purchases: int, tickets: int, *, at_most: bool) -> str:
    """What a journal holds that would be given up."""
    parts = [f"{counted(purchases, 'unsettled purchase')} ({counted(tickets, 'ticket')})"]
    if journal.content.voids:
        parts.append(counted(len(journal.content.voids), "void intent"))
    limits = [", at most, since the store can't be asked"] if at_most else []
    limits += [f", as far as its lines can be read ({journal.damage})"] if journal.damage else []
    return " and ".join(parts) + "".join(limits)


def of_a_lost_journal(journal: FoundJournal, purchases: int) -> list[Said]:
    """What giving a journal up risks."""
    said = []
    if purchases or journal.damage:
        said.append(
            Said(
                "Each of these buyers was told `provisional` and would have no ticket. One with an Idempotency-Key can "
                "send it again and buys anew, if tickets are left; the others can't ask."
            )
        )
    if journal.content.voids or journal.damage:
        said.append(Said("Purchases that were answered 503 and should hold nothing may keep tickets that nobody has."))
    if journal.damage:
        said.append(Said("How much the lines held that can't be read, nobody can tell. The file is kept for who can."))
    else:
        said.append(Said("What can be settled would be dropped as well, unless this was run before:", "settle"))
    return said
