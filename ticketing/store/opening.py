"""The store and the queue of the settings, opened alike by every part."""

from ticketing.config import Settings
from ticketing.store.connection import Store, open_store
from ticketing.store.queue import QueueClient, open_client


def store_of(settings: Settings, *, connections: int, timeout_s: float | None = None) -> Store:
    """The store; connects when it is first used. Raises SettingsError where there is none."""
    return open_store(
        settings.store_url,
        timeout_s=settings.store_timeout_s if timeout_s is None else timeout_s,
        connect_timeout_s=settings.store_connect_timeout_s,
        connections=connections,
    )


def queue_client_of(settings: Settings) -> QueueClient:
    """What the queue is spoken to with; connects when it is first used."""
    return open_client(
        settings.resolved_queue_url,
        timeout_s=settings.store_timeout_s,
        connect_timeout_s=settings.store_connect_timeout_s,
    )
