"""python -m tests.load: plays what the command line asks for, shows it, and ends with the verdict as exit code.

What must stay true: whatever ends it, Ctrl-C and SIGTERM too, the load processes and the service that it started are
ended first.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from rich.console import Console

from tests.load import page, rehearsal, suite
from tests.load.command import parse
from tests.load.crew import Crew, CrewError, processes_for
from tests.load.limits import room
from tests.load.progress import Show
from tests.load.run import Run, play
from tests.load.suite import Suite
from tests.load.table import answers_table, closing_lines, rounds_table
from tests.load.target import Target, TargetError, missing, started
from tests.load.verdict import Verdict, judge

WIDTH_LEAST = 110  # of the tables where the output is no terminal


def main(words: Sequence[str] | None = None) -> int:
    """The exit code."""
    given = parse(words)
    console = Console()
    console = console if console.is_terminal else Console(width=max(console.width, WIDTH_LEAST))
    notes = []
    cores = os.cpu_count() or 1
    if (busy := os.getloadavg()[0]) > cores:
        notes.append(f"this machine was busy before: a load average of {busy:.1f} on {cores} cores")
    given.processes = given.processes or processes_for(given.connections, os.cpu_count() or 2)
    there = room(given.processes, None if given.host else given.web_workers)
    given.connections, why_fewer = there.fit(given.connections)
    if why_fewer:
        console.print(why_fewer, highlight=False)
        notes.append(why_fewer)
    try:
        return _rehearse(given, console, notes) if given.rehearse else _load(given, console, notes)
    except (TargetError, CrewError, AssertionError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _load(given: argparse.Namespace, console: Console, notes: list[str]) -> int:
    rounds = _suite(given)
    with _target(given, rounds) as target:
        run = _play(given, console, target, rounds, notes)
    verdict = judge(run)
    _show(console, run, verdict)
    page.write(given.html, run, verdict)
    console.print(f"report: {given.html}", highlight=False)
    return verdict.exit_code


def _rehearse(given: argparse.Namespace, console: Console, notes: list[str]) -> int:
    target = Target(given.host, given.admin_token)
    if not given.admin_token:
        raise TargetError(rehearsal.NEEDS)
    shadow_id = rehearsal.put_on_sale(target, given.events[0], given.tickets)
    console.print(f"shadow event {shadow_id} is on sale on {target.host}", highlight=False)
    try:
        plans = rehearsal.rounds(shadow_id, given.connections, given.duration, given.rate)
        run = _play(given, console, Target(given.host, given.admin_token, exclusive=True), Suite(plans, {}), notes)
    finally:
        target.pause(shadow_id)
    verdict = judge(run)
    bounds = rehearsal.Bounds(given.p99_ms / 1000, given.last_answer_s, given.receipts)
    found = list(rehearsal.checks(run, verdict, shadow_id, bounds))
    _show(console, run, verdict)
    console.print(rehearsal.checks_table(found))
    console.print("GO" if rehearsal.go(found) else "NO-GO", style="bold")
    rows = [(check.what, check.found, check.wanted, "ok" if check.ok else "NO") for check in found]
    page.write(given.html, run, verdict, rows, f"Rehearsal: {'GO' if rehearsal.go(found) else 'NO-GO'}")
    console.print(f"report: {given.html}; the shadow event is paused, its tickets are worth nothing", highlight=False)
    return 0 if rehearsal.go(found) else 1


def _suite(given: argparse.Namespace) -> Suite:
    connections, seconds, rate = given.connections, given.duration, given.rate
    if given.full and given.host:
        return suite.full_elsewhere(given.events, connections, seconds, rate)
    if given.full:
        return suite.full(connections, seconds, rate)
    if given.rush:
        return suite.of_rush(suite.RUSH, connections)
    return suite.of_events(given.events, connections, seconds, rate, given.loops)


@contextmanager
def _target(given: argparse.Namespace, rounds: Suite) -> Iterator[Target]:
    if given.host:
        target = Target(given.host, given.admin_token)
        if unknown := missing(target, given.events):
            raise TargetError(f"not on sale on {given.host}: {', '.join(unknown)}")
        yield target
        return
    with started(rounds.pools, given.connections, given.web_workers) as target:
        yield target


def _play(given: argparse.Namespace, console: Console, target: Target, rounds: Suite, notes: list[str]) -> Run:
    run = Run(target.host, target.exclusive, given.connections, notes=notes)
    with Crew(given.processes) as crew, Show(console) as show:
        play(target, crew, rounds.plans, show, run, given.receipts)
    return run


def _show(console: Console, run: Run, verdict: Verdict) -> None:
    console.print()
    console.print(answers_table(run))
    console.print()
    console.print(rounds_table(run))
    console.print()
    for line in (*closing_lines(run), *verdict.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in (*verdict.broken, *verdict.errors):
        console.print(line, markup=False, highlight=False, soft_wrap=True, style="red")
    console.print(verdict.sentence(), style="bold green" if verdict.well else "bold red", highlight=False)


def _end(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
