"""python -m tests.machine.outage SEEDS [FIRST [RULE]]: many runs; prints what they met, and each seed that failed.

With the name of a rule (rules.py) they run without it: the seeds that fail are those that find it.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.machine.outage import rules
from tests.machine.outage.runs import STEPS, Rule, run_one
from tests.servers import ValkeyServer


def main(seeds: int, first: int, without: Rule | None) -> int:
    met: Counter[str] = Counter()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(Path(folder) / "valkey")
        server.start("--appendonly", "no")
        store = server.store()
        for seed in range(first, first + seeds):
            back = seed % 5 == 4 and without is None
            faults, counts = run_one(store, Path(folder) / f"run-{seed}", seed, back=back, without=without)
            met += counts
            if faults:
                failed.append(seed)
                print(f"seed {seed}:", *faults[:5], sep="\n    ")
        store.close()
        server.stop()
    for name, count in sorted(met.items()):
        print(f"{count:9} {name}")
    print(f"{seeds} runs of {STEPS} steps, {len(failed)} with a violation: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    said = sys.argv[1:] + ["100", "0", ""][len(sys.argv) - 1 :]
    sys.exit(main(int(said[0]), int(said[1]), getattr(rules, said[2]) if said[2] else None))
