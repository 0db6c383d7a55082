"""What parts that serve no buyers tell on a port of their own: where they listen, and what they say without Redis."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from loguru import logger
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tests.servers import HOST, ValkeyServer, free_port
from ticketing.errors import StoreRefused
from ticketing.store.connection import Store
from ticketing.store.durability import ServerState, server_state
from ticketing.store.queue import QueueLevel
from ticketing.telemetry import endpoint
from ticketing.telemetry.backlog import QueueMetrics, ServerMetrics
from ticketing.telemetry.processes import Processes


class One(Collector):
    """A single gauge."""

    def __init__(self, value: float) -> None:
        self.value = value

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("one", "One", value=self.value)


def told_on(port: int) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def samples(collector: Collector) -> dict[tuple[str, str], float]:
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)


def test_processes_of_one_machine_take_a_port_each(said: list[str]) -> None:
    ports = endpoint.worker_ports(free_port())
    first, second = endpoint.serve(HOST, ports, One(1)), endpoint.serve(HOST, ports, One(2))
    assert first is not None
    assert second is not None
    assert ports[0] <= first < second
    assert "one 1.0" in told_on(first)
    assert "one 2.0" in told_on(second)
    assert said == []


def test_a_port_that_is_taken_costs_the_metrics_alone(said: list[str]) -> None:
    port = endpoint.serve(HOST, [free_port()], One(1))
    assert port is not None
    assert endpoint.serve(HOST, [port], One(2)) is None
    assert [line.partition(",")[0] for line in said] == ["no metrics of this process"]
    assert "one 1.0" in told_on(port)


def test_an_address_that_is_not_ours_costs_the_metrics_alone(said: list[str]) -> None:
    assert endpoint.serve("192.0.2.1", endpoint.worker_ports(free_port()), One(1)) is None
    assert len(said) == 1


def test_a_process_is_told_with_what_it_takes_and_one_that_has_ended_is_left_out() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    got = samples(Processes("web", lambda: [os.getpid(), ended.pid]))
    own = f"web/{os.getpid()}"
    assert got["ticketing_processes", "web"] == 2
    assert got["ticketing_process_resident_memory_bytes", own] > 5_000_000
    assert got["ticketing_process_cpu_seconds_total", own] > 0
    assert len(got) == 3


def test_a_queue_that_is_away_is_told_as_such() -> None:
    def away() -> QueueLevel:
        raise StoreRefused("away")

    assert samples(QueueMetrics(away)) == {("ticketing_queue_up", ""): 0}
    assert samples(QueueMetrics(lambda: QueueLevel(depth=3, failed=2, workers=1))) == {
        ("ticketing_queue_up", ""): 1,
        ("ticketing_queue_jobs", "waiting"): 3,
        ("ticketing_queue_jobs", "failed"): 2,
        ("ticketing_queue_workers", ""): 1,
    }


def test_a_store_that_is_away_is_told_as_such() -> None:
    def away() -> ServerState:
        raise StoreRefused("away")

    assert samples(ServerMetrics(away)) == {("ticketing_store_up", ""): 0}


def test_the_store_tells_what_it_uses_and_promises(real_store: Store, valkey_server: ValkeyServer) -> None:
    real_store.one("SET", "filler", "x" * 100_000)
    got = samples(ServerMetrics(lambda: server_state(real_store)))
    assert got["ticketing_store_up", ""] == 1
    assert got["ticketing_store_fsync_policy", "always"] == 1
    assert got["ticketing_store_failover", "none"] == 1
    assert got["ticketing_store_memory_bytes", ""] > 100_000
    assert got["ticketing_store_file_bytes", ""] > 100_000
    assert got["ticketing_store_clients", ""] >= 1
    assert got["ticketing_store_commands_total", ""] > 1
    assert got["ticketing_store_cpu_seconds_total", ""] > 0
    for name in ("write_failing", "rewriting", "memory_limit_bytes"):
        assert got[f"ticketing_store_{name}", ""] == 0


def test_another_policy_and_a_limit_show_at_the_next_look(real_store: Store) -> None:
    real_store.read(("CONFIG", "SET", "appendfsync", "everysec"), ("CONFIG", "SET", "maxmemory", "64mb"))
    try:
        state = server_state(real_store)
    finally:
        real_store.read(("CONFIG", "SET", "appendfsync", "always"), ("CONFIG", "SET", "maxmemory", "0"))
    assert (state.fsync_policy, state.memory_limit_bytes) == ("everysec", 64 * 1024 * 1024)
