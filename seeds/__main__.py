"""python -m seeds: reads the command line and says how it ended; the work is in seeding.py.

Exit codes: 0 done; 1 the store did not let it be done; 2 the command line, a setting or the file is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from seeds import demo, events_file
from seeds.plan import EVENTS_MAX, TICKETS_MAX, Plan
from seeds.progress import watcher
from seeds.seeding import Seeder, Summary
from ticketing.config import Settings, load
from ticketing.errors import SettingsError, StoreError
from ticketing.store.connection import Store
from ticketing.store.opening import store_of

DESCRIPTION = """Puts events and their tickets on sale.

Without a file: demonstration events with the ids 1, 2, 3 ... Events that are there already keep all that they have;
a seeding that was cut short is finished. With a file: its events are made or described as it says, and get the
tickets that they lack. Running it again does no harm, nor do two runs at once."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.file and given.events is not None:
        parser.error("EVENTS and TICKETS are for the demonstration events; a file says its own")
    try:
        settings = load()
        plans = _plans(given, settings)
    except (SettingsError, events_file.EventsFileError) as error:
        return _end(2, error)
    if given.replace is not None:
        plans = [plan for plan in plans if plan.event.event_id == given.replace]
        if not plans:
            parser.error(f"event {given.replace!r} is not among the events of this run")
    try:
        return _run(settings, given, plans)
    except (SettingsError, StoreError) as error:
        return _end(1, error)
    except KeyboardInterrupt:
        return _end(130, "stopped; the same command goes on from here")


def _run(settings: Settings, given: argparse.Namespace, plans: Sequence[Plan]) -> int:
    store = store_of(settings, connections=1)
    try:
        store.ping()
        summary = _seed(store, given, plans)
    finally:
        store.close()
    print(summary)
    return 1 if summary.failed else 0


def _seed(store: Store, given: argparse.Namespace, plans: Sequence[Plan]) -> Summary:
    with watcher() as watching:
        seeder = Seeder(store, watching)
        if given.replace is not None:
            return seeder.replace(plans[0])
        return seeder.apply(plans) if given.file else seeder.complete(plans)


def _plans(given: argparse.Namespace, settings: Settings) -> list[Plan]:
    if given.file:
        return events_file.read(given.file)
    events = settings.seed_events if given.events is None else given.events
    tickets = settings.seed_tickets if given.tickets is None else given.tickets
    return demo.plans(events, tickets, datetime.now(UTC).date())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m seeds", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("events", metavar="EVENTS", nargs="?", type=_events, help="how many events (default: 5)")
    parser.add_argument(
        "tickets", metavar="TICKETS", nargs="?", type=_tickets, help="tickets of each event (default: 10000)"
    )
    parser.add_argument("--file", type=Path, metavar="EVENTS.JSON", help="a JSON list of events to put on sale")
    parser.add_argument(
        "--replace",
        metavar="EVENT_ID",
        help="begin this event, and only this, anew: refused once a ticket of it is sold or leased",
    )
    return parser


def _events(text: str) -> int:
    return _whole_number(text, 0, EVENTS_MAX)


def _tickets(text: str) -> int:
    return _whole_number(text, 1, TICKETS_MAX)


def _whole_number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be a whole number from {least:,} to {most:,}")
    return int(text)


def _end(code: int, why: object) -> int:
    print(why, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
