"""One launcher a folder: the second learns where the first one is; a killed one leaves no lock."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT
from ticketing.launch.faults import LaunchError
from ticketing.launch.lock import only_launcher

HOLD = """
import sys
from pathlib import Path
from ticketing.launch.lock import only_launcher
with only_launcher(Path(sys.argv[1]), "http://127.0.0.1:1/"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_learns_where_the_first_one_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        only_launcher(path, "http://127.0.0.1:1/"),
        pytest.raises(LaunchError, match=r"runs already: http://127\.0\.0\.1:1/"),
        only_launcher(path, "http://127.0.0.1:2/"),
    ):
        pass
    with only_launcher(path, "http://127.0.0.1:3/"):
        assert path.read_text() == "http://127.0.0.1:3/\n"


def test_a_killed_launcher_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LaunchError), only_launcher(path, ""):
            pass
        holder.kill()
        holder.wait()
    with only_launcher(path, ""):
        pass


def test_a_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with only_launcher(path, ""):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with only_launcher(path, ""):
        pass
    child.communicate(b"\n")
