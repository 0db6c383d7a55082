"""An OTLP receiver as a collector is one: takes spans over HTTP as protobuf, or takes connections and never answers.

What must stay true: it listens on loopback alone; what was received is what really came over the network.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.servers import HOST

PROTOBUF = "application/x-protobuf"
ERROR = 2  # STATUS_CODE_ERROR of the protocol


@dataclass(frozen=True)
class Span:
    """One span as it was received; ids in hex."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: list[tuple[str, str]]  # trace id and span id
    attributes: dict[str, Any]
    failed: bool
    began_ns: int
    ended_ns: int

    @property
    def place(self) -> tuple[str, str]:
        return self.trace_id, self.span_id


@dataclass
class SpanReceiver:
    """What has arrived. With `hangs` every post is taken and none is answered."""

    port: int
    hangs: bool = False
    posts: int = 0
    spans: list[Span] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def named(self, name: str) -> list[Span]:
        return [span for span in list(self.spans) if span.name == name]

    def take(self, body: bytes) -> None:
        self.texts.append(body)
        self.spans += _spans_of(ExportTraceServiceRequest.FromString(body))


@contextmanager
def span_receiver(*, hangs: bool = False) -> Iterator[SpanReceiver]:
    """A running receiver."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.posts += 1
            if receiver.hangs:
                receiver.over.wait(120)
                self.close_connection = True
                return
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", PROTOBUF)
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", PROTOBUF)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    receiver = SpanReceiver(server.server_address[1], hangs)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        [service] = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
                    span.status.code == ERROR,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                )
