"""What tests of outages share: an event on sale, a way to its server that can be spoiled, shops with a reserve.

What must stay true: what was told to buyers is compared with what the store holds by plain commands, not by the code
under test; every process that is started here is ended here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.proxy import Proxy
from tests.sales import Account, Sale, account
from tests.servers import ValkeyServer, wait_until
from tests.shop import Shop
from ticketing.sale.audit import audit

WELL_S = 40.0
BOUGHT = {"sold", "provisional", "replayed"}


class Market:
    """Where tickets of event 1 are on sale."""

    def __init__(self, folder: Path, tickets: int = 10_000) -> None:
        self.folder = folder
        self.server = ValkeyServer(folder / "valkey")
        self.server.start()
        self.proxy = Proxy(self.server.port)
        self.store = self.server.store()
        self.shops: list[Shop] = []
        Sale(self.store, greeted=False).open(tickets)

    def open_shop(self, reserve: int = 20, *, url: str = "", host: str = "host", **settings: Any) -> Shop:
        """A shop that has sold one ticket, and whose reserve is full. Shops of one host share its journals."""
        shop = self.start_shop(reserve, url=url, host=host, **settings)
        self.await_shop(shop, reserve)
        return shop

    def start_shop(self, reserve: int = 20, *, url: str = "", host: str = "host", **settings: Any) -> Shop:
        (self.folder / host).mkdir(exist_ok=True)
        settings = {"reserve_tickets": reserve, "reserve_per_mille": 1000, **settings}
        self.shops.append(Shop(url or self.proxy.url, self.folder / host, **settings))
        return self.shops[-1]

    def await_shop(self, shop: Shop, reserve: int = 20) -> None:
        assert shop.buy()["answer"] == "sold"
        wait_until(lambda: shop.tell()["reserve"] == reserve, WELL_S, "its reserve is full")

    def journal(self, slot: int = 0, host: str = "host") -> Path:
        return self.folder / host / "data" / "journal" / f"slot-{slot}.journal"

    def sold(self) -> dict[str, list[str]]:
        """Each purchase that the store holds now, heard of or not, and its tickets."""
        return account(self.store).sold

    def check(self, *answers: dict[str, Any]) -> Account:
        """All is settled, the books balance, and each answer is as the store has it."""
        for shop in self.shops:
            shop.wait_for_store()
        held = account(self.store).check()
        assert audit(self.store).violations == []
        for answer in answers:
            tickets = held.sold.get(answer["purchase_id"], [])
            if answer["answer"] in BOUGHT:
                assert len(tickets) == answer["quantity"], answer
                assert answer["tickets"] in ([], (), tickets), answer
            elif answer["answer"] == "PurchaseUnavailable" and not answer["keyed"]:
                assert tickets == [], answer
        return held

    def stop(self) -> None:
        for shop in self.shops:
            shop.stop()
        self.store.close()
        self.proxy.stop()
        self.server.stop()


@contextmanager
def a_market(folder: Path, tickets: int = 10_000) -> Iterator[Market]:
    market = Market(folder, tickets)
    try:
        yield market
    finally:
        market.stop()


def told(answers: Sequence[dict[str, Any]]) -> Counter[str]:
    """How often each answer was given."""
    return Counter(answer["answer"] for answer in answers)
