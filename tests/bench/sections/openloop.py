"""Target 8: how long a purchase and its receipt take when requests come by a schedule, whatever became of others."""

from functools import partial
from itertools import count

from tests.bench.contestants import Product, our_server, product, stored_sold_at_ms
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured, percentile
from tests.bench.sitting import POOL, Run, Sitting, bought_by_wrk, bought_on_schedule, middle, put_on_sale
from tests.servers import wait_until
from ticketing.receipts.files import ReceiptFiles
from ticketing.store import keys

CONNECTIONS = 256
FEW = 64
GENERATORS = 2  # one was late itself at half of what a process sells
EVENT = "1"
RATES = (250, 350, 500, 700, 1_000, 1_400, 2_000, 2_800, 4_000)  # receipts a second that are tried, in turn
BEHIND_S = 0.5  # receipts keep up where so much of what was sold, or less, is still to be drawn at the end
DRAIN_S = 120.0

_events = count(1)


def measure(sitting: Sitting) -> None:
    """8a to 8c."""
    for target, processes in (("8a", 1), ("8b", 2)):
        with product(sitting.new_folder(), web_workers=processes, server=our_server()) as ours:
            put_on_sale(EVENT, sitting.plan.scaled(POOL), [ours])
            _half(sitting, target, ours, processes)
    with product(sitting.new_folder(), web_workers=1, server=our_server(), receipts=True) as ours:
        _receipts(sitting, ours)


def _half(sitting: Sitting, target: str, ours: Product, processes: int) -> None:
    name = f"{processes} process{'es' if processes > 1 else ''}"
    closed = partial(bought_by_wrk, ours, [EVENT], FEW, sitting.plan.seconds)
    capacity = sitting.in_turn("capacity", {name: closed}, rounds=1)[name]
    try:
        rate = middle(capacity, lambda run: run.per_s) / 2
        with Crew(GENERATORS) as crew:
            crew.open(ours.port, CONNECTIONS)
            turn = partial(bought_on_schedule, ours, crew, [EVENT], rate, sitting.plan.seconds)
            runs = sitting.in_turn("half of it", {name: turn})[name]
        lag_ms = middle(runs, lambda run: float(run.more["lag_p99_ms"]))
        p50_ms = middle(runs, lambda run: run.p50_ms)
        detail = f"{rate:,.0f}/s, p50 {p50_ms:.1f} ms; the generator itself was late by {lag_ms:.1f} ms (p99)"
        sitting.record(target, middle(runs, lambda run: run.p99_ms), detail)
    except NotMeasured as why:
        sitting.lacks((target,), why)


def _receipts(sitting: Sitting, ours: Product) -> None:
    """One web process and one receipt worker, with the sweeper."""
    with Crew() as crew:
        crew.open(ours.port, CONNECTIONS)
        highest = _highest(sitting, ours, crew)
        if highest is None:
            sitting.lacks(("8c",), f"receipts did not keep up with {RATES[0]}/s")
            return
        turn = partial(_drawn, ours, crew, highest / 2, sitting.plan.seconds)
        runs = sitting.in_turn("receipts", {"ours": turn})["ours"]
    try:
        detail = f"{highest / 2:,.0f}/s of {highest:,}/s that one worker kept up with"
        p50_ms = middle(runs, lambda run: float(run.more["receipt_p50_ms"]))
        sitting.record(
            "8c", middle(runs, lambda run: float(run.more["receipt_p99_ms"])), f"{detail}; p50 {p50_ms:,.0f} ms"
        )
    except NotMeasured as why:
        sitting.lacks(("8c",), why)


def _highest(sitting: Sitting, ours: Product, crew: Crew) -> int | None:
    highest = None
    for rate in RATES:
        run = _drawn(ours, crew, rate, sitting.plan.seconds / 2)
        sitting.runs.append({"series": "ramp", "rate": rate, "refused": run.refused, **run.more})
        behind = float(run.more["behind"])
        sitting.say(f"  {'ramp':12} {rate:,}/s: {behind:,.0f} receipts behind at the end")
        if run.refused or behind > rate * BEHIND_S:
            break
        highest = rate
    return highest


def _drawn(ours: Product, crew: Crew, rate: float, seconds: float) -> Run:
    """Purchases of an event of their own by a schedule, until the last of their receipts is stored."""
    event_id = f"drawn-{next(_events)}"
    put_on_sale(event_id, int(rate * seconds) + 1_000, [ours])
    run = bought_on_schedule(ours, crew, [event_id], rate, seconds)
    behind = _pending(ours, event_id)
    wait_until(lambda: _pending(ours, event_id) == 0, DRAIN_S, "every receipt is stored")
    with ours.store() as store:
        sold_at_ms = stored_sold_at_ms(store, event_id)
    files = ReceiptFiles(ours.data_dir / "receipts")
    took_ms = sorted(files.path(one).stat().st_mtime * 1000 - at_ms for one, at_ms in sold_at_ms.items())
    run.more |= {
        "behind": behind,
        "receipts": len(took_ms),
        "receipt_p50_ms": round(percentile(took_ms, 0.5), 1),
        "receipt_p99_ms": round(percentile(took_ms, 0.99), 1),
    }
    return run


def _pending(ours: Product, event_id: str) -> int:
    with ours.store() as store:
        return int(store.one("ZCARD", keys.of_event(event_id).receipts))
