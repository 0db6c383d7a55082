"""The load tool's own logic: percentiles, sums, what answers mean, verdict and exit code, tables, the report."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import gevent
import orjson
import pytest
from rich.console import Console

from tests.load import page, rehearsal, suite
from tests.load.answers import Answer, Kind, of_look, of_purchase, of_receipt, retry_after_s, same
from tests.load.command import parse
from tests.load.crew import processes_for
from tests.load.gate import Gate, Turn
from tests.load.histogram import Histogram
from tests.load.limits import Room
from tests.load.plan import Loop, Round, share
from tests.load.run import Played, Run
from tests.load.table import answers_table, closing_lines, ms, rounds_table
from tests.load.tally import ERRORS_TOLD_APART, Tally, now_s, sum_of
from tests.load.target import Audit, Receipts
from tests.load.verdict import bottleneck, judge
from ticketing.model import EVENT_ID

SOLD = {
    "purchase_id": "1.abc",
    "event_id": "1",
    "status": "sold",
    "quantity": 2,
    "tickets": ["E1-000001", "E1-000002"],
}


def histogram(*seconds: float) -> Histogram:
    made = Histogram()
    for time_s in seconds:
        made.add(time_s)
    return made


def tally(sold: int = 0, sold_out: int = 0, **more: Any) -> Tally:
    """So many single tickets sold, and so many buyers told that there are none."""
    made = Tally(first_s=100.0, last_s=110.0, bought=sold, **more)
    for number in range(1, sold + 1):
        made.note(Kind.SOLD, 0.010)
        made.note_tickets("1", [f"E1-{number:06d}"])
    for _ in range(sold_out):
        made.note(Kind.SOLD_OUT, 0.001)
    return made


def run_of(*tallies: Tally, sold: int = 0, issued: int = 100, exclusive: bool = True, loop: Loop = Loop.ONCE) -> Run:
    rounds = [Played(Round("round", ("1",), loop), 10, one) for one in tallies]
    audit = Audit(True, (), {"1": sold}, {"1": issued})
    return Run("http://x", exclusive, 10, rounds=rounds, sold_before={"1": 0}, audit=audit)


def shown(*parts: Any) -> str:
    out = StringIO()
    console = Console(file=out, width=110)
    for part in parts:
        console.print(part)
    return out.getvalue()


def test_percentiles_are_right_to_within_one_per_cent() -> None:
    source = random.Random(3)
    times = sorted(source.lognormvariate(-4, 1.5) for _ in range(20_000))
    made = histogram(*times)
    assert made.count == 20_000
    for wanted in (0.5, 0.95, 0.99, 0.999):
        exact = times[int(len(times) * wanted) - 1]
        assert made.percentile_s(wanted) == pytest.approx(exact, rel=0.011)
    assert made.percentile_s(1.0) == pytest.approx(times[-1], rel=0.011)
    assert made.most_s == times[-1]


def test_percentiles_of_nothing_are_unknown_and_of_one_time_are_that_time() -> None:
    assert Histogram().percentile_s(0.99) is None
    assert histogram(0.25).percentile_s(0.5) == pytest.approx(0.25, rel=0.01)
    assert histogram(0.0).percentile_s(0.5) == 0.0


def test_no_percentile_is_above_the_longest_time() -> None:
    assert histogram(0.5, 0.5, 0.5).percentile_s(0.99) == pytest.approx(0.5, rel=0.01)
    assert (histogram(0.5).percentile_s(1.0) or 1) <= 0.5


def test_histograms_of_two_processes_add_up_to_one_of_all_times() -> None:
    one, other, both = histogram(0.001, 0.02), histogram(0.02, 3.0), histogram(0.001, 0.02, 0.02, 3.0)
    one.merge(Histogram.from_json(orjson.loads(orjson.dumps(other.to_json()))))
    assert one == both


def test_tallies_survive_the_way_between_processes() -> None:
    made = tally(3, 2, unknown=Counter({"1": 4}), gave_up=1, cpu_share=[0.5])
    made.note_error("POST /buy: 500", 0.1)
    made.provisional["1"] += 2
    made.lag.add(0.01)
    assert Tally.from_json(orjson.loads(orjson.dumps(made.to_json()))) == made
    assert Tally.from_json(orjson.loads(orjson.dumps(made.to_json(with_tickets=False)))).tickets == {}


def test_tallies_add_up() -> None:
    other = Tally(first_s=90.0, last_s=105.0, cpu_share=[0.7])
    other.note(Kind.SOLD, 0.5)
    other.note_tickets("1", ["E1-000009"])
    other.provisional["1"] += 3
    other.note_error("POST /buy: 500", 0.1)
    total = sum_of([tally(2, 5, cpu_share=[0.4]), other])
    assert total.count(Kind.SOLD) == 3
    assert total.count(Kind.SOLD, Kind.SOLD_OUT, Kind.ERROR) == 9
    assert total.told("1") == 6
    assert total.seconds == 20.0
    assert total.bought == 2
    assert total.cpu_share == [0.4, 0.7]
    assert total.errors == {"POST /buy: 500": 1}


def test_a_ticket_told_to_buyers_of_two_processes_is_noticed() -> None:
    assert sum_of([tally(2), tally(1)]).broken == ["event 1: ticket E1-000001 was sold to two buyers"]
    assert sum_of([tally(2)]).broken == []


def test_of_many_kinds_of_errors_all_are_counted_and_some_are_named() -> None:
    made = Tally()
    for number in range(ERRORS_TOLD_APART + 10):
        made.note_error(f"error {number}", 0.0)
    assert made.errors.total() == made.count(Kind.ERROR) == ERRORS_TOLD_APART + 10
    assert made.errors["other errors"] == 10


def answered(status: int, body: object, headers: dict[str, str] | None = None) -> Answer:
    return of_purchase(status, headers or {}, orjson.dumps(body), "1", 2)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (201, SOLD, Kind.SOLD),
        (200, SOLD, Kind.REPLAYED),
        (
            201,
            {"purchase_id": "1.abc", "event_id": "1", "status": "provisional", "quantity": 2},
            Kind.PROVISIONAL,
        ),
        (409, {"type": "/problems/sold-out"}, Kind.SOLD_OUT),
        (409, {"type": "/problems/not-enough-tickets"}, Kind.NOT_ENOUGH),
        (503, {"type": "/problems/temporarily-unavailable"}, Kind.UNAVAILABLE),
        (409, {"type": "/problems/not-on-sale"}, Kind.ERROR),
        (422, {"type": "/problems/idempotency-key-reused"}, Kind.ERROR),
        (404, {"type": "/problems/unknown-event"}, Kind.ERROR),
        (500, {}, Kind.ERROR),
        (302, {}, Kind.ERROR),
        (201, {**SOLD, "event_id": "2"}, Kind.ERROR),
        (201, {**SOLD, "quantity": 1}, Kind.ERROR),
        (201, {**SOLD, "tickets": ["E1-000001"]}, Kind.ERROR),
        (201, [], Kind.ERROR),
    ],
)
def test_each_answer_to_a_purchase_is_of_one_kind(status: int, body: object, kind: Kind) -> None:
    answer = answered(status, body)
    assert answer.kind is kind
    assert bool(answer.wrong) == (kind is Kind.ERROR)
    assert (answer.purchase is not None) == (kind in {Kind.SOLD, Kind.REPLAYED, Kind.PROVISIONAL})


def test_an_answer_that_is_no_json_is_an_error() -> None:
    assert of_purchase(201, {}, b"<html>", "1", 1).kind is Kind.ERROR


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"%PDF-1.7 ...", Kind.RECEIPT),
        (200, b"<html>", Kind.ERROR),
        (303, b"", Kind.RECEIPT),
        (202, b"{}", Kind.RECEIPT_PENDING),
        (503, b'{"type":"/problems/receipt-failed"}', Kind.ERROR),
        (503, b'{"type":"/problems/temporarily-unavailable"}', Kind.UNAVAILABLE),
        (404, b"{}", Kind.ERROR),
    ],
)
def test_each_answer_for_a_receipt_is_of_one_kind(status: int, body: bytes, kind: Kind) -> None:
    assert of_receipt(status, {}, body).kind is kind


def test_a_look_at_another_event_is_an_error() -> None:
    assert of_look(200, "1", b'{"event_id": "1"}').kind is Kind.LOOKED
    assert of_look(200, "1", b'{"event_id": "2"}').kind is Kind.ERROR
    assert of_look(503, "1", b"{}").kind is Kind.ERROR


def test_buyers_wait_as_long_as_they_are_asked_to_within_reason() -> None:
    assert retry_after_s({"retry-after": "3"}) == 3.0
    assert retry_after_s({"retry-after": "86400"}) == 30.0
    assert retry_after_s({}) == retry_after_s({"retry-after": "Wed, 21 Oct 2026"}) == 1.0


def test_a_purchase_that_is_repeated_is_the_same_or_it_is_not() -> None:
    provisional = {name: value for name, value in SOLD.items() if name != "tickets"}
    assert same(SOLD, dict(SOLD))
    assert same(provisional, SOLD)
    assert not same(SOLD, {**SOLD, "tickets": ["E1-000003", "E1-000004"]})
    assert not same(SOLD, {**SOLD, "purchase_id": "1.xyz"})
    assert not same(SOLD, {})


def test_a_run_that_sold_as_the_store_says_is_well() -> None:
    verdict = judge(run_of(tally(60), tally(0, 7), sold=60, exclusive=False))
    assert (verdict.broken, verdict.errors, verdict.exit_code) == ([], [], 0)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (run_of(tally(60), sold=59), "buyers were told 60 tickets, and the store sold 59"),
        (run_of(tally(60), sold=61), "the store sold 61 tickets, and buyers were told 60"),
        (run_of(tally(60, 1), sold=60), "told that it is sold out, and 40 tickets are left"),
        (run_of(tally(60), tally(1), sold=61), "was sold to two buyers"),
    ],
)
def test_a_broken_promise_ends_with_one(run: Run, sentence: str) -> None:
    verdict = judge(run)
    assert any(sentence in broken for broken in verdict.broken)
    assert verdict.exit_code == 1
    assert "BROKEN" in verdict.sentence()


def test_what_the_audit_finds_ends_with_one() -> None:
    run = run_of(tally(60), sold=60)
    run.audit = Audit(False, ("event 1: nothing holds E1-000007",), {"1": 60}, {"1": 100})
    assert judge(run).broken == ["event 1: nothing holds E1-000007"]
    run.audit = Audit(False, (), {"1": 60}, {"1": 100})
    assert judge(run).exit_code == 1


def test_where_others_buy_too_the_store_may_have_sold_more() -> None:
    assert judge(run_of(tally(60, 1), sold=90, exclusive=False)).well
    assert not judge(run_of(tally(60), sold=59, exclusive=False)).well


def test_tickets_whose_buyers_never_learnt_are_allowed_for() -> None:
    assert judge(run_of(tally(60, unknown=Counter({"1": 2})), sold=62)).broken == []
    assert judge(run_of(tally(60, unknown=Counter({"1": 2})), sold=63)).broken


def test_provisional_tickets_count_as_told() -> None:
    made = tally(60)
    made.note(Kind.PROVISIONAL, 0.01)
    made.provisional["1"] += 2
    assert judge(run_of(made, sold=62)).well
    assert not judge(run_of(made, sold=60)).well


def test_nothing_sold_ends_with_one() -> None:
    verdict = judge(run_of(tally(0, 9), sold=0, issued=0))
    assert verdict.errors == ["nothing was sold"]
    assert verdict.exit_code == 1


def test_errors_end_with_one_those_of_opening_the_connections_too() -> None:
    run = run_of(tally(60), sold=60)
    run.opened.note_error("GET /events: ConnectionRefusedError 111", 0.1)
    assert judge(run).errors == ["1 x GET /events: ConnectionRefusedError 111"]
    assert judge(run).exit_code == 1


def test_receipts_that_failed_end_with_one_and_late_ones_are_told() -> None:
    run = run_of(tally(60), sold=60)
    run.receipts_before, run.receipts_after = Receipts(5, 0, 1), Receipts(60, 4, 1)
    assert judge(run).well
    assert any("4 receipts were still being made" in note for note in judge(run).notes)
    run.receipts_after = Receipts(60, 4, 3)
    assert judge(run).errors == ["2 receipts failed"]


def test_a_run_without_an_audit_says_so() -> None:
    run = run_of(tally(60), sold=60)
    run.audit = None
    assert judge(run).well
    assert any("not audited" in note for note in judge(run).notes)


def test_a_503_is_told_and_does_not_excuse_anything_else() -> None:
    made = tally(60, 3)
    made.note(Kind.UNAVAILABLE, 0.2)
    verdict = judge(run_of(made, sold=60))
    assert verdict.well  # a ticket may have come back after "sold out" was told
    assert any("1 answers were 503" in note for note in verdict.notes)


def test_a_round_that_sold_out_midway_says_so() -> None:
    assert any("sold out midway" in note for note in judge(run_of(tally(60, 5), loop=Loop.CLOSED)).notes)


def test_the_tool_says_when_it_is_the_bottleneck() -> None:
    plan = Round("round", ("1",), Loop.OPEN)
    assert list(bottleneck(Played(plan, 1, Tally(cpu_share=[0.5, 0.84])))) == []
    assert "was the bottleneck" in next(bottleneck(Played(plan, 1, Tally(cpu_share=[0.5, 0.97]))))
    assert "itself was late" in next(bottleneck(Played(plan, 1, Tally(late=histogram(0.2)))))
    assert "itself was late" in next(bottleneck(Played(plan, 1, Tally(lag=histogram(0.3)))))


def test_the_tables_show_every_figure_in_a_hundred_and_ten_columns() -> None:
    run = run_of(tally(60, 7, cpu_share=[0.4, 0.5]), sold=60)
    run.receipts_after = Receipts(58, 2, 0)
    text = shown(rounds_table(run), answers_table(run), *closing_lines(run))
    for wanted in ("purchases/s", "p99 ms", "sold out", "60", "40% 50%", "10.0", "58 ready", "every invariant holds"):
        assert wanted in text, wanted
    assert max(map(len, text.splitlines())) <= 110


def test_times_are_shown_with_the_digits_that_mean_something() -> None:
    assert [ms(None), ms(0.00123), ms(0.0456), ms(1.2345)] == ["-", "1.2", "45.6", "1,234"]


def test_the_report_stands_alone_and_escapes_what_it_was_told() -> None:
    run = run_of(tally(60, 7), sold=60)
    run.host = "http://x<script>"
    run.rounds[0].pace = [(0.5, 10), (1.0, 20), (2.0, 60), (3.0, 60)]
    html = page.render(run, judge(run), [("receipts", "<b>", "all", "ok")], "Rehearsal: GO")
    assert "<script" not in html
    assert "&lt;b&gt;" in html
    assert "src=" not in html
    assert "href=" not in html
    assert "<polyline" in html
    assert "40 tickets are left" in html


def test_speed_is_told_over_stretches_of_about_a_second() -> None:
    pace = [(0.5, 10), (1.0, 20), (1.5, 100), (2.0, 120)]
    assert page.per_second(pace) == [(1.0, 20.0), (2.0, 100.0)]


def test_a_crowd_that_does_not_fit_is_made_smaller_and_the_reason_is_told() -> None:
    room = Room(files=20_000, ports=28_232, load_processes=2)
    assert room.fit(5_000) == (5_000, "")
    fitting, why = room.fit(50_000)
    assert fitting == room.most() == 27_732
    assert "28,232 local ports" in why
    few_files = Room(files=1_256, ports=28_232, load_processes=2)
    assert few_files.fit(5_000)[0] == 2_000
    assert "1,256 open files" in few_files.fit(5_000)[1]
    assert Room(20_000, 60_000, 8, web_processes=1).most() == 19_744


def test_the_parts_of_a_crowd_are_together_the_crowd() -> None:
    assert [share(10, 3, index) for index in range(3)] == [4, 3, 3]
    assert processes_for(1, 64) == 1
    assert processes_for(5_000, 1) == processes_for(5_000, 2) == 2
    assert processes_for(5_000, 64) == 8


def test_rounds_survive_the_way_between_processes() -> None:
    plan = Round("a", ("1", "2"), Loop.OPEN, 3.0, rate=7.0, drop=0.1)
    assert Round.from_json(orjson.loads(orjson.dumps(plan.to_json()))) == plan


def test_the_whole_suite_has_every_kind_of_round_and_pools_that_outlast_it() -> None:
    made = suite.full(5_000, 10.0, 0.0)
    assert {plan.loop for plan in made.plans} == set(Loop)
    assert {event_id for plan in made.plans for event_id in plan.event_ids} == set(made.pools)
    assert made.pools[suite.RUSH] == 2_500
    assert all(pool >= 5_000 for event_id, pool in made.pools.items() if event_id != suite.RUSH)
    assert any(plan.drop and plan.repeat for plan in made.plans)
    assert any(len(plan.event_ids) == 3 for plan in made.plans)


def test_elsewhere_nothing_is_sold_out_on_purpose() -> None:
    made = suite.full_elsewhere(["7", "8"], 100, 1.0, 0.0)
    assert {event_id for plan in made.plans for event_id in plan.event_ids} == {"7", "8"}
    assert not any("rush" in plan.name for plan in made.plans)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--full --event 1",
        "--multi",
        "--multi --events 1",
        "--rush --host http://localhost:1",
        "--full --host http://localhost:1",
        "--event 1 --host localhost:1",
        "--event 1 --host http://localhost/path",
        "--event 1 --host http://user:password@localhost",
        "--event 1 --connections 0",
        "--event 1 --duration 0",
        "rehearse --event 1",
        "rehearse --host http://localhost:1",
        "rehearse --event 1 --host http://localhost:1 --full",
    ],
)
def test_what_makes_no_sense_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_what_makes_sense_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "of the environment")
    one = parse(["--event", "1", "--connections", "5000", "--duration", "30"])
    assert (one.events, one.connections, one.duration, one.host) == (["1"], 5_000, 30.0, "")
    assert parse(["--multi", "--events", "1,2,3", "--connections", "6000"]).events == ["1", "2", "3"]
    assert parse(["--full", "--host", "http://localhost:3049/", "--events", "1"]).host == "http://localhost:3049"
    assert (
        parse(["rehearse", "--event", "gala", "--host", "https://tickets.example"]).admin_token == "of the environment"
    )


REAL = {
    "event_id": "gala",
    "name": "Gala",
    "venue": "Hall",
    "starts_at": "2027-06-18T18:30:00Z",
    "timezone": "Europe/London",
    "accent": "#232d78",
    "price": {"amount": "45.00", "currency": "GBP"},
    "limits": {"per_purchase": 6, "per_buyer": None},
}


def test_a_shadow_can_not_be_taken_for_the_event() -> None:
    shadow = rehearsal.shadow_of(REAL, 500, datetime(2026, 11, 25, 4, 30, tzinfo=UTC))
    assert shadow["event_id"] == "rehearsal-gala-261125043000"
    assert EVENT_ID.fullmatch(rehearsal.shadow_of({**REAL, "event_id": "x" * 64}, 1, datetime.now(UTC))["event_id"])
    assert shadow["name"].startswith("REHEARSAL, NOT VALID")
    assert shadow["tickets"] == 500
    assert shadow["limits"] == {"per_purchase": 6}
    assert "sales" not in shadow


def test_the_shadow_of_an_event_that_is_over_is_on_sale_all_the_same() -> None:
    now = datetime(2028, 1, 1, tzinfo=UTC)
    assert datetime.fromisoformat(rehearsal.shadow_of(REAL, 1, now)["starts_at"]) > now


@pytest.fixture
def rehearsed() -> Run:
    """A rehearsal that went well."""
    run = run_of(tally(90), tally(0, 5), sold=90, issued=90)
    run.rounds[0].tally.note(Kind.KNOWS, 0.9)
    run.rounds[1].tally.note(Kind.SOLD, 0.02)
    return run


def failing(run: Run) -> list[str]:
    return [check.what for check in rehearsal.checks(run, judge(run), "1", rehearsal.Bounds()) if not check.ok]


def test_a_rehearsal_that_went_well_is_a_go(rehearsed: Run) -> None:
    found = list(rehearsal.checks(rehearsed, judge(rehearsed), "1", rehearsal.Bounds()))
    assert rehearsal.go(found)
    assert "every invariant holds" in shown(rehearsal.checks_table(found))


def _spoilt(run: Run) -> Iterator[tuple[str, Run]]:
    run.rounds[0].tally.note(Kind.KNOWS, 5.1)
    yield "rush: the last answer", run
    for _ in range(10):
        run.rounds[1].tally.note(Kind.SOLD, 1.1)
    yield "open loop: sold, p99", run
    run.receipts_after = Receipts(0, 3, 0)
    yield "receipts", run
    run.rounds[1].tally.note_error("POST /buy: 500", 0.1)
    yield "errors", run
    run.audit = Audit(False, (), {"1": 80}, {"1": 90})
    yield "audit", run
    yield "promises kept", run
    yield "tickets sold", run
    run.audit = None
    yield "audit", run


def test_whatever_is_not_as_it_must_be_is_a_no_go(rehearsed: Run) -> None:
    for what, run in _spoilt(rehearsed):
        assert what in failing(run)


def test_an_open_loop_keeps_its_schedule_whatever_buyers_do() -> None:
    """Two starts fall to this process of two; a buyer who comes late still counts from the intended start."""
    starts_s = now_s()
    turn = Turn(Round("a", ("1",), Loop.OPEN, 0.04, rate=100.0), starts_s, index=1, processes=2)
    turn.schedule()
    turn.inside = 1
    turn.close()
    offsets = [round(due_s - starts_s, 6) for due_s in turn.starts()]
    assert offsets == [0.01, 0.03]
    assert turn.tally.late.count == 2


def test_everybody_at_the_gate_takes_part_once() -> None:
    gate, starts = Gate(), []
    turn = Turn(Round("a", ("1",), Loop.ONCE), now_s(), index=0, processes=1)

    def buyer() -> None:
        entered = gate.wait()
        starts.extend(entered.starts())
        entered.inside -= 1

    buyers = [gevent.spawn(buyer) for _ in range(3)]
    gevent.sleep(0)
    assert gate.waiting == 3
    gate.let_in(turn)
    assert turn.inside == 3
    gevent.joinall(buyers)
    assert (gate.waiting, turn.inside) == (0, 0)
    assert len(starts) == 3
    assert len(set(starts)) == 1
