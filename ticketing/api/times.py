"""Times as the API writes them: RFC 3339 in UTC, to the millisecond."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=1024)  # the purchases of a round trip share their moment
def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as `2026-11-24T21:37:05.123Z`."""
    seconds, rest_ms = divmod(ms, 1000)
    return f"{_to_the_second(seconds)}.{rest_ms:03d}Z"


@lru_cache(maxsize=64)  # and those of a second this
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
