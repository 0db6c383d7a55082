"""The floor: the least that a worker does for a request. gunicorn -k gevent tests.bench.peers.hello:app"""

from collections.abc import Callable, Iterable
from typing import Any

BODY = b'{"purchase_id":"0123456789abcdef0123456789abcdef","status":"sold","tickets":["E1-000001"]}'
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An answer like that of a purchase, made of nothing."""
    start_response("201 Created", HEADERS)
    return [BODY]
