"""/health and /metrics: what whoever runs the service asks."""

import gevent
import pytest

from tests.contract.conftest import Api, new_key, problem_of
from tests.contract.test_purchases import away
from tests.servers import ValkeyServer, wait_until
from ticketing.store.connection import Store

OUTCOMES = {
    "sold": 0,
    "replayed": 0,
    "provisional": 0,
    "sold_out": 0,
    "not_enough": 0,
    "buyer_limit": 0,
    "not_on_sale": 0,
    "key_reused": 0,
    "invalid": 0,
    "rate_limited": 0,
    "unavailable": 0,
    "failed": 0,
}


def test_a_healthy_service_says_so(api: Api) -> None:
    api.open_event()
    answer = api.get("/health")
    assert answer.status_code == 200
    told = answer.get_json()
    assert (told["status"], told["store"]) == ("ok", "redis")
    assert told["checks"]["store"]["up"] is True
    assert told["checks"]["store"]["events"] == 1
    assert told["checks"]["queue"] == {"up": True, "depth": 0, "failed": 0, "workers": 0}
    assert told["checks"]["receipts"] == {"pending": 0, "ready": 0, "failed": 0, "oldest_pending_s": 0.0}
    assert api.get("/health/live").get_json() == {"status": "ok"}
    assert api.get("/health/ready").get_json() == {"status": "ok"}


def test_health_names_the_fsync_policy_that_it_finds(api: Api) -> None:
    if not api.store.shebang:
        assert api.get("/health").get_json()["checks"]["store"]["fsync"] == "unknown"
        return
    assert api.get("/health").get_json()["checks"]["store"]["fsync"] == "always"
    for policy in ("everysec", "no", "always"):
        api.store.one("CONFIG", "SET", "appendfsync", policy)
        assert api.get("/health").get_json()["checks"]["store"]["fsync"] == policy


def test_health_says_that_nobody_could_take_over(api: Api) -> None:
    found = api.get("/health").get_json()["checks"]["store"]["failover"]
    assert found == ("none" if api.store.shebang else "unknown")  # fakeredis knows no roles


def test_health_counts_receipts_and_jobs(api: Api) -> None:
    api.open_event()
    purchases = [api.bought()["purchase_id"] for _ in range(4)]
    api.render(purchases[0])
    api.give_up(purchases[1])
    api.service.dispatcher.stop()
    told = api.get("/health").get_json()["checks"]
    assert (told["receipts"]["pending"], told["receipts"]["ready"], told["receipts"]["failed"]) == (2, 1, 1)
    assert told["queue"]["depth"] >= 1


def test_an_outage_is_told_and_the_process_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.open_event()
    with monkeypatch.context() as patch:
        away(api.store, patch)
        answer = api.get("/health")
        assert answer.status_code == 200
        assert (answer.get_json()["status"], answer.get_json()["store"]) == ("outage", "reserve")
        assert api.get("/health/live").status_code == 200
        ready = api.get("/health/ready")
        assert problem_of(ready) == (503, "temporarily-unavailable")
        assert ready.headers["Retry-After"] == "1"
    wait_until(lambda: gevent.sleep(0.01) or api.get("/health/ready").status_code == 200, 5, "it is well again")


def test_without_its_queue_the_service_goes_on_selling(
    api: Api, store: Store, queue: object, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    api.open_event()
    nowhere = ValkeyServer(tmp_path).port  # nobody listens there
    monkeypatch.setattr(queue, "connection_pool", _pool_to(nowhere))
    assert api.get("/health").get_json()["checks"]["queue"] == {"up": False}
    assert api.get("/health/ready").status_code == 200
    assert api.bought()["quantity"] == 1
    assert api.admin("GET", "/admin/pdf-stats").get_json()["queue"] is None
    assert problem_of(api.admin("GET", "/admin/rq/")) == (503, "temporarily-unavailable")


def _pool_to(port: int) -> object:
    import redis

    return redis.ConnectionPool(host="127.0.0.1", port=port, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))


def test_the_metrics_in_json_count_everything_once(api: Api) -> None:
    api.open_event("1", tickets=4)
    api.open_event("2", tickets=2, buyer_max=1)
    key = new_key()
    first = api.bought(key=key)
    api.buy(key=key)
    api.buy(body={"quantity": 2}, key=key)
    api.buy(body={"quantity": 4}, key=new_key())
    api.bought(body={"quantity": 3})
    api.buy()
    api.bought("2", body={"buyer": {"id": "ada"}})
    api.buy("2", body={"buyer": {"id": "ada"}})
    api.admin("POST", "/admin/events/2/pause")
    api.buy("2", body={"buyer": {"id": "bob"}})
    api.buy(body={"qty": 1})
    api.buy("nowhere")
    api.post("/buy/1", data=b" " * 20_000, content_type="application/json")
    api.render(first["purchase_id"])
    told = api.get("/metrics", headers={"Accept": "application/json"}).get_json()
    assert told == {
        "events": [
            {"event_id": "1", "issued": 4, "sold": 4, "remaining": 0},
            {"event_id": "2", "issued": 2, "sold": 1, "remaining": 1},
        ],
        "tickets_sold": 5,
        "tickets_remaining": 1,
        "purchases": OUTCOMES
        | {"sold": 3, "replayed": 1, "key_reused": 1, "not_enough": 1, "sold_out": 1, "buyer_limit": 1}
        | {"not_on_sale": 1, "invalid": 3},
        "errors": 0,
        "receipts": {"pending": 2, "ready": 1, "failed": 0},
        "outage": {
            "active": False,
            "outages": 0,
            "reserve_tickets": 0,
            "leased_tickets": 0,
            "journal_unsettled": 0,
            "settled": {"settled": 0, "known": 0, "key_reused": 0, "voided": 0, "unfunded": 0},
        },
    }


@pytest.mark.parametrize(
    ("query", "accept", "is_json"),
    [
        ("", None, False),
        ("", "*/*", False),
        ("", "text/plain", False),
        ("", "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", False),
        ("", "application/json", True),
        ("?format=json", None, True),
        ("?format=json", "text/plain", True),
        ("?format=prometheus", "application/json", False),
    ],
)
def test_metrics_are_prometheus_text_unless_json_is_asked_for(
    api: Api, query: str, accept: str | None, is_json: bool
) -> None:
    answer = api.get(f"/metrics{query}", headers={} if accept is None else {"Accept": accept})
    assert answer.content_type == ("application/json" if is_json else "text/plain; version=0.0.4; charset=utf-8")
    assert answer.headers["Vary"] == "Accept"


def samples(api: Api) -> dict[str, float]:
    """Every sample of a scrape, by its name and labels as they are written."""
    lines = api.get("/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def test_prometheus_gets_the_gauges_of_the_store_and_our_counters(api: Api) -> None:
    api.open_event("1", tickets=10)
    api.lease("E1-000010")
    first = api.bought(body={"quantity": 3})
    api.bought()
    api.render(first["purchase_id"])
    found = samples(api)
    assert found['ticketing_tickets_issued{event_id="1"}'] == 10
    assert found['ticketing_tickets_sold{event_id="1"}'] == 4
    assert found['ticketing_tickets_remaining{event_id="1"}'] == 6
    assert found['ticketing_leased_tickets{event_id="1"}'] == 1
    assert found['ticketing_purchases_total{outcome="sold"}'] == 2
    assert {name for name in found if name.startswith("ticketing_purchases_total")} == {
        f'ticketing_purchases_total{{outcome="{outcome}"}}' for outcome in OUTCOMES
    }
    assert found["ticketing_purchase_duration_seconds_count"] == 2
    assert found["ticketing_batch_purchases_count"] == 2
    assert found["ticketing_batch_purchases_sum"] == 2
    assert found['ticketing_receipts{status="pending"}'] == 1
    assert found['ticketing_receipts{status="ready"}'] == 1
    assert found['ticketing_receipts{status="failed"}'] == 0
    assert 0 <= found["ticketing_receipt_oldest_pending_seconds"] < 60
    assert (found["ticketing_store_up"], found["ticketing_outage"]) == (1, 0)


def test_in_an_outage_the_gauges_are_the_last_known(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.open_event(tickets=10)
    api.bought()
    samples(api)
    away(api.store, monkeypatch)
    assert api.buy().status_code == 503
    found = samples(api)
    assert (found["ticketing_store_up"], found["ticketing_outage"], found["ticketing_outages_total"]) == (0, 1, 1)
    assert found['ticketing_tickets_sold{event_id="1"}'] == 1
    outage = api.get("/metrics?format=json").get_json()["outage"]
    assert (outage["active"], outage["outages"], outage["reserve_tickets"]) == (True, 1, 0)


def test_every_process_tells_the_same_of_the_store(api: Api, start_api: object) -> None:
    other = start_api()
    api.open_event(tickets=10)
    api.bought()
    gauges = [name for name in samples(api) if name.startswith("ticketing_tickets")]
    assert {name: samples(api)[name] for name in gauges} == {name: samples(other)[name] for name in gauges}


def test_nothing_that_a_caller_makes_up_becomes_a_label(api: Api) -> None:
    api.open_event()
    purchase = api.bought(key="a-key-of-somebody-0001", body={"buyer": {"id": "buyer-4711", "name": "Ada Byron"}})
    api.get(purchase["receipt"]["url"])
    for method, path in [
        ("GET", "/made-up-path"),
        ("POST", "/buy/made-up-event"),
        ("GET", "/events/made-up-event"),
        ("GET", "/tickets/made-up-purchase"),
        ("MADEUP", "/health"),
        ("MADEUP", "/buy/1"),
    ]:
        api.call(method, path)
    text = api.get("/metrics").text
    for secret in (purchase["purchase_id"], "somebody", "buyer-4711", "Byron", "made-up", "MADEUP"):
        assert secret not in text
    assert 'flask_http_request_total{method="OTHER",status="405"} 1.0' in text


def test_our_metrics_leave_buy_to_our_own_counters(api: Api) -> None:
    api.open_event()
    api.bought()
    assert not [name for name in samples(api) if name.startswith("flask_") and "/buy" in name]
