"""What the whole thing is for: more buyers than tickets, all of them connected before the first one asks."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.crowd import Answer, Crowd, purchase_request
from tests.service import Service

CONNECTIONS = 5_000
POOLS = {"rock": 1_500, "jazz": 700, "folk": 300}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("web_server", ["express", "gevent"])
def test_five_thousand_buyers_get_exactly_the_tickets_there_are(tmp_path: Path, web_server: str) -> None:
    service = Service(tmp_path, WEB_SERVER=web_server)
    service.start()
    try:
        service.seed(POOLS)
        wanted = _events_wanted()
        crowd = Crowd(service.port, CONNECTIONS)
        try:
            answers = crowd.ask([purchase_request(event_id) for event_id in wanted], deadline_s=60)
        finally:
            crowd.close()
        purchases = _check(wanted, answers)
        service.wait_for_receipts(purchases, deadline_s=120)
        service.audit()
        assert {event["event_id"]: event["sold"] for event in service.events()} == POOLS
        counted = service.request("GET", "/metrics?format=json").json()
        assert counted["purchases"]["sold"] == sum(POOLS.values())
        assert counted["purchases"]["sold_out"] == CONNECTIONS - sum(POOLS.values())
        assert counted["receipts"] == {"pending": 0, "ready": sum(POOLS.values()), "failed": 0}
    finally:
        service.stop()
    assert "Traceback" not in service.log.read_text()


def _events_wanted() -> list[str]:
    """Twice as many buyers as tickets in each event, in a mixed order that is the same each time."""
    wanted = [event_id for event_id, tickets in POOLS.items() for _ in range(2 * tickets)]
    assert len(wanted) == CONNECTIONS
    random.Random(7).shuffle(wanted)
    return wanted


def _check(wanted: list[str], answers: list[Answer]) -> list[str]:
    """The ids of the purchases, after each buyer's answer was found to be the only right one."""
    assert [answer.error for answer in answers if answer.error] == []
    assert Counter(answer.status for answer in answers) == {201: sum(POOLS.values()), 409: CONNECTIONS // 2}
    sold = [answer.json() for answer in answers if answer.status == 201]
    assert {answer.json()["type"] for answer in answers if answer.status == 409} == {"/problems/sold-out"}
    assert Counter(purchase["event_id"] for purchase in sold) == POOLS
    tickets = [ticket for purchase in sold for ticket in purchase["tickets"]]
    every_ticket = {f"E{event_id}-{n:06d}" for event_id, count in POOLS.items() for n in range(1, count + 1)}
    assert len(tickets) == len(every_ticket)
    assert set(tickets) == every_ticket
    told = [answer.json().get("event_id", event_id) for event_id, answer in zip(wanted, answers, strict=True)]
    assert told == wanted
    ids = [purchase["purchase_id"] for purchase in sold]
    assert len(set(ids)) == len(ids)
    return ids
