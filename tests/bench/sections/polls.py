"""What buyers who wait for their receipt cost: GET /tickets of a pending one, and of one that is there."""

from functools import partial

from tests.bench.contestants import Product, our_server, product, stored_sold_at_ms
from tests.bench.crew import Crew
from tests.bench.figures import NotMeasured
from tests.bench.generator import Ask
from tests.bench.sitting import Series, Sitting, answered_by_wrk, bought_by_crew, middle, put_on_sale
from tests.receipts import GALA, SEALER, ZOE, a_purchase
from ticketing.receipts.files import ReceiptFiles
from workers.receipt_pdf import ReceiptRenderer

CONNECTIONS = 64
PURCHASES = 1_000  # which are asked for in turn
PENDING, STORED = "pending", "stored"


def measure(sitting: Sitting) -> None:
    """13a and 13b."""
    with product(sitting.new_folder(), server=our_server()) as ours:
        asks = {PENDING: _asked(ours, PENDING, {"202": '"pending"'}), STORED: _asked(ours, STORED, {"200": "%%EOF"})}
        pdf = ReceiptRenderer(SEALER).render(GALA, a_purchase(), ZOE)
        _store(ours, asks[STORED], pdf)
        seconds = sitting.plan.seconds / 2
        turns = {name: partial(answered_by_wrk, ours, ask, CONNECTIONS, seconds) for name, ask in asks.items()}
        runs = sitting.in_turn("polls", turns)
    _record(sitting, "13a", runs[PENDING], "")
    _record(sitting, "13b", runs[STORED], f", a file of {len(pdf):,} bytes")


def _asked(ours: Product, event_id: str, wanted: dict[str, str]) -> Ask:
    """Purchases of an event of their own, whose receipts nobody draws; what their buyers ask."""
    put_on_sale(event_id, PURCHASES, [ours])
    with Crew() as crew:
        crew.open(ours.port, CONNECTIONS)
        if refused := bought_by_crew(ours, crew, [event_id], count=PURCHASES).refused:
            raise NotMeasured(refused)
    with ours.store() as store:
        return Ask([f"/tickets/{one}" for one in stored_sold_at_ms(store, event_id)], wanted, method="GET")


def _store(ours: Product, ask: Ask, pdf: bytes) -> None:
    files = ReceiptFiles(ours.data_dir / "receipts")
    for path in ask.paths:
        file = files.path(path.removeprefix("/tickets/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pdf)


def _record(sitting: Sitting, target: str, runs: Series, more: str) -> None:
    try:
        store_us = middle(runs, lambda run: run.store_us)
        detail = f"store {store_us:.1f} us more, {middle(runs, lambda run: run.per_s):,.0f}/s a process{more}"
        sitting.record(target, middle(runs, lambda run: run.app_us), detail)
    except NotMeasured as why:
        sitting.lacks((target,), why)
