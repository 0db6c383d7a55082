"""How numbers and foreign texts are put for an operator to read."""

COMMAND = "python -m ticketing outage"


def counted(number: int, thing: str) -> str:
    """A number and what it counts."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """A text that somebody else wrote, without what would steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
