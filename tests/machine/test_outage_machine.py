"""The outage machine, run: it finds nothing in the product and meets everything; without a rule it finds something.

What must stay true: each rule is dropped alone, and found broken within a fixed number of examples.
EXPLORE=5000 pytest tests/machine/test_outage_machine.py looks for new sequences; else the same ones run each time.
"""

import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from loguru import logger

from tests.machine.outage import rules
from tests.machine.outage_machine import MET, MET_BY_PUTTING_BACK, OutageMachine, PutBackMachine
from tests.machine.parts import EXPLORE, script_without, steady
from ticketing.outage import breaker, putting_back
from ticketing.store.connection import Store

STEADY = settings(steady(60), derandomize=False)  # a seed of its own decides
SHORT = settings(STEADY, max_examples=15, phases=(Phase.generate,))
BRIEF = settings(STEADY, max_examples=10)
STEADY_SEED = 23  # one that meets everything in MET
TRIES = 12  # seeds
Explore = Callable[..., Counter[str]]
Dropped = list[contextlib.AbstractContextManager[Any]]  # what takes one rule away


@pytest.fixture
def explore(fast_store: Store, tmp_path: Path) -> Iterator[Explore]:
    """Runs the machine; what it met. Whether a store is believed again must not depend on how fast this machine is."""

    def run(how: settings, first: int, kind: type[OutageMachine] = OutageMachine) -> Counter[str]:
        met = Counter[str]()
        machine: Any = seed(first)(lambda: kind(fast_store, tmp_path, met))
        run_state_machine_as_test(machine, settings=how)
        return met

    logger.disable("ticketing")
    at_once = {breaker: ("BELIEVED_LATEST_S", "SOON_S"), putting_back: ("ENROL_EVERY_S",)}
    with contextlib.ExitStack() as patched:
        for module, names in at_once.items():
            for name in names:
                patched.enter_context(patch.object(module, name, 0.0))
        yield run
    logger.enable("ticketing")


@pytest.mark.timeout(0 if EXPLORE else 120)
def test_an_outage_breaks_no_promise_whatever_happens_in_it(explore: Explore) -> None:
    met = explore(STEADY, secrets.randbits(32) if EXPLORE else STEADY_SEED)
    assert EXPLORE or [name for name in MET if not met[name]] == []


def test_what_a_store_lost_and_somebody_remembers_is_put_back(explore: Explore) -> None:
    met = explore(BRIEF, 1, PutBackMachine)
    assert [name for name in MET_BY_PUTTING_BACK if not met[name]] == []


def lease_without_compare_and_set() -> Dropped:
    """Late commands act: H2, H3."""
    return [script_without("lease", (rules.CAS, "")), rules.any_token_is_explained()]


def settle_without_looking_up() -> Dropped:
    """A settle that runs twice sells twice: H1."""
    return [script_without("settle", (rules.LOOK_UP, "local record = fresh[id]"))]


def giving_back_everything() -> Dropped:
    """`wanted` is 0 although purchases are open: H10."""
    return [rules.giving_back_everything()]


def nothing_is_voided() -> Dropped:
    """H5."""
    return [rules.nothing_is_voided()]


def refused_while_tickets_are_leased() -> Dropped:
    """H6."""
    return [patch("tests.machine.outage_process.may_refuse", lambda *_: True)]


def selling_what_is_being_given_back() -> Dropped:
    """Rule 2 of the reserve."""
    return [rules.selling_what_is_being_given_back()]


def a_lost_command_is_taken_as_not_done() -> Dropped:
    """Rule 3 of the reserve."""
    return [rules.a_lost_command_is_taken_as_not_done()]


def not_lowered_in_the_journal() -> Dropped:
    """Rule 1 of the reserve, and of the holder."""
    return [rules.not_lowered_in_the_journal()]


def selling_while_halted() -> Dropped:
    """A purchase heeds no mark."""
    return [script_without("purchase", ("if meta[3] == '1' then", "if false then"))]


def accepting_leaves_leases() -> Dropped:
    """The operator's decision gives no tickets back, and the next holder of a token has them."""
    kept = ("'accepted-' .. raised .. '-' .. nonce .. '|'", "flat[i + 1]"), ("back[#back + 1] = id", "")
    return [script_without("accept", *kept)]


def putting_back_leaves_the_pool_as_it_is() -> Dropped:
    """What is put back is for sale as well."""
    return [script_without("put_back", ("call('LPOP', tickets, deepest), {}", "{}, {}"))]


def putting_back_is_only_reported() -> Dropped:
    """The sale is taken up, and what was lost stays lost."""

    def report(self: Any, sale: Any, begun: Any) -> None:
        begun.left = []
        self._report(sale, begun)

    return [patch.object(putting_back.PuttingBack, "_put_back", report)]


# The seed that finds each soonest. A change of the machine makes other sequences, and then the next ones may.
FOUND_BY: dict[Callable[[], Dropped], int] = {
    lease_without_compare_and_set: 1,
    settle_without_looking_up: 0,
    giving_back_everything: 0,
    nothing_is_voided: 0,
    refused_while_tickets_are_leased: 0,
    selling_what_is_being_given_back: 1,
    a_lost_command_is_taken_as_not_done: 1,
    not_lowered_in_the_journal: 1,
    selling_while_halted: 2,
    accepting_leaves_leases: 1,
}


@pytest.mark.parametrize(("without", "first"), FOUND_BY.items(), ids=lambda part: getattr(part, "__name__", ""))
def test_without_a_rule_a_broken_promise_is_found(explore: Explore, without: Callable[[], Dropped], first: int) -> None:
    def finds(number: int) -> bool:
        try:
            explore(SHORT, number)
        except AssertionError:
            return True
        return False

    with contextlib.ExitStack() as dropped:
        for rule_of_it in without():
            dropped.enter_context(rule_of_it)
        assert any(finds(number) for number in range(first, first + TRIES))


@pytest.mark.parametrize("without", [putting_back_leaves_the_pool_as_it_is, putting_back_is_only_reported])
def test_without_a_rule_of_putting_back_a_broken_promise_is_found(
    explore: Explore, without: Callable[[], Dropped]
) -> None:
    with contextlib.ExitStack() as dropped:
        for rule_of_it in without():
            dropped.enter_context(rule_of_it)
        with pytest.raises(AssertionError):
            explore(BRIEF, 1, PutBackMachine)
