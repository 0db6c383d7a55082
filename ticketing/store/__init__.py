"""Only here is Redis spoken: connections, keys, scripts and the queue. Nothing here decides what a buyer is told."""

import sys
from importlib.util import find_spec
from types import ModuleType

# redis-py imports OpenTelemetry's metrics wherever they are installed, 30 ms and 3 MB a process, and nobody here asks
# it for metrics; and its half for asyncio, 1.5 MB, of which its other half uses one module. For this one import the
# metrics are not to be found, and that half is an empty package beside its modules; whoever wants either gets it after.
if "redis" not in sys.modules:
    _asyncio_half = ModuleType("redis.asyncio")
    _redis = find_spec("redis")
    _asyncio_half.__path__ = [f"{folder}/asyncio" for folder in (_redis and _redis.submodule_search_locations) or ()]
    _hidden = {"redis.asyncio": _asyncio_half}
    if "opentelemetry" not in sys.modules:
        _hidden["opentelemetry"] = None  # type: ignore[assignment]  # Python's own way to say so
    sys.modules.update(_hidden)
    try:
        import redis
    finally:
        for _name in _hidden:
            del sys.modules[_name]
    del redis.asyncio
