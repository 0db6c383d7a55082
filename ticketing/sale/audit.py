"""The audit: the invariants of the sale, checked on a live store without stopping it.

What must stay true: nothing is written, and a sale that goes on never causes a false alarm. It reads purchases, then
leases, then the pool. Reading takes seconds, tickets move meanwhile, and so what looks wrong is at first a suspicion:

- In two places: a purchase never gives a ticket back without becoming a tombstone, which it stays. So one that still
  holds the ticket after it was seen elsewhere held it then, too. A lease that still has its token has not changed.
- Nowhere, twice in the pool, or a buyer miscounted: looked at again along the way that tickets take (pool, leases,
  purchases). If `epoch` did not rise meanwhile, none came back, and what is still wrong is wrong.
- Beside the purchases (outbox, failed, contacts): both places asked in one script.

The counters are compared in one script, at one moment. Sold and voided are counted as well: with no void during the
scan, the purchases hold at least what `sold` said before it, at most what it said after it.

Of the invariants (sale.md) 3, 4 and 5 are seen by what their breach would leave behind: records that are none, entries
of purchases that do not exist, traces of voided ones. Whether a receipt was stored the store does not know: `stored`.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

from ticketing.model import is_tombstone
from ticketing.sale.audit_places import Double, Place, Places, ranges
from ticketing.sale.audit_report import AuditReport, EventAudit, Findings, Violation, render, shortened
from ticketing.store.audit import AuditStore, Snapshot, Standing
from ticketing.store.connection import Store
from ticketing.store.events import EventStore
from ticketing.store.sale import Versions

__all__ = ["AuditReport", "EventAudit", "Violation", "audit", "render"]

ROUNDS = 5  # how often what never stands still is looked at again
ISSUED_MAX = 100_000_000  # a counter above this is damage, and no reason to ask for gigabytes
RECORD = re.compile(r"[0-9a-f]{16}\|\d{1,15}\|([^|,]+(?:,[^|,]+)*)\|([^|]*)", re.ASCII)
PURCHASE_ID_REST = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
TOMBSTONE = re.compile(r"-\d{1,15}", re.ASCII)

Stored = Callable[[str], bool]


def audit(store: Store, event_ids: Sequence[str] | None = None, *, stored: Stored | None = None) -> AuditReport:
    """Check every event, or these. Takes about ten seconds a million sold tickets, on a store that goes on selling.

    `stored(purchase_id)` says whether a receipt's file exists; without it, invariant 6 is checked only as far as the
    outbox goes. A receipt that was cleaned up counts as never stored, so leave it out after a cleanup.
    Raises StoreError.
    """
    reader = AuditStore(store)
    events: list[EventAudit] = []
    violations: list[Violation] = []
    for event_id in EventStore(store, Versions()).ids() if event_ids is None else event_ids:
        audited, findings = _audit_event(reader, event_id, stored)
        events += [audited] if audited is not None else []
        violations += findings.all()
    return AuditReport(events, violations)


def _audit_event(reader: AuditStore, event_id: str, stored: Stored | None) -> tuple[EventAudit | None, Findings]:
    """The event as it stands. Begins again where it was replaced meanwhile: then nothing read before means anything."""
    while True:
        findings = Findings(event_id)
        opening = reader.snapshot(event_id)
        if opening is None:
            findings.add(4, "events without info", "the event is listed, and the store knows nothing of it")
            return None, findings
        examination = _Examination(reader, event_id, opening, findings, stored)
        undecided = examination.run() if examination.has_counters() else 0
        closing = reader.snapshot(event_id)
        if closing is not None and closing.seed == opening.seed:
            return _event_audit(event_id, opening, undecided), findings


def _event_audit(event_id: str, opening: Snapshot, undecided: int) -> EventAudit:
    issued, sold = opening.issued or 0, opening.sold or 0
    return EventAudit(
        event_id=event_id,
        issued=issued,
        sold=sold,
        pool=opening.pool,
        leased=opening.leased,
        remaining=issued - sold,
        purchases=opening.records - (opening.voided or 0),
        receipts_pending=opening.receipts_pending,
        receipts_failed=opening.receipts_failed,
        undecided=undecided,
    )


class _Examination:
    """One reading of one event, and the judgement of what looked wrong in it."""

    def __init__(
        self, reader: AuditStore, event_id: str, opening: Snapshot, findings: Findings, stored: Stored | None
    ) -> None:
        self._reader = reader
        self._event_id = event_id
        self._opening = opening
        self._findings = findings
        self._stored = stored
        self._tombstones: set[str] = set()
        self._held: Counter[str] = Counter()  # buyer tag -> tickets in purchases, for events with a limit a buyer
        self._without_receipt: list[str] = []

    def has_counters(self) -> bool:
        """Whether the event can be examined at all; where not, that is a finding."""
        opening = self._opening
        for name, value in (
            ("issued", opening.issued),
            ("sold", opening.sold),
            ("voided", opening.voided),
            ("epoch", opening.epoch),
        ):
            if value is None or not 0 <= value <= (1 << 53 if name == "epoch" else ISSUED_MAX):
                self._findings.add(2, "counters", f"the counter `{name}` is {'no number' if value is None else value}")
                return False
        return True

    def run(self) -> int:
        """Every finding is made. Returns how many suspicions could be neither confirmed nor dropped."""
        self._compare_counters()
        places = Places(self._event_id, self._opening.issued or 0)
        self._read_purchases(places)
        after_purchases = self._reader.snapshot(self._event_id) or self._opening
        self._compare_counts(places.tickets_sold, after_purchases)
        leases = self._reader.leases(self._event_id)
        for holder, lease in leases.items():
            if tickets := lease_tickets(lease):
                places.lease(holder, tickets)
        for chunk in self._reader.pool(self._event_id):
            places.pool(chunk)
        self._judge_strays(places)
        self._judge_doubles(places.doubles, leases)
        self._check_beside_purchases()
        self._judge_receipts()
        return _Recheck(
            self._reader, self._event_id, self._findings, places.unseen(), places.pool_twice, self._miscounted()
        ).run()

    def _compare_counters(self) -> None:
        now = self._opening
        if now.pool + now.leased + (now.sold or 0) != now.issued:
            self._findings.add(
                2,
                "counters",
                f"pool {now.pool:,} + leased {now.leased:,} + sold {now.sold:,} is not what was issued: {now.issued:,}",
            )

    def _read_purchases(self, places: Places) -> None:
        for chunk in self._reader.purchases(self._event_id):
            bought = [purchase_id for purchase_id, record in chunk if self._is_purchase(places, purchase_id, record)]
            if bought and self._stored is not None:
                known = self._reader.receipt_due_or_failed(self._event_id, bought)
                self._without_receipt += (
                    purchase_id
                    for purchase_id, is_known in zip(bought, known, strict=True)
                    if not is_known and not self._stored(purchase_id)
                )

    def _is_purchase(self, places: Places, purchase_id: str, record: str) -> bool:
        """Whether it is a purchase; what it holds is noted then."""
        event_id, _, rest = purchase_id.partition(".")
        if event_id != self._event_id or not PURCHASE_ID_REST.fullmatch(rest):
            # Such an id is not looked for among the files either: it could be any path.
            self._findings.add(3, "ids of no purchase", f"{shortened(purchase_id)} is no purchase id of this event")
            return False
        parts = RECORD.fullmatch(record)
        if parts is None:
            self._note_unsold(purchase_id, record)
            return False
        tickets = parts[1].split(",")
        if len(tickets) > 1 and len(set(tickets)) < len(tickets):
            self._findings.add(1, "twice in one purchase", f"purchase {shortened(purchase_id)} holds one ticket twice")
            tickets = list(dict.fromkeys(tickets))
        if places.purchase(purchase_id, tickets) and self._opening.buyer_max > 0 and parts[2]:
            self._held[parts[2]] += len(tickets)
        return True

    def _note_unsold(self, purchase_id: str, record: str) -> None:
        if TOMBSTONE.fullmatch(record):
            self._tombstones.add(purchase_id)
        else:
            self._findings.add(3, "malformed records", f"the record of purchase {shortened(purchase_id)} is malformed")

    def _compare_counts(self, tickets_sold: int, after: Snapshot) -> None:
        """Exact where nothing was sold or voided during the scan, else within what was."""
        before = self._opening
        voided, tombstones = (before.voided or 0, after.voided or 0), len(self._tombstones)
        if not voided[0] <= tombstones <= voided[1]:
            self._findings.add(3, "counters", f"`voided` says {voided[1]:,}, and there are {tombstones:,} tombstones")
        sold = (before.sold or 0, after.sold or 0)
        if voided[0] == voided[1] and not sold[0] <= tickets_sold <= sold[1]:
            self._findings.add(
                2, "counters", f"`sold` says {sold[1]:,}, and the purchases hold {tickets_sold:,} tickets"
            )

    def _judge_strays(self, places: Places) -> None:
        for stray in places.strays:
            if stray.is_foreign:
                detail = f"ticket {stray.ticket[:80]} of another event is in {stray.place}"
                self._findings.add(1, "tickets of other events", detail)
            else:
                detail = f"{stray.ticket[:80]!a} is in {stray.place}, and is no ticket id"
                self._findings.add(2, "malformed ticket ids", detail)
        issued = self._issued_now() if places.beyond else 0
        for number, stray in places.beyond:
            if number > issued:
                detail = f"ticket {stray.ticket[:80]} is in {stray.place}, and was never issued"
                self._findings.add(2, "tickets never issued", detail)

    def _issued_now(self) -> int:
        now = self._reader.snapshot(self._event_id)
        return 0 if now is None else now.issued or 0

    def _judge_doubles(self, doubles: Sequence[Double], leases: dict[str, str]) -> None:
        if not doubles:
            return
        in_purchases = {place.name for double in doubles for place in double[1:] if place.kind == "purchase"}
        standings = dict(self._reader.standings(self._event_id, sorted(in_purchases)))
        leases_now = self._reader.leases(self._event_id)

        def holds(place: Place, ticket: str) -> bool:
            if place.kind == "purchase":
                return ticket in record_tickets(standings[place.name].record)
            return place.kind == "pool" or leases_now.get(place.name) == leases[place.name]

        for ticket, first, second in doubles:
            # The second place was read later, so that only purchases, which are read one by one, are asked again.
            if holds(first, ticket) and (second.kind != "purchase" or holds(second, ticket)):
                where = f"twice in {first}" if first == second else f"in {first} and in {second}"
                self._findings.add(1, "tickets in two places", f"ticket {ticket} is {where}")

    def _check_beside_purchases(self) -> None:
        """Everything that names a purchase names one that exists."""
        reader, event_id = self._reader, self._event_id
        for chunk in chain(reader.outbox(event_id), reader.failed(event_id), reader.contacts(event_id)):
            records = reader.records(event_id, chunk)
            suspects = [
                purchase_id
                for purchase_id, record in zip(chunk, records, strict=True)
                if record is None or is_tombstone(record)
            ]
            for purchase_id, standing in reader.standings(event_id, suspects):
                self._judge_beside(purchase_id, standing)

    def _judge_beside(self, purchase_id: str, standing: Standing) -> None:
        if standing.record and not is_tombstone(standing.record):
            return
        for is_there, where in (
            (standing.in_outbox, "is in the outbox"),
            (standing.failed, "stands among the failed receipts"),
            (standing.has_contact, "still has a contact"),
        ):
            if is_there and standing.record:
                self._findings.add(
                    5, "traces of voided purchases", f"purchase {shortened(purchase_id)} is voided and {where}"
                )
            elif is_there:
                detail = f"purchase {shortened(purchase_id)} {where} and does not exist"
                self._findings.add(4, "purchases that do not exist", detail)

    def _judge_receipts(self) -> None:
        for purchase_id, standing in self._reader.standings(self._event_id, self._without_receipt):
            is_purchase = bool(standing.record) and not is_tombstone(standing.record)
            if is_purchase and not (standing.in_outbox or standing.failed) and not self._is_stored(purchase_id):
                detail = f"purchase {shortened(purchase_id)} has no receipt, and none is due"
                self._findings.add(6, "purchases without a receipt", detail)

    def _is_stored(self, purchase_id: str) -> bool:
        return self._stored is None or self._stored(purchase_id)

    def _miscounted(self) -> set[str]:
        """Buyers whose count in the store differs from what their purchases held a while ago."""
        if self._opening.buyer_max == 0:
            return set()
        differing = dict(self._held)
        for chunk in self._reader.buyers(self._event_id):
            for tag, count in chunk:
                if str(self._held[tag]) == count:
                    differing.pop(tag, None)
                else:
                    differing[tag] = -1
        return set(differing)


class _Recheck:
    """What was seen nowhere, twice in the pool, or miscounted, looked at again until it stands still."""

    def __init__(
        self,
        reader: AuditStore,
        event_id: str,
        findings: Findings,
        unseen: set[str],
        pool_twice: set[str],
        buyers: set[str],
    ) -> None:
        self._reader = reader
        self._event_id = event_id
        self._findings = findings
        self._unseen = unseen
        self._pool_twice = pool_twice
        self._buyers = buyers

    def run(self) -> int:
        """Everything that stands still is judged. Returns how much did not within a few rounds."""
        for _ in range(ROUNDS):
            if not self._open():
                break
            self._round()
        return self._open()

    def _open(self) -> int:
        return len(self._unseen) + len(self._pool_twice) + len(self._buyers)

    def _round(self) -> None:
        epoch = self._epoch()
        counts_before = self._reader.held(self._event_id, sorted(self._buyers))
        self._read_pool()
        for lease in self._reader.leases(self._event_id).values():
            self._unseen.difference_update(lease_tickets(lease))
        held = self._read_purchases()
        counts = self._reader.held(self._event_id, sorted(self._buyers))
        if self._epoch() == epoch:  # no ticket came back: whatever is wrong now is wrong
            self._judge_tickets()
            self._judge_buyers(held, counts_before, counts)

    def _epoch(self) -> tuple[str, int | None]:
        now = self._reader.snapshot(self._event_id)
        return ("", None) if now is None else (now.seed, now.epoch)

    def _read_pool(self) -> None:
        times: Counter[str] = Counter()
        for chunk in self._reader.pool(self._event_id):
            self._unseen.difference_update(chunk)
            if self._pool_twice:
                times.update(ticket for ticket in chunk if ticket in self._pool_twice)
        self._pool_twice = {ticket for ticket, count in times.items() if count > 1}

    def _read_purchases(self) -> Counter[str]:
        """Tickets held by the buyers in question."""
        held: Counter[str] = Counter()
        counted: set[str] = set()
        for chunk in self._reader.purchases(self._event_id) if self._unseen or self._buyers else ():
            for purchase_id, record in chunk:
                tickets = record_tickets(record)
                self._unseen.difference_update(tickets)
                if self._buyers and purchase_id not in counted:
                    tag = record.rpartition("|")[2]
                    if tag in self._buyers:
                        counted.add(purchase_id)
                        held[tag] += len(tickets)
        return held

    def _judge_tickets(self) -> None:
        for tickets in ranges(self._unseen):
            self._findings.add(2, "missing tickets", f"nothing holds {tickets}: neither pool nor lease nor purchase")
        for ticket in sorted(self._pool_twice):
            self._findings.add(1, "tickets twice in the pool", f"ticket {ticket} is twice in the pool")
        self._unseen, self._pool_twice = set(), set()

    def _judge_buyers(self, held: Counter[str], before: dict[str, str], after: dict[str, str]) -> None:
        for tag in sorted(self._buyers):
            count = after.get(tag, "0")
            if before.get(tag, "0") != count:
                continue  # bought meanwhile
            self._buyers.discard(tag)
            if count != str(held[tag]):
                detail = f"a buyer ({tag[:4]}…) is counted with {count[:12]} tickets and holds {held[tag]}"
                self._findings.add(2, "miscounted buyers", detail)


def record_tickets(record: str) -> list[str]:
    """The tickets of a record; none of a tombstone, or of something that is no record."""
    parts = record.split("|")
    return parts[2].split(",") if len(parts) == 4 else []


def lease_tickets(lease: str) -> list[str]:
    """The tickets that a lease grants: token|ticket,ticket."""
    tickets = lease.partition("|")[2]
    return tickets.split(",") if tickets else []
