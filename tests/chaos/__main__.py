"""python -m tests.chaos --minutes 5 --seed 7: everything fails, nothing is sold twice. Exit code 1 where it was not so.

The folder of a run that failed is kept, with every log in it.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.hosts import OneGroup, OneServer
from tests.chaos.run import Run, say


def main() -> int:
    """Carry out one run, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Two hosts sell while everything fails.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long things fail (default: 5)")
    parser.add_argument("--seed", type=int, default=7, help="decides what fails when (default: 7)")
    parser.add_argument("--misuse", action="store_true", help="keys are used with other content in outages, too")
    parser.add_argument("--scale", action="store_true", help="the store is a primary with a replica and sentinels")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a good run as well")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{given.seed}-"))
    say(f"folder: {folder}")
    world = OneGroup(folder) if given.scale else OneServer(folder)
    verdict = Run(given.seed, given.minutes * 60, world, misuse=given.misuse).carry_out()
    print(verdict.text)
    again = f"python -m tests.chaos --minutes {given.minutes:g} --seed {given.seed}{' --misuse' * given.misuse}"
    again += " --scale" * given.scale
    if verdict.is_good:
        print(f"good: {again}")
        if not given.keep:
            shutil.rmtree(folder)
        return 0
    print(f"FAILED, its logs are in {folder}; the same faults again: {again}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
