"""Target 11: memory of a web process, of each of its connections, and of a receipt worker."""

import time
from collections.abc import Callable

import psutil

from tests.bench.contestants import Product, our_server, product
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, median
from tests.bench.machine import Peak, rss
from tests.bench.sitting import POOL, Sitting, bought_by_crew, bought_on_schedule, put_on_sale
from tests.servers import wait_until
from ticketing.store import keys

CONNECTIONS = 5_000
PURCHASES = 2_000
RECEIPT_RATE = 200
EVENT = "1"
REST_S = 1.0
DRAIN_S = 120.0


def measure(sitting: Sitting) -> None:
    """11a to 11d. Resident memory; what the kernel keeps for a socket is no process's."""
    private_mb: list[float] = []
    idle_kb: list[float] = []
    busy_kb: list[float] = []
    base_mb: list[float] = []
    for _ in range(sitting.plan.rounds):
        with product(sitting.new_folder(), server=our_server()) as ours, Crew(2) as crew:
            put_on_sale(EVENT, sitting.plan.scaled(POOL), [ours])
            base, private, idle, busy = _grown(sitting, ours, crew)
        private_mb.append(private / 2**20)
        base_mb.append(base / 2**20)
        idle_kb.append((idle - base) / CONNECTIONS / 1024)
        busy_kb.append((busy - base) / CONNECTIONS / 1024)
        found = {"base_mb": base_mb[-1], "idle_kb": idle_kb[-1], "busy_kb": busy_kb[-1]}
        sitting.runs.append({"series": "memory", **{name: round(value, 2) for name, value in found.items()}})
        sitting.say(f"  {'memory':12} " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    crowd = f"{CONNECTIONS:,} connections"
    sitting.record("11a", median(idle_kb), f"{crowd}, open and silent, over 11c")
    sitting.record("11b", median(busy_kb), f"{crowd}, each buying in a loop, at the peak, over 11c")
    sitting.record(
        "11c", median(base_mb), f"resident, {median(private_mb):.0f} MB of it its own; after {PURCHASES:,} purchases"
    )
    _receipt_worker(sitting)


def _grown(sitting: Sitting, ours: Product, crew: Crew) -> tuple[int, int, int, float]:
    """Bytes of the web process: warm, with idle connections, and the most while all of them buy."""

    def look() -> int:
        return rss(ours.workers)

    crew.open(ours.port, 64)
    _refuse(bought_by_crew(ours, crew, [EVENT], count=PURCHASES).refused)
    crew.close()
    base = _rested(look)
    private = sum(int(psutil.Process(pid).memory_full_info().uss) for pid in ours.workers)
    if crew.open(ours.port, CONNECTIONS) != CONNECTIONS:
        raise NotMeasured(f"not all of {CONNECTIONS:,} connections opened")
    idle = _rested(look)
    with Peak(look) as peak:
        _refuse(bought_by_crew(ours, crew, [EVENT], seconds=sitting.plan.seconds / 2).refused)
    crew.close()
    return base, private, idle, peak.value


def _receipt_worker(sitting: Sitting) -> None:
    with product(sitting.new_folder(), server=our_server(), receipts=True) as ours, Crew() as crew:
        put_on_sale(EVENT, 100_000, [ours])
        crew.open(ours.port, 64)
        run = bought_on_schedule(ours, crew, [EVENT], RECEIPT_RATE, sitting.plan.seconds)
        _refuse(run.refused)
        with ours.store() as store:
            outbox = keys.of_event(EVENT).receipts
            wait_until(lambda: not store.one("ZCARD", outbox), DRAIN_S, "every receipt is stored")
        worker = ours.parts[0]
        sitting.record("11d", rss([worker.pid]) / 2**20, f"resident, after {run.count:,} receipts")


def _rested(look: Callable[[], int]) -> int:
    time.sleep(REST_S)
    return look()


def _refuse(refused: str) -> None:
    if refused:
        raise NotMeasured(refused)
