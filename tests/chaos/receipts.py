"""Invariant 6 after a run: every purchase has its receipt, and anybody can fetch it at either host."""

import http.client
from collections.abc import Collection, Iterable, Sequence

from tests.chaos.hosts import HOSTS, ChaosHost, World, in_parallel
from tests.servers import HOST, wait_until
from ticketing.store import keys


def wait_for_receipts(world: World, event_ids: Sequence[str], deadline_s: float) -> None:
    """No receipt is due any more. What was given up while everything failed is tried again, as an operator would."""
    store = world.open_store()

    def none_is_due() -> bool:
        counts = store.read(
            *(("ZCARD", keys.of_event(event_id).receipts) for event_id in event_ids),
            *(("HLEN", keys.of_event(event_id).failed) for event_id in event_ids),
        )
        if any(counts[len(event_ids) :]):
            world.hosts[0].service.admin("POST", "/admin/receipts/retry")
        return not any(counts)

    try:
        wait_until(none_is_due, deadline_s, "no receipt is due")
    finally:
        store.close()


def check_receipts(world: World, purchase_ids: Collection[str]) -> list[str]:
    """What is wrong with any receipt; half of them are fetched at each host."""
    ids, wrong = sorted(purchase_ids), list[str]()
    in_parallel(*(lambda host=host: wrong.extend(_fetch(host, ids[host.number :: HOSTS])) for host in world.hosts))
    return wrong


def _fetch(host: ChaosHost, purchase_ids: Iterable[str]) -> list[str]:
    connection = http.client.HTTPConnection(HOST, host.service.port, timeout=30)
    wrong = []
    try:
        for purchase_id in purchase_ids:
            connection.request("GET", f"/tickets/{purchase_id}")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or not body.startswith(b"%PDF-"):
                wrong.append(f"host {host.number} has no receipt of {purchase_id}: {answer.status} {body[:200]!r}")
    finally:
        connection.close()
    return wrong
