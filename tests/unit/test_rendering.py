"""What a worker does with a job: one receipt's fault stays its own, the end of the job's time does not."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from prometheus_client import CollectorRegistry

from tests.receipts import GALA, NOBODY, a_purchase
from tests.unit.test_counter import a_state
from ticketing.errors import ReceiptsAway, StoreRefused
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
        self.begun: list[str] = []
        self.finished: list[str] = []
        self.voided: list[str] = []

    def begin(self, event_id: str, purchase_ids: Sequence[str]) -> list[DueReceipt]:
        self.begun += purchase_ids
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


class FarFiles(ReceiptFiles):
    """A storage that can be away, and stores what it is given when a test says so, as a bucket would."""

    is_near = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.away_from = 10**9  # puts until it is away
        self.late: list[Future[None]] = []
        self.is_late = False
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.away_from <= 0:
            raise ReceiptsAway("away")

    def put_soon(self, purchase_id: str, pdf: bytes) -> "Future[None]":
        put: Future[None] = Future()
        self.away_from -= 1
        if self.away_from < 0:
            put.set_exception(ReceiptsAway("away"))
        elif self.is_late:
            self.late.append(put)
        else:
            self.put(purchase_id, pdf)
            put.set_result(None)
        return put


class Bench:
    """A rendering with its fakes."""

    def __init__(self, folder: Path) -> None:
        self.events, self.outbox, self.renderer = FakeEvents(), FakeOutbox(), FakeRenderer()
        self.files, self.registry = FarFiles(folder), CollectorRegistry()
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


def test_while_storage_is_away_no_try_is_counted(bench: Bench, logged: list[str]) -> None:
    """An outage of the bucket would use all of them up within minutes, and an operator had to retry each receipt."""
    purchase_id = bench.due("aaaa")
    bench.files.away_from = 0
    for _ in range(10):
        bench.render()
    assert (bench.outbox.begun, bench.outbox.finished, logged) == ([], [], [])
    bench.files.away_from = 1
    bench.render()
    assert (bench.outbox.begun, bench.outbox.finished) == ([purchase_id], [purchase_id])


def test_storage_that_goes_away_during_a_job_keeps_what_it_took_and_fills_no_log(
    bench: Bench, logged: list[str]
) -> None:
    ids = [bench.due(name) for name in ("aaaa", "bbbb", "cccc")]
    bench.files.away_from = 2
    bench.render()
    assert bench.outbox.finished == ids[:2]
    assert [line.partition(" in ")[0] for line in logged] == ["INFO event 1: 2 receipts stored, 1 not,"]
    assert bench.observed("render") == 2


def test_a_receipt_leaves_the_outbox_when_it_is_stored_and_not_when_it_is_under_way(bench: Bench) -> None:
    """The job's time ends while it waits for the first; the second has not begun, and must not begin later."""
    [first, second] = [bench.due(name) for name in ("aaaa", "bbbb")]
    bench.files.is_late = True

    class NoTime(Future[None]):
        def result(self, timeout: float | None = None) -> None:
            raise JobTimeout("60 s")

    puts = [NoTime(), Future[None]()]
    bench.files.put_soon = lambda purchase_id, pdf: puts[[first, second].index(purchase_id)]  # type: ignore[method-assign]
    puts[0].set_running_or_notify_cancel()
    with pytest.raises(JobTimeout):
        bench.render()
    assert bench.outbox.finished == []
    assert puts[1].cancelled()


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
