"""Fixtures: a service that is sold from, and a Prometheus that scrapes it."""

import time
from collections.abc import Iterator

import pytest

from tests.monitoring import prometheus
from tests.monitoring.prometheus import Prometheus, telling
from tests.monitoring.scene import POOLS, SOLD
from tests.servers import free_port, wait_until
from tests.service import Service

SEEN_S = 30.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two events, one of them sold out; every receipt is there."""
    service = Service(tmp_path_factory.mktemp("service"), METRICS_PORT=free_port(), LOG_FORMAT="json")
    try:
        service.start()
        service.seed(POOLS)
        bought = [service.request("POST", "/buy/rock").json()["purchase_id"] for _ in range(SOLD)]
        wait_until(lambda: service.request("POST", "/buy/gala").status == 409, SEEN_S, "sold out")
        service.wait_for_receipts(bought, SEEN_S)
        time.sleep(1.1)  # what /metrics says is at most a second old
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def seen(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """What scrapes it."""
    prometheus.require()
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), telling(service))
    try:
        server.start()
        wait_until(lambda: set().union(*server.targets().values()) == {"up"}, SEEN_S, "every target is up")
        yield server
    finally:
        server.stop()
