"""The gunicorn worker with a short way for plain requests, at a fraction of what gunicorn's own costs.

What must stay true: an answer does not depend on the way that its request went. A plain request (plain.py) is read
whole and answered here; any other goes to gunicorn's handler with every byte that was read, and its connection stays
there. Nothing is refused here, and no rule of HTTP is applied twice. How a service starts and stops is gunicorn's.

gunicorn's hooks pre_request and post_request, its access log and wsgi.early_hints are not of the short way.
"""

import errno
import io
import os
from functools import partial
from types import SimpleNamespace
from typing import Any

import gevent
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.http.message import HeaderPolicy
from gunicorn.http.wsgi import base_environ

from ticketing.server.answer import Answer
from ticketing.server.connection import SWEEP_S, Connection, Deadlines, Replayed
from ticketing.server.plain import Environ, Reader, Schemes, schemes_of
from ticketing.server.worker import GRACE_S, ProblemWorker

REST_S = 2.0  # for the rest of a body; a slower one is gunicorn's handler's
SHARE = 8  # new connections taken at once: one for each so many that are open, and one
GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}


class _Door(StreamServer):
    """Takes new connections in proportion to those that are open.

    One at a time, a busy process would leave a crowd outside for seconds; all at once, it would take those that another
    process has the time for.
    """

    @property
    def max_accept(self) -> int:  # type: ignore[override]  # gevent reads it before each round of accepting
        return 1 + len(self.pool) // SHARE if self.pool else 1


class ExpressWorker(ProblemWorker):
    """gunicorn's gevent worker with our problems and stops, and the short way."""

    alive: bool

    def run(self) -> None:
        """Serve until told to stop."""
        cfg = self.cfg
        self._deadlines = Deadlines()
        self._short = _has_short_way(cfg)
        self._idle_s = float(cfg.keepalive)  # each look at gunicorn's settings is a search
        self._reader = Reader(
            line_max=cfg.limit_request_line,
            field_max=cfg.limit_request_field_size,
            fields_max=cfg.limit_request_fields,
        )
        self._template: Environ = base_environ(cfg) | {
            "SCRIPT_NAME": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.multithread": True,
            "wsgi.url_scheme": "http",
        }
        self.server_class = self._open_door  # gunicorn's place for another server
        sweeping = gevent.spawn(self._sweep)
        try:
            super().run()
        finally:
            sweeping.kill()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection to its end."""
        if not (self._short and isinstance(addr, tuple)):
            super().handle(listener, client, addr)
            return
        connection = Connection(client, self._deadlines)
        unread = b""
        try:
            unread = self._serve(connection, self._shared(listener, client, addr), self._schemes(addr))
        except gevent.GreenletExit:
            pass  # a stop did not wait any longer
        except OSError as error:
            if error.errno not in GONE:
                self.log.exception("Socket error processing request.")
        finally:
            connection.leave()
            if not unread:
                util.close(client)
        if unread:
            super().handle(listener, Replayed(client, unread), addr)

    def _serve(self, connection: Connection, template: Environ, schemes: Schemes) -> bytes:
        """Answers plain requests. The first bytes of one that is not; nothing where the connection is over."""
        data = b""
        while True:
            if data:
                connection.give_way()  # a client that sends many requests at once is no reason for others to wait
            else:
                data = connection.receive_first(self._idle_s if self.alive else GRACE_S)
                if not data:
                    return b""
            read = self._reader.read(data, template, schemes)
            if read is None:
                return data
            environ, begins, ends, closes = read
            if len(data) < ends:
                data = connection.receive_rest(data, ends, REST_S)
                if len(data) < ends:
                    return data
            environ["wsgi.input"] = io.BytesIO(data[begins:ends])
            data = data[ends:]
            if not self._answer(connection, environ, closes):
                return b""

    def _answer(self, connection: Connection, environ: Environ, closes: bool) -> bool:
        """Whether the connection goes on."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        answer = Answer(connection.send, self, head_only=environ["REQUEST_METHOD"] == "HEAD", closes=closes)
        try:
            blocks = self.wsgi(environ, answer)
            try:
                for block in blocks:
                    answer.write(block)
                answer.finish()
            finally:
                if hasattr(blocks, "close"):
                    blocks.close()
        except OSError:
            raise
        except (Exception, SystemExit) as error:
            self._fail(environ, answer, error)
            return False
        return not answer.closes

    def _fail(self, environ: Environ, answer: Answer, error: BaseException) -> None:
        """A problem, where nothing of the answer has left yet: nothing could be taken back."""
        if answer.begun:
            self.log.exception("Error handling request")
            return
        client, addr = environ["gunicorn.socket"], (environ["REMOTE_ADDR"], environ["REMOTE_PORT"])
        client.setblocking(1)
        self.handle_error(_request(environ), client, addr, error)

    def _shared(self, listener: Any, client: Any, addr: Any) -> Environ:
        """What the environs of a connection's requests have in common."""
        name, port = listener.getsockname()[:2]
        return self._template | {
            "REMOTE_ADDR": addr[0],
            "REMOTE_PORT": str(addr[1]),
            "SERVER_NAME": name,
            "SERVER_PORT": str(port),
            "gunicorn.socket": client,
        }

    def _schemes(self, addr: Any) -> Schemes:
        """The headers by which this peer may say https: those of gunicorn's settings, if gunicorn trusts it."""
        policy = HeaderPolicy()
        policy.cfg, policy.peer_addr = self.cfg, addr
        believed, _ = policy._peer_trusted_for_forwarded()
        return schemes_of(believed)

    def _open_door(self, listener: Any, *, spawn: Any, **options: Any) -> StreamServer:
        ssl = {name: value for name, value in options.items() if name == "ssl_context"}
        return _Door(listener, handle=partial(self.handle, listener), spawn=spawn, **ssl)

    def _sweep(self) -> None:
        while True:
            gevent.sleep(SWEEP_S)
            self._deadlines.sweep()
            if not self.alive:
                self._deadlines.end_idle(GRACE_S)


def _has_short_way(cfg: Any) -> bool:
    """Whether what the short way leaves out is not asked for."""
    return not (
        cfg.is_ssl
        or cfg.accesslog
        or cfg.keepalive <= 0
        or cfg.protocol != "http"
        or cfg.proxy_protocol != "off"
        or os.environ.get("SCRIPT_NAME")
    )


def _request(environ: Environ) -> SimpleNamespace:
    """What gunicorn wants to know of a request that failed."""
    return SimpleNamespace(
        method=environ["REQUEST_METHOD"],
        uri=environ["RAW_URI"],
        query=environ["QUERY_STRING"],
        body=environ["wsgi.input"],
        version=(1, 1),
        headers=[],
    )
