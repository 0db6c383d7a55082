"""The table of faults that `make test-scale` ends with."""

from collections.abc import Callable

import pytest

from tests.scale.trials import HEAD, Row

_rows: list[Row] = []


@pytest.fixture
def report() -> Callable[[Row | None], None]:
    """What a trial found goes into the table."""

    def add(row: Row | None) -> None:
        assert row is not None
        _rows.append(row)

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _rows:
        terminalreporter.section("faults of the primary while two hosts sell")
        for line in [HEAD, *map(str, _rows)]:
            terminalreporter.write_line(line)
