"""The primary of a group fails while two hosts sell from it: what is confirmed is not lost, what is not, is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.hosts import OneGroup
from tests.chaos.schedule import Kind
from tests.scale.trials import NAMES, Control, Row, Trial

ROUNDS = int(os.environ.get("SCALE_ROUNDS", "3"))
Report = Callable[[Row | None], None]


@pytest.mark.scale
@pytest.mark.timeout(ROUNDS * 60 + 600)
@pytest.mark.parametrize("kind", NAMES)
def test_nothing_confirmed_is_lost(kind: Kind, tmp_path: Path, report: Report) -> None:
    trial = Trial(kind, ROUNDS, OneGroup(tmp_path))
    verdict = trial.carry_out()
    report(trial.row)
    assert verdict.is_good, f"logs in {tmp_path}\n{verdict.text}"


@pytest.mark.scale
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", NAMES)
def test_nothing_is_lost_where_both_of_two_replicas_confirm(kind: Kind, tmp_path: Path, report: Report) -> None:
    trial = Trial(kind, 1, OneGroup(tmp_path, replicas=2))
    verdict = trial.carry_out()
    report(trial.row)
    assert verdict.is_good, f"logs in {tmp_path}\n{verdict.text}"


@pytest.mark.scale
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", NAMES)
def test_without_confirmation_the_same_fault_loses_purchases(kind: Kind, tmp_path: Path, report: Report) -> None:
    control = Control(kind, 3, OneGroup(tmp_path, confirm=0))
    verdict = control.carry_out()
    report(control.row)
    assert verdict.is_good, f"logs in {tmp_path}\n{verdict.text}"


@pytest.mark.timeout(300)
def test_a_killed_primary_costs_no_confirmed_purchase(tmp_path: Path, report: Report) -> None:
    trial = Trial(Kind.KILL_SERVER, 1, OneGroup(tmp_path))
    verdict = trial.carry_out()
    report(trial.row)
    assert verdict.is_good, f"logs in {tmp_path}\n{verdict.text}"
