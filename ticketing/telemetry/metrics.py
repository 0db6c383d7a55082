"""What the web processes and the receipt workers count, and what the store says of events: names, labels, sources.

What must stay true: with several processes each scrape says the same, whichever process answers it. So counters and
histograms are summed over the processes' files (prometheus_client's multiprocess mode), and what the store knows is
read from the store. No label holds a purchase, a buyer or a raw path. ops/metrics.md lists every metric; a test
compares it with a running service.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ticketing.model import EventState
from ticketing.store.leases import Settled
from ticketing.telemetry.processes import Processes, lives

disable_created_metrics()  # a second series for each first, which nobody reads

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
if MULTIPROCESS in os.environ:
    # This module is imported after the fork. prometheus_client would ask for the process id at each count.
    _pid = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _pid)

LIVE_GAUGES = re.compile(r"gauge_live[a-z]*_(?P<pid>\d+)\.db")
PURCHASE_OUTCOMES = (
    "sold",
    "replayed",
    "provisional",
    "sold_out",
    "not_enough",
    "buyer_limit",
    "not_on_sale",
    "key_reused",
    "invalid",
    "rate_limited",
    "unavailable",
    "failed",  # a fault of ours, answered 500
)
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


class SaleMetrics:
    """What the web processes count of the sale."""

    def __init__(self, registry: CollectorRegistry) -> None:
        purchases = Counter(
            "ticketing_purchases_total", "Purchases asked for, by what became of them", ["outcome"], registry=registry
        )
        self.purchases = {outcome: purchases.labels(outcome) for outcome in PURCHASE_OUTCOMES}
        self.duration = Histogram(
            "ticketing_purchase_duration_seconds",
            "From the parsed request to the answer",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.batch = Histogram(
            "ticketing_batch_purchases", "Purchases a script call", buckets=BATCH_BUCKETS, registry=registry
        )
        self.batch_duration = Histogram(
            "ticketing_batch_duration_seconds",
            "The round trip that a script call shared, from its begin to the reply",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.outages = Counter(
            "ticketing_outages_total", "Times that a process began to sell without Redis", registry=registry
        )
        settled = Counter(
            "ticketing_settled_total",
            "Purchases from the journal that met Redis again, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.settled = {outcome: settled.labels(outcome) for outcome in Settled}
        # These are of the moment: those of a process that ended don't count.
        self.outage = Gauge(
            "ticketing_outage",
            "1 while a process can't reach Redis",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.reserve = Gauge(
            "ticketing_reserve_tickets",
            "Tickets that could be sold now without Redis",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.unsettled = Gauge(
            "ticketing_journal_unsettled",
            "Journalled purchases that are not in Redis yet, parked ones included",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.parked = Gauge(
            "ticketing_journal_parked",
            "Journalled purchases that only an operator can decide about",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.copied = Gauge(
            "ticketing_host_id_copied",
            "1 while a process has no reserve because another host sells under this host's id",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.voids = Gauge(
            "ticketing_journal_voids",
            "Purchase ids that were answered 503 and are still to be made to hold nothing",
            multiprocess_mode="livesum",
            registry=registry,
        )


DELAY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class ReceiptMetrics:
    """What the receipt workers count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.render = Histogram(
            "ticketing_receipt_render_seconds",
            "Drawing one receipt",
            buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
            registry=registry,
        )
        self.delay = Histogram(
            "ticketing_receipt_delay_seconds",
            "From the sale to the stored receipt",
            buckets=DELAY_BUCKETS_S,
            registry=registry,
        )
        self.failed = Counter(
            "ticketing_receipts_failed_total", "Receipts given up after their last try", registry=registry
        )


class Levels(Collector):
    """The gauges, from what the store said last."""

    def __init__(self, states: Iterable[EventState], *, store_up: bool, halted: Iterable[str] = ()) -> None:
        """`halted`: events of which this process found that out, those included that the store has lost."""
        self._states = list(states)
        self._store_up = store_up
        self._halted = {state.event.event_id: int(state.halted) for state in self._states} | dict.fromkeys(halted, 1)

    def collect(self) -> Iterator[Metric]:
        """The gauges of api.md that come from the store."""
        levels = {state.event.event_id: state for state in self._states}
        issued = {event_id: state.issued for event_id, state in levels.items()}
        sold = {event_id: state.sold for event_id, state in levels.items()}
        remaining = {event_id: state.remaining for event_id, state in levels.items()}
        leased = {event_id: state.leased for event_id, state in levels.items()}
        yield self._by_event("ticketing_tickets_issued", "Tickets issued", issued)
        yield self._by_event("ticketing_tickets_sold", "Tickets sold", sold)
        yield self._by_event("ticketing_tickets_remaining", "Tickets issued and not sold", remaining)
        yield self._by_event("ticketing_leased_tickets", "Tickets granted to holders", leased)
        yield self._by_event(
            "ticketing_pool_tickets",
            "Tickets in the pool",
            {event_id: state.pool for event_id, state in levels.items()},
        )
        yield self._by_event(
            "ticketing_event_halted",
            "1: nothing is sold of the event until an operator decides",
            self._halted,
        )
        yield self._sale_states()
        receipts = GaugeMetricFamily("ticketing_receipts", "Receipts by status", labels=["status"])
        for status, count in receipt_counts(self._states).items():
            receipts.add_metric([status], count)
        yield receipts
        yield GaugeMetricFamily(
            "ticketing_receipt_oldest_pending_seconds",
            "How long ago the purchase was made that waits longest for its receipt",
            value=oldest_pending_s(self._states),
        )
        yield GaugeMetricFamily("ticketing_store_up", "0: the gauges are the last known", value=int(self._store_up))

    def _sale_states(self) -> Metric:
        family = GaugeMetricFamily("ticketing_event_state", "1, with the sale's state", labels=["event_id", "state"])
        for state in self._states:
            family.add_metric([state.event.event_id, state.state(state.as_of_ms)], 1)
        return family

    @staticmethod
    def _by_event(name: str, text: str, values: dict[str, int]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["event_id"])
        for event_id, value in values.items():
            family.add_metric([event_id], value)
        return family


def receipt_counts(states: Iterable[EventState]) -> dict[str, int]:
    """Receipts by status over all events. Ready: bought, and neither pending nor given up."""
    known = list(states)
    pending = sum(state.receipts_pending for state in known)
    failed = sum(state.receipts_failed for state in known)
    return {"pending": pending, "ready": sum(state.purchases for state in known) - pending - failed, "failed": failed}


def oldest_pending_s(states: Iterable[EventState]) -> float:
    """How long ago the purchase was made that waits longest for its receipt, in seconds; 0 where none waits."""
    waits_ms = [state.as_of_ms - state.oldest_pending_ms for state in states if state.oldest_pending_ms is not None]
    return max(0, *waits_ms, 0) / 1000 if waits_ms else 0.0


class Summed(Collector):
    """What all processes counted that keep it in these folders or their direct subfolders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)

    def collect(self) -> Iterator[Metric]:
        """Every counter and histogram once, summed. A file that a process has just begun is empty yet."""
        files = [file for folder in self._folders for pattern in ("*.db", "*/*.db") for file in folder.glob(pattern)]
        told = [str(file) for file in files if _size(file) and not _is_of_the_dead(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(told)
        yield from merged


def _size(file: Path) -> int:
    """0 where it was taken away a moment ago."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _is_of_the_dead(file: Path) -> bool:
    """Whether it holds gauges of the moment whose process has ended, with nobody left to take them away."""
    name = LIVE_GAUGES.fullmatch(file.name)
    return name is not None and not lives(int(name["pid"]))


class Exposition:
    """Puts together what a scrape answers."""

    def __init__(
        self, own: CollectorRegistry, folders: Iterable[Path] = (), hand_over: Callable[[], None] = lambda: None
    ) -> None:
        """`folders` are the multiprocess folders of the parts; without any, this process speaks alone.

        What lies directly in a folder and in its direct subfolders (one a receipt worker) is summed. `hand_over` is
        called first: this process counts what it has not counted yet.
        """
        self._own = own
        self._hand_over = hand_over
        self._folders = list(folders)

    def registry(self) -> CollectorRegistry:
        """The counters and histograms of all processes, as they are now."""
        self._hand_over()
        if MULTIPROCESS not in os.environ:
            return self._own
        summed = CollectorRegistry()
        summed.register(Summed(self._folders))
        return summed

    def text(self, levels: Levels) -> bytes:
        """The Prometheus text format."""
        gauges = CollectorRegistry()
        gauges.register(levels)
        gauges.register(Processes("web", self._living))
        return generate_latest(self.registry()) + generate_latest(gauges)

    def _living(self) -> list[int]:
        """The web processes of this host, which alone have gauges of the moment; this one where it speaks alone."""
        names = [LIVE_GAUGES.fullmatch(file.name) for folder in self._folders for file in folder.glob("gauge_live*.db")]
        pids = {int(name["pid"]) for name in names if name}
        return sorted(filter(lives, pids)) if MULTIPROCESS in os.environ else [os.getpid()]

    def values(self, name: str, label: str) -> dict[str, float]:
        """The samples called `name`, by one of their labels."""
        return self.read({name: label})[name]

    def read(self, wanted: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """The samples of several names, each by one of its labels, from one look at all processes' counters."""
        summed: dict[str, dict[str, float]] = {name: {} for name in wanted}
        for family in self.registry().collect():
            for sample in family.samples:
                if sample.name in wanted:
                    values, key = summed[sample.name], sample.labels.get(wanted[sample.name], "")
                    values[key] = values.get(key, 0.0) + sample.value
        return summed

    def web_processes(self) -> int:
        """How many web processes of this host live."""
        return len(self._living())


def quantile(buckets: dict[str, float], share: float) -> float | None:
    """The upper bound (seconds) of the histogram bucket in which this share of the observations is reached.

    None where nothing was observed, or where the share is reached only beyond the last bound.
    """
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    if not bounds or bounds[-1][1] == 0:
        return None
    wanted = share * bounds[-1][1]
    reached = next(bound for bound, count in bounds if count >= wanted)
    return None if math.isinf(reached) else reached
