"""The usual way to a receipt: an RQ job each, drawn by plain fpdf2, in the worker that RQ gives.

    python -m tests.bench.peers.plain_receipt URL FOLDER COUNT simple|forking

Prints the CPU seconds that the worker and its work horses used for the jobs, and nothing of its start.
"""

import resource
import sys
from pathlib import Path

import redis
from rq import Queue, SimpleWorker, Worker

from tests.receipts import GALA, ZOE, a_purchase, pure

QUEUE = "plain"
JOB = "tests.bench.peers.plain_receipt.render"  # the worker is another module to itself: __main__


def render(folder: str, number: int) -> None:
    """The job: one receipt is stored."""
    (Path(folder) / f"{number}.pdf").write_bytes(pure(GALA, a_purchase(), ZOE))


def main(url: str, folder: str, count: str, kind: str) -> None:
    """Enqueue, work until the queue is empty, and print the cost."""
    connection = redis.Redis.from_url(url)
    queue = Queue(QUEUE, connection=connection)
    for number in range(int(count)):
        queue.enqueue(JOB, folder, number)
    worker = (SimpleWorker if kind == "simple" else Worker)([queue], connection=connection)
    pure(GALA, a_purchase(), ZOE)  # what the first drawing imports and reads is no part of a receipt
    before_s = _used_s()
    worker.work(burst=True, logging_level="WARNING")
    print(_used_s() - before_s)


def _used_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main(*sys.argv[1:])
