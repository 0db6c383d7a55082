"""A short run of the chaos; `make chaos` makes long ones."""

from pathlib import Path

import pytest

from tests.chaos.hosts import HOSTS, OneServer
from tests.chaos.run import Run
from tests.chaos.schedule import OF_THE_SERVER, ONE_GROUP, ONE_SERVER, Catalogue, plan

SECONDS = 30.0
SEED = 7


@pytest.mark.timeout(400)
def test_nothing_is_sold_twice_and_no_answer_is_untrue_while_everything_fails(tmp_path: Path) -> None:
    verdict = Run(SEED, SECONDS, OneServer(tmp_path)).carry_out()
    assert verdict.is_good, f"seed {SEED}, logs in {tmp_path}\n{verdict.text}"


def test_the_seed_alone_decides_the_schedule() -> None:
    assert plan(3, 300, ONE_GROUP) == plan(3, 300, ONE_GROUP) != plan(4, 300, ONE_GROUP)


@pytest.mark.parametrize("catalogue", [ONE_SERVER, ONE_GROUP])
@pytest.mark.parametrize("seconds", [SECONDS, 300.0])
def test_every_kind_strikes_every_host_more_often_than_it_must(seconds: float, catalogue: Catalogue) -> None:
    faults = plan(SEED, seconds, catalogue)
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert faults[-1].at_s < seconds
    for kind in catalogue.kinds:
        struck = [fault.host for fault in faults if fault.kind is kind]
        assert len(struck) > catalogue.least_times(kind, seconds)
        assert set(struck) == ({None} if kind in OF_THE_SERVER else set(range(HOSTS)))
