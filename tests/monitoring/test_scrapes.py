"""A running service, sold from, as a real Prometheus sees it."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.catalogue import Row, alerts, table
from tests.monitoring.conftest import SEEN_S
from tests.monitoring.prometheus import Prometheus, telling
from tests.monitoring.scene import POOLS, SOLD
from tests.servers import wait_until
from tests.service import Service


def told_by(job: str, address: str) -> dict[str, Row]:
    """The metrics that one target tells, as rows of the table."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    rows = {}
    for family in families:
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows[name] = Row(name, family.type, frozenset(labels), frozenset({job}))
    return rows


def test_the_table_names_every_metric_that_is_told_and_no_other(service: Service) -> None:
    for job, addresses in telling(service).items():
        documented = {
            name: Row(name, row.kind, row.labels, frozenset({job})) for name, row in table().items() if job in row.jobs
        }
        for address in addresses:
            assert told_by(job, address) == documented


def test_what_prometheus_stored_is_what_was_sold(seen: Prometheus) -> None:
    def is_there() -> bool:
        return seen.value('max(ticketing_tickets_sold{event_id="rock"})') == SOLD

    wait_until(is_there, SEEN_S, "scraped")
    assert seen.value('max(ticketing_tickets_issued{event_id="rock"})') == POOLS["rock"]
    assert seen.value('max(ticketing_tickets_remaining{event_id="rock"})') == POOLS["rock"] - SOLD
    assert seen.value('max(ticketing_tickets_remaining{event_id="gala"})') == 0
    assert seen.value('sum(ticketing_purchases_total{outcome="sold"})') == SOLD + POOLS["gala"]
    assert seen.value('sum(ticketing_purchases_total{outcome="sold_out"})') == 1
    assert seen.value("ticketing_event_state{state='sold_out'}") == 1
    assert seen.value('ticketing_store_fsync_policy{policy="always"}') == 1


def test_each_receipt_is_counted_by_one_worker_and_once(seen: Prometheus) -> None:
    drawn = SOLD + POOLS["gala"]
    wait_until(lambda: seen.value("sum(ticketing_receipt_render_seconds_count)") == drawn, SEEN_S, "scraped")
    [(labels, _)] = seen.query("sum by (job) (ticketing_receipt_render_seconds_count)")
    assert labels == {"job": "workers"}
    assert seen.value('max(ticketing_receipts{status="ready"})') == drawn
    assert seen.value("max(ticketing_queue_workers)") == 2
    assert seen.value('sum(ticketing_processes{job!="prometheus"})') == 5


def test_no_alert_is_raised_for_a_service_that_is_well(seen: Prometheus) -> None:
    def rules() -> dict[str, str]:
        return {rule["name"]: rule["health"] for group in seen.get("rules")["groups"] for rule in group["rules"]}

    wait_until(lambda: set(rules().values()) == {"ok"}, SEEN_S, "evaluated")
    assert set(rules()) == set(alerts())
    wait_until(lambda: seen.get("alerts")["alerts"] == [], SEEN_S, "what was pending before the first scrape is gone")
    assert seen.value('count(ALERTS{alertstate="firing"})') is None


def test_an_outage_calls_an_operator_and_its_end_does_not(service: Service, seen: Prometheus) -> None:
    def firing() -> set[str]:
        return {labels["alertname"] for labels, _ in seen.query('ALERTS{alertstate="firing"}')}

    [store] = service.find("valkey-server")
    store.suspend()
    try:
        wait_until(lambda: "Outage" in firing(), SEEN_S, "an outage is told")
        assert seen.value('min(ticketing_store_up{job="app"})') == 0
        assert seen.value('max(ticketing_tickets_sold{event_id="rock"})') == SOLD, "the last known"
    finally:
        store.resume()
    wait_until(lambda: "Outage" not in firing(), SEEN_S, "it is over")


def test_the_audit_finds_nothing(service: Service) -> None:
    service.audit()
