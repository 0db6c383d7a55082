"""ops/nginx in front of the service, as a process on loopback: the files that docker-compose.scale.yml mounts.

A service that a test makes up counts what reaches it, so that a POST that is sent twice is seen. What must stay true:
only ports, folders and, in one test, one time limit differ from the files.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers import HOST, ROOT, free_port, wait_until
from tests.service import Reply, Service
from ticketing.api.bodies import BODY_MAX_BYTES
from ticketing.api.problems import MEDIA_TYPE, of_status

FOLDER = ROOT / "ops" / "nginx"
DEADLINE_S = 20
PROBLEM = {"too large": of_status(413), "away": of_status(503)}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
OTHER_CLIENT = "127.0.0.2"


def binary() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("no nginx here (Debian, Ubuntu: apt-get install nginx-light)")
    return found


@dataclass
class Host:
    """A service that a test makes up: answers, dies or hangs with a request in its hands, and remembers each."""

    what: Callable[[int], str] = lambda _: "answer"  # of a request, by how many came before it
    seen: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> "Host":
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while request := _read(connection):
                what = self.what(len(self.seen))
                self.seen.append(request)
                if what == "answer":
                    connection.sendall(ANSWER)
                elif what == "die":
                    return
                else:
                    connection.recv(1)  # until the other side gives up


def _read(connection: socket.socket) -> bytes:
    """One request; nothing where none came."""
    read = b""
    while b"\r\n\r\n" not in read:
        if not (more := connection.recv(65_536)):
            return b""
        read += more
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(found[1]) if (found := LENGTH.search(head)) else 0
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def header(request: bytes, name: str) -> str | None:
    for line in request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        its_name, _, value = line.partition(": ")
        if its_name.lower() == name.lower():
            return value
    return None


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    port: int

    def request(self, method: str, path: str, body: bytes = b"", *, source: str = HOST, **headers: str) -> Reply:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=DEADLINE_S, source_address=(source, 0))
        with closing(connection):
            connection.request(method, path, body or None, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())


@contextmanager
def proxy(folder: Path, ports: Sequence[int], **changed: str) -> Iterator[Proxy]:
    """nginx with the project's files, in front of hosts on these ports. `changed`: directives of service.conf."""
    folder = folder / "nginx"
    folder.mkdir()
    port = free_port()
    service = (FOLDER / "service.conf").read_text()
    for name, value in changed.items():
        service, count = re.subn(rf"(?m)^{name} [^;]+;", f"{name} {value};", service)
        assert count == 1, name
    (folder / "service.conf").write_text(service)
    text = (FOLDER / "nginx.conf").read_text()
    servers = "".join(f"server {HOST}:{one} fail_timeout=5s;\n" for one in ports)
    text, count = re.subn(r"( *server app\S*:3049 [^;]+;\n)+", servers, text)
    assert count == 1
    text = text.replace("/tmp/", f"{folder}/").replace("listen 8080", f"listen {HOST}:{port}")
    text = text.replace("worker_processes auto", "worker_processes 1").replace("/dev/stderr crit", "stderr warn")
    # Started by root, its worker would be nobody, who can't write into a folder of this test.
    (folder / "nginx.conf").write_text(("user root;\n" if os.geteuid() == 0 else "") + text)
    log = folder / "log"
    with log.open("wb") as output:
        words = [binary(), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr", "-g", "daemon off;"]
        process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), DEADLINE_S, f"nginx listens, see {log}")
        assert process.poll() is None, log.read_text()
        yield Proxy(port)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    binary()
    with ExitStack() as stack:
        yield stack


def test_connections_to_a_host_are_kept_and_say_whom_a_request_is_from(stack: ExitStack, tmp_path: Path) -> None:
    host = stack.enter_context(Host())
    front = stack.enter_context(proxy(tmp_path, [host.port]))
    for number in range(20):
        headers = {"Host": "tickets.example:8443", "X_Forwarded_For": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
        body = json.dumps({"quantity": number}).encode()
        assert front.request("POST", "/buy/1?a=%20b", body, source=OTHER_CLIENT, Proxy="evil", **headers).status == 200
    assert (host.connections, len(host.seen)) == (1, 20)
    [last, *_] = host.seen[::-1]
    assert last.startswith(b"POST /buy/1?a=%20b HTTP/1.1\r\n")
    assert last.endswith(b'\r\n\r\n{"quantity": 19}')
    wanted = {
        "Host": "tickets.example:8443",
        "X-Forwarded-For": f"6.6.6.6, {OTHER_CLIENT}",
        "X-Forwarded-Proto": "http",
    }
    assert {name: header(last, name) for name in wanted} == wanted
    assert [name for name in ("Proxy", "Forwarded", "Connection") if header(last, name) is not None] == []


def test_a_body_that_is_too_large_reaches_no_host(stack: ExitStack, tmp_path: Path) -> None:
    host = stack.enter_context(Host())
    front = stack.enter_context(proxy(tmp_path, [host.port]))
    assert front.request("POST", "/buy/1", b"x" * BODY_MAX_BYTES).status == 200
    refused = front.request("POST", "/buy/1", b"x" * (BODY_MAX_BYTES + 1))
    assert (refused.status, refused.headers["Content-Type"]) == (413, MEDIA_TYPE)
    assert refused.json() == json.loads(PROBLEM["too large"].body())
    assert len(host.seen) == 1


def test_a_host_is_asked_once_the_body_is_whole(stack: ExitStack, tmp_path: Path) -> None:
    host = stack.enter_context(Host())
    front = stack.enter_context(proxy(tmp_path, [host.port]))
    with socket.create_connection((HOST, front.port)) as slow:
        slow.sendall(b"POST /buy/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        assert front.request("GET", "/events").status == 200  # it had time to hand the half on
        assert [request.partition(b" ")[0] for request in host.seen] == [b"GET"]
        slow.sendall(b"67890")
        assert slow.recv(64).startswith(b"HTTP/1.1 200")
    assert host.seen[-1].endswith(b"\r\n\r\n1234567890")


def is_away(reply: Reply) -> bool:
    """Told by nginx itself: try again, under the same key."""
    problem = json.loads(PROBLEM["away"].body())
    told = {name: value for name, value in reply.json().items() if name != "detail"}
    assert told == {name: value for name, value in problem.items() if name != "detail"}
    assert "Idempotency-Key" in reply.json()["detail"]
    headers = [reply.headers.get(name) for name in ("Retry-After", "Cache-Control", "Content-Type")]
    assert headers == ["1", "no-store", MEDIA_TYPE]
    return reply.status == 503


@pytest.mark.parametrize("before", [0, 1], ids=["new", "kept"])
def test_a_purchase_is_never_sent_to_a_second_host(stack: ExitStack, tmp_path: Path, before: int) -> None:
    """A host dies with a purchase in its hands, on a connection that is new, or that was used before."""
    dying = [stack.enter_context(Host(lambda count: "answer" if count < before else "die")) for _ in range(2)]
    front = stack.enter_context(proxy(tmp_path, [host.port for host in dying]))
    for _ in range(2 * before):
        assert front.request("POST", "/buy/1", b"{}").status == 200
    assert [len(host.seen) for host in dying] == [before, before]
    assert is_away(front.request("POST", "/buy/1", b"{}", Idempotency_Key="a-key-of-sixteen"))
    assert sum(len(host.seen) for host in dying) == 2 * before + 1


def test_what_only_reads_is_asked_of_the_other_host(stack: ExitStack, tmp_path: Path) -> None:
    """So the test above proves something: the same death, and a GET is answered."""
    dying, well = stack.enter_context(Host(lambda _: "die")), stack.enter_context(Host())
    front = stack.enter_context(proxy(tmp_path, [dying.port, well.port]))
    assert {front.request("GET", "/events").status for _ in range(2)} == {200}
    assert (len(dying.seen), len(well.seen)) == (1, 2)


def test_a_purchase_goes_to_the_host_that_can_be_reached(stack: ExitStack, tmp_path: Path) -> None:
    """Nothing was sent to the other, so nothing can be bought twice."""
    well = stack.enter_context(Host())
    front = stack.enter_context(proxy(tmp_path, [free_port(), well.port]))
    assert {front.request("POST", "/buy/1", b"{}").status for _ in range(4)} == {200}
    assert len(well.seen) == 4


def test_a_host_that_hangs_is_given_up_and_a_purchase_stays_with_it(stack: ExitStack, tmp_path: Path) -> None:
    hanging = [stack.enter_context(Host(lambda _: "hang")) for _ in range(2)]
    front = stack.enter_context(proxy(tmp_path, [host.port for host in hanging], proxy_read_timeout="1s"))
    assert is_away(front.request("POST", "/buy/1", b"{}"))
    assert sum(len(host.seen) for host in hanging) == 1


def test_a_host_s_numbers_are_not_shown_to_strangers(stack: ExitStack, tmp_path: Path) -> None:
    host = stack.enter_context(Host())
    front = stack.enter_context(proxy(tmp_path, [host.port]))
    assert front.request("GET", "/metrics").status == 404
    assert host.seen == []


def test_the_service_sells_behind_it_and_knows_its_clients(stack: ExitStack, tmp_path: Path) -> None:
    limits = {"RATE_LIMIT_PER_S": 0.001, "RATE_LIMIT_BURST": 2, "FORWARDED_ALLOW_IPS": "*", "WEB_WORKERS": 1}
    service = Service(tmp_path, **limits)
    stack.callback(service.stop)
    service.start()
    service.seed({"rock": 10})
    front = stack.enter_context(proxy(tmp_path, [service.port]))
    bought = front.request("POST", "/buy/rock", b'{"quantity":1}', Content_Type="application/json")
    assert (bought.status, bought.json()["status"]) == (201, "sold")
    assert {"X-Request-ID", "Location"} <= set(bought.headers)
    service.wait_for_receipts([bought.json()["purchase_id"]], DEADLINE_S)
    assert front.request("GET", bought.headers["Location"]).body.startswith(b"%PDF-")
    unknown = front.request("GET", "/tickets/rock.0000")
    assert (unknown.status, unknown.headers["Content-Type"]) == (404, MEDIA_TYPE)
    forged = [front.request("POST", "/buy/rock", X_Forwarded_For=f"8.8.8.{number}").status for number in range(3)]
    assert forged == [201, 429, 429]
    assert front.request("POST", "/buy/rock", source=OTHER_CLIENT).status == 201
    service.audit()
