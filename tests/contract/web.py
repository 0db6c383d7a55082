"""How the contract suite asks: the app itself, or one of gunicorn's workers in this process, over TCP.

What must stay true: what goes to a worker goes as bytes, by the settings of gunicorn.conf.py, and nothing comes back
but the answers. What HTTP can't carry is not sent as something else: such a test is marked `asked("direct")`.
"""

import io
import logging
import os
import runpy
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any, Protocol

import gevent
import pytest
from flask import Flask
from flask.testing import EnvironBuilder
from gevent import socket
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.sock import TCPSocket
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse
from werkzeug.urls import iri_to_uri

from tests.servers import HOST, ROOT
from ticketing import config
from ticketing.config import Settings

OPEN_FILES = 4096  # both ends of each connection are in this process
PATIENCE_S = 30.0  # nothing takes so long; a test that waited for it has failed
CHUNK = 10_000
OVERRIDES = {"CONTENT_LENGTH", "wsgi.input_terminated"}  # and any header
OF_THE_BODY = {"content-length": "CONTENT_LENGTH", "content-type": "CONTENT_TYPE"}


class Client(Protocol):
    """Asks one app."""

    def ask(self, method: str, path: str, **options: Any) -> TestResponse: ...

    def close(self) -> None: ...


class DirectClient:
    """Asks the app itself, through Flask's test client."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        # Without a jar of its own, which would take away a Cookie header.
        return self._app.test_client(use_cookies=False).open(path, method=method, **options)

    def close(self) -> None:
        pass


class WebServer:
    """A worker that serves, as the setting WEB_SERVER chooses it. It has no master, and patches nothing here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.complaints: list[str] = []
        cfg = _settings(name)
        log = _logger(cfg, self.complaints)
        listener = _listener(cfg, log)
        self.address = listener.getsockname()
        self.apps: dict[str, Flask] = {}  # by the port of the client that asks for it
        self.connections = 0
        self.worker = cfg.worker_class(0, os.getppid(), [listener], None, cfg.timeout, cfg, log)
        self.worker._waits = {}  # as init_process does, which patches the process
        self.worker.wsgi = self._serve
        self._running = gevent.spawn(self.worker.run)

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.apps[environ["REMOTE_PORT"]](environ, start_response)

    def stop(self) -> None:
        """The worker has ended by itself."""
        self.worker.alive = False
        self._running.get(timeout=PATIENCE_S)
        self.worker.tmp.close()


def _listener(cfg: Config, log: Logger) -> socket.socket:
    """Bound as gunicorn binds it, which sets what the connections inherit, and then gevent's."""
    bound = TCPSocket((HOST, 0), cfg, log)
    return socket.socket(bound.FAMILY, socket.SOCK_STREAM, fileno=bound.sock.detach())


def _settings(web_server: str) -> Config:
    """gunicorn's, as gunicorn reads them from gunicorn.conf.py."""
    with pytest.MonkeyPatch.context() as patch:
        ours = Settings(_env_file=None, web_server=web_server)
        patch.setattr(config, "load", lambda: ours)
        said = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    said["_allow_connections"](OPEN_FILES)
    made = Config()
    for name in said.keys() & made.settings.keys():
        made.set(name, said[name])
    return made


class _Complaints(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(self.format(record))


def _logger(cfg: Config, kept: list[str]) -> Logger:
    """gunicorn's, which keeps what it is told instead of printing it."""
    made = Logger(cfg)
    made.error_log = logging.Logger("gunicorn's", logging.WARNING)
    made.error_log.addHandler(_Complaints(kept))
    return made


class _Received(io.BufferedReader):
    """What came over one connection. It stays open: `HTTPResponse` closes what it has read one answer from."""

    def close(self) -> None:
        pass


class Connection:
    """A client's connection to a web server."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._received = _Received(self._socket.makefile("rb", buffering=0))
        self.port = str(self._socket.getsockname()[1])

    def makefile(self, _mode: str) -> io.BufferedReader:
        """For `HTTPResponse`, to which this is a socket."""
        return self._received

    def ask(self, request: bytes, method: str) -> HTTPResponse:
        """The head of the answer, whose body is still to be read."""
        self._socket.sendall(request)
        answer = HTTPResponse(self, method=method)  # type: ignore[arg-type]
        answer.begin()
        return answer

    def end(self) -> None:
        """Nothing came after the last answer, and the server has closed its end."""
        self._socket.shutdown(socket.SHUT_WR)
        rest = self._received.read()
        self._received.detach().close()
        self._socket.close()
        assert rest == b""


class WebClient:
    """Asks an app through a web server: each time over a connection that is free, or a new one."""

    def __init__(self, server: WebServer, app: Flask) -> None:
        self._server, self._app = server, app
        self._free: list[Connection] = []
        self._wrapper = app.test_client().response_wrapper

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        builder = EnvironBuilder(self._app, path, method=method, **options)
        data = b"".join(written(builder))
        with gevent.Timeout(PATIENCE_S):
            connection = self._free.pop() if self._free else self._connect()
            answer = connection.ask(data, method)
            body = answer.read()
            if answer.will_close:
                self._leave(connection)
            else:
                self._free.append(connection)
        status, headers = f"{answer.status} {answer.reason}", Headers(answer.getheaders())
        return self._wrapper([body], status, headers, request=builder.get_request())

    def close(self) -> None:
        with gevent.Timeout(PATIENCE_S):
            for connection in self._free:
                self._leave(connection)

    def _connect(self) -> Connection:
        connection = Connection(self._server.address)
        self._server.apps[connection.port] = self._app
        self._server.connections += 1
        return connection

    def _leave(self, connection: Connection) -> None:
        connection.end()
        del self._server.apps[connection.port]


def written(builder: EnvironBuilder) -> Iterator[bytes]:
    """The request that a server would make the builder's environ of."""
    environ = builder.get_environ()
    chunked = environ.get("HTTP_TRANSFER_ENCODING") == "chunked"
    body = environ["wsgi.input"].read()
    target = iri_to_uri(builder.request_uri)
    if environ["QUERY_STRING"] and "?" not in target:
        target += f"?{environ['QUERY_STRING']}"
    yield f"{environ['REQUEST_METHOD']} {target} HTTP/1.1\r\n".encode("latin-1")
    for name, value in _fields(builder, environ):
        if not (chunked and name == "content-length"):
            yield f"{name}: {value}\r\n".encode("latin-1")
    yield b"\r\n"
    yield b"".join(_in_chunks(body)) if chunked else body


def _fields(builder: EnvironBuilder, environ: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Host", environ["HTTP_HOST"]
    if environ["wsgi.url_scheme"] == "https":
        yield "X-Forwarded-Proto", "https"  # as the proxy before it says
    for name, value in builder.headers.to_wsgi_list():
        if name.lower() not in OF_THE_BODY:
            yield name, value
    for name, key in OF_THE_BODY.items():
        if key in environ:
            yield name, environ[key]
    for key, value in {**(builder.environ_base or {}), **(builder.environ_overrides or {})}.items():
        if key.startswith("HTTP_"):
            yield key.removeprefix("HTTP_").replace("_", "-").title(), value
        else:
            assert key in OVERRIDES, f"{key} does not go over HTTP: mark it asked('direct')"


def _in_chunks(body: bytes) -> Iterator[bytes]:
    for begins in range(0, len(body), CHUNK):
        chunk = body[begins : begins + CHUNK]
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"
