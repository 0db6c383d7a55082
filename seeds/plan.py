"""What shall be on sale, as a value: an event, and how many of its tickets are to be issued."""

from dataclasses import dataclass

from ticketing.model import Event

TICKETS_MAX = 10_000_000
EVENTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """One event as somebody wants it: described so, with `tickets` issued."""

    event: Event
    tickets: int
