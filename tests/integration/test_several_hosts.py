"""Two hosts that have two settings in common, REDIS_URL and ID_SECRET, and clocks that are twenty minutes apart.

What must hold: a key bought on one is replayed on the other; each serves every receipt; what both sold in an outage is
settled once, dated by the store's time, and on sale by it; the audit is clean; each sees the other.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import MISSING, can_shift, shifted
from tests.sales import account
from tests.servers import ID_SECRET, ValkeyServer, run_module, wait_until
from tests.service import Reply, Service, event_of
from ticketing.config import Settings, load_as_it_is
from ticketing.doctor.finding import Level
from ticketing.doctor.hosts import others
from ticketing.receipts.files import ReceiptFiles
from ticketing.sale.audit import audit
from ticketing.store.connection import Store

TICKETS = 1_000
WELL_S = 60.0
MINUTE_MS = 60_000
KEY = "a key that is used on two hosts"


class Hosts:
    """Two services, each with a way to the store and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.server = ValkeyServer(folder / "valkey")
        self.server.start()
        self.store: Store = self.server.store()
        self.early, self.late = self._host(folder / "early", -600), self._host(folder / "late", 600)
        self.all = (self.early, self.late)

    def _host(self, folder: Path, off_s: int) -> Service:
        folder.mkdir()
        own = {"ADMIN_TOKEN": f"the admin token of {folder.name}", "WEB_WORKERS": 1, "RECEIPT_WORKERS": 1}
        return Service(folder, REDIS_URL=self.server.url, RESERVE_PER_MILLE=100, **own, **shifted(folder.parent, off_s))

    def stop(self) -> None:
        for host in self.all:
            host.stop()
        self.store.close()
        self.server.stop()

    def reserve(self, host: Service) -> int:
        return int(host.request("GET", "/health").json()["checks"]["reserve"]["tickets"])

    def outage(self, host: Service) -> bool:
        return bool(host.request("GET", "/health").json()["status"] == "outage")

    def settings(self, host: Service) -> Settings:
        """As the host's own processes have them."""
        known = {"data_dir": host.data_dir, "redis_url": self.server.url, "id_secret": ID_SECRET}
        return load_as_it_is(_env_file=None, admin_token=host.settings["ADMIN_TOKEN"], **known)

    def audit(self) -> None:
        """Every invariant holds, and each host has every receipt."""
        for host in self.all:
            report = audit(self.store, stored=ReceiptFiles(host.data_dir / "receipts").has)
            assert report.violations == []


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    try:
        made.early.start()
        made.early.seed({"rock": TICKETS})
        made.late.start()
        yield made
    finally:
        made.stop()


def buy(host: Service, event_id: str = "rock", **headers: str) -> Reply:
    return host.request("POST", f"/buy/{event_id}", **headers)


def sold_ids(*replies: Reply) -> list[str]:
    assert {reply.status for reply in replies} == {201}, replies
    return [reply.json()["purchase_id"] for reply in replies]


def test_a_key_is_one_purchase_on_both_and_each_serves_every_receipt(hosts: Hosts) -> None:
    first = buy(hosts.early, Idempotency_Key=KEY)
    again = buy(hosts.late, Idempotency_Key=KEY)
    assert (first.status, again.status, again.headers.get("Idempotency-Replayed")) == (201, 200, "true")
    assert first.json()["tickets"] == again.json()["tickets"]
    ids = sold_ids(first, *(buy(host) for host in hosts.all for _ in range(5)))
    for host in hosts.all:  # whichever host's worker has drawn it: the other draws it too when it is asked
        host.wait_for_receipts(ids, WELL_S)
    assert all(len(list((host.data_dir / "receipts").glob("*/*.pdf"))) == len(ids) for host in hosts.all)
    hosts.audit()


def test_each_host_sees_the_other_and_is_told_what_differs(hosts: Hosts) -> None:
    wait_until(lambda: hosts.store.one("ZCARD", "{ticketing:hosts}:contacts") == 2, WELL_S, "both gave a sign of life")
    ids = [(host.data_dir / "journal" / "host-id").read_text() for host in hosts.all]
    done = run_module("ticketing", "outage", "show", data_dir=hosts.late.data_dir, **hosts.late.settings)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert all(f"{host_id} 1 " in said for host_id in ids)
    found = list(others(hosts.store, hosts.settings(hosts.late)))
    assert [(one.level, one.found) for one in found] == [
        (Level.FAIL, "ADMIN_TOKEN and SIGNING_KEY differ from another host's"),
        (Level.OK, "2 hosts sell from this store, this one included"),
    ]


def test_an_outage_with_clocks_apart_is_settled_once_and_dated_by_the_store(hosts: Hosts) -> None:
    if not can_shift():
        pytest.skip(MISSING)
    now_ms = hosts.store.clock_ms()
    times = {"opens_at": _rfc3339(now_ms - MINUTE_MS), "closes_at": _rfc3339(now_ms + 5 * MINUTE_MS)}
    path = hosts.early.folder / "short.json"
    _seed(hosts.early, path, event_of("short", TICKETS, sales=times), event_of("soon", TICKETS, sales=_later(now_ms)))
    wait_until(lambda: all(hosts.reserve(host) == 100 for host in hosts.all), WELL_S, "reserves of two events on sale")
    os.kill(hosts.server.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(map(hosts.outage, hosts.all)), WELL_S, "an outage")
        # By the late host's own clock the sale is closed, by the early one's it has not opened.
        keyed = [buy(host, "short", Idempotency_Key=f"{KEY} {n}") for host in hosts.all for n in range(3)]
        unkeyed = [buy(host, "short") for host in hosts.all]
        soon = [buy(host, "soon") for host in hosts.all]  # the late host's clock says that it is open
    finally:
        os.kill(hosts.server.pid, signal.SIGCONT)
    assert {reply.json()["status"] for reply in (*keyed, *unkeyed)} == {"provisional"}
    assert {reply.status for reply in soon} == {503}
    ids = sold_ids(*keyed, *unkeyed)
    assert len(set(ids)) == 5  # three keys, on two hosts each, and two without
    for host in hosts.all:
        wait_until(lambda host=host: not hosts.outage(host), WELL_S, "it is over")  # type: ignore[misc]
    wait_until(lambda: account(hosts.store, "short").sold.keys() == set(ids), WELL_S, "all is settled, once")
    records = hosts.store.one("HVALS", "event:{short}:purchases")
    assert all(abs(int(record.split("|")[1]) - now_ms) < MINUTE_MS for record in records)
    for host in hosts.all:
        host.wait_for_receipts(ids, WELL_S)
        replay = buy(host, "short", Idempotency_Key=f"{KEY} 0")
        assert (replay.status, replay.json()["status"]) == (200, "sold")
    hosts.audit()
    account(hosts.store, "short").check()


def _later(now_ms: int) -> dict[str, str]:
    return {"opens_at": _rfc3339(now_ms + 5 * MINUTE_MS)}


def _rfc3339(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))


def _seed(host: Service, path: Path, *events: dict[str, Any]) -> None:
    path.write_text(json.dumps(events))
    done = run_module("seeds", "--file", str(path), data_dir=host.data_dir, **host.settings)
    assert done.returncode == 0, done.stderr
