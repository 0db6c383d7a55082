"""Only here is Redis spoken: connections, keys, scripts and the queue. Nothing here decides what a buyer is told."""

import sys

# redis-py imports OpenTelemetry's metrics wherever they are installed, 30 ms and 3 MB a process, and nobody here asks
# it for metrics: for this one import they are not to be found.
if "opentelemetry" not in sys.modules:
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # Python's own way to say so
    try:
        import redis  # noqa: F401
    finally:
        del sys.modules["opentelemetry"]
