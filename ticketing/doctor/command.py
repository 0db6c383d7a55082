"""python -m ticketing doctor: every check in turn, and how they read on a terminal or by a machine.

Exit codes as of every command: 0 where nothing fails (warnings are no failure), 1 where something does.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ticketing.config import Settings
from ticketing.doctor import bucket, hosts, machine, sale, secrets, server
from ticketing.doctor.finding import Check, Finding, Level, carried_out
from ticketing.errors import TicketingError
from ticketing.store.connection import Store
from ticketing.store.opening import store_of

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def run(settings: Settings, *, as_json: bool, grafana: str | None) -> int:
    """Look at everything and print what was found."""
    findings = list(look(settings, grafana or secrets.GRAFANA))
    counts = Counter(finding.level for finding in findings)
    if as_json:
        print(json.dumps({"ok": not counts[Level.FAIL], "checks": [asdict(finding) for finding in findings]}))
    else:
        _print(findings)
        print(f"{counts[Level.OK]} ok, {counts[Level.WARN]} to think about, {counts[Level.FAIL]} to mend first.")
    return 1 if counts[Level.FAIL] else 0


def look(settings: Settings, grafana: str = secrets.GRAFANA) -> Iterator[Finding]:
    """Everything that there is to find."""
    try:
        store: Store | None = store_of(settings, connections=1)
        assert store is not None
        store.ping()
    except TicketingError as error:
        yield from _without_store(settings, error, grafana)
    else:
        of_the_sale: list[tuple[str, Check]] = [
            ("events", partial(_of_the_events, settings, store)),
            ("earlier outages", partial(sale.leftovers, store, settings)),
        ]
        yield from carried_out([*_of_the_store(settings, store), *_of_this_host(settings, grafana), *of_the_sale])


def _without_store(settings: Settings, error: TicketingError, grafana: str) -> Iterator[Finding]:
    yield server.away(error)
    yield from carried_out(_of_this_host(settings, grafana))
    rest: list[tuple[str, Check]] = [
        ("disk", partial(machine.disk, settings, 0)),
        ("earlier outages", partial(sale.leftovers, None, settings, str(error))),
    ]
    yield from carried_out(rest)


def _of_the_store(settings: Settings, store: Store) -> list[tuple[str, Check]]:
    return [
        ("store", partial(server.answers, store)),
        ("store's fsync", partial(_of_each, store, server.keeps)),
        ("store's failover", partial(server.fails_over, store)),
        ("store's replicas", partial(_of_each, store, server.confirms)),
        ("store's coverage", partial(_of_each, store, server.covers)),
        ("store's memory", partial(_of_each, store, partial(server.room, settings=settings))),
        ("store's scripts", partial(server.scripts, store)),
        ("id secret", partial(server.secret, store, settings)),
        ("clock", partial(_of_each, store, server.clock)),
        ("hosts", partial(hosts.others, store, settings)),
        ("receipt workers", partial(server.workers, settings)),
    ]


def _of_each(store: Store, look: Callable[[Store], Iterator[Finding]]) -> Iterator[Finding]:
    """What is found at each server; where there are several, under its name. Raises StoreError."""
    for one in store.servers():
        for finding in look(one):
            yield replace(finding, check=f"{finding.check} ({one.name})") if one.name else finding


def _of_this_host(settings: Settings, grafana: str) -> list[tuple[str, Check]]:
    return [
        ("web", partial(sale.web, settings)),
        ("open files", partial(machine.open_files, settings)),
        ("backlog", partial(machine.backlog, settings)),
        ("journal", partial(machine.journal, settings)),
        (bucket.CHECK, partial(bucket.bucket, settings)),
        ("secrets", partial(secrets.secrets, settings)),
        ("settings", partial(secrets.exposure, settings)),
        ("Grafana", partial(secrets.grafana, grafana)),
    ]


def _of_the_events(settings: Settings, store: Store) -> Iterator[Finding]:
    states, damaged = sale.states_of(store)
    yield from sale.events(states, damaged)
    yield from sale.receipts(states)
    yield from machine.disk(settings, sum(state.remaining for state in states))


def _print(findings: list[Finding]) -> None:
    table = Table("", "check", "found")
    for finding in findings:
        table.add_row(Text(finding.level, style=COLOURS[finding.level]), finding.check, Text(finding.found))
    Console().print(table)
    for finding in findings:
        if finding.level is not Level.OK:
            print(f"\n{finding.level.upper()}  {finding.check}: {finding.found}\n      {finding.means}")
            print(f"   -> {finding.do}")
    print()
