"""What is shown of a seeding, on a terminal and elsewhere."""

from io import StringIO

import pytest
from rich.console import Console

from seeds.plan import Plan
from seeds.progress import Bar, Lines
from tests.seeded import event_of

ONE, TWO = Plan(event_of("1", name="[Gala]"), 30), Plan(event_of("2"), 5)


def test_without_a_terminal_each_event_that_got_tickets_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        lines.starts(35)
        lines.issued(ONE, 20)
        lines.issued(ONE, 10)
        lines.says("a note")
        lines.issued(TWO, 5)
    assert capsys.readouterr().out.splitlines() == [
        "event 1: 30 tickets issued ([Gala])",
        "a note",
        "event 2: 5 tickets issued (Gala)",
    ]


def test_where_nothing_is_issued_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        lines.starts(0)
    assert capsys.readouterr().out == ""


def test_on_a_terminal_a_bar_counts_tickets_and_notes_stay_above_it() -> None:
    out = StringIO()
    with Bar(Console(file=out, force_terminal=True, width=100)) as bar:
        bar.starts(35)
        bar.issued(ONE, 30)
        bar.says("a [note]")
        bar.issued(TWO, 5)
    shown = out.getvalue()
    assert "35/35" in shown
    assert "event 2" in shown
    assert "a [note]" in shown
