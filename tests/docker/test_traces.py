"""One purchase in the stack, as Jaeger tells of it: from the caller's request to the stored receipt."""

from collections.abc import Iterator

import pytest

from tests.docker.stack import Stack, require_engine
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(900)

DEADLINE_S = 60
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
TOLD = {"POST /buy/{event_id}": "ticketing-web", "sale": "ticketing-web", "receipt": "ticketing-receipts"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_engine()
    made = Stack(tmp_path_factory.mktemp("traced"), OTEL_EXPORTER_OTLP_ENDPOINT="http://jaeger:4318")
    try:
        made.build()
        made.up("app", "worker", "jaeger")
        yield made
    finally:
        made.remove()


def test_a_trace_is_complete_from_the_request_to_the_receipt(stack: Stack) -> None:
    bought = stack.request("POST", "/buy/1", traceparent=TRACEPARENT)
    assert bought.status == 201
    assert stack.receipt(bought.json()["purchase_id"]).startswith(b"%PDF-")

    def told() -> list[str]:
        reply = stack.request("GET", f"/api/traces/{TRACE}", "JAEGER_PORT")
        found = reply.json().get("data") or [] if reply.status == 200 else []
        return sorted(span["operationName"] for trace in found for span in trace["spans"])

    wait_until(lambda: told() == sorted(TOLD), DEADLINE_S, "the trace is complete")
    services = stack.request("GET", "/api/services", "JAEGER_PORT").json()["data"]
    assert set(TOLD.values()) <= set(services)
    lines = stack.compose("logs", "--no-log-prefix", "worker").splitlines()
    assert any('"trace_id": "' in line for line in lines)
