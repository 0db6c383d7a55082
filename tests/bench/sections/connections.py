"""Target 5: 5,000 connections open: nobody waits for ever, and a second process is worth its core."""

from contextlib import ExitStack
from functools import partial

from tests.bench.contestants import Contestant, express, our_server, product
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, ratio
from tests.bench.sitting import POOL, Run, Series, Sitting, bought_by_crew, bought_by_wrk, cost, middle, put_on_sale

CONNECTIONS = 5_000
GENERATORS = 2
LONG_S = 7.0


def measure(sitting: Sitting) -> None:
    """5a to 5e."""
    with product(sitting.new_folder(), web_workers=2, server=our_server()) as two:
        _everybody(sitting, two)
        with product(sitting.new_folder(), web_workers=1, server=our_server()) as one:
            _second_process(sitting, one, two)


def _everybody(sitting: Sitting, two: Contestant) -> None:
    """A closed loop that misses no connection: each is waited for, and asked when it had its first answer."""
    with ExitStack() as stack:
        present = {"ours": two}
        try:
            present["Express"] = stack.enter_context(express(sitting.new_folder(), processes=2))
        except NotMeasured as why:
            sitting.lacks(("5e",), why)
        put_on_sale("everybody", sitting.plan.scaled(POOL), list(present.values()))
        crew = stack.enter_context(Crew(GENERATORS))
        turns = {name: partial(_crowd, sitting, contestant, crew) for name, contestant in present.items()}
        runs = sitting.in_turn("everybody", turns)
    _record_crowd(sitting, "5a", "5b", runs["ours"])
    if "Express" in runs:
        _record_crowd(sitting, "5e", "", runs["Express"])


def _crowd(sitting: Sitting, contestant: Contestant, crew: Crew) -> Run:
    opened = crew.open(contestant.port, CONNECTIONS)
    if opened != CONNECTIONS:
        raise NotMeasured(f"{opened:,} of {CONNECTIONS:,} connections opened")
    try:
        return bought_by_crew(contestant, crew, ["everybody"], seconds=sitting.plan.seconds)
    finally:
        crew.close()


def _record_crowd(sitting: Sitting, first: str, tail: str, runs: Series) -> None:
    try:
        slowest_ms = max((float(run.more["first_ms"]) for run in runs), default=0.0)
        p50_ms, p99_ms = middle(runs, lambda run: run.p50_ms), middle(runs, lambda run: run.p99_ms)
        detail = (
            f"slowest round {slowest_ms:,.0f} ms, every connection answered; p50 {p50_ms:,.0f}, p99 {p99_ms:,.0f} ms"
        )
        sitting.record(first, middle(runs, lambda run: float(run.more["first_ms"])), detail)
        if tail:
            sitting.record(tail, p99_ms, f"p50 {p50_ms:,.0f} ms, {middle(runs, _per_s):,.0f}/s")
    except NotMeasured as why:
        sitting.lacks([name for name in (first, tail) if name], why)


def _second_process(sitting: Sitting, one: Contestant, two: Contestant) -> None:
    put_on_sale("5000", sitting.plan.scaled(POOL), [one, two])
    seconds = sitting.plan.seconds if sitting.plan.quick else max(LONG_S, sitting.plan.seconds)
    present = {"1 process": one, "2 processes": two}
    turns = {name: partial(bought_by_wrk, ours, ["5000"], CONNECTIONS, seconds) for name, ours in present.items()}
    runs = sitting.in_turn("5,000", turns)
    try:
        pair, single = runs["2 processes"], runs["1 process"]
        sitting.record("5c", ratio(middle(pair), middle(single)), f"{cost(pair)} against {cost(single)}")
        more, less = middle(pair, _per_s), middle(single, _per_s)
        sitting.record("5d", ratio(more, less), f"{more:,.0f}/s against {less:,.0f}/s")
    except NotMeasured as why:
        sitting.lacks(("5c", "5d"), why)


def _per_s(run: Run) -> float:
    return run.per_s
