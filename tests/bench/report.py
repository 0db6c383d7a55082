"""What a sitting found, to be read: a table on the terminal, the same in Markdown, and everything raw as JSON.

What must stay true: every target has its row; what was missed is named again at the end.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.bench.targets import NOT_ASKED, Found, missed, rows

NOISY = 0.1
COLUMNS = ("target", "what", "wanted", "measured", "detail", "verdict")
STYLES = {"MISSED": "bold red", "met": "green", "met (stretch too)": "bold green"}


def show(console: Console, report: Mapping[str, Any], found: Mapping[str, Found]) -> None:
    """The machine, the table, and what follows from it."""
    table = Table(*COLUMNS, title=f"Targets of issue 5, {report['machine']['date']}", title_justify="left")
    for row in _asked(found):
        style = STYLES.get(row["verdict"], "dim" if row["measured"] == "-" else "")
        table.add_row(*(escape(str(row[column])) for column in COLUMNS), style=style)
    console.print(table)
    for line in closing_lines(report, found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def markdown(report: Mapping[str, Any], found: Mapping[str, Found]) -> str:
    """The same, to be pasted into a document."""
    lines = ["| target | what | wanted | measured | verdict |", "|---|---|---|---|---|"]
    for row in _asked(found):
        measured = f"{row['measured']} ({row['detail']})" if row["detail"] else row["measured"]
        lines.append(f"| {row['target']} | {row['what']} | {row['wanted']} | {measured} | {row['verdict']} |")
    return "\n".join([*lines, "", *(f"{line}  " for line in closing_lines(report, found))]) + "\n"


def _asked(found: Mapping[str, Found]) -> list[dict[str, Any]]:
    return [row for row in rows(found) if row["verdict"] != NOT_ASKED]


def closing_lines(report: Mapping[str, Any], found: Mapping[str, Found]) -> list[str]:
    """What the figures were measured on, how quiet it was, and the targets that were missed."""
    lines = [_machine(report["machine"])]
    if report["plan"]["quick"]:
        lines.append("--quick: this shows that everything runs; it is no result.")
    else:
        lines.append(f"Median of {report['plan']['rounds']} rounds in turn, {report['plan']['seconds']:g} s each.")
    others = report["others_share"]
    noisy = ": not quiet, times are not to be trusted, and CPU less than usual" if others > NOISY else ""
    lines.append(f"Others used {others:.0%} of the machine meanwhile{noisy}.")
    lines += [*report["notes"], *_bottlenecks(report["runs"])]
    if left := len(rows(found)) - len(_asked(found)):
        lines.append(f"{left} targets were not asked for.")
    names = [f"{target.name} ({target.says})" for target in missed(found)]
    return [*lines, f"Missed: {'; '.join(names)}." if names else "No target that was measured was missed."]


def _bottlenecks(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Series in which the generator had no time left: what CPU they show holds, times and throughput are its own."""
    busy = Counter(f"{run['series']}, {run['contest']}" for run in runs if "bottleneck" in str(run.get("notes")))
    named = "; ".join(f"{name} ({count} runs)" for name, count in busy.items())
    return [f"The load generator was the bottleneck, which touches times and not CPU, in: {named}."] if busy else []


def write_json(path: Path, report: Mapping[str, Any], found: Mapping[str, Found]) -> None:
    """Everything: the machine, every run (those that were refused too), and the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**report, "targets": rows(found)}, indent=1, ensure_ascii=False) + "\n")


def _machine(machine: Mapping[str, Any]) -> str:
    named = {name: value for name, value in machine.items() if value and name not in {"date", "commit"}}
    told = ", ".join(
        str(value) if name in {"cpu", "kernel", "store"} else f"{name} {value}" for name, value in named.items()
    )
    return f"{machine['date']}, commit {machine['commit']}; {told}"
