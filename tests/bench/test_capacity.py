"""The capacity model: cases that can be worked out by hand, and the one on-sale that the benchmark measured."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.capacity.__main__ import RESULTS, main
from tests.bench.capacity.figures import SOUGHT, WHY, Assumed, Measured, Sought, read
from tests.bench.capacity.model import RATES, Late, Machine, gives_first, needs, table, walls
from tests.bench.capacity.sale import Costs, Plan, Queue, Result, Sale
from tests.bench.figures import NotMeasured, median
from tests.receipts import GALA, SEALER, ZOE, a_purchase
from workers.receipt_pdf import ReceiptRenderer

FREE = Costs(0, 0, 0, 0, 0, 0)
STEP_MS = 1.0
WITHIN_MS = 4 * STEP_MS  # a request goes through parts in turn, each in a step of its own
RUSH_FACTOR = 2.0  # the model knows no disk and no network; what it says must still be of this size


def run(costs: Costs, **plan: Any) -> Result:
    return Sale(Plan(step_ms=STEP_MS, **plan), costs).run()


def measured(**values: float) -> Measured:
    return Measured(**{**dict.fromkeys(SOUGHT, 1.0), **values}, sources=dict.fromkeys(SOUGHT, "by hand"))


def a_report(*runs: dict[str, Any], date: str = "2026-01-01 00:00 UTC", quick: bool = False) -> dict[str, Any]:
    return {"machine": {"date": date}, "plan": {"quick": quick}, "runs": list(runs)}


def a_run(sought: Sought, value: float, turn: int = 1, refused: str = "") -> dict[str, Any]:
    head, _, rest = sought.value.partition(".")
    made = {"series": sought.series, "contest": sought.contest, "name": sought.name, "turn": turn, "refused": refused}
    return {**made, head: {rest: value} if rest else value}


def written(folder: Path, **reports: dict[str, Any]) -> list[Path]:
    paths = [folder / f"{name}.json" for name in reports]
    for path, report in zip(paths, reports.values(), strict=True):
        path.write_text(json.dumps(report))
    return paths


def whole_report(value: float, **more: Any) -> dict[str, Any]:
    """One run of each series and contest, with every value that is sought of it."""
    runs: dict[tuple[str, ...], dict[str, Any]] = {}
    for sought in SOUGHT.values():
        run = runs.setdefault((sought.series, sought.contest, sought.name), {})
        run |= {**a_run(sought, value), "more": run.get("more", {}) | a_run(sought, value).get("more", {})}
    return a_report(*runs.values(), **more)


def test_web_cores_share_the_crowd() -> None:
    """1,000 buyers at 100 us each: a tenth of a second on one core, half of that on two.

    All are read first, in half of that time, so the 400 tickets are told after 50 ms and 400 answers of 50 us.
    """
    costs = replace(FREE, sold_us=100, refused_us=100)
    one, two = (run(costs, buyers=1_000, tickets=400, web=cores) for cores in (1, 2))
    assert (one.sold, one.refused) == (400, 600)
    assert one.last_ticket_ms == pytest.approx(70, abs=WITHIN_MS)
    assert one.last_answer_ms == pytest.approx(100, abs=WITHIN_MS)
    assert two.last_answer_ms == pytest.approx(50, abs=WITHIN_MS)
    assert one.wait_ms(0.5) == pytest.approx(75, abs=WITHIN_MS)
    assert one.longest["web"] == 1_000


def test_a_store_is_one_core_and_shards_are_several() -> None:
    """1,000 at 200 us of the store, where four web cores need 25 ms: 200 ms, or 100 on two shards."""
    costs = replace(FREE, sold_us=100, sold_store_us=200, refused_store_us=200)
    one, two = (run(costs, buyers=1_000, tickets=1_000, web=4, shards=shards) for shards in (1, 2))
    assert one.last_ticket_ms == pytest.approx(200, abs=WITHIN_MS)
    assert two.last_ticket_ms == pytest.approx(100, abs=WITHIN_MS)
    assert one.busy["store"] == pytest.approx(1, abs=0.05)


def test_receipts_come_as_fast_as_their_cores_draw() -> None:
    """500 sold at once, 1 ms each, two cores: a quarter of a second, and the last waits that long."""
    result = run(replace(FREE, receipt_us=1_000), buyers=500, tickets=500, receipts=2)
    assert result.stored == 500
    assert result.last_receipt_ms == pytest.approx(250, abs=WITHIN_MS)
    assert result.receipt_lag_ms == pytest.approx(250, abs=WITHIN_MS)


def test_the_store_pays_for_receipts_too() -> None:
    """A sale of 500 at 100 us and as much for each receipt: 50 ms without receipts, about 100 with them."""
    costs = replace(FREE, sold_store_us=100, receipt_store_us=100)
    without = run(replace(costs, receipt_store_us=0), buyers=500, tickets=500, receipts=100)
    beside = run(costs, buyers=500, tickets=500, receipts=100)
    assert without.last_answer_ms == pytest.approx(50, abs=WITHIN_MS)
    assert 80 < beside.last_answer_ms < 105


def test_a_rate_that_is_kept_up_with_lets_nobody_wait() -> None:
    result = run(replace(FREE, sold_us=100), buyers=5_000, tickets=5_000, per_s=5_000, web=1)
    assert result.wait_ms(0.99) <= WITHIN_MS
    assert result.last_answer_ms == pytest.approx(1_000, rel=0.1)


def test_a_rate_of_twice_what_is_held_takes_twice_as_long() -> None:
    """20,000 in one second, where 10,000 a second are held: the last is told after two, and waited for one."""
    result = run(replace(FREE, sold_us=100), buyers=20_000, tickets=20_000, per_s=20_000, web=1)
    assert result.last_answer_ms == pytest.approx(2_000, rel=0.02)
    assert result.wait_ms(1.0) == pytest.approx(1_000, rel=0.05)
    assert result.longest["web"] == pytest.approx(10_000, rel=0.05)


def test_on_one_machine_all_share_its_cores() -> None:
    """100 us of web and 100 us of store, 1,000 times: 100 ms side by side, 200 ms on one core."""
    costs = replace(FREE, sold_us=100, sold_store_us=100)
    apart, together = (run(costs, buyers=1_000, tickets=1_000, web=1, cores=cores) for cores in (None, 1.0))
    assert apart.last_answer_ms == pytest.approx(100, abs=WITHIN_MS)
    assert together.last_answer_ms == pytest.approx(200, abs=WITHIN_MS)


def test_who_waits_for_a_receipt_asks_once_a_second() -> None:
    """1,000 receipts at 10 ms on one core: the last after 10 s, 5 s on average, so 5 polls each."""
    costs = replace(FREE, receipt_us=10_000, poll_us=1)
    result = run(costs, buyers=1_000, tickets=1_000, receipts=1, poll_every_s=1.0)
    assert result.polls == pytest.approx(5_000, rel=0.02)


def test_polls_take_the_web_cores_of_who_still_buys() -> None:
    costs = replace(FREE, sold_us=1_000, receipt_us=1e6, poll_us=1_000)
    plan: dict[str, Any] = {"buyers": 2_000, "tickets": 2_000, "per_s": 900, "web": 1, "most_s": 60}
    alone, polled = run(costs, **plan), run(costs, **plan, poll_every_s=1.0)
    assert polled.wait_ms(0.99) > 2 * alone.wait_ms(0.99)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("per_s", [None, 3_000.0])
def test_everybody_is_told_and_no_ticket_is_sold_twice(shards: int, per_s: float | None) -> None:
    costs = Costs(91, 13, 77, 5, 333, 44, 55, 6, 70)
    result = run(costs, buyers=5_003, tickets=3_001, per_s=per_s, shards=shards, poll_every_s=0.2)
    assert (result.sold, result.refused, result.stored) == (3_001, 2_002, 3_001)
    assert sum(result.waits_ms.values()) == 5_003


def test_the_same_seed_gives_the_same_sale_and_another_seed_another() -> None:
    costs = replace(FREE, sold_us=100)
    plan: dict[str, Any] = {"buyers": 2_000, "tickets": 2_000, "per_s": 9_000, "web": 1}
    first, again, other = (run(costs, **plan, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_what_is_taken_from_a_queue_comes_in_turn_with_its_time() -> None:
    queue = Queue()
    queue.put(1.0, 3)
    queue.put(2.0, 5)
    assert queue.take(4) == [(1.0, 3), (2.0, 1)]
    assert (queue.length, queue.longest) == (4, 8)
    assert queue.take(9) == [(2.0, 4)]


def test_the_model_says_of_the_measured_on_sale_what_was_measured() -> None:
    """Target 6, on the cores of that machine, without what the generator and others used of them."""
    whole = RESULTS / "2026-11-28-1615.json"
    report = json.loads(whole.read_text())
    runs = [one for one in report["runs"] if (one["series"], one.get("contest")) == ("rush", "ours") and one["turn"]]
    assert len(runs) >= 3
    generators = 2 * median([one["more"]["cpu_share"] for one in runs])
    cores = report["machine"]["cores"] * (1 - report["others_share"]) - generators
    plan = Plan(buyers=20_000, tickets=10_000, web=2, receipts=0, cores=cores)
    result = Sale(replace(plan, most_s=10), Costs.of(read([whole]))).run()
    for said, name in ((result.last_ticket_ms, "last_ticket_ms"), (result.last_answer_ms, "last_answer_ms")):
        seen = median([one["more"][name] for one in runs])
        assert seen / RUSH_FACTOR < said < seen * RUSH_FACTOR, (name, said, seen)


def test_each_figure_is_of_the_newest_result_that_has_it(tmp_path: Path) -> None:
    newer = a_report(a_run(SOUGHT["receipt_us"], 7.0), date="2026-02-01 00:00 UTC")
    found = read(written(tmp_path, a_newer=newer, b_older=whole_report(5.0)))
    assert (found.receipt_us, found.sources["receipt_us"]) == (7.0, "a_newer.json")
    assert (found.busy_us, found.sources["busy_us"]) == (5.0, "b_older.json")


def test_runs_that_do_not_count_make_no_figure(tmp_path: Path) -> None:
    sought = SOUGHT["busy_us"]
    odd = [
        a_run(sought, 999.0, turn=0),
        a_run(sought, 999.0, refused="late"),
        a_run(replace(sought, name="Exp"), 999.0),
    ]
    report = whole_report(5.0)
    report["runs"] += odd
    quick = whole_report(999.0, date="2026-03-01 00:00 UTC", quick=True)
    assert read(written(tmp_path, one=report, two=quick)).busy_us == 5.0


def test_a_figure_that_no_result_has_is_named(tmp_path: Path) -> None:
    report = whole_report(5.0)
    report["runs"] = [one for one in report["runs"] if one["series"] != "script"]
    with pytest.raises(NotMeasured, match="script time of a ticket"):
        read(written(tmp_path, one=report))


def test_the_figures_are_those_of_the_sitting_s_own_table() -> None:
    """What a target's row says of the same runs, so that a series that changes its name is noticed."""
    found = read([*RESULTS.glob("*.json")])

    def said(name: str, target: str) -> str:
        rows = json.loads((RESULTS / found.sources[name]).read_text())["targets"]
        return next(f"{row['measured']} {row['detail']}" for row in rows if row["target"] == target)

    assert f"{found.script_us:.2f} us" in said("script_us", "9a")
    assert f"{found.receipt_us:.0f} us each" in said("receipt_us", "7a")
    assert f"{found.busy_per_s:,.0f}/s" in said("busy_per_s", "5d")
    assert f"{found.idle_kb:.1f} KB" in said("idle_kb", "11a")


def test_what_a_rate_needs_by_hand() -> None:
    figures = measured(busy_us=80, busy_store_us=8, receipt_us=500, receipt_store_us=50, ease_per_s=4_000, busy_kb=16)
    assumed = Assumed(polls=1, open_s=10, handshake_us=300, proxy_us=100, receipt_bytes=100_000, handshake_bytes=0)
    found = needs(replace(figures, poll_us=200, file_us=300), assumed, 10_000, Late(sale_s=20, late_s=60))
    assert found.web_busy == pytest.approx(0.8)
    assert found.web_ease == pytest.approx(2.5)
    assert (found.store_busy, found.store_receipts) == pytest.approx((0.08, 0.5))
    assert (found.receipts, found.receipts_late) == pytest.approx((5.0, 1.25))
    assert found.polls == pytest.approx(5.0)
    assert found.polls_late == pytest.approx(10_000 * (30 * 200 + 300) / 1e6)
    assert found.proxy == pytest.approx(6.0)
    assert found.web_gb == pytest.approx(100_000 * 16 / 2**20)
    assert found.gbit_per_s == pytest.approx(10_000 * (100_000 + 2_000 + 2 * 1_200) * 8 / 1e9)


def test_what_gives_first_is_what_a_machine_has_least_of() -> None:
    figures = measured(busy_us=100, receipt_us=100, busy_store_us=200, receipt_store_us=0)
    found = needs(figures, Assumed(), 10_000, Late())
    assert gives_first(found, Machine(cores=16)).startswith("store 2.0x")
    assert gives_first(needs(figures, Assumed(), 100, Late()), Machine(cores=16)) == "nothing (store at 2%)"


def test_the_lowest_wall_is_the_first() -> None:
    found = walls(read([*RESULTS.glob("*.json")]), Assumed(), Machine())
    held = [per_s for per_s, _, _ in found]
    assert held == sorted(held)
    assert len(found) == 9


def test_needs_grow_with_the_rate_and_every_row_is_whole() -> None:
    heads, rows = table(measured(), Assumed(), Machine(), Late())
    assert [row[0] for row in rows] == [f"{rate:,}" for rate in RATES]
    assert {len(row) for row in rows} == {len(heads)}


def test_every_assumption_says_why_it_is_one() -> None:
    assert set(WHY) == {field.name for field in fields(Assumed)}


def test_a_receipt_is_as_long_as_is_assumed() -> None:
    pdf = ReceiptRenderer(SEALER).render(GALA, a_purchase(), ZOE)
    assert len(pdf) == pytest.approx(Assumed().receipt_bytes, rel=0.15)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Where the walls are"),
        (["--markdown", "--cores", "8"], "| purchases/s | web"),
        (["--polls", "3"], "3.0     polls: of a purchase"),
        (["sale", "--buyers", "100", "--tickets", "60", "--polls-too"], "told sold 60, sold out 40"),
    ],
)
def test_the_command_tells_it(words: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert said in capsys.readouterr().out


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [path] = written(tmp_path, empty=a_report())
    assert main(["--results", str(path)]) == 2
    assert "no result has runs" in capsys.readouterr().err
