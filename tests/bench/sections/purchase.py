"""Target 1: what a purchase with key and body costs, application and store, beside Express."""

from contextlib import ExitStack
from functools import partial

from tests.bench.contestants import Contestant, express, our_server, product, web_servers
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, ratio
from tests.bench.sitting import POOL, Run, Sitting, bought_by_wrk, bought_on_schedule, cost, middle

FEW, MANY = 64, 5_000
LIGHT_RATE = 3_000
EVENT = "1"


def measure(sitting: Sitting) -> None:
    """1a to 1e."""
    with ExitStack() as stack:
        ours = stack.enter_context(product(sitting.new_folder(), server=our_server()))
        stock = stack.enter_context(product(sitting.new_folder(), server="gevent")) if web_servers() else None
        try:
            peer = stack.enter_context(express(sitting.new_folder()))
        except NotMeasured as why:
            sitting.lacks(("1a", "1b", "1d", "1e"), why)
            peer = None
        present = [one for one in (ours, peer, stock) if one is not None]
        for one in present:
            one.fill(EVENT, sitting.plan.scaled(POOL))
        _light(sitting, ours)
        if peer is not None:
            _closed(sitting, ours, peer, stock)


def _closed(sitting: Sitting, ours: Contestant, peer: Contestant, stock: Contestant | None) -> None:
    contests = {
        "ours": partial(_buy, ours, FEW, sitting.plan.seconds),
        "Express": partial(_buy, peer, FEW, sitting.plan.seconds),
    }
    if stock is not None:
        contests["ours, stock worker"] = partial(_buy, stock, FEW, sitting.plan.seconds)
    few = sitting.in_turn("64", contests)
    _record(sitting, "1a", few["ours"], few["Express"])
    if stock is not None:
        _record(sitting, "1e", few["ours, stock worker"], few["Express"])
    else:
        sitting.lacks(("1e",), "the service has no setting WEB_SERVER")
    long_s = max(7.0, sitting.plan.seconds) if not sitting.plan.quick else sitting.plan.seconds
    many = sitting.in_turn(
        "5,000", {"ours": partial(_buy, ours, MANY, long_s), "Express": partial(_buy, peer, MANY, long_s)}
    )
    _record(sitting, "1b", many["ours"], many["Express"])
    for one in (ours, peer):
        one.fsync("everysec")
    lax = sitting.in_turn("everysec", {name: contests[name] for name in ("ours", "Express")})
    _record(sitting, "1d", lax["ours"], lax["Express"])


def _buy(contestant: Contestant, connections: int, seconds: float) -> Run:
    return bought_by_wrk(contestant, [EVENT], connections, seconds)


def _record(sitting: Sitting, target: str, ours: list[Run], theirs: list[Run]) -> None:
    try:
        detail = f"{cost(ours)} against {cost(theirs)}"
        sitting.record(target, ratio(middle(ours), middle(theirs)), detail)
    except NotMeasured as why:
        sitting.lacks((target,), why)


def _light(sitting: Sitting, ours: Contestant) -> None:
    with Crew() as crew:
        crew.open(ours.port, FEW)
        turn = partial(bought_on_schedule, ours, crew, [EVENT], LIGHT_RATE, sitting.plan.seconds)
        runs = sitting.in_turn("3,000/s", {"ours": turn})["ours"]
    try:
        sitting.record("1c", middle(runs), f"{cost(runs)}, p99 {middle(runs, lambda run: run.p99_ms):.1f} ms")
    except NotMeasured as why:
        sitting.lacks(("1c",), why)
