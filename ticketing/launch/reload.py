"""`make dev`: notices changed code, so that the parts that gunicorn doesn't reload are begun anew.

What must stay true: a change is noticed once, and a file that vanishes while it is looked at is no error.
"""

import contextlib
from pathlib import Path

FOLDERS = ("ticketing", "workers", "seeds")
KINDS = frozenset({".py", ".lua"})


class CodeWatch:
    """Whether the code has changed since it was last asked."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = self._look()

    def has_changed(self) -> bool:
        """True once after each change."""
        found = self._look()
        changed = found != self._seen
        self._seen = found
        return changed

    def _look(self) -> dict[Path, int]:
        times = {}
        for folder in FOLDERS:
            for path in (self._root / folder).rglob("*"):
                if path.suffix in KINDS:
                    with contextlib.suppress(FileNotFoundError):
                        times[path] = path.stat().st_mtime_ns
        return times
