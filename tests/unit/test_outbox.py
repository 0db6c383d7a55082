"""Dispatcher, sweeper and receipt desk: what is enqueued, when, and what happens while the queue is away."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import pytest
from loguru import logger

from ticketing.errors import OutcomeUnknown, ReceiptsAway, StoreError, StoreRefused
from ticketing.model import Purchase, ReceiptStatus
from ticketing.receipts import outbox as subject
from ticketing.receipts.files import ReceiptFiles
from ticketing.receipts.outbox import Dispatcher
from ticketing.receipts.status import PurchaseStatus, ReceiptDesk, Standing
from ticketing.receipts.storage import StoredReceipt
from ticketing.receipts.sweeper import SHORT_QUEUE_JOBS, Sweeper
from ticketing.sale.identity import Identity
from ticketing.store.outbox import Overdue
from ticketing.store.queue import QueueLevel, ReceiptJob
from ticketing.store.sale import PurchaseStanding

IDENTITY = Identity("an id secret of tests, long enough")
PDF = b"%PDF-1.7\n%%EOF"


class FakeQueue:
    """Notes its jobs, and may be away."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, list[str]]] = []
        self.tries = 0
        self.looks = 0
        self.failure: Exception | None = None
        self.waiting = 0

    def enqueue(self, jobs: Iterable[ReceiptJob]) -> None:
        self.tries += 1
        if self.failure is not None:
            raise self.failure
        self.jobs += jobs

    def depth(self) -> int:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return self.waiting

    def level(self) -> QueueLevel:
        return QueueLevel(self.depth(), 0, 1)

    def say_swept(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(f"{message.record['level'].name} {message.record['message']}"))
    yield lines
    logger.remove(sink)


@pytest.fixture
def dispatcher(queue: FakeQueue) -> Iterator[Dispatcher]:
    made = Dispatcher(queue, collect_ms=1, job_size=3)
    made.start()
    yield made
    made.stop()


def settle(condition: Callable[[], object]) -> None:
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.001)


# --- dispatcher


def test_what_is_sold_in_a_moment_goes_in_a_few_jobs_an_event(queue: FakeQueue, dispatcher: Dispatcher) -> None:
    dispatcher.add("1", ["a", "b"])
    dispatcher.add("2", ["x"])
    dispatcher.add("1", ["c", "d"])
    settle(lambda: queue.jobs)
    assert queue.jobs == [("1", ["a", "b", "c"]), ("1", ["d"]), ("2", ["x"])]
    dispatcher.add("1", ["e"])
    settle(lambda: len(queue.jobs) == 4)


def test_jobs_of_many_events_share_a_round_trip_to_the_queue(queue: FakeQueue, dispatcher: Dispatcher) -> None:
    events = [str(number) for number in range(subject.JOBS_AT_ONCE + 1)]
    for event_id in events:
        dispatcher.add(event_id, ["a"])
    settle(lambda: len(queue.jobs) == len(events))
    assert queue.jobs == [(event_id, ["a"]) for event_id in events]
    assert queue.tries == 2


def test_while_many_jobs_wait_the_next_ones_grow(queue: FakeQueue, dispatcher: Dispatcher) -> None:
    queue.waiting = subject.BUSY_JOBS
    dispatcher.add("1", ["a"])
    settle(lambda: queue.looks)
    dispatcher.add("1", ["b"])
    looks = queue.looks
    settle(lambda: queue.looks >= looks + 2)
    assert queue.jobs == []
    queue.waiting -= 1
    settle(lambda: queue.jobs)
    assert queue.jobs == [("1", ["a", "b"])]


def test_a_full_job_and_one_that_has_waited_long_enough_go_to_a_busy_queue_too(
    queue: FakeQueue, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.waiting = 1_000
    dispatcher.add("1", ["a", "b", "c"])
    settle(lambda: queue.jobs)
    assert queue.jobs == [("1", ["a", "b", "c"])]
    monkeypatch.setattr(subject, "PATIENCE_S", 0.01)
    dispatcher.add("1", ["d"])
    settle(lambda: len(queue.jobs) == 2)
    assert queue.jobs[1:] == [("1", ["d"])]


def test_nothing_sold_is_no_job(queue: FakeQueue, dispatcher: Dispatcher) -> None:
    dispatcher.add("1", [])
    dispatcher.stop()
    assert queue.tries == 0


def test_a_queue_that_is_away_costs_one_line_and_one_more_when_it_is_back(
    queue: FakeQueue, dispatcher: Dispatcher, logged: list[str]
) -> None:
    queue.failure = StoreRefused("no connection")
    for turn in range(1, 6):
        dispatcher.add("1", [f"lost-{turn}"])
        settle(lambda turn=turn: queue.tries == turn)
    queue.failure = None
    for turn in range(6, 9):
        dispatcher.add("1", [f"kept-{turn}"])
        settle(lambda turn=turn: queue.tries == turn)
    settle(lambda: len(logged) == 2)
    assert logged == [
        "WARNING the receipt queue is away (no connection); the sale goes on, the outbox waits",
        "INFO the receipt queue is back",
    ]
    assert [job for _, job in queue.jobs] == [["kept-6"], ["kept-7"], ["kept-8"]]  # the sweeper has the others


def test_a_job_that_can_not_be_made_keeps_no_later_one_from_being_enqueued(
    queue: FakeQueue, dispatcher: Dispatcher, logged: list[str]
) -> None:
    queue.failure = TypeError("a bug")
    dispatcher.add("1", ["a"])
    settle(lambda: queue.tries == 1)
    queue.failure = None
    dispatcher.add("1", ["b"])
    settle(lambda: queue.jobs == [("1", ["b"])])
    assert [line for line in logged if line.startswith("ERROR")] == [
        "ERROR 1 jobs could not be enqueued; the sweeper will"
    ]


def test_its_memory_is_bounded(queue: FakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST", 10)
    dispatcher = Dispatcher(queue, collect_ms=1, job_size=100)  # not started: nothing drains it
    for number in range(10):
        dispatcher.add("1", [f"{number}-{i}" for i in range(4)])
    dispatcher.stop()
    assert [len(job) for _, job in queue.jobs] == [12]  # whole batches until the limit is reached
    dispatcher.add("1", ["again"])
    dispatcher.stop()
    assert queue.jobs[-1] == ("1", ["again"])


def test_stopping_enqueues_what_is_left(queue: FakeQueue) -> None:
    dispatcher = Dispatcher(queue, collect_ms=60_000, job_size=3)
    dispatcher.start()
    gevent.sleep(0)
    dispatcher.add("1", ["a"])
    dispatcher.stop()
    assert queue.jobs == [("1", ["a"])]


# --- sweeper


class FakeEvents:
    def __init__(self, down: bool = False) -> None:
        self.down = down

    def ids(self) -> list[str]:
        if self.down:
            raise OutcomeUnknown("away")
        return ["1", "2"]


@dataclass
class FakeOutbox:
    """Hands out what is overdue, once."""

    overdue: dict[str, list[Overdue]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    answer: str = "requested"

    def sweep(self, event_ids: Sequence[str], most: int) -> list[tuple[str, list[Overdue]]]:
        handed = [(event_id, self.overdue.pop(event_id)) for event_id in event_ids if event_id in self.overdue]
        return [(event_id, found[:most]) for event_id, found in handed]

    def request(self, event_id: str, purchase_id: str, due_ms: int) -> str:
        self.requests.append(purchase_id)
        return self.answer


def a_sweeper(queue: FakeQueue, outbox: FakeOutbox, events: FakeEvents | None = None) -> Sweeper:
    return Sweeper(events or FakeEvents(), outbox, queue, job_size=3, interval_s=0.001)


def test_what_is_overdue_is_enqueued_and_what_was_begun_before_goes_alone(queue: FakeQueue) -> None:
    fresh = [Overdue(f"f{number}", 0) for number in range(4)]
    outbox = FakeOutbox({"1": [*fresh[:2], Overdue("begun", 1), *fresh[2:], Overdue("poison", 4)], "2": fresh[:1]})
    assert a_sweeper(queue, outbox).sweep() == 7
    assert queue.jobs == [
        ("1", ["f0", "f1", "f2"]),
        ("1", ["f3"]),
        ("1", ["begun"]),
        ("1", ["poison"]),
        ("2", ["f0"]),
    ]


@pytest.mark.parametrize(("depth", "swept"), [(0, 1), (SHORT_QUEUE_JOBS, 1), (SHORT_QUEUE_JOBS + 1, 0), (5000, 0)])
def test_nothing_is_swept_while_many_jobs_wait(queue: FakeQueue, depth: int, swept: int) -> None:
    outbox = FakeOutbox({"1": [Overdue("a", 0)]})
    queue.waiting = depth
    assert a_sweeper(queue, outbox).sweep() == swept
    assert bool(outbox.overdue) is not bool(swept)  # it was not moved forward either


@pytest.mark.parametrize("which", ["queue", "store"])
def test_a_sweeper_waits_for_what_is_away_and_says_so_once(queue: FakeQueue, logged: list[str], which: str) -> None:
    events = FakeEvents(down=which == "store")
    outbox = FakeOutbox()
    sweeper = a_sweeper(queue, outbox, events)
    queue.failure = StoreRefused("away") if which == "queue" else None
    turns = 0

    def wait(_: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 4:
            queue.failure, events.down = None, False
            outbox.overdue = {"1": [Overdue("a", 0)]}
        if turns == 8:
            sweeper.stop()

    sweeper._ended.wait = wait  # type: ignore[assignment,method-assign]
    sweeper.run()
    assert logged == [
        "WARNING the sweeper waits: away",
        "INFO the sweeper goes on",
        "INFO 1 overdue receipts enqueued again",
    ]
    assert queue.jobs == [("1", ["a"])]


# --- receipt desk


class FakeSales:
    def __init__(self) -> None:
        self.found: PurchaseStanding | StoreError = PurchaseStanding(None)

    def standing(self, event_id: str, purchase_id: str) -> PurchaseStanding:
        if isinstance(self.found, StoreError):
            raise self.found
        return self.found


class Desk:
    """A receipt desk with its fakes, and one purchase."""

    def __init__(self, folder: Path) -> None:
        self.files, self.sales, self.outbox = ReceiptFiles(folder), FakeSales(), FakeOutbox()
        self.enqueued: list[tuple[str, list[str]]] = []
        self.desk = ReceiptDesk(
            IDENTITY, self.files, self.sales.standing, self.outbox, lambda *job: self.enqueued.append(job), due_ms=5
        )
        self.purchase_id = IDENTITY.new_purchase_id("gala")
        self.purchase = Purchase(self.purchase_id, "gala", "f", 1, 1, ("Egala-000001",))

    def receipt(self, **standing: bool) -> ReceiptStatus:
        self.sales.found = PurchaseStanding(self.purchase, **standing)
        found = self.desk.standing(self.purchase_id)
        assert found is not None
        assert (found.status, found.purchase) == (PurchaseStatus.SOLD, self.purchase)
        return found.receipt


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_receipt_is_ready_where_its_file_is_whole(desk: Desk) -> None:
    desk.files.put(desk.purchase_id, PDF)
    assert desk.receipt(in_outbox=False) is ReceiptStatus.READY
    assert desk.receipt(in_outbox=True) is ReceiptStatus.READY
    assert desk.receipt(receipt_failed=True) is ReceiptStatus.READY
    assert desk.desk.stored(desk.purchase_id) is not None


def test_asking_for_a_pending_receipt_adds_no_job(desk: Desk) -> None:
    for _ in range(5):
        assert desk.receipt(in_outbox=True) is ReceiptStatus.PENDING
    assert (desk.enqueued, desk.outbox.requests) == ([], [])


def test_a_failed_receipt_says_so_and_is_not_asked_for(desk: Desk) -> None:
    assert desk.receipt(receipt_failed=True) is ReceiptStatus.FAILED
    assert (desk.enqueued, desk.outbox.requests) == ([], [])


def test_a_receipt_that_was_cleaned_up_is_enqueued_by_the_one_whose_asking_put_it_into_the_outbox(desk: Desk) -> None:
    assert desk.receipt(in_outbox=False) is ReceiptStatus.PENDING
    assert desk.enqueued == [("gala", [desk.purchase_id])]
    desk.outbox.answer = "pending"  # somebody else was quicker
    assert desk.receipt(in_outbox=False) is ReceiptStatus.PENDING
    assert len(desk.enqueued) == 1


def test_an_id_that_nobody_made_is_unknown_without_asking_anybody(desk: Desk) -> None:
    desk.sales.found = StoreRefused("must not be asked")
    for made_up in ("1." + "A" * 28, "../../etc/passwd", "", desk.purchase_id[:-1] + "!"):
        assert desk.desk.standing(made_up) is None
        assert desk.desk.stored(made_up) is None


def test_a_voided_id_is_unknown(desk: Desk) -> None:
    desk.sales.found = PurchaseStanding(None, voided=True)
    assert desk.desk.standing(desk.purchase_id) is None


@pytest.mark.parametrize("found", [PurchaseStanding(None), StoreRefused("away"), OutcomeUnknown("broken")])
def test_a_genuine_id_that_the_store_does_not_know_or_can_not_be_asked_for_is_provisional(
    desk: Desk, found: PurchaseStanding | StoreError
) -> None:
    desk.sales.found = found
    provisional = Standing(PurchaseStatus.PROVISIONAL, ReceiptStatus.PENDING)
    assert desk.desk.standing(desk.purchase_id) == provisional


def test_a_stored_receipt_is_given_out_while_the_store_is_away(desk: Desk) -> None:
    desk.files.put(desk.purchase_id, PDF)
    desk.sales.found = StoreRefused("away")
    stored = desk.desk.stored(desk.purchase_id)
    assert stored is not None
    assert stored.pdf == PDF


class FarFiles(ReceiptFiles):
    """A storage that is asked over a network; counts how often, and can be away."""

    is_near = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked = 0
        self.is_away = False

    def get(self, purchase_id: str) -> StoredReceipt | None:
        self._ask()
        return super().get(purchase_id)

    def has(self, purchase_id: str) -> bool:
        self._ask()
        return super().has(purchase_id)

    def link(self, purchase_id: str, method: str, life_s: int) -> str:
        return f"https://bucket/{method}/{life_s}"

    def _ask(self) -> None:
        self.asked += 1
        if self.is_away:
            raise ReceiptsAway("away")


@pytest.fixture
def far_desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.files = desk.desk._files = FarFiles(tmp_path)
    return desk


def test_who_waits_for_a_receipt_that_is_being_made_asks_no_bucket(far_desk: Desk) -> None:
    """Thousands do, each second, and each asking would cost a request of the bucket's provider."""
    assert far_desk.receipt(in_outbox=True) is ReceiptStatus.PENDING
    assert far_desk.desk.stored(far_desk.purchase_id) is None
    assert far_desk.desk.link(far_desk.purchase_id, "GET", 60) is None
    assert far_desk.files.asked == 0
    far_desk.files.put(far_desk.purchase_id, PDF)
    assert far_desk.receipt(in_outbox=False) is ReceiptStatus.READY
    assert far_desk.desk.stored(far_desk.purchase_id) is not None
    assert far_desk.desk.link(far_desk.purchase_id, "HEAD", 60) == "https://bucket/HEAD/60"
    assert far_desk.files.asked == 3


def test_a_receipt_that_no_bucket_can_be_asked_about_is_pending_and_is_not_drawn_again(far_desk: Desk) -> None:
    far_desk.files.put(far_desk.purchase_id, PDF)
    far_desk.files.is_away = True
    assert far_desk.receipt(in_outbox=False) is ReceiptStatus.PENDING
    assert far_desk.desk.stored(far_desk.purchase_id) is None
    assert far_desk.desk.link(far_desk.purchase_id, "GET", 60) is None
    assert (far_desk.enqueued, far_desk.outbox.requests) == ([], [])
    assert far_desk.receipt(receipt_failed=True) is ReceiptStatus.FAILED


def test_a_receipt_in_a_bucket_is_given_out_while_the_store_is_away_and_none_of_a_voided_purchase(
    far_desk: Desk,
) -> None:
    far_desk.files.put(far_desk.purchase_id, PDF)
    far_desk.sales.found = StoreRefused("away")
    assert far_desk.desk.stored(far_desk.purchase_id) is not None
    far_desk.sales.found = PurchaseStanding(None, voided=True)
    assert far_desk.desk.stored(far_desk.purchase_id) is None
    assert far_desk.desk.link(far_desk.purchase_id, "GET", 60) is None


def test_who_buys_again_waits_for_no_bucket(far_desk: Desk) -> None:
    far_desk.files.put(far_desk.purchase_id, PDF)
    again = Purchase(far_desk.purchase_id, "gala", "f", 1, 1, ("Egala-000001",), replayed=True)
    assert far_desk.desk.receipt_of(again) is ReceiptStatus.PENDING
    assert far_desk.files.asked == 0


def test_whoever_voids_waits_for_no_bucket(tmp_path: Path) -> None:
    """The keeper's round does, on which the end of an outage depends."""
    files, deleted = FarFiles(tmp_path), []

    def delete_slowly(purchase_ids: Iterable[str]) -> None:
        gevent.sleep(0.01)
        deleted.extend(purchase_ids)
        raise ReceiptsAway("away")

    files.delete_all = delete_slowly  # type: ignore[method-assign]
    subject.deleting(files)(["1.a"])
    assert deleted == []
    gevent.sleep(0.05)
    assert deleted == ["1.a"]
    near = ReceiptFiles(tmp_path)
    near.put("1.abcdef", PDF)
    subject.deleting(near)(["1.abcdef"])
    assert not near.has("1.abcdef")


def test_no_bucket_is_asked_about_an_id_that_nobody_made(far_desk: Desk) -> None:
    for made_up in ("1." + "A" * 28, "../../etc/passwd", ""):
        assert far_desk.desk.stored(made_up) is None
        assert far_desk.desk.link(made_up, "GET", 60) is None
    assert far_desk.files.asked == 0


def test_only_a_repeated_purchase_looks_for_its_file(desk: Desk) -> None:
    desk.files.put(desk.purchase_id, PDF)
    assert desk.desk.receipt_of(desk.purchase) is ReceiptStatus.PENDING
    again = Purchase(desk.purchase_id, "gala", "f", 1, 1, ("Egala-000001",), replayed=True)
    assert desk.desk.receipt_of(again) is ReceiptStatus.READY
