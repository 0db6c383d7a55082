"""What a process does for a halted event: its ring goes into the store again, and a report says so.

What must stay true: only what a buyer was answered is put back, as it was answered; it is done again whenever the store
has no report of this halt from this process: a reply was lost, more was answered meanwhile, or the store went back once
more. How the store stood before anything was put back is asked first: afterwards it could no longer be told.
"""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from loguru import logger

from ticketing.errors import ScriptFailed
from ticketing.outage.ring import Ring, Sale
from ticketing.store.put_back import CONFLICTS, PutBack, PutBackStore, Report, ReportAsk, ReportStanding, Told

AT_ONCE = 200  # purchases a call: some milliseconds of the server
CALLS_A_ROUND = 25
ENROL_EVERY_S = 5.0
GONE_MS = 600_000  # of a process that said nothing for so long, while the store answered, nothing is expected
GAP_S = 3 * ENROL_EVERY_S


@dataclass(slots=True)
class _Begun:
    """How far one halted sale has come."""

    mark: str
    asked: bool = False  # how the store stood before
    whole: bool = True
    evidence: bool = False
    left: list[Told] | None = None  # None: to be begun, or begun anew
    restored: set[str] = field(default_factory=set)  # purchase ids
    there: set[str] = field(default_factory=set)  # the same, and those that were not lost
    conflicts: Counter[PutBack] = field(default_factory=Counter)
    remembered: int = 0  # purchases, when it was begun
    all: int = 0
    failed: bool = False


class PuttingBack:
    """One process's part in it."""

    def __init__(self, ring: Ring, store: PutBackStore, process: str) -> None:
        self._ring = ring
        self._store = store
        self._process = process
        self._begun: dict[Sale, _Begun] = {}
        self._enrolled = False
        self._enrolled_s = self._steady_since_s = float("-inf")

    def round(self, halted: Sequence[Sale]) -> None:
        """Each of these sales is further. Raises StoreError: the next round goes on."""
        for sale in self._ring.held.difference(halted):
            self._begun.pop(sale, None)
            self._ring.let_go(sale)
        for sale in halted:
            self._ring.hold(sale)
            self._begun.setdefault(sale, _Begun(secrets.token_hex(4)))
        witnesses = [self._ring.witness(sale) for sale in halted]
        asks = [
            ReportAsk(sale[0], "" if told is None else told[0]) for sale, told in zip(halted, witnesses, strict=True)
        ]
        for sale, told, standing in zip(halted, witnesses, self._store.reports_of(self._process, asks), strict=True):
            self._go_on(sale, told, standing)

    def turn(self, now_s: float) -> None:
        """The store answered, and is not older: what is older than it may be is forgotten. Raises StoreError."""
        self._ring.turn(now_s)
        if now_s - self._enrolled_s < ENROL_EVERY_S:
            return
        if now_s - self._enrolled_s > GAP_S:
            self._steady_since_s = now_s
        self._enrolled_s = now_s
        if not self._ring.is_empty:
            now_ms, self._enrolled = self._store.enrol(self._process), True
            if not self._begun and now_s - self._steady_since_s > GONE_MS / 1000:
                gone = [process for process, seen in self._store.enrolled().items() if now_ms - seen > GONE_MS]
                self._store.leave(*gone)
        else:
            self.leave()

    def leave(self) -> None:
        """Where nothing was answered lately, nobody need wait for this process. Raises StoreError."""
        if self._enrolled and self._ring.is_empty:
            self._store.leave(self._process)
            self._enrolled = False

    def decided(self, sale: Sale) -> None:
        """What the store does not hold is given up: its key may buy anew, and must not be put back beside that."""
        begun = self._begun.get(sale)
        self._ring.keep_only(sale, () if begun is None else begun.there)

    def interrupted(self) -> None:
        """The store was away: what was put back is looked through once more, for it may have come back older still."""
        for begun in self._begun.values():
            begun.left = None

    def _go_on(self, sale: Sale, witness: Told | None, standing: ReportStanding | ScriptFailed) -> None:
        begun = self._begun[sale]
        try:
            if isinstance(standing, ScriptFailed):
                raise standing
            if begun.left is None or (not begun.left and not self._is_done(sale, begun, standing)):
                self._begin(sale, begun, witness, standing)
            if begun.left:
                self._put_back(sale, begun)
        except ScriptFailed as error:  # of one event: the others go on
            if not begun.failed:
                logger.error("event {}: nothing can be put back: {}", sale[0], error)
            begun.left, begun.failed = None, True

    def _is_done(self, sale: Sale, begun: _Begun, standing: ReportStanding) -> bool:
        reported = standing.report is not None and standing.report.mark == begun.mark
        return reported and begun.remembered == self._ring.count(sale)

    def _begin(self, sale: Sale, begun: _Begun, witness: Told | None, standing: ReportStanding) -> None:
        there = witness is not None and standing.record == witness[1] and not standing.replayed
        # Begun anew, the witness may be there because it was put back.
        begun.evidence = there and (begun.evidence or not begun.asked)
        begun.whole = begun.whole and (begun.evidence or witness is None)
        begun.asked = True
        begun.left, begun.remembered = self._ring.told(sale), self._ring.count(sale)
        begun.all = len(begun.left)
        begun.conflicts.clear()
        if not begun.left:
            self._report(sale, begun)

    def _put_back(self, sale: Sale, begun: _Begun) -> None:
        assert begun.left is not None
        for _ in range(CALLS_A_ROUND):
            left = begun.left
            some, rest = left[:AT_ONCE], left[AT_ONCE:]
            outcomes = self._store.put_back(*sale, some)
            if begun.left is not left:  # `interrupted` while the store was asked
                return
            if not isinstance(outcomes, list):
                begun.left = None  # not halted any more, or not by this seed: the next look finds out
                return
            pairs = list(zip(some, outcomes, strict=True))
            begun.left = [told for told, outcome in pairs if outcome is PutBack.LATER] + rest
            begun.restored |= {told[0] for told, outcome in pairs if outcome is PutBack.PUT_BACK}
            begun.there |= {told[0] for told, outcome in pairs if outcome in (PutBack.KNOWN, PutBack.PUT_BACK)}
            begun.conflicts.update(outcome for outcome in outcomes if outcome in CONFLICTS)
            if not begun.left:
                self._report(sale, begun)
                return

    def _report(self, sale: Sale, begun: _Begun) -> None:
        restored, conflicts = len(begun.restored), begun.conflicts.total()
        known = begun.all - restored - conflicts
        report = Report(self._process, begun.mark, restored, known, conflicts, begun.whole, begun.evidence)
        if not isinstance(self._store.put_back(*sale, (), report), list):
            begun.left = None
            return
        logger.warning("event {}: {} purchases put back with their own tickets, {} known", sale[0], restored, known)
        if conflicts:
            why = ", ".join(f"{count} {outcome}" for outcome, count in sorted(begun.conflicts.items()))
            logger.critical(
                "event {}: {} purchases that were answered can't be put back ({}): python -m ticketing outage show",
                sale[0],
                conflicts,
                why,
            )
