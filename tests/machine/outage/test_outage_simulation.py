"""The simulation, short: nothing is found in the product, and something in each protocol that lacks a rule."""

from collections import Counter
from pathlib import Path

import pytest

from tests.machine.outage import rules
from tests.machine.outage.runs import Rule, run_one
from ticketing.store.connection import Store

SEEDS = 16
TRIES = 40  # of seeds, where a change of the simulation has made another world of it
MET = ("kills", "told provisional", "told sold", "settle settled", "settle known", "late purchase ok", "late void ok")
MET += ("late lease leased", "late settle settled", "disk failures", "kills amid a change")


def test_nothing_is_lost_and_nothing_sold_twice(fast_store: Store, tmp_path: Path) -> None:
    met: Counter[str] = Counter()
    for seed in range(SEEDS):
        faults, counts = run_one(fast_store, tmp_path / str(seed), seed)
        assert faults == [], f"python -m tests.machine.outage 1 {seed}"
        met += counts
    assert [name for name in MET if not met[name]] == []


def test_a_store_that_went_back_is_halted_and_nothing_is_sold_twice(fast_store: Store, tmp_path: Path) -> None:
    met: Counter[str] = Counter()
    for seed in range(4, 40, 5):
        faults, counts = run_one(fast_store, tmp_path / str(seed), seed, back=True)
        assert faults == [], f"python -m tests.machine.outage 1 {seed}"
        met += counts
    assert met["steps back"] >= 4


@pytest.mark.parametrize(("without", "first"), rules.FOUND_BY.items(), ids=lambda part: getattr(part, "__name__", ""))
def test_without_a_rule_something_is_found(fast_store: Store, tmp_path: Path, without: Rule, first: int) -> None:
    seeds = range(first, first + TRIES)
    assert any(run_one(fast_store, tmp_path / str(seed), seed, without=without)[0] for seed in seeds)
