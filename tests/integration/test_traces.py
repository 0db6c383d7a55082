"""Traces of the whole service, as a collector receives them: real gunicorn, real valkey, real receipt workers."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.crowd import Crowd, purchase_request
from tests.sales import Sale
from tests.servers import HOST, ROOT, ValkeyServer, environment, free_port, wait_until
from tests.service import Reply, Service
from tests.spans import Span, SpanReceiver, span_receiver
from ticketing.store.connection import Store

POOLS = {"rock": 500}
ARRIVAL_S = 30.0
BUYERS = 40
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BUYER = {"id": "buyer-4711", "name": "Zoë Unmistakable", "email": "zoe@unmistakable.example"}
DUMP_MODULES = """
import os, sys
from pathlib import Path
exec(Path({ours!r}).read_text())
_ours = worker_exit
def worker_exit(server, worker):
    _ours(server, worker)
    if WSGI in sys.modules:
        Path({modules!r}).write_text("\\n".join(sys.modules))
"""


@contextmanager
def traced_service(folder: Path, receiver: SpanReceiver, **settings: object) -> Iterator[Service]:
    service = Service(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, LOG_FORMAT="json", **settings)
    service.start()
    try:
        service.seed(POOLS)
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def receiver() -> Iterator[SpanReceiver]:
    with span_receiver() as made:
        yield made


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, receiver: SpanReceiver) -> Iterator[Service]:
    """It gathers for a while, so that a crowd shares batches; its log tells each purchase."""
    folder = tmp_path_factory.mktemp("traced")
    with traced_service(folder, receiver, WEB_WORKERS=1, BATCH_PACE_MS=300, LOG_LEVEL="DEBUG") as made:
        yield made


@pytest.fixture(scope="module")
def bought(service: Service) -> Reply:
    """One purchase of a caller that traces, with its receipt fetched."""
    reply = service.request(
        "POST", "/buy/rock", {"quantity": 2, "buyer": BUYER}, traceparent=f"00-{TRACE}-{CALLER}-01", tracestate="shop=7"
    )
    assert reply.status == 201
    service.wait_for_receipts([reply.json()["purchase_id"]], ARRIVAL_S)
    return reply


@pytest.fixture(scope="module")
def trace_of_one(receiver: SpanReceiver, bought: Reply) -> dict[str, Span]:
    """Its spans by name."""
    wait_until(lambda: in_trace(receiver, "receipt"), ARRIVAL_S, "the receipt's span has arrived")
    wait_until(lambda: in_trace(receiver, "POST /buy/{event_id}"), ARRIVAL_S, "the request's span has arrived")
    wait_until(lambda: in_trace(receiver, "sale"), ARRIVAL_S, "the sale's span has arrived")
    found = [span for span in receiver.spans if span.trace_id == TRACE]
    assert Counter(span.name for span in found) == {"POST /buy/{event_id}": 1, "sale": 1, "receipt": 1}
    return {span.name: span for span in found}


def in_trace(receiver: SpanReceiver, name: str, trace_id: str = TRACE) -> list[Span]:
    return [span for span in receiver.named(name) if span.trace_id == trace_id]


def linking_to(receiver: SpanReceiver, name: str, span: Span) -> Span:
    """The one span of this name that links to the other."""
    wait_until(lambda: any(span.place in each.links for each in receiver.named(name)), ARRIVAL_S, f"a link of {name}")
    [found] = [each for each in receiver.named(name) if span.place in each.links]
    return found


def lines_of(service: Service, part: str) -> list[dict[str, Any]]:
    [log, *_] = sorted((service.data_dir / "logs").glob(f"{part}*.log"))
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_one_trace_tells_of_a_purchase_from_its_callers_request_to_the_stored_receipt(
    trace_of_one: dict[str, Span], bought: Reply
) -> None:
    request, sale, receipt = (trace_of_one[name] for name in ("POST /buy/{event_id}", "sale", "receipt"))
    assert (request.service, request.parent_id) == ("ticketing-web", CALLER)
    assert (sale.service, sale.parent_id) == ("ticketing-web", request.span_id)
    assert (receipt.service, receipt.parent_id) == ("ticketing-receipts", request.span_id)
    assert request.began_ns <= sale.began_ns <= sale.ended_ns <= request.ended_ns
    assert receipt.began_ns < receipt.ended_ns
    assert not any(span.failed for span in trace_of_one.values())
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/buy/{event_id}",
        "http.response.status_code": 201,
        "ticketing.event_id": "rock",
        "ticketing.request_id": bought.headers["X-Request-ID"],
    }
    assert sale.attributes["ticketing.outcome"] == "sold"
    assert sale.attributes["ticketing.quantity"] == 2


def test_its_batch_and_its_job_are_linked_to_it_and_it_to_them(
    receiver: SpanReceiver, trace_of_one: dict[str, Span]
) -> None:
    request = trace_of_one["POST /buy/{event_id}"]
    batch = linking_to(receiver, "sale batch", request)
    job = linking_to(receiver, "receipts job", request)
    assert (batch.parent_id, job.parent_id) == ("", "")
    assert len({batch.trace_id, job.trace_id, TRACE}) == 3
    assert trace_of_one["sale"].links == [batch.place]
    assert trace_of_one["receipt"].links == [job.place]
    assert trace_of_one["sale"].began_ns <= batch.began_ns <= batch.ended_ns <= trace_of_one["sale"].ended_ns
    assert batch.attributes["ticketing.sold"] == batch.attributes["db.operation.batch.size"] == 1


def test_fetching_the_receipt_is_a_trace_of_its_own_that_does_not_say_how_to(
    receiver: SpanReceiver, service: Service, bought: Reply
) -> None:
    wait_until(lambda: receiver.named("GET /tickets/{purchase_id}"), ARRIVAL_S, "it has arrived")
    span = receiver.named("GET /tickets/{purchase_id}")[0]
    assert span.trace_id != TRACE
    assert span.attributes["ticketing.event_id"] == "rock"


def test_no_span_holds_a_whole_purchase_id_nor_what_the_buyer_said_of_himself(
    receiver: SpanReceiver, trace_of_one: dict[str, Span], bought: Reply
) -> None:
    received = b"".join(receiver.texts)
    assert b"ticketing.purchase" in received
    for secret in (bought.json()["purchase_id"], *BUYER.values()):
        assert secret.encode() not in received


def test_purchases_of_one_moment_are_linked_from_few_batches_each_from_one(
    receiver: SpanReceiver, service: Service
) -> None:
    before = len(receiver.named("sale batch"))
    crowd = Crowd(service.port, BUYERS)
    try:
        answers = crowd.ask([purchase_request("rock")] * BUYERS, 60)
    finally:
        crowd.close()
    assert Counter(answer.status for answer in answers) == {201: BUYERS}
    purchases = [answer.json()["purchase_id"] for answer in answers]
    service.wait_for_receipts(purchases, ARRIVAL_S)

    def linked(name: str) -> list[tuple[str, str]]:
        return [link for span in receiver.named(name) for link in span.links]

    bought = [span for span in receiver.named("POST /buy/{event_id}") if span.trace_id != TRACE]
    wait_until(lambda: len(receiver.named("receipt")) >= BUYERS + 1, ARRIVAL_S, "every receipt's span")
    wait_until(lambda: len(receiver.named("POST /buy/{event_id}")) >= BUYERS + 1, ARRIVAL_S, "every request's span")
    bought = [span for span in receiver.named("POST /buy/{event_id}") if span.trace_id != TRACE]
    assert len(bought) == len({span.trace_id for span in bought}) == BUYERS
    for name in ("sale batch", "receipts job"):
        wait_until(lambda name=name: {span.place for span in bought} <= set(linked(name)), ARRIVAL_S, name)
        counted = Counter(linked(name))
        assert [counted[span.place] for span in bought] == [1] * BUYERS
    assert len(receiver.named("sale batch")) - before < BUYERS / 2
    assert {span.trace_id for span in receiver.named("receipt")} == {TRACE, *(span.trace_id for span in bought)}


def test_log_lines_name_their_trace_and_how_long_it_took(
    service: Service, receiver: SpanReceiver, trace_of_one: dict[str, Span], bought: Reply
) -> None:
    request = trace_of_one["POST /buy/{event_id}"]
    batch, job = (linking_to(receiver, name, request) for name in ("sale batch", "receipts job"))
    web, receipts = lines_of(service, "web"), [*lines_of(service, "receipts-1"), *lines_of(service, "receipts-2")]
    [of_purchase] = [line for line in web if line.get("trace_id") == TRACE]
    assert (of_purchase["level"], of_purchase["outcome"]) == ("DEBUG", "sold")
    assert of_purchase["request_id"] == bought.headers["X-Request-ID"]
    [of_batch] = [line for line in web if line.get("trace_id") == batch.trace_id]
    assert of_batch["message"].startswith("event rock: 2 tickets, 1 sold")
    [of_job] = [line for line in receipts if line.get("trace_id") == job.trace_id]
    assert of_job["message"].startswith("event rock: 1 receipts stored, 0 not, in ")
    assert of_job["stored"] == 1
    for line in (of_purchase, of_batch, of_job):
        assert line["event_id"] == "rock"
        assert line["duration_ms"] > 0
    assert all("trace_id" not in line for line in web if "listening" in line["message"])


def test_a_share_of_none_exports_nothing_and_a_caller_that_traces_is_traced(tmp_path: Path) -> None:
    with span_receiver() as receiver, traced_service(tmp_path, receiver, OTEL_TRACES_SAMPLER_ARG=0) as service:
        untraced = [service.request("POST", "/buy/rock", {}) for _ in range(5)]
        service.wait_for_receipts([reply.json()["purchase_id"] for reply in untraced], ARRIVAL_S)
        refused = service.request("POST", "/buy/rock", {}, traceparent=f"00-{TRACE}-{CALLER}-00")
        assert refused.status == 201
        asked = service.request("POST", "/buy/rock", {}, traceparent=f"00-{TRACE}-{CALLER}-01")
        service.wait_for_receipts([asked.json()["purchase_id"]], ARRIVAL_S)
        service.stop()  # each part sends what it has
        assert {span.trace_id for span in receiver.spans if not span.links} <= {TRACE}
        names = ("POST /buy/{event_id}", "sale", "sale batch", "receipt", "receipts job")
        assert Counter(span.name for span in receiver.spans) == dict.fromkeys(names, 1)


def test_always_off_exports_nothing_whoever_asks(tmp_path: Path) -> None:
    with span_receiver() as receiver, traced_service(tmp_path, receiver, OTEL_TRACES_SAMPLER="always_off") as service:
        asked = service.request("POST", "/buy/rock", {}, traceparent=f"00-{TRACE}-{CALLER}-01")
        service.wait_for_receipts([asked.json()["purchase_id"]], ARRIVAL_S)
        service.stop()
        assert (receiver.posts, receiver.spans) == (0, [])


def test_a_receiver_that_hangs_harms_no_sale_and_no_stop(tmp_path: Path) -> None:
    with span_receiver(hangs=True) as receiver, traced_service(tmp_path, receiver) as service:
        sold = 0
        for _ in range(5):
            crowd = Crowd(service.port, 100)
            try:
                answers = crowd.ask([purchase_request("rock")] * 100, 60)
            finally:
                crowd.close()
            assert Counter(answer.status for answer in answers) == {201: 100}
            sold += sum(answer.json()["quantity"] for answer in answers)
        assert sold == POOLS["rock"]
        assert service.request("POST", "/buy/rock", {}).status == 409
        wait_until(lambda: receiver.posts >= 3, ARRIVAL_S, "spans were posted, by the web processes and a worker")
        says_so = "traces don't arrive at OTEL_EXPORTER_OTLP_ENDPOINT: spans are dropped"
        wait_until(lambda: says_so in [line["message"] for line in lines_of(service, "web")], ARRIVAL_S, "it says so")
        service.audit()
        service.stop()
        ended = [line["message"] for line in lines_of(service, "web") if "web process ends" in line["message"]]
        assert len(ended) == service.settings["WEB_WORKERS"]
        logs = "".join(path.read_text() for path in (service.data_dir / "logs").iterdir())
        assert "SIGKILL" not in logs
        assert "Traceback" not in logs
        assert receiver.spans == []


@contextmanager
def one_worker(folder: Path, server: ValkeyServer, **settings: object) -> Iterator[tuple[int, Path]]:
    """gunicorn with one web process, which writes down at its exit what it had imported; its port, and that file."""
    modules, conf = folder / "modules", folder / "conf.py"
    conf.write_text(DUMP_MODULES.format(ours=str(ROOT / "gunicorn.conf.py"), modules=str(modules)))
    port = free_port()
    own = environment(folder, REDIS_URL=server.url, PORT=port, WEB_WORKERS=1, **settings)
    command = [sys.executable, "-m", "gunicorn", "-c", str(conf), "ticketing.server.wsgi:app"]
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=own, stderr=log)
    try:
        yield port, modules
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0


def buy_of(port: int) -> int:
    crowd = Crowd(port, 1)
    try:
        return crowd.ask([purchase_request("1")], 30)[0].status
    finally:
        crowd.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_a_web_process_imports_opentelemetry_only_where_traces_are_on(
    on: bool, tmp_path: Path, valkey_server: ValkeyServer, real_store: Store
) -> None:
    Sale(real_store, greeted=False).open(10)
    with span_receiver() as receiver:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url} if on else {}
        with one_worker(tmp_path, valkey_server, **settings) as (port, modules):
            wait_until(lambda: listens(port), ARRIVAL_S, "it listens")
            wait_until(lambda: buy_of(port) == 201, ARRIVAL_S, (tmp_path / "web.log").read_text())
        imported = modules.read_text().splitlines()
        assert "ticketing.app" in imported
        assert any(name.partition(".")[0] == "opentelemetry" for name in imported) is on
        assert ("ticketing.telemetry.tracing" in imported) is on
        assert {span.name for span in receiver.spans} == (
            {"POST /buy/{event_id}", "sale", "sale batch"} if on else set()
        )


def test_a_receiver_that_is_away_harms_no_sale_and_no_stop(
    tmp_path: Path, valkey_server: ValkeyServer, real_store: Store
) -> None:
    Sale(real_store, greeted=False).open(10)
    log = tmp_path / "web.log"
    nobody = f"http://{HOST}:{free_port()}"
    with one_worker(tmp_path, valkey_server, OTEL_EXPORTER_OTLP_ENDPOINT=nobody) as (port, _):
        wait_until(lambda: listens(port), ARRIVAL_S, "it listens")
        wait_until(lambda: buy_of(port) == 201, ARRIVAL_S, log.read_text())
        wait_until(lambda: "traces don't arrive" in log.read_text(), ARRIVAL_S, "it says so")
        assert [buy_of(port) for _ in range(10)] == [201] * 9 + [409]
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("traces don't arrive") == 1
