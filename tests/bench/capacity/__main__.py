"""python -m tests.bench.capacity: what a sale of a given size needs, and `... sale`: one on-sale, simulated.

Exit codes: 0 told; 2 no result has the figures.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.capacity.figures import WHY, Assumed, Measured, read
from tests.bench.capacity.model import Late, Machine, markdown, table, walls
from tests.bench.capacity.sale import Costs, Plan, Result, Sale
from tests.bench.figures import NotMeasured

RESULTS = Path(__file__).parent.parent / "results"
WIDTH = 200  # where there is no terminal to fit


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    given = _parser().parse_args(words)
    try:
        measured = read([given.results] if given.results else sorted(RESULTS.glob("*.json")))
    except NotMeasured as why:
        print(why, file=sys.stderr)
        return 2
    assumed = Assumed(**{field.name: getattr(given, field.name) for field in fields(Assumed)})
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if given.command == "sale":
        lines = _simulated(given, measured, assumed)
    else:
        lines = _told(given, measured, assumed, console)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _told(given: argparse.Namespace, measured: Measured, assumed: Assumed, console: Console) -> list[str]:
    machine = Machine(given.cores or Machine.cores, given.gbit_per_s, given.connections)
    late = Late(given.sale_s, given.late_s)
    heads, rows = table(measured, assumed, machine, late)
    found = walls(measured, assumed, machine)
    held = [[f"{per_s:,.0f}", unit, moved] for per_s, unit, moved in found]
    wall_heads = ["purchases/s", "one of these holds them", "what moves the wall"]
    if given.markdown:
        return [*markdown(heads, rows), "", *markdown(wall_heads, held)]
    console.print("Measured:", *measured.lines(), "Assumed:", *assumed.lines(), sep="\n", highlight=False)
    console.print(_drawn(f"Cores, for a sale that goes on for {late.sale_s:g} s", heads, rows))
    console.print(_drawn("Where the walls are, the first one first", wall_heads, held))
    return []


def _drawn(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    drawn = Table(*heads, title=title, title_justify="left")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _simulated(given: argparse.Namespace, measured: Measured, assumed: Assumed) -> list[str]:
    plan = Plan(
        buyers=given.buyers,
        tickets=given.tickets,
        per_s=given.rate,
        web=given.web,
        shards=given.shards,
        receipts=given.receipts,
        cores=given.cores,
        poll_every_s=assumed.poll_every_s if given.polls_too else 0.0,
        step_ms=given.step_ms,
        seed=given.seed,
    )
    return story(plan, Sale(plan, Costs.of(measured)).run())


def story(plan: Plan, result: Result) -> list[str]:
    """What came of it, to be read."""
    came = "at once" if plan.per_s is None else f"at {plan.per_s:,.0f}/s"
    shared = "" if plan.cores is None else f", all on {plan.cores:g} cores"
    shards = "1 shard" if plan.shards == 1 else f"{plan.shards} shards"
    longest = ", ".join(f"{name} {length:,}" for name, length in result.longest.items())
    busy = ", ".join(f"{name} {share:.0%}" for name, share in result.busy.items())
    shards = "1 shard" if plan.shards == 1 else f"{plan.shards} shards"
    return [
        f"{plan.buyers:,} buyers {came} for {plan.tickets:,} tickets: {plan.web:g} web cores, {shards},"
        f" {plan.receipts:g} receipt cores{shared}; seed {plan.seed}",
        f"  told sold {result.sold:,}, sold out {result.refused:,}",
        f"  last ticket told after   {result.last_ticket_ms:>10,.0f} ms",
        f"  last answer after        {result.last_answer_ms:>10,.0f} ms"
        f"  (waits: p50 {result.wait_ms(0.5):,.0f}, p99 {result.wait_ms(0.99):,.0f} ms)",
        f"  last receipt stored after{result.last_receipt_ms:>10,.0f} ms"
        f"  (at most {result.receipt_lag_ms:,.0f} ms after its sale; {result.stored:,} stored, {result.polls:,} polls)",
        f"  longest queues: {longest}",
        f"  busy from first to last: {busy}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.capacity", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("table", "sale"), default="table")
    parser.add_argument("--results", type=Path, help="raw results (default: the newest that has a figure, each)")
    parser.add_argument("--markdown", action="store_true", help="the tables to be pasted")
    parser.add_argument("--cores", type=float, help="table: of a machine (16); sale: of the one that all share")
    _table_options(parser.add_argument_group("table"))
    _sale_options(parser.add_argument_group("sale"))
    assumed = parser.add_argument_group("assumed, as long as nobody measures it")
    for field in fields(Assumed):
        option = f"--{field.name.replace('_', '-')}"
        assumed.add_argument(option, type=float, default=field.default, help=f"{WHY[field.name]} (%(default)s)")
    return parser


def _table_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--gbit-per-s", type=float, default=Machine.gbit_per_s, help="of its network (%(default)s)")
    group.add_argument("--connections", type=int, default=Machine.connections, help="that it holds (%(default)s)")
    group.add_argument("--sale-s", type=float, default=Late.sale_s, help="how long it goes on (%(default)s)")
    group.add_argument("--late-s", type=float, default=Late.late_s, help="how late receipts may be (%(default)s)")


def _sale_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--buyers", type=int, default=20_000)
    group.add_argument("--tickets", type=int, default=10_000)
    group.add_argument("--rate", type=float, help="buyers a second (default: all at once)")
    group.add_argument("--web", type=float, default=2.0, help="cores with a web process each (%(default)s)")
    group.add_argument("--shards", type=int, default=1, help="of the store; the sale is spread over all (%(default)s)")
    group.add_argument("--receipts", type=float, default=1.0, help="cores with a receipt worker each (%(default)s)")
    group.add_argument("--polls-too", action="store_true", help="who bought asks for the receipt until it is there")
    group.add_argument("--step-ms", type=float, default=1.0, help="of the simulation's time (%(default)s)")
    group.add_argument("--seed", type=int, default=1)


if __name__ == "__main__":
    sys.exit(main())
