"""What open pages cost a sale: buyers' at / and operators' at /admin/live, each asking as often as it is told to."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from tests.bench.contestants import Product, our_server, product
from tests.bench.crew import Crew, Load
from tests.bench.figures import NotMeasured, ratio
from tests.bench.generator import Ask
from tests.bench.sitting import POOL, Run, Sitting, bought_on_schedule, cost, middle, put_on_sale

EVENTS = [f"page-{number}" for number in range(5)]
RATE = 1_000
CONNECTIONS = 64
TOKEN = "an admin token of benchmarks"
# However many pages are open, Poll-After keeps a process's polls to these (ticketing/api): a second, each.
POLLS = {"/events": 50, "/admin/live/data": 10}


def measure(sitting: Sitting) -> None:
    """12a and 12b."""
    with (
        product(sitting.new_folder(), server=our_server(), ADMIN_TOKEN=TOKEN) as ours,
        Crew() as buyers,
        ExitStack() as stack,
    ):
        put_on_sale(EVENTS[0], sitting.plan.scaled(POOL), [ours])
        for event_id in EVENTS[1:]:
            put_on_sale(event_id, 1_000, [ours])
        pages = {path: stack.enter_context(Crew()) for path in POLLS}
        for crew in (buyers, *pages.values()):
            crew.open(ours.port, CONNECTIONS)
        sell = partial(bought_on_schedule, ours, buyers, EVENTS[:1], RATE, sitting.plan.seconds)
        looked_at = partial(_looked_at, ours, buyers, pages, sitting.plan.seconds)
        runs = sitting.in_turn("pages", {"no page": sell, "pages open": looked_at})
    try:
        watched, alone = runs["pages open"], runs["no page"]
        polls = " and ".join(f"{rate}/s of {path}" for path, rate in POLLS.items())
        sitting.record("12a", ratio(middle(watched), middle(alone)), f"{cost(watched)} against {cost(alone)}; {polls}")
        p99_ms = middle(alone, lambda run: run.p99_ms)
        sitting.record("12b", middle(watched, lambda run: run.p99_ms), f"without pages {p99_ms:.1f} ms")
    except NotMeasured as why:
        sitting.lacks(("12a", "12b"), why)


def _looked_at(ours: Product, buyers: Crew, pages: dict[str, Crew], seconds: float) -> Run:
    """The same sale, while pages ask. What they ask is in the cost of a purchase."""
    with ThreadPoolExecutor(len(pages)) as pool:
        polled = [pool.submit(_poll, crew, path, seconds) for path, crew in pages.items()]
        run = bought_on_schedule(ours, buyers, EVENTS[:1], RATE, seconds)
    for load in (one.result() for one in polled):
        run.refused = run.refused or load.refusal
    return run


def _poll(crew: Crew, path: str, seconds: float) -> Load:
    ask = Ask([path], {"200": '"events"'}, method="GET", headers={"Authorization": f"Bearer {TOKEN}"})
    return crew.schedule(ask, seconds=seconds, rate=POLLS[path])
