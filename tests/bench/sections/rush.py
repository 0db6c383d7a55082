"""Target 6: 20,000 buyers press the button at once for 10,000 tickets, here and at Express."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count

from tests.bench.contestants import Contestant, express, our_server, product
from tests.bench.crew import SOURCES, Crew, Load
from tests.bench.figures import NotMeasured
from tests.bench.generator import Ask
from tests.bench.sitting import BODY, SOLD, Meter, Run, Series, Sitting, middle, put_on_sale, settled
from tests.load.limits import room

BUYERS = 20_000
PROCESSES = 2  # of each server, and of the generator
TARGETS = ("6a", "6b")

_events = count(1)


def measure(sitting: Sitting) -> None:
    """6a to 6c."""
    here = room(PROCESSES, PROCESSES)
    buyers, why_fewer = replace(here, ports=here.ports * len(SOURCES)).fit(sitting.plan.scaled(BUYERS))
    if why_fewer:
        sitting.notes.append(why_fewer)
    with ExitStack() as stack:
        contests: dict[str, Contestant] = {}
        contests["ours"] = stack.enter_context(product(sitting.new_folder(), web_workers=2, server=our_server()))
        try:
            contests["Express"] = stack.enter_context(express(sitting.new_folder(), processes=2))
        except NotMeasured as why:
            sitting.lacks(("6c",), why)
        crew = stack.enter_context(Crew(PROCESSES))
        turns = {name: partial(_rush, contestant, crew, buyers) for name, contestant in contests.items()}
        runs = sitting.in_turn("rush", turns)
    _record(sitting, runs["ours"], buyers)
    if "Express" in runs:
        _record_peer(sitting, runs["Express"])


def _rush(contestant: Contestant, crew: Crew, buyers: int) -> Run:
    """One event of its own: half as many tickets as buyers, a connection each, all open before the first asks."""
    event_id = f"rush-{next(_events)}"
    tickets = buyers // 2
    put_on_sale(event_id, tickets, [contestant])
    opened = crew.open(contestant.port, buyers, SOURCES)
    try:
        if opened != buyers:
            raise NotMeasured(f"{opened:,} of {buyers:,} connections opened")
        meter = Meter(contestant)
        wanted = {**SOLD, "409": contestant.sold_out_text}
        seen = crew.wave(Ask([f"/buy/{event_id}"], wanted, BODY, "bench-"))
        sold = settled(contestant, [event_id])
        app_us, store_us = meter.used_us()
    finally:
        crew.close()
    return Run(
        contestant.name,
        buyers,
        app_us / buyers,
        store_us / buyers,
        seen.answers / max(_last_ms(seen), 1.0) * 1000,
        seen.p50_ms,
        seen.p99_ms,
        _refusal(seen, sold, tickets, buyers),
        seen.notes,
        seen.to_json() | {"last_ticket_ms": seen.last_ms.get("201", 0.0), "last_answer_ms": _last_ms(seen)},
    )


def _refusal(seen: Load, sold: int, tickets: int, buyers: int) -> str:
    if seen.refusal:
        return seen.refusal
    told = seen.statuses.get("201", 0), seen.statuses.get("409", 0)
    if (*told, sold, len(seen.tickets)) != (tickets, buyers - tickets, tickets, tickets):
        return f"{tickets:,} tickets: {told[0]:,} were told sold and {told[1]:,} sold out, {sold:,} left the pool"
    return ""


def _last_ms(seen: Load) -> float:
    return max(seen.last_ms.values(), default=0.0)


def _record(sitting: Sitting, runs: Series, buyers: int) -> None:
    try:
        generator = f"generator {middle(runs, lambda run: float(run.more['cpu_share'])):.0%} of a core a process"
        detail = f"{buyers:,} connections, {buyers // 2:,} tickets, all sold once; {generator}"
        sitting.record("6a", middle(runs, lambda run: float(run.more["last_ticket_ms"])), detail)
        sitting.record("6b", middle(runs, lambda run: float(run.more["last_answer_ms"])), detail)
    except NotMeasured as why:
        sitting.lacks(TARGETS, why)


def _record_peer(sitting: Sitting, runs: Series) -> None:
    try:
        ticket_ms = middle(runs, lambda run: float(run.more["last_ticket_ms"]))
        sitting.record(
            "6c", middle(runs, lambda run: float(run.more["last_answer_ms"])), f"last ticket {ticket_ms:,.0f}"
        )
    except NotMeasured as why:
        sitting.lacks(("6c",), why)
