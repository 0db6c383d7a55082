"""python -m tests.monitoring FOLDER: sells for a minute, Redis away for some of it, and draws the dashboards.

The service and Prometheus are its own, on free ports; FOLDER gets sale.png, receipts.png and system.png.
"""

import sys
import tempfile
import threading
import time
import urllib.error
import uuid
from pathlib import Path

from tests.monitoring.catalogue import dashboards
from tests.monitoring.plot import Span, draw
from tests.monitoring.prometheus import Prometheus, telling
from tests.servers import free_port
from tests.service import Service

POOLS = {"gala": 30_000, "rock": 5_000, "club": 300}
BUYERS = 6
PAUSE_S = 0.02
BEFORE_S, AWAY_S, AFTER_S = 25, 15, 25


def main(folder: Path) -> int:
    """1 where a panel found nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"METRICS_PORT": free_port(), "LOG_FORMAT": "json", "RESERVE_TICKETS": 100}
    with tempfile.TemporaryDirectory() as its_own:
        service = Service(Path(its_own), **settings)
        try:
            service.start()
            service.seed(POOLS)
            return _look(service, folder)
        finally:
            service.stop()


def _look(service: Service, folder: Path) -> int:
    seen = Prometheus(service.folder / "prometheus", telling(service))
    seen.start()
    try:
        begin_s = time.time()
        _sell(service)
        span = Span(begin_s, time.time())
        empty = {name: draw(board, seen, span, folder / f"{name}.png") for name, board in dashboards().items()}
        alerts = {labels["alertname"] for labels, _ in seen.query('count_over_time(ALERTS{alertstate="firing"}[5m])')}
        print(f"alerts that fired: {sorted(alerts)}\npanels without anything: {empty}")
        return int(any(empty.values()))
    finally:
        seen.stop()


def _sell(service: Service) -> None:
    """Buyers buy; Redis is stopped for some seconds, and goes on."""
    ended = threading.Event()
    buyers = [threading.Thread(target=_buy, args=(service, ended, number)) for number in range(BUYERS)]
    for buyer in buyers:
        buyer.start()
    [store] = service.find("valkey-server")
    try:
        time.sleep(BEFORE_S)
        store.suspend()
        time.sleep(AWAY_S)
        store.resume()
        time.sleep(AFTER_S)
    finally:
        store.resume()
        ended.set()
        for buyer in buyers:
            buyer.join()


def _buy(service: Service, ended: threading.Event, number: int) -> None:
    event_id = list(POOLS)[number % len(POOLS)]
    while not ended.wait(PAUSE_S):
        try:
            service.request("POST", f"/buy/{event_id}", Idempotency_Key=str(uuid.uuid4()))
            service.request("GET", "/events")
        except (urllib.error.URLError, TimeoutError):
            continue


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
