"""What is installed is what was pinned: every version, every file by its hash; and an audit that can't ask says so."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.servers import ROOT

PIN = re.compile(r"([a-z0-9-]+)==(\S+)(?: ; .*)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
ASKED = re.compile(r"([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)(?: ; .*)?")
LOCKS = ["requirements", "requirements-dev"]


def pins(name: str) -> dict[str, str]:
    """Package and version of each entry of a lock, all of which have hashes."""
    text = (ROOT / f"{name}.txt").read_text()
    assert PIN.sub("", text) == "", "something without a version or a hash"
    return {match[1]: match[2] for match in PIN.finditer(text)}


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_its_hashes_and_as_it_was_asked_for(name: str) -> None:
    pinned = pins(name)
    lines = [line for line in (ROOT / f"{name}.in").read_text().splitlines() if line and line[0].isalpha()]
    asked = [match.groups() for line in lines if (match := ASKED.fullmatch(line))]
    assert len(asked) == len(lines)
    assert dict(asked).items() <= pinned.items()


def test_checking_adds_to_what_runs_and_changes_nothing_of_it() -> None:
    assert pins("requirements").items() <= pins("requirements-dev").items()


def test_nothing_is_installed_without_its_hash() -> None:
    for path in (".ci/install.py", "Dockerfile"):
        assert "--require-hashes" in (ROOT / path).read_text()


@pytest.mark.parametrize("name", LOCKS)
def test_the_installer_reads_every_pin_of_the_lock(name: str) -> None:
    assert _script("install")._pins((ROOT / f"{name}.txt").read_text()) == pins(name)


def _script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


GOOD = {"name": "six", "version": "1.17.0", "vulns": []}
BAD = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["1.1"]}]}


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        ({"dependencies": [GOOD]}, 0, "No vulnerability is known of the 1 packages"),
        ({"dependencies": [GOOD, BAD]}, 1, "old 1.0: CVE-2026-1, mended in 1.1"),
        (None, 2, "can't be reached"),
        ({"dependencies": []}, 2, "can't be reached"),
        ({"dependencies": [GOOD, {"name": "odd", "skip_reason": "not found"}]}, 2, "can't be reached"),
    ],
)
def test_the_audit_tells_no_vulnerability_from_no_answer(tmp_path: Path, report: Any, code: int, said: str) -> None:
    """pip-audit itself ends with 1 in both cases that are not good."""
    stand_in = tmp_path / "uvx"
    told = "" if report is None else json.dumps(report)
    stand_in.write_text(f"#!{sys.executable}\nimport sys\nprint({told!r})\nsys.exit({int(code > 0)})\n")
    stand_in.chmod(0o755)
    done = _audit(str(tmp_path))
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr


def test_the_audit_without_its_tool_says_what_is_missing(tmp_path: Path) -> None:
    done = _audit(str(tmp_path))
    assert done.returncode == 2
    assert "uv is needed" in done.stderr


def _audit(path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit_deps.py", "requirements.txt"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
