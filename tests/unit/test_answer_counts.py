"""Answers counted in passing: what Prometheus has afterwards is what each answer would have told it by itself."""

import threading

from prometheus_client import CollectorRegistry

from tests.servers import wait_until
from ticketing.telemetry.answer_counts import AnswerCounts
from ticketing.telemetry.metrics import LATENCY_BUCKETS_S, Exposition, SaleMetrics

# On a bound, between two, below the first, beyond the last.
SECONDS = [0.0, 0.001, 0.0010001, 0.004, 0.005, 0.3, 10.0, 60.0]
SIZES = [1, 3, 1000, 1001]


def test_it_counts_and_times_as_the_metrics_would() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    counts, plain = AnswerCounts(SaleMetrics(one)), SaleMetrics(other)
    for number, seconds in enumerate(SECONDS * 3):
        outcome = ("sold", "sold_out", "invalid")[number % 3]
        counts.answered(outcome, seconds)
        plain.purchases[outcome].inc()
        plain.duration.observe(seconds)
        counts.taken_to_store(SIZES[number % len(SIZES)], seconds)
        plain.batch.observe(SIZES[number % len(SIZES)])
        plain.batch_duration.observe(seconds)
    counts.hand_over()
    counts.hand_over()  # what was handed over is not counted again
    for name, label in [
        ("ticketing_purchases_total", "outcome"),
        ("ticketing_purchase_duration_seconds_bucket", "le"),
        ("ticketing_purchase_duration_seconds_count", ""),
        ("ticketing_purchase_duration_seconds_sum", ""),
        ("ticketing_batch_purchases_bucket", "le"),
        ("ticketing_batch_purchases_sum", ""),
        ("ticketing_batch_duration_seconds_bucket", "le"),
        ("ticketing_batch_duration_seconds_sum", ""),
    ]:
        told = Exposition(one).values(name, label)
        assert told == Exposition(other).values(name, label)
        assert any(told.values())
    assert len(Exposition(one).values("ticketing_purchase_duration_seconds_bucket", "le")) == len(LATENCY_BUCKETS_S) + 1


def test_a_scrape_of_this_process_has_every_answer() -> None:
    registry = CollectorRegistry()
    counts = AnswerCounts(SaleMetrics(registry))
    exposition = Exposition(registry, hand_over=counts.hand_over)
    counts.answered("sold", 0.001)
    assert exposition.values("ticketing_purchases_total", "outcome")["sold"] == 1


def test_others_have_it_soon_and_nothing_is_lost_between_threads() -> None:
    registry = CollectorRegistry()
    counts = AnswerCounts(SaleMetrics(registry))
    counts.start()
    buyers = [threading.Thread(target=lambda: [counts.answered("sold", 0.1) for _ in range(5_000)]) for _ in range(4)]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    others = Exposition(registry)
    wait_until(lambda: others.values("ticketing_purchases_total", "outcome")["sold"] == 20_000, 10, "all are counted")
    counts.answered("replayed", 0.1)
    counts.stop()
    assert others.values("ticketing_purchases_total", "outcome")["replayed"] == 1
