"""A process that sells, as a web worker does, without HTTP: gevent, group commit, counter, reserve and journal.

What must stay true: it is put together by ticketing/app.py, and patched before anything else is imported. It reads one
JSON object a line and writes one for each, in the order in which the answers come; `Shop` holds the other end.
"""

from gevent import monkey

monkey.patch_all()

import errno  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402

from tests.servers import ID_SECRET  # noqa: E402
from ticketing.app import Service, Stores  # noqa: E402
from ticketing.config import Settings  # noqa: E402
from ticketing.errors import TicketingError  # noqa: E402
from ticketing.sale.identity import Identity  # noqa: E402
from ticketing.store.opening import queue_client_of, store_of  # noqa: E402

DUE_MS = 86_400_000
NO_MEMORY_MS = 0  # of sold-out events: every refusal here is the store's
SOUND_FSYNC = os.fsync


class _Telling(Identity):
    """Lets the test know the ids that buyers never hear of."""

    def new_purchase_id(self, event_id: str) -> str:
        gevent.getcurrent().purchase_id = made = super().new_purchase_id(event_id)
        return made


class _Clerk:
    """The parts of one selling process; the queue is nobody's here."""

    def __init__(self, url: str, timeout_s: float, changed: dict[str, Any]) -> None:
        own = {
            "redis_url": url,
            "id_secret": ID_SECRET,
            "data_dir": Path("data"),
            "store_timeout_s": timeout_s,
            "store_connect_timeout_s": timeout_s,
            "receipt_due_ms": DUE_MS,
            "sold_out_memory_ms": NO_MEMORY_MS,
        }
        settings = Settings(_env_file=None, **(own | changed))
        self.stores = Stores(*(store_of(settings, connections=4) for _ in Stores._fields))
        queue = queue_client_of(settings)
        self.service = Service(settings, self.stores, queue, gevent.get_hub().threadpool.apply)
        self.identity = self.service.counter._identity = _Telling(settings.id_secret)

    def buy(self, number: int, event_id: str, quantity: int, key: str | None) -> None:
        told: dict[str, object]
        try:
            bought = self.service.counter.buy(event_id, quantity, key=key)
            told = {"answer": "replayed" if bought.replayed else bought.status, "tickets": bought.ticket_ids}
        except TicketingError as error:
            told = {"answer": type(error).__name__, "reason": str(error)}
        if key is None:
            purchase_id = getattr(gevent.getcurrent(), "purchase_id", "")
        else:
            purchase_id = self.identity.purchase_id_of_key(event_id, key)
        say(number, purchase_id=purchase_id, keyed=key is not None, quantity=quantity, **told)

    def tell(self, number: int) -> None:
        tally = self.service.keeper.tally()
        outage = self.service.breaker.is_open
        say(number, outage=outage, reserve=tally.reserve_tickets, unsettled=tally.unsettled, voids=tally.voids)


def limit_files(size_bytes: int | None) -> None:
    """What a full disk does, on every system: a file that would grow beyond it takes a part, then no byte more."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))


def fail_fsync(fails: bool) -> None:
    """The one fault here that is made up: no disk fails on demand."""
    os.fsync = _failing_fsync if fails else SOUND_FSYNC


def _failing_fsync(_: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def say(number: int, **answer: object) -> None:
    print(json.dumps({"number": number, **answer}), flush=True)


def main(url: str, timeout_s: float, changed: dict[str, Any]) -> None:
    """Sell until the input ends, then finish what was begun."""
    clerk = _Clerk(url, timeout_s, changed)
    clerk.service.keeper.start()
    clerk.service.desk.start()
    buyers = []
    for line in FileObject(sys.stdin.fileno(), "rb"):
        message = json.loads(line)
        match message.pop("do", "buy"):
            case "tell":
                clerk.tell(message["number"])
            case "limit_files":
                limit_files(message["size_bytes"])
                say(message["number"])
            case "fail_fsync":
                fail_fsync(message["fails"])
                say(message["number"])
            case _:
                buyers.append(gevent.spawn(clerk.buy, **message))
    gevent.joinall(buyers)
    clerk.service.desk.stop()
    clerk.service.keeper.stop(10)
    for store in clerk.stores:
        store.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]))
