"""Target 3: the least that our worker does for a request, beside gunicorn's stock gevent worker; and nobody starves."""

from functools import partial

from tests.bench.contestants import Contestant, hello, our_server
from tests.bench.figures import NotMeasured, ratio
from tests.bench.generator import Ask
from tests.bench.sitting import SOLD, Run, Sitting, answered_by_wrk, middle

FEW, CROWD = 64, 1_500
HELLO = Ask(["/"], SOLD)


def measure(sitting: Sitting) -> None:
    """3a and 3b."""
    seconds = sitting.plan.seconds / 2
    with (
        hello(sitting.new_folder(), server=our_server()) as ours,
        hello(sitting.new_folder(), plain=True) as plain,
    ):
        turns = {"ours": partial(_ask, ours, FEW, seconds), "stock": partial(_ask, plain, FEW, seconds)}
        few = sitting.in_turn("64", turns)
        crowd = sitting.in_turn(
            "1,500", {"ours": partial(_ask, ours, CROWD, seconds), "stock": partial(_ask, plain, CROWD, seconds)}
        )
    try:
        detail = f"{middle(few['ours']):.1f} against {middle(few['stock']):.1f} us"
        sitting.record("3a", ratio(middle(few["ours"]), middle(few["stock"])), detail)
        runs = crowd["ours"]
        p50, p99 = middle(runs, lambda run: run.p50_ms), middle(runs, lambda run: run.p99_ms)
        theirs = middle(crowd["stock"], lambda run: run.p99_ms) if crowd["stock"] else float("nan")
        sitting.record("3b", ratio(p99, p50), f"p50 {p50:.1f}, p99 {p99:.1f} ms; stock p99 {theirs:.0f} ms")
    except NotMeasured as why:
        sitting.lacks(("3a", "3b"), why)


def _ask(contestant: Contestant, connections: int, seconds: float) -> Run:
    return answered_by_wrk(contestant, HELLO, connections, seconds)
