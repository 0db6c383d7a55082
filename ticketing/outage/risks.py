"""What an operator is told before a decision: what it would do, and who may lose by it.

What must stay true: a risk is said exactly, with whom it hits and by how much where that can be known; a purchase id is
its buyer's secret, so none is shown.
"""

from collections.abc import Mapping, Sequence

from ticketing.outage.inspection import FoundJournal
from ticketing.outage.words import Said, counted, printable
from ticketing.store.decisions import EventStanding, Lease
from ticketing.store.put_back import Report

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
        "Purchases that were answered, that this store does not hold and that no process has put back stay lost. Their "
        "buyers have receipts, and the same tickets can be sold to others: two people would hold a genuine code for "
        "one ticket."
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


SEEN_MS = 15_000  # a living process that has something to put back says so every few seconds
LISTED_MOST = 20


def not_put_back(standing: EventStanding, enrolled: Mapping[str, int]) -> list[Said]:
    """What speaks against taking a halted sale up; empty where all that was answered lately is in the store."""
    reports = {report.process: report for report in standing.reports}
    missing = [_missing(process, ago_ms) for process, ago_ms in enrolled.items() if process not in reports]
    reaches_back = [_not_whole(report) for report in standing.reports if not report.whole]
    said = [*missing, *reaches_back, *conflicts(standing)]
    if not said and not any(report.evidence for report in standing.reports):
        said.append(
            Said(
                "No process that lives remembers a purchase from before the store went back: how much was lost can't "
                "be told, and what was not put back stays lost."
            )
        )
    return said


def put_back(standing: EventStanding) -> list[Said]:
    """What processes have put back of an event in this halt."""
    return [
        Said(
            f"{printable(report.process)}: {counted(report.put_back, 'purchase')} of event {standing.event_id} put "
            f"back, {report.known:,} known, {report.conflicts:,} that can't be."
        )
        for report in standing.reports
    ]


def _missing(process: str, ago_ms: int) -> Said:
    if ago_ms <= SEEN_MS:
        return Said(f"{printable(process)} has not put back yet what it answered lately: wait a moment.")
    return Said(
        f"{printable(process)} said {ago_ms // 1000:,} s ago that it has answers to put back, and has not. If it is "
        "cut off, wait. If it has ended, what it answered last is lost, as far as nobody else has it."
    )


def _not_whole(report: Report) -> Said:
    return Said(
        f"{printable(report.process)} does not remember anything from before the store went back: of what it answered, "
        "the older part may be lost."
    )


def conflicts(standing: EventStanding) -> list[Said]:
    """Purchases that could not be put back, some by their shortened ids."""
    if not standing.conflicts:
        return []
    said = [
        Said(
            f"{counted(len(standing.conflicts), 'purchase')} of event {printable(standing.event_id)} that buyers were "
            "answered could not be put back. These buyers have receipts:"
        )
    ]
    for one in standing.conflicts[:LISTED_MOST]:
        contact = "the store keeps how to reach the buyer" if one.has_contact else "nobody knows the buyer"
        tickets = printable(", ".join(one.tickets))
        said.append(Said(f"- {printable(shortened(one.purchase_id))} {tickets}: {WHY_NOT[one.why]}; {contact}"))
    return said


def stay_lost(standing: EventStanding) -> Said:
    """What an operator gave up, in halts before."""
    lost = counted(standing.lost, "purchase")
    where = f"`HGETALL event:{{{printable(standing.event_id)}}}:put_back` in Redis names them"
    return Said(f"{lost} of event {printable(standing.event_id)} that buyers were answered stay lost: {where}.")


def shortened(purchase_id: str) -> str:
    """Enough of a purchase id to find it in the store, too little to fetch its receipt."""
    event_id, _, rest = purchase_id.partition(".")
    return f"{event_id}.{rest[:6]}…"


WHY_NOT = {
    "taken": "somebody else has a ticket of it by now",
    "other": "its key has bought again since",
    "voided": "it was voided since",
}


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
