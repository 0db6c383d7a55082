"""What the store promises of an acknowledged write, as far as it says."""

from ticketing.errors import StoreError
from ticketing.store.connection import Store

SAFE = "always"


def fsync_policy(store: Store) -> str:
    """always, everysec, no; `off` without an append-only file; `unknown` where nobody tells. Never raises."""
    try:
        found = store.one("CONFIG", "GET", "append*")
    except StoreError:
        return "unknown"
    settings = dict(zip(found[::2], found[1::2], strict=True)) if isinstance(found, list) else dict(found)
    if settings.get("appendonly") != "yes":
        return "off"
    return str(settings.get("appendfsync", "unknown"))
