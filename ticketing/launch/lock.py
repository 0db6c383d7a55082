"""One launcher a DATA_DIR: the lock that a second one finds taken.

What must stay true: the lock ends with its process, whatever killed it. It is never passed on: Python opens files
close-on-exec, and nothing is forked from the launcher without an exec.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ticketing.launch.faults import LaunchError


@contextmanager
def only_launcher(path: Path, url: str) -> Iterator[None]:
    """Within this, no other launcher runs on the same folder. Raises LaunchError where one does, with its URL."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise LaunchError(f"It runs already: {file.read().strip()} (DATA_DIR {path.parent.parent})") from None
        file.truncate(0)
        file.write(url + "\n")
        file.flush()
        yield
