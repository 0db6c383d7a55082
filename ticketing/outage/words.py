"""How findings, numbers and foreign texts are put for an operator to read.

What must stay true: a command stands on a line of its own, whole, so that it can be copied; texts of others steer no
terminal.
"""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

COMMAND = "python -m ticketing outage"


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, and the command that it leads to: words after COMMAND, or ""."""

    text: str
    verb: str = ""


def lines(said: Iterable[Said], width: int, *, bullet: str = "") -> Iterator[str]:
    """The sentences for a terminal of this width."""
    for one in said:
        yield from textwrap.wrap(bullet + one.text, width, subsequent_indent=" " * len(bullet), break_on_hyphens=False)
        if one.verb:
            yield f"    {COMMAND} {one.verb}"


def counted(number: int, thing: str, things: str = "") -> str:
    """A number and what it counts."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def counted_is(number: int, thing: str) -> str:
    """The same as the subject of a sentence."""
    return f"{counted(number, thing)} {'is' if number == 1 else 'are'}"


def printable(text: str) -> str:
    """A text that somebody else wrote, without what would steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
