"""What schemathesis is told of this service that a JSON schema can't say. Loaded by it, see test_openapi.py."""

from typing import Any

import schemathesis

from ticketing.api.admin import ADD_MAX

MOST = {"add": 1_000}  # a million tickets a call would test the store's memory


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Whole numbers are written without a fraction: a schema takes 2.0 for one, the service refuses it."""
    return _plain(body)


def _plain(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return MOST[name] if name in MOST and type(value) is int and MOST[name] < value <= ADD_MAX else value
