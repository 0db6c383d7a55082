"""Makes .venv and installs a file of requirements into it, once: `python3 .ci/install.py requirements.txt`.

What must stay true: it does nothing where all is installed; two at once don't meet; a failure shows what pip said; no
file is installed whose hash was not pinned. Runs on the system's own Python, so it needs the standard library only.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".installed"
QUIET = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-warn-script-location"]


def main(name: str) -> int:
    """0 when .venv has all that the file names."""
    wanted = _pins((ROOT / name).read_text())
    VENV.mkdir(exist_ok=True)
    with (VENV / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = _pins(STAMP.read_text()) if STAMP.exists() and PYTHON.exists() else {}
        if all(there.get(package) == version for package, version in wanted.items()):
            return 0
        begun = time.monotonic()
        print("Installing (once, about half a minute) ...", end="", flush=True)
        problem = _make_venv() or _install(name)
        if problem:
            print(f"\n\n{problem}", flush=True)
            return 1
        pins = sorted(f"{package}=={version}\n" for package, version in {**there, **wanted}.items())
        STAMP.write_text("".join(pins))
        print(f" done in {time.monotonic() - begun:.0f} s", flush=True)
        return 0


def _pins(text: str) -> dict[str, str]:
    """Package and version of each line; markers are left out, and so are the lines of hashes."""
    lines = (line.rstrip(" \\").partition(";")[0].strip().partition("==") for line in text.splitlines())
    return {package: version for package, _, version in lines if version}


def _make_venv() -> str:
    """What went wrong, if anything did. One whose Python has vanished is made anew."""
    if PYTHON.exists() and not _said([str(PYTHON), "-m", "pip", "--version"]):
        return ""
    try:
        import ensurepip  # noqa: F401, PLC0415 - whether it can be imported is the question
    except ImportError:
        version = "{}.{}".format(*sys.version_info)
        return (
            f"{sys.executable} can't make virtual environments: its module ensurepip is missing.\n"
            f"On Debian or Ubuntu: sudo apt-get install python{version}-venv"
        )
    for left in ("bin", "lib", "lib64", "include", "pyvenv.cfg"):
        path = VENV / left
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path, ignore_errors=True)
    return _said([sys.executable, "-m", "venv", str(VENV)])


def _install(name: str) -> str:
    return _said([str(PYTHON), "-m", "pip", "install", "--require-hashes", *QUIET, "-r", str(ROOT / name)])


def _said(command: list[str]) -> str:
    """What a command said where it failed, else nothing."""
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(  # noqa: S603 - each command is ours
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return (done.stdout.strip() or f"{command} failed") if done.returncode else ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.")
        sys.exit(130)
