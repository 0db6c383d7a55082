"""The words of the command line: what is asked for, and what of it does not fit together.

What must stay true: nothing is bought from a service that was not started here unless its events are named.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

DESCRIPTION = """Buys tickets like a crowd, and says what came of it.

Without --host it starts a service of its own on free ports, and ends it. With --host it buys from a service that runs:
its tickets are sold then. Exit code: 0 all is well; 1 a promise was broken, there were errors, or nothing was sold;
2 it could not be done."""
EXAMPLES = """examples:
  python -m tests.load --full --connections 5000
  python -m tests.load --event 1 --connections 5000 --duration 30
  python -m tests.load --multi --events 1,2,3 --connections 6000
  python -m tests.load --event 1 --host http://127.0.0.1:3049 --admin-token ...
  python -m tests.load rehearse --event gala --host https://tickets.example.com"""


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for; ends the process with 2 where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rehearse", nargs="?", choices=["rehearse"], help="sell a shadow of --event; go or no-go")
    _add_what(parser)
    _add_how(parser)
    _add_bounds(parser.add_argument_group("rehearse"))
    given = parser.parse_args(words)
    given.host = _host(parser, given.host)
    given.events = _events(parser, given)
    return given


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="every kind of round, one after the other")
    parser.add_argument("--event", metavar="ID", help="sell this event")
    parser.add_argument("--multi", action="store_true", help="sell several events at once: --events")
    parser.add_argument("--events", metavar="ID,ID,...", help="with --multi, or with --full and --host")
    parser.add_argument("--rush", action="store_true", help="everybody at once, for half as many tickets (no --host)")
    parser.add_argument("--host", metavar="URL", default="", help="a service that runs; its tickets are sold")
    token = os.environ.get("ADMIN_TOKEN", "")
    parser.add_argument("--admin-token", default=token, help="for the audit (default: ADMIN_TOKEN of the environment)")


def _add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--connections", type=_count, default=5_000, help="open connections, a buyer each (%(default)s)"
    )
    parser.add_argument("--duration", type=_positive, default=10.0, help="seconds of each timed round (%(default)s)")
    parser.add_argument(
        "--rate", type=_positive, default=0.0, help="open loop: purchases/s (half of the closed loop's)"
    )
    parser.add_argument("--loops", choices=["both", "closed", "open"], default="both")
    parser.add_argument("--processes", type=_count, default=0, help="load processes (2, more on many cores)")
    parser.add_argument("--web-workers", type=_count, default=2, help="web processes of a service that it starts")
    parser.add_argument("--receipts", type=_positive, default=60.0, help="seconds to wait for receipts (%(default)s)")
    parser.add_argument("--html", type=Path, default=Path("var/load.html"), help="the report (%(default)s)")


def _add_bounds(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tickets", type=_count, help="of the shadow event (as many as the real one)")
    group.add_argument("--p99-ms", type=_positive, default=1_000.0, help="of a purchase in the open loop (%(default)s)")
    group.add_argument("--last-answer-s", type=_positive, default=5.0, help="of the rush (%(default)s)")


def _events(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[str]:
    named = [event_id for event_id in (given.events or "").split(",") if event_id]
    modes = [given.full, given.multi, given.rush, given.event]
    if given.rehearse:
        if not given.event or not given.host or given.full or given.multi or given.rush:
            parser.error("rehearse needs --host and --event, and no other mode")
        return [str(given.event)]
    if sum(map(bool, modes)) != 1:
        parser.error("one of --full, --event ID, --multi --events ID,ID, --rush or rehearse")
    if given.host and given.rush:
        parser.error("--rush sells an event out: it runs on a service of its own only; see rehearse")
    if given.multi and len(named) < 2:
        parser.error("--multi needs --events ID,ID,...")
    if given.full and given.host and not named:
        parser.error("--full on --host needs --events ID,ID,...: their tickets are sold")
    return named or ([given.event] if given.event else [])


def _host(parser: argparse.ArgumentParser, url: str) -> str:
    if not url:
        return ""
    parts = urlsplit(url)
    plain = parts.scheme in {"http", "https"} and parts.hostname and parts.path in {"", "/"} and not parts.query
    if not plain or parts.username:
        parser.error(f"--host must be like http://127.0.0.1:3049, not {url!r}")
    return f"{parts.scheme}://{parts.netloc}"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
    return int(text)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number
