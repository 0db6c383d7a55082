"""What the queue and the store's server say of themselves, asked at each scrape of the sweeper.

What must stay true: one that is away fails no scrape; its `up` says so, and nothing old is told of it.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ticketing.errors import StoreError
from ticketing.store.durability import ServerState
from ticketing.store.queue import QueueLevel


class QueueMetrics(Collector):
    """The queue of receipt jobs."""

    def __init__(self, look: Callable[[], QueueLevel]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Jobs and workers, as RQ counts them."""
        try:
            level = self._look()
        except StoreError:
            yield _gauge("ticketing_queue_up", "1: the queue answered this scrape", 0)
            return
        yield _gauge("ticketing_queue_up", "1: the queue answered this scrape", 1)
        jobs = GaugeMetricFamily(
            "ticketing_queue_jobs", "Receipt jobs, of failed ones those of a day", labels=["status"]
        )
        jobs.add_metric(["waiting"], level.depth)
        jobs.add_metric(["failed"], level.failed)
        yield jobs
        yield _gauge("ticketing_queue_workers", "Receipt workers that are alive, of all hosts", level.workers)


class ServerMetrics(Collector):
    """The server that holds the sale."""

    def __init__(self, look: Callable[[], ServerState]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """What it uses, and what it promises of a write."""
        try:
            state = self._look()
        except StoreError:
            yield _gauge("ticketing_store_up", "1: the store answered this scrape", 0)
            return
        yield _gauge("ticketing_store_up", "1: the store answered this scrape", 1)
        policy = GaugeMetricFamily("ticketing_store_fsync_policy", "1, with the fsync policy found", labels=["policy"])
        policy.add_metric([state.fsync_policy], 1)
        yield policy
        failover = GaugeMetricFamily(
            "ticketing_store_failover",
            "1, with what becomes of answered purchases if a replica takes over",
            labels=["answered"],
        )
        failover.add_metric([state.failover], 1)
        yield failover
        yield _gauge("ticketing_store_write_failing", "1: its last write to disk failed", int(state.write_failing))
        yield _gauge("ticketing_store_rewriting", "1: it rewrites its append-only file", int(state.rewriting))
        yield _gauge("ticketing_store_file_bytes", "Size of its append-only file", state.file_bytes)
        yield _gauge("ticketing_store_memory_bytes", "Memory that it uses", state.memory_bytes)
        yield _gauge("ticketing_store_memory_limit_bytes", "Its maxmemory; 0: none", state.memory_limit_bytes)
        yield _gauge("ticketing_store_clients", "Connections to it", state.clients)
        yield _counter("ticketing_store_commands", "Commands that it ran", state.commands)
        yield _counter("ticketing_store_cpu_seconds", "Processor time that it used", state.cpu_s)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
