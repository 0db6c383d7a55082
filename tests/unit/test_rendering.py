"""What a worker does with a job: one receipt's fault stays its own, the end of the job's time does not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from prometheus_client import CollectorRegistry

from tests.receipts import GALA, NOBODY, a_purchase
from tests.unit.test_counter import a_state
from ticketing.errors import StoreRefused
from ticketing.model import Contact, Event, EventState, Purchase
from ticketing.receipts.files import ReceiptFiles
from ticketing.store.outbox import DueReceipt
from ticketing.store.queue import JobTimeout
from ticketing.telemetry.metrics import DELAY_BUCKETS_S, ReceiptMetrics
from workers.rendering import Rendering

PDF = b"%PDF-1.7\n%%EOF"
AGE_MAX_S = DELAY_BUCKETS_S[-1]
STORE_MS = 1_600_000_000_000  # far from this host's clock, which must not matter


class FakeEvents:
    """Some events, or none that can be read."""

    def __init__(self) -> None:
        self.known = [
            replace(a_state(event_id), event=replace(GALA, event_id=event_id), as_of_ms=STORE_MS) for event_id in "123"
        ]
        self.away = False

    def ids(self) -> list[str]:
        if self.away:
            raise StoreRefused("away")
        return [state.event.event_id for state in self.known]

    def read(self, event_ids: Sequence[str]) -> list[EventState]:
        return [state for state in self.known if state.event.event_id in event_ids]


class FakeOutbox:
    """Hands out what a test puts into it."""

    def __init__(self) -> None:
        self.due: list[DueReceipt] = []
        self.finished: list[str] = []
        self.voided: list[str] = []

    def begin(self, event_id: str, purchase_ids: Sequence[str]) -> list[DueReceipt]:
        return [one for one in self.due if one.purchase.purchase_id in purchase_ids]

    def finish(self, event_id: str, purchase_ids: Sequence[str]) -> list[str]:
        self.finished += purchase_ids
        return self.voided


class FakeRenderer:
    """Draws the same each time, or raises what a test says."""

    def __init__(self) -> None:
        self.faults: dict[str, Exception] = {}  # by purchase or event id
        self.prepared: list[str] = []

    def render(self, event: Event, purchase: Purchase, contact: Contact) -> bytes:
        if purchase.purchase_id in self.faults:
            raise self.faults[purchase.purchase_id]
        return PDF

    def prepare(self, event: Event) -> None:
        if event.event_id in self.faults:
            raise self.faults[event.event_id]
        self.prepared.append(event.event_id)


class Bench:
    """A rendering with its fakes."""

    def __init__(self, folder: Path) -> None:
        self.events, self.outbox, self.renderer = FakeEvents(), FakeOutbox(), FakeRenderer()
        self.files, self.registry = ReceiptFiles(folder), CollectorRegistry()
        self.rendering = Rendering(self.events, self.outbox, self.files, self.renderer, ReceiptMetrics(self.registry))

    def due(self, name: str, age_s: float = 0, *, first_try: bool = True) -> str:
        purchase = a_purchase()._replace(purchase_id=f"1.{name}", sold_at_ms=round(STORE_MS - age_s * 1000))
        self.outbox.due.append(DueReceipt(purchase, NOBODY, first_try))
        return purchase.purchase_id

    def render(self) -> None:
        self.rendering.render("1", [one.purchase.purchase_id for one in self.outbox.due])

    def observed(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"ticketing_receipt_{name}_seconds_count")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "receipts")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(f"{message.record['level'].name} {message.record['message']}"))
    yield lines
    logger.remove(sink)


def test_a_page_that_can_not_be_compiled_keeps_no_worker_from_starting(bench: Bench, logged: list[str]) -> None:
    bench.renderer.faults["2"] = KeyError("a glyph")
    bench.rendering.warm_up()
    assert bench.renderer.prepared == ["1", "3"]
    assert logged == ["ERROR event 2: its page can't be compiled"]


def test_a_worker_starts_without_the_store(bench: Bench, logged: list[str]) -> None:
    bench.events.away = True
    bench.rendering.warm_up()
    assert logged == ["WARNING the events can't be read yet: away"]


def test_a_receipt_that_can_not_be_drawn_keeps_no_other_from_being_stored(bench: Bench) -> None:
    ids = [bench.due(name) for name in ("aaaa", "bbbb", "cccc")]
    bench.renderer.faults[ids[1]] = ValueError("a tower of accents")
    bench.render()
    assert [bench.files.has(one) for one in ids] == [True, False, True]
    assert bench.outbox.finished == [ids[0], ids[2]]


def test_the_end_of_a_jobs_time_ends_the_job_and_keeps_what_was_stored(bench: Bench) -> None:
    ids = [bench.due(name) for name in ("aaaa", "bbbb", "cccc")]
    bench.renderer.faults[ids[1]] = JobTimeout("60 s")
    with pytest.raises(JobTimeout):
        bench.render()
    assert [bench.files.has(one) for one in ids] == [True, False, False]
    assert bench.outbox.finished == ids[:1]


def test_a_purchase_that_was_voided_while_it_was_drawn_has_no_file(bench: Bench) -> None:
    kept, gone = bench.due("aaaa"), bench.due("bbbb")
    bench.outbox.voided = [gone]
    bench.render()
    assert [bench.files.has(one) for one in (kept, gone)] == [True, False]


@pytest.mark.parametrize(
    ("age_s", "first_try", "observed"),
    [
        (0, True, 1),
        (AGE_MAX_S - 60, False, 1),
        (AGE_MAX_S + 60, True, 1),  # the workers were away all that time
        (AGE_MAX_S + 60, False, 0),  # drawn again after a cleanup
    ],
)
def test_a_delay_is_that_of_a_buyer_who_waited(bench: Bench, age_s: float, first_try: bool, observed: int) -> None:
    bench.due("aaaa", age_s, first_try=first_try)
    bench.render()
    assert (bench.observed("delay"), bench.observed("render")) == (observed, 1)


def test_a_receipt_that_was_not_stored_has_no_delay(bench: Bench) -> None:
    bench.due("aaaa")
    bench.renderer.faults[bench.due("bbbb")] = ValueError("no")
    bench.render()
    assert bench.observed("delay") == 1
