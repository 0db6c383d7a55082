"""Target 1: what a purchase with key and body costs, application and store, beside Express."""

from contextlib import ExitStack
from functools import partial

from tests.bench.contestants import GEVENT, Contestant, express, our_server, product, web_servers
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, ratio
from tests.bench.sitting import POOL, Run, Series, Sitting, bought_by_wrk, bought_on_schedule, cost, middle, put_on_sale

FEW, MANY = 64, 5_000
LIGHT_RATE = 3_000
LONG_S = 7.0  # at 5,000 connections a shorter run is all beginning and end
OURS, PEER, ON_GEVENT = "ours", "Express", "ours, stock worker"


def measure(sitting: Sitting) -> None:
    """1a to 1e."""
    with ExitStack() as stack:
        present: dict[str, Contestant] = {}
        present[OURS] = stack.enter_context(product(sitting.new_folder(), server=our_server()))
        try:
            present[PEER] = stack.enter_context(express(sitting.new_folder()))
        except NotMeasured as why:
            sitting.lacks(("1a", "1b", "1d", "1e"), why)
        if GEVENT in web_servers():
            present[ON_GEVENT] = stack.enter_context(product(sitting.new_folder(), server=GEVENT))
        else:
            sitting.lacks(("1e",), "the service has no setting WEB_SERVER")
        _light(sitting, present[OURS])
        if PEER in present:
            _few(sitting, present)
            _many(sitting, present)
            _everysec(sitting, present)


def _light(sitting: Sitting, ours: Contestant) -> None:
    put_on_sale("light", sitting.plan.scaled(POOL), [ours])
    with Crew() as crew:
        crew.open(ours.port, FEW)
        turn = partial(bought_on_schedule, ours, crew, ["light"], LIGHT_RATE, sitting.plan.seconds)
        runs = sitting.in_turn("3,000/s", {OURS: turn})[OURS]
    try:
        sitting.record("1c", middle(runs), f"{cost(runs)}, p99 {middle(runs, lambda run: run.p99_ms):.1f} ms")
    except NotMeasured as why:
        sitting.lacks(("1c",), why)


def _few(sitting: Sitting, present: dict[str, Contestant]) -> None:
    runs = _closed(sitting, "64", present, FEW, sitting.plan.seconds)
    _record(sitting, "1a", runs[OURS], runs[PEER])
    if ON_GEVENT in runs:
        _record(sitting, "1e", runs[ON_GEVENT], runs[PEER])


def _many(sitting: Sitting, present: dict[str, Contestant]) -> None:
    seconds = sitting.plan.seconds if sitting.plan.quick else max(LONG_S, sitting.plan.seconds)
    runs = _closed(sitting, "5,000", _pair(present), MANY, seconds)
    _record(sitting, "1b", runs[OURS], runs[PEER])


def _everysec(sitting: Sitting, present: dict[str, Contestant]) -> None:
    pair = _pair(present)
    put_on_sale("everysec", sitting.plan.scaled(POOL), list(pair.values()))  # which leaves a store with fsync always
    for contestant in pair.values():
        contestant.fsync("everysec")
    runs = sitting.in_turn("everysec", _turns(pair, "everysec", FEW, sitting.plan.seconds))
    _record(sitting, "1d", runs[OURS], runs[PEER])


def _closed(
    sitting: Sitting, series: str, present: dict[str, Contestant], connections: int, seconds: float
) -> dict[str, Series]:
    event_id = f"at-{connections}"
    put_on_sale(event_id, sitting.plan.scaled(POOL), list(present.values()))
    return sitting.in_turn(series, _turns(present, event_id, connections, seconds))


def _turns(present: dict[str, Contestant], event_id: str, connections: int, seconds: float) -> dict[str, partial[Run]]:
    return {name: partial(bought_by_wrk, one, [event_id], connections, seconds) for name, one in present.items()}


def _pair(present: dict[str, Contestant]) -> dict[str, Contestant]:
    return {name: present[name] for name in (OURS, PEER)}


def _record(sitting: Sitting, target: str, ours: Series, theirs: Series) -> None:
    try:
        detail = f"{cost(ours)} against {cost(theirs)}"
        sitting.record(target, ratio(middle(ours), middle(theirs)), detail)
    except NotMeasured as why:
        sitting.lacks((target,), why)
