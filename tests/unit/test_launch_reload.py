"""`make dev` notices each change of the code once."""

import os
from pathlib import Path

from ticketing.launch.reload import CodeWatch


def test_each_change_is_noticed_once(tmp_path: Path) -> None:
    code = tmp_path / "workers" / "jobs.py"
    code.parent.mkdir()
    code.touch()
    watch = CodeWatch(tmp_path)
    assert not watch.has_changed()
    os.utime(code, ns=(1, 1))
    assert watch.has_changed()
    assert not watch.has_changed()
    (code.parent / "new.lua").touch()
    assert watch.has_changed()
    code.unlink()
    assert watch.has_changed()


def test_what_is_no_code_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "ticketing").mkdir()
    watch = CodeWatch(tmp_path)
    (tmp_path / "ticketing" / "notes.txt").touch()
    (tmp_path / "elsewhere.py").touch()
    assert not watch.has_changed()
