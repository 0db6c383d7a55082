"""A process that sells, as a web worker does, without HTTP: gevent, group commit, counter, void intents.

What must stay true: it is put together like ticketing/app.py, and patched before anything else is imported. It reads
one JSON object a line and writes one for each, in the order in which the answers come; `Shop` holds the other end.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402

from tests.servers import ID_SECRET  # noqa: E402
from ticketing.errors import TicketingError  # noqa: E402
from ticketing.outage.voids import Voids  # noqa: E402
from ticketing.sale.batch import SaleDesk  # noqa: E402
from ticketing.sale.catalogue import Catalogue  # noqa: E402
from ticketing.sale.counter import Counter  # noqa: E402
from ticketing.sale.identity import Identity  # noqa: E402
from ticketing.sale.sold_out import SoldOutMemory  # noqa: E402
from ticketing.store.connection import StoreClock, open_store  # noqa: E402
from ticketing.store.events import EventStore  # noqa: E402
from ticketing.store.sale import SaleStore, Versions  # noqa: E402

DUE_MS = 86_400_000
NO_MEMORY_MS = 0  # of sold-out events: every refusal here is the store's


class _Telling(Identity):
    """Lets the test know the ids that buyers never hear of."""

    def new_purchase_id(self, event_id: str) -> str:
        gevent.getcurrent().purchase_id = made = super().new_purchase_id(event_id)
        return made


class _Clerk:
    """The parts of one selling process."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.store = open_store(url, timeout_s=timeout_s, connect_timeout_s=timeout_s, connections=8)
        versions = Versions()
        sales = SaleStore(self.store, versions, StoreClock(), timeout_ms=int(timeout_s * 1000), due_ms=DUE_MS)
        self.identity = _Telling(ID_SECRET)
        self.desk = SaleDesk(
            sales, self.identity.secret_fingerprint, batch_max=1000, pace_ms=2, on_batch=lambda _: None
        )
        self.voids = Voids(sales)
        catalogue = Catalogue(EventStore(self.store, versions))
        self.counter = Counter(self.identity, catalogue, self.desk, SoldOutMemory(NO_MEMORY_MS), self.voids)

    def buy(self, number: int, event_id: str, quantity: int, key: str | None) -> None:
        told: dict[str, object]
        try:
            bought = self.counter.buy(event_id, quantity, key=key)
            told = {"answer": "replayed" if bought.replayed else "sold", "tickets": bought.ticket_ids}
        except TicketingError as error:
            told = {"answer": type(error).__name__, "reason": str(error)}
        if key is None:
            purchase_id = getattr(gevent.getcurrent(), "purchase_id", "")
        else:
            purchase_id = self.identity.purchase_id_of_key(event_id, key)
        say(number, purchase_id=purchase_id, keyed=key is not None, **told)


def say(number: int, **answer: object) -> None:
    print(json.dumps({"number": number, **answer}), flush=True)


def main(url: str, timeout_s: float) -> None:
    """Sell until the input ends, then finish what was begun."""
    clerk = _Clerk(url, timeout_s)
    clerk.desk.start()
    clerk.voids.start()
    buyers = []
    for line in FileObject(sys.stdin.fileno(), "rb"):
        message = json.loads(line)
        if message.get("do") == "voids":
            say(message["number"], left=len(clerk.voids))
        else:
            buyers.append(gevent.spawn(clerk.buy, **message))
    gevent.joinall(buyers)
    clerk.desk.stop()
    clerk.voids.stop()
    clerk.store.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
