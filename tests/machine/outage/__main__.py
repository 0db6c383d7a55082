"""python -m tests.machine.outage SEEDS [FIRST]: many runs; prints what they met, and each seed that failed."""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.machine.outage.runs import STEPS, run_one
from tests.servers import ValkeyServer


def main(seeds: int, first: int) -> int:
    met: Counter[str] = Counter()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(Path(folder) / "valkey")
        server.start("--appendonly", "no")
        store = server.store()
        for seed in range(first, first + seeds):
            faults, counts = run_one(store, Path(folder) / f"run-{seed}", seed, back=seed % 5 == 4)
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
    arguments = [int(word) for word in sys.argv[1:]] or [100]
    sys.exit(main(arguments[0], arguments[1] if len(arguments) > 1 else 0))
