"""Asks whether a vulnerability is known of anything that is pinned: `python3 .ci/audit_deps.py requirements-dev.txt`.

Ends with 0 where none is known, 1 where one is (each is printed), 2 where it could not be found out: pip-audit can't be
fetched, or the package index that it asks does not answer. What must stay true: 2 is never taken for 0; nothing is
installed into .venv. Needs uv, which fetches pip-audit into a folder of its own. Standard library only.
"""

import json
import shutil
import subprocess
import sys
from typing import Any

AUDIT = ["pip-audit==2.10.1", "--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
NONE_KNOWN, SOME_KNOWN, NOT_FOUND_OUT = 0, 1, 2
SHOWN_OF_AN_ERROR = 1_000  # characters


def main(name: str) -> int:
    """Print what is known; the exit code as above."""
    uvx = shutil.which("uvx")
    if uvx is None:
        print("uv is needed: pip install uv", file=sys.stderr)
        return NOT_FOUND_OUT
    done = subprocess.run([uvx, "--quiet", *AUDIT, "-r", name], capture_output=True, text=True, check=False)  # noqa: S603
    found = _found(done.stdout)
    if found is None:
        print(f"Not found out: the audit's data can't be reached.\n{done.stderr[-SHOWN_OF_AN_ERROR:]}", file=sys.stderr)
        return NOT_FOUND_OUT
    known = [line for package in found for line in _lines(package)]
    print("\n".join(known) or f"No vulnerability is known of the {len(found)} packages in {name}.")
    return SOME_KNOWN if known else NONE_KNOWN


def _found(report: str) -> list[dict[str, Any]] | None:
    """What pip-audit found out of each package; None where it could not."""
    try:
        found = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    # One that was left out was not looked at: that is no good news.
    return found if found and all("vulns" in package for package in found) else None


def _lines(package: dict[str, Any]) -> list[str]:
    return [
        f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none'}"
        for known in package["vulns"]
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
