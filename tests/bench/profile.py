"""python -m tests.bench profile: where a web process's CPU goes under load, as py-spy sees it.

What must stay true: only samples in which the process ran are counted, and each belongs to one step: the innermost
frame that one of STEPS names. What py-spy adds to a purchase is not taken off.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.bench import wrk
from tests.bench.contestants import our_server, product, web_servers
from tests.bench.figures import NotMeasured
from tests.bench.sitting import purchase

EVENT, POOL = "1", 1_000_000
RATE_HZ = 500
FRAME = re.compile(r"^(?P<name>.+) \((?P<file>[^:()]+):?\d*\)$")
# By the file of a frame; the first that fits, from the innermost frame outwards.
STEPS = (
    ("the store: scripts, redis-py", r"ticketing/store/|\(redis/|hiredis"),
    ("ids and fingerprints", r"ticketing/sale/identity"),
    ("the sale: batch, counter, till", r"ticketing/sale/"),
    ("receipts: outbox, queue", r"ticketing/receipts/|\(rq/"),
    ("reserve and journal", r"ticketing/outage/"),
    ("metrics and log", r"ticketing/telemetry/|prometheus|loguru"),
    ("our HTTP: reading, answering", r"ticketing/api/|ticketing/app"),
    ("the worker: sockets, parsing", r"ticketing/server/|gunicorn"),
    ("Flask and Werkzeug", r"\((flask|werkzeug)/"),
    ("sending and receiving", r"gevent/_socket"),
    ("gevent: hub, switching, waiting", r"gevent"),
)


def main(words: Sequence[str]) -> int:
    """Print the shares; 0 where there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench profile", description=__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--server", choices=web_servers() or None, default=our_server() or None, help="WEB_SERVER")
    parser.add_argument("--stacks", type=Path, help="keep the raw stacks, for a flame graph")
    given = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="ticketing-profile-"))
    try:
        stacks = _record(folder, given)
    except NotMeasured as why:
        print(why, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.stacks:
        given.stacks.write_text("\n".join(stacks) + "\n")
    for line in shares(stacks):
        print(line)
    return 0


def shares(stacks: Iterable[str]) -> list[str]:
    """Lines of a table, from collapsed stacks: `frame;frame;frame count`."""
    steps: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        inwards = frames.split(";")
        steps[_step(inwards)] += int(count)
        functions.update(dict.fromkeys(map(_short, filter(_is_ours, inwards)), int(count)))
    total = max(1, steps.total())
    lines = [f"{count / total:6.1%}  {step}" for step, count in steps.most_common()]
    inside = [f"{count / total:6.1%}  {name}" for name, count in functions.most_common(25)]
    return [f"{total} samples; CPU by step:", *lines, "", "within these functions, and all that they call:", *inside]


def _step(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for step, pattern in STEPS:
            if re.search(pattern, frame):
                return step
    return "elsewhere"


def _is_ours(frame: str) -> bool:
    return "ticketing/" in frame


def _short(frame: str) -> str:
    found = FRAME.match(frame)
    return f"{found['file'].partition('ticketing/')[2]} {found['name']}" if found else frame


def _record(folder: Path, given: argparse.Namespace) -> list[str]:
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        raise NotMeasured("py-spy is not here: pip install py-spy")
    out = folder / "stacks"
    with product(folder / "service", server=given.server or "") as ours:
        ours.fill(EVENT, POOL)
        seconds = given.seconds + 3
        load = threading.Thread(
            target=wrk.run,
            args=(ours.port, purchase([EVENT])),
            kwargs={"connections": given.connections, "seconds": seconds},
        )
        load.start()
        command = [str(spy), "record", "--pid", str(ours.workers[0]), "--format", "raw", "--output", str(out)]
        words = ["--duration", str(round(given.seconds)), "--rate", str(RATE_HZ), "--nonblocking"]
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        load.join()
    if done.returncode or not out.exists():
        raise NotMeasured(f"py-spy failed (it needs the right to trace): {done.stderr.strip()[-300:]}")
    return out.read_text().splitlines()
