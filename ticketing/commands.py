"""python -m ticketing event and receipts: the operator's verbs for who has a shell on a host, and no curl at hand.

What must stay true: they do what /admin does, by the same functions; who did it stands in DATA_DIR/logs/operator.log.
"""

import getpass
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from ticketing.config import Settings
from ticketing.errors import UnknownEvent
from ticketing.model import EVENT_ID
from ticketing.operations import Operations
from ticketing.receipts.opening import storage_of
from ticketing.store.events import EventStore
from ticketing.store.opening import queue_client_of, store_of
from ticketing.store.outbox import OutboxStore
from ticketing.store.queue import ReceiptQueue
from ticketing.store.sale import Versions
from ticketing.telemetry import logs
from ticketing.telemetry.metrics import Exposition

KNOWN_SOON = "Every web process that reaches Redis knows within a second; one that does not reach it can't know."


def pause(settings: Settings, event_id: str) -> int:
    """The sale of the event is paused. Raises StoreError."""
    return _do(settings, event_id, lambda operations: operations.set_paused(event_id, paused=True, by=_who()))


def resume(settings: Settings, event_id: str) -> int:
    """The sale of the event goes on. Raises StoreError."""
    return _do(settings, event_id, lambda operations: operations.set_paused(event_id, paused=False, by=_who()))


def add(settings: Settings, event_id: str, more: int, issued_before: int | None) -> int:
    """More tickets are issued; safe to repeat where the number before is given. Raises StoreError."""
    return _do(settings, event_id, lambda operations: operations.add_tickets(event_id, more, issued_before, by=_who()))


def retry(settings: Settings) -> int:
    """Receipts that were given up are due again. Raises StoreError."""
    retried = _operations(settings).retry_failed_receipts(by=_who())
    print(f"{retried} failed receipts are due again.")
    return 0


def _do(settings: Settings, event_id: str, deed: Callable[[Operations], Mapping[str, Any]]) -> int:
    operations = _operations(settings)
    try:
        done = deed(operations) if EVENT_ID.fullmatch(event_id) else None
    except UnknownEvent:
        done = None
    if done is None:
        print(f"There is no event {event_id}.")
        return 1
    print(", ".join(f"{name}: {value}" for name, value in done.items()))
    print(KNOWN_SOON)
    return 0


def _operations(settings: Settings) -> Operations:
    """The verbs, on a store that answers. Raises StoreError, SettingsError."""
    logs.set_up("operator", settings.log_level, settings.log_format)
    logs.keep(settings.data_dir / "logs" / "operator.log")
    store = store_of(settings, connections=1)
    store.ping()
    outbox = OutboxStore(store, tries=settings.receipt_tries, retry_base_ms=settings.receipt_retry_base_ms)
    queue = ReceiptQueue(queue_client_of(settings), job_timeout_s=settings.receipt_job_timeout_s)
    exposition = Exposition(CollectorRegistry())
    return Operations(store, EventStore(store, Versions()), outbox, queue, storage_of(settings), exposition)


def _who() -> str:
    """The person at this shell, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = f"user {os.getuid()}"
    return f"{user} at a shell of {socket.gethostname()}"
