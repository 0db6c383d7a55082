"""python -m tests.bench: every target of issue 5, measured in one sitting beside its peers.

Exit codes: 0 measured (missed targets are in the table, and are no failure); 2 nothing could be measured.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from tests.bench import machine, report
from tests.bench.figures import NotMeasured
from tests.bench.sitting import Plan, Sitting
from tests.bench.targets import TARGETS
from tests.servers import ROOT
from ticketing.errors import StoreError

SECTIONS = (
    "hello",
    "soldout",
    "purchase",
    "connections",
    "rush",
    "receipts",
    "openloop",
    "store",
    "growth",
    "memory",
    "pages",
    "polls",
)
RESULTS = Path(__file__).parent / "results"
QUICK_OUT = ROOT / "var" / "bench-quick.json"
WIDTH = 160  # where there is no terminal to fit
QUICK = Plan(rounds=1, seconds=2.0, quick=True)
DESCRIPTION = """Measures the targets of issue 5: CPU of our processes and of the store, apart, beside an Express peer
and bare workers. Takes up to half an hour on 2 cores that do nothing else; --quick some minutes, and is no result."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["profile"]:
        from tests.bench import profile

        return profile.main(words[1:])
    given = _parser().parse_args(words)
    plan = QUICK if given.quick else Plan(given.rounds, given.seconds)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="ticketing-bench-"))
    sitting = Sitting(plan, folder, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
    try:
        told = _sit(sitting, given.only)
    except KeyboardInterrupt:
        print("stopped")
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.show(console, told, sitting.found)
    out = given.out or (QUICK_OUT if plan.quick else RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json")
    report.write_json(out, told, sitting.found)
    console.print(f"raw results: {out}", highlight=False, soft_wrap=True)
    if given.markdown:
        given.markdown.write_text(report.markdown(told, sitting.found))
    return 0 if any(found.value is not None for found in sitting.found.values()) else 2


def _sit(sitting: Sitting, names: Sequence[str]) -> dict[str, Any]:
    described = machine.describe()
    quiet = machine.Quiet()
    took: dict[str, float] = {}
    for name in names:
        section = import_module(f"tests.bench.sections.{name}")
        sitting.say(f"{name}: {(section.__doc__ or '').partition(chr(10))[0]}")
        began_s = time.monotonic()
        wanted = [target.name for target in TARGETS if target.section == name]
        try:
            section.measure(sitting)
        except (NotMeasured, StoreError, AssertionError, OSError) as why:
            sitting.lacks(wanted, why)
            sitting.say(f"  {name} broke off: {why}")
        sitting.lacks(wanted, "its section did not come so far")
        took[name] = round(time.monotonic() - began_s, 1)
    sitting.lacks([target.name for target in TARGETS if target.section == "tests"], "the test suite tells: make test")
    return {
        "machine": described,
        "plan": vars(sitting.plan),
        "others_share": round(quiet.others(), 3),
        "notes": sitting.notes,
        "took_s": took,
        "runs": sitting.runs,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=DESCRIPTION, epilog="python -m tests.bench profile: where CPU goes."
    )
    parser.add_argument("--only", type=_sections, default=SECTIONS, help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=3, help="that count, of each series (default 3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="a run (default 8)")
    parser.add_argument("--quick", action="store_true", help="see that everything runs, in a few minutes")
    parser.add_argument("--out", type=Path, help="the raw results (default tests/bench/results/<date>.json)")
    parser.add_argument("--markdown", type=Path, help="write the table as Markdown too")
    return parser


def _sections(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def _end(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
