"""Target 2: what it costs to say that an event is sold out, or to repeat an answer, beside a bare hello."""

import time
from functools import partial

from tests.bench.contestants import Product, hello, our_server, product
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, ratio
from tests.bench.generator import Ask
from tests.bench.sitting import BODY, KNOWN_S, SOLD, Series, Sitting, answered_by_wrk, cost, middle

CONNECTIONS = 64
KEYS = 1_000
GONE, POOL = "gone", "pool"
REPLAY_PREFIX = "bench-replayed-"
HELLO = Ask(["/"], SOLD)


def measure(sitting: Sitting) -> None:
    """2a to 2d."""
    seconds = sitting.plan.seconds / 2
    with (
        hello(sitting.new_folder(), server=our_server()) as floor,
        product(sitting.new_folder(), server=our_server()) as ours,
    ):
        _prepare(ours)
        run = partial(answered_by_wrk, connections=CONNECTIONS, seconds=seconds)
        refused = {"409": ours.sold_out_text}
        path = [f"/buy/{GONE}"]
        again = Ask([f"/buy/{POOL}"], {"200": '"status":"sold"'}, BODY, REPLAY_PREFIX)
        before = ours.sold([GONE, POOL])
        runs = sitting.in_turn(
            "sold out",
            {
                "bare hello": partial(run, floor, HELLO),
                "no body": partial(run, ours, Ask(path, refused)),
                "a body": partial(run, ours, Ask(path, refused, BODY)),
                "a key and body": partial(run, ours, Ask(path, refused, BODY, "bench-")),
                "a replay": partial(run, ours, again, again=KEYS),
            },
        )
        if ours.sold([GONE, POOL]) != before:
            raise NotMeasured("a ticket was sold to somebody who was told otherwise")
    for target, name in (("2a", "no body"), ("2b", "a body"), ("2c", "a key and body"), ("2d", "a replay")):
        _record(sitting, target, runs[name], runs["bare hello"])


def _prepare(ours: Product) -> None:
    """One event is sold out; of another, a thousand keys have bought."""
    ours.fill(GONE, 64)
    ours.fill(POOL, 2 * KEYS)
    time.sleep(KNOWN_S)
    with Crew() as crew:
        crew.open(ours.port, 64)
        sold = crew.wave(Ask([f"/buy/{GONE}"], SOLD))
        bought = crew.loop(Ask([f"/buy/{POOL}"], {**SOLD}, BODY, REPLAY_PREFIX), count=KEYS, own_keys=False)
    if sold.refusal or bought.refusal:
        raise NotMeasured(f"what was to be bought first was not: {sold.refusal or bought.refusal}")


def _record(sitting: Sitting, target: str, runs: Series, floor: Series) -> None:
    try:
        detail = f"{cost(runs)} against {middle(floor):.1f} us"
        sitting.record(target, ratio(middle(runs), middle(floor)), detail)
    except NotMeasured as why:
        sitting.lacks((target,), why)
