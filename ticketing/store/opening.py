"""The store and the queue of the settings, opened alike by every part, whatever kind of address they have.

What must stay true: where the store is one server, nothing is imported that it does not need.
"""

from typing import Any

from ticketing import addresses
from ticketing.config import Settings
from ticketing.errors import StoreRefused
from ticketing.store.connection import Confirmation, Store, open_store
from ticketing.store.queue import CONNECTIONS, QueueClient, open_client


def store_of(settings: Settings, *, connections: int, timeout_s: float | None = None) -> Store:
    """The store; connects when it is first used. Raises SettingsError where there is none."""
    address = addresses.parse(settings.store_url)
    confirmation = Confirmation(settings.replicas_to_confirm, settings.confirm_timeout_ms)
    limits = _limits(settings, connections)
    if timeout_s is not None:
        limits["timeout_s"] = timeout_s
    if address.is_sentinel:
        from ticketing.store.sentinel import open_sentinel_store

        return open_sentinel_store(address, confirmation=confirmation, **limits)
    if address.is_cluster:
        from ticketing.store.cluster import open_cluster

        return open_cluster(address, confirmation=confirmation, **limits)
    return open_store(address.url, confirmation=confirmation, **limits)


def queue_client_of(settings: Settings) -> QueueClient:
    """What the queue is spoken to with; connects when it is first used."""
    address = addresses.parse(settings.resolved_queue_url)
    if address.is_sentinel:
        from ticketing.store.sentinel import open_sentinel_client

        return open_sentinel_client(address, **_limits(settings, CONNECTIONS))
    limits = _limits(settings, CONNECTIONS)
    return open_client(address.url, timeout_s=limits["timeout_s"], connect_timeout_s=limits["connect_timeout_s"])


def answers(settings: Settings) -> bool:
    """Whether the store answers. Raises SettingsError where there is none."""
    store = store_of(settings, connections=1)
    try:
        store.ping()
    except StoreRefused:
        return False
    else:
        return True
    finally:
        store.close()


def _limits(settings: Settings, connections: int) -> dict[str, Any]:
    return {
        "timeout_s": settings.store_timeout_s,
        "connect_timeout_s": settings.store_connect_timeout_s,
        "connections": connections,
    }
