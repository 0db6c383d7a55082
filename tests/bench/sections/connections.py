"""Target 5: 5,000 connections open: nobody waits for ever, and a second process is worth its core."""

from functools import partial

from tests.bench.contestants import Product, our_server, product
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, ratio
from tests.bench.sitting import POOL, Run, Sitting, bought_by_crew, bought_by_wrk, cost, middle

CONNECTIONS = 5_000
GENERATORS = 2
EVENT = "1"


def measure(sitting: Sitting) -> None:
    """5a to 5d."""
    with (
        product(sitting.new_folder(), web_workers=1, server=our_server()) as one,
        product(sitting.new_folder(), web_workers=2, server=our_server()) as two,
    ):
        for ours in (one, two):
            ours.fill(EVENT, sitting.plan.scaled(POOL))
        _everybody(sitting, two)
        seconds = sitting.plan.seconds if sitting.plan.quick else max(7.0, sitting.plan.seconds)
        runs = sitting.in_turn(
            "5,000",
            {
                "1 process": partial(bought_by_wrk, one, [EVENT], CONNECTIONS, seconds),
                "2 processes": partial(bought_by_wrk, two, [EVENT], CONNECTIONS, seconds),
            },
        )
    try:
        pair, single = runs["2 processes"], runs["1 process"]
        sitting.record("5c", ratio(middle(pair), middle(single)), f"{cost(pair)} against {cost(single)}")
        more, less = middle(pair, _per_s), middle(single, _per_s)
        sitting.record("5d", ratio(more, less), f"{more:,.0f}/s against {less:,.0f}/s")
    except NotMeasured as why:
        sitting.lacks(("5c", "5d"), why)


def _everybody(sitting: Sitting, ours: Product) -> None:
    """A closed loop that misses no connection: each is asked for its first answer too."""
    with Crew(GENERATORS) as crew:
        runs = sitting.in_turn("everybody", {"2 processes": partial(_crowd, sitting, ours, crew)})["2 processes"]
    try:
        first_ms = [float(run.more["first_ms"]) for run in runs]
        worst = f"the slowest round {max(first_ms, default=0):,.0f} ms; {CONNECTIONS:,} of {CONNECTIONS:,} answered"
        sitting.record("5a", middle(runs, lambda run: float(run.more["first_ms"])), worst)
        sitting.record(
            "5b", middle(runs, lambda run: run.p99_ms), f"p50 {middle(runs, lambda run: run.p50_ms):,.0f} ms"
        )
    except NotMeasured as why:
        sitting.lacks(("5a", "5b"), why)


def _crowd(sitting: Sitting, ours: Product, crew: Crew) -> Run:
    opened = crew.open(ours.port, CONNECTIONS)
    if opened != CONNECTIONS:
        raise NotMeasured(f"{opened:,} of {CONNECTIONS:,} connections opened")
    try:
        return bought_by_crew(ours, crew, [EVENT], seconds=sitting.plan.seconds)
    finally:
        crew.close()


def _per_s(run: Run) -> float:
    return run.per_s
