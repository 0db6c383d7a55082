"""The store and the queue of the settings, opened alike by every part, whatever kind of address they have."""

from ticketing import addresses
from ticketing.config import Settings
from ticketing.errors import SettingsError, StoreRefused
from ticketing.store.connection import Confirmation, Store, open_store
from ticketing.store.queue import QueueClient, open_client


def store_of(settings: Settings, *, connections: int, timeout_s: float | None = None) -> Store:
    """The store; connects when it is first used. Raises SettingsError where there is none."""
    address = addresses.parse(settings.store_url)
    if address.is_sentinel:
        raise SettingsError("redis+sentinel:// is not served yet")
    if address.is_cluster:
        raise SettingsError("redis+cluster:// is not served yet")
    return open_store(
        address.url,
        timeout_s=settings.store_timeout_s if timeout_s is None else timeout_s,
        connect_timeout_s=settings.store_connect_timeout_s,
        connections=connections,
        confirmation=Confirmation(settings.replicas_to_confirm, settings.confirm_timeout_ms),
    )


def queue_client_of(settings: Settings) -> QueueClient:
    """What the queue is spoken to with; connects when it is first used."""
    return open_client(
        settings.resolved_queue_url,
        timeout_s=settings.store_timeout_s,
        connect_timeout_s=settings.store_connect_timeout_s,
    )


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
