"""Target 10: what a purchase costs when the pool is larger, more was sold before, or more events are sold at once."""

import time
from collections.abc import Iterator, Sequence
from functools import partial

from tests.bench.contestants import SEED, Product, our_server, product
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, ratio, spread
from tests.bench.sitting import KNOWN_S, Run, Series, Sitting, bought_by_crew, middle
from tests.servers import ID_SECRET
from ticketing.model import Outcome, PurchaseRequest
from ticketing.sale.identity import Identity
from ticketing.store import keys
from ticketing.store.connection import StoreClock
from ticketing.store.sale import EventBatch, SaleStore, Versions

FEW, MANY = 64, 1_000
SMALL, LARGE = 10_000, 1_000_000
PURCHASES = 27_000  # a run
OF_A_SMALL_POOL = 9_000
FINGERPRINT = "0123456789abcdef"
DAY_MS = 86_400_000


def measure(sitting: Sitting) -> None:
    """10a to 10d: exactly so many purchases a run, by our own generator; a service for each number of events."""
    count = sitting.plan.scaled(PURCHASES)
    with (
        product(sitting.new_folder(), server=our_server()) as one,
        product(sitting.new_folder(), server=our_server()) as five,
        product(sitting.new_folder(), server=our_server()) as hundreds,
        Crew() as crew,
    ):
        small = [f"small-{number}" for number in range(_small_pools(sitting, count))]
        several, many = [f"s{number}" for number in range(5)], [f"m{number}" for number in range(500)]
        _fill(sitting, one, small)
        for event_id in several:
            five.fill(event_id, sitting.plan.scaled(LARGE))
        for event_id in many:
            hundreds.fill(event_id, 2_000)
        time.sleep(KNOWN_S)
        unsold = iter(small)
        buy = partial(_buy, crew, count)
        runs = sitting.in_turn(
            "growth",
            {
                "pool of 10^4": partial(_small, crew, one, unsold, count),
                "pool of 10^6": partial(buy, one, ["large"], FEW),
                "10^6 sold": partial(buy, one, ["sold"], FEW),
                "5 events": partial(buy, five, several, FEW),
                "500 events": partial(buy, hundreds, many, FEW),
                "1 event, 1,000": partial(buy, one, ["large"], MANY),
                "500 events, 1,000": partial(buy, hundreds, many, MANY),
            },
        )
    _record(sitting, runs)


def _record(sitting: Sitting, runs: dict[str, Series]) -> None:
    try:
        cost = {name: middle(some) for name, some in runs.items()}
    except NotMeasured as why:
        sitting.lacks(("10a", "10b", "10c", "10d"), why)
        return
    pools = [cost[name] for name in ("pool of 10^4", "pool of 10^6", "10^6 sold")]
    sitting.record("10a", spread(pools) * 100, " / ".join(f"{us:.1f}" for us in pools) + " us")
    base = {"10b": "pool of 10^6", "10c": "pool of 10^6", "10d": "1 event, 1,000"}
    grown = {"10b": "5 events", "10c": "500 events", "10d": "500 events, 1,000"}
    for target, name in grown.items():
        ours, theirs = cost[name], cost[base[target]]
        sitting.record(target, ratio(ours, theirs), f"{ours:.1f} against {theirs:.1f} us")


def _small_pools(sitting: Sitting, count: int) -> int:
    """A small pool is nearly sold by a part of a run; refused turns are repeated once."""
    return -(-count // OF_A_SMALL_POOL) * (sitting.plan.rounds * 2 + 1)


def _small(crew: Crew, ours: Product, unsold: Iterator[str], count: int) -> Run:
    """The same number of purchases, of one small pool after the other."""
    runs = []
    left = count
    while left > 0:
        runs.append(_buy(crew, min(left, OF_A_SMALL_POOL), ours, [next(unsold)], FEW))
        left -= OF_A_SMALL_POOL
    total = sum(run.count for run in runs) or 1
    return Run(
        "ours",
        total,
        sum(run.app_us * run.count for run in runs) / total,
        sum(run.store_us * run.count for run in runs) / total,
        sum(run.per_s for run in runs) / len(runs),
        max(run.p50_ms for run in runs),
        max(run.p99_ms for run in runs),
        next((run.refused for run in runs if run.refused), ""),
    )


def _buy(crew: Crew, count: int, ours: Product, event_ids: Sequence[str], connections: int) -> Run:
    crew.open(ours.port, connections)
    try:
        return bought_by_crew(ours, crew, event_ids, count=count)
    finally:
        crew.close()


def _fill(sitting: Sitting, ours: Product, small: Sequence[str]) -> None:
    for event_id in small:
        ours.fill(event_id, SMALL)
    for event_id in ("large", "sold"):
        ours.fill(event_id, sitting.plan.scaled(LARGE))
    sold = sitting.plan.scaled(LARGE)
    ours.fill_more("sold", sold)
    _sell_before(ours, "sold", sold)


def _sell_before(ours: Product, event_id: str, tickets: int) -> None:
    """So many purchases were made before, and their receipts are stored."""
    identity = Identity(ID_SECRET)
    with ours.hasty_store() as store:
        sales = SaleStore(store, Versions(), StoreClock(), timeout_ms=DAY_MS, due_ms=DAY_MS)
        sales.greet(identity.secret_fingerprint)
        for _ in range(0, tickets, 1_000):
            ids = [identity.new_purchase_id(event_id) for _ in range(1_000)]
            asked = [PurchaseRequest(one, event_id, 1, FINGERPRINT) for one in ids]
            replies = sales.purchase([EventBatch(event_id, SEED, asked)])[0]
            if {reply.outcome for reply in replies} != {Outcome.SOLD}:
                raise NotMeasured(f"a purchase was not sold: {replies[0]}")
        store.one("DEL", keys.of_event(event_id).receipts)
