"""What the log says of the sale's script calls: a line a round trip, however many events it sold.

What must stay true: an event whose script fails is named once when that begins, and not at each request; where hundreds
of events are sold at once, their lines do not cost more than their purchases.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from loguru import logger

from ticketing.model import Outcome
from ticketing.sale.batch import BatchReport

TROUBLES = frozenset({Outcome.SCRIPT_FAILED, Outcome.WENT_BACK, Outcome.HALTED})  # of the others the breaker tells


class BatchLog:
    """Says what round trips did."""

    def __init__(self) -> None:
        self._troubled: set[str] = set()

    def tell(self, reports: Sequence[BatchReport]) -> None:
        """The script calls of one round trip."""
        sound = [report for report in reports if TROUBLES.isdisjoint(report.outcomes)]
        if sound:
            self._troubled.difference_update(report.event_id for report in sound)
            _tell_of_sales(sound)
        if len(sound) < len(reports):
            self._tell_of_troubles([report for report in reports if not TROUBLES.isdisjoint(report.outcomes)])

    def _tell_of_troubles(self, reports: Sequence[BatchReport]) -> None:
        for report in reports:
            if report.event_id not in self._troubled:
                self._troubled.add(report.event_id)
                said = _in_words(report.outcomes)
                logger.error("event {}: nothing is sold of it now: {} {}", report.event_id, said, report.reason)


def _tell_of_sales(reports: Sequence[BatchReport]) -> None:
    outcomes: Counter[Outcome] = Counter()
    for report in reports:
        for outcome, count in report.outcomes.items():
            outcomes[outcome] += count
    event_ids = list(dict.fromkeys(report.event_id for report in reports))
    whose = {"event_id": event_ids[0]} if len(event_ids) == 1 else {"event_ids": event_ids}
    logger.info(
        "{}: {tickets} tickets, {} in {duration_ms} ms",
        f"event {event_ids[0]}" if len(event_ids) == 1 else f"{len(event_ids)} events",
        _in_words(outcomes),
        tickets=sum(report.tickets for report in reports),
        outcomes=dict(outcomes),
        duration_ms=round(reports[0].seconds * 1000, 1),
        **whose,
    )


def _in_words(outcomes: Mapping[Outcome, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
