"""Why a run ends by itself. The texts are for the person at the terminal, and say what to do."""

from collections.abc import Sequence


class LaunchError(Exception):
    """It can't start, or can't go on. `details` are lines that say more: the end of a part's log."""

    def __init__(self, reason: str, details: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.details = details


class Stopped(Exception):
    """A signal asked for the end."""
