"""gunicorn's settings, all taken from ticketing.config, and what each process does when it starts and ends.

What must stay true: no app is loaded in the master (the worker patches gevent first); every default that bites is
written out; the metrics' folder is set before a worker imports prometheus_client.
"""

import contextlib
import gc
import os
import resource
import sys
from typing import Any

from gevent import config as gevent_config
from loguru import logger

from ticketing.api.rate_limit import shared_table
from ticketing.config import FILES_BESIDE_CONNECTIONS, load
from ticketing.errors import SettingsError
from ticketing.telemetry import logs

WSGI = "ticketing.server.wsgi"
WORKERS = {
    "express": "ticketing.server.express_worker.ExpressWorker",
    "gevent": "ticketing.server.worker.ProblemWorker",
}

try:
    settings = load()
except SettingsError as error:
    sys.exit(str(error))
if "libuv" in gevent_config.loop.__module__:
    sys.exit("GEVENT_LOOP=libuv breaks answers from Redis: unset it, gevent's default (libev) is what was tested.")

_host = f"[{settings.host}]" if ":" in settings.host else settings.host
bind = f"{_host}:{settings.port}"
workers = settings.web_workers
worker_class = WORKERS[settings.web_server]
http_parser = "python"  # the default takes another parser as soon as a package that brings one is installed
worker_connections = settings.worker_connections
backlog = settings.backlog
keepalive = 75  # also how long a connection may be silent before its first request; the default of 2 s is too short
limit_request_line = 8190  # bytes, as openapi.yaml tells; the default is half of it
limit_request_fields = 100
limit_request_field_size = 8190
timeout = 30
graceful_timeout = settings.graceful_timeout_s
preload_app = False
control_socket_disable = True
forwarded_allow_ips = settings.forwarded_allow_ips
proc_name = f"ticketing:{settings.port}"
default_proc_name = proc_name
_clients = shared_table() if settings.rate_limit_per_s else None  # before the fork, so that all processes have it
accesslog = None  # the app counts its requests, and sums up the sale
errorlog = "-"
loglevel = "warning"


def on_starting(server: Any) -> None:
    """In the master, before anything is bound: logs, metrics and limits are as the workers will find them."""
    logs.set_up("web", settings.log_level, settings.log_format)
    server.log.error_log.handlers.clear()
    server.log.error_log.propagate = True  # to loguru, by way of the root logger
    web_metrics, _ = settings.metrics_dirs
    web_metrics.mkdir(parents=True, exist_ok=True)
    for counters in web_metrics.glob("*.db"):
        counters.unlink(missing_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(web_metrics)
    _allow_connections(settings.worker_connections + FILES_BESIDE_CONNECTIONS)


def when_ready(_server: Any) -> None:
    """In the master, once it listens."""
    logger.info("listening on http://{} with {} processes", bind, workers)


def post_worker_init(_worker: Any) -> None:
    """In a worker, before its first request."""
    gc.set_threshold(100_000, 50, 1_000)  # a request leaves no cycles; collecting after each 700 objects costs a tenth
    if wsgi := sys.modules.get(WSGI):  # absent where it could not be imported: with --reload gunicorn shows why
        wsgi.started(_clients)


def worker_exit(_server: Any, _worker: Any) -> None:
    """In a worker, after its last request; gunicorn calls it in the master too, for a worker that was gone already."""
    if wsgi := sys.modules.get(WSGI):
        wsgi.stopping()


def child_exit(_server: Any, worker: Any) -> None:
    """In the master, when a worker has ended: what it gauged is no longer so; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - reads the folder's name when imported

    mark_process_dead(worker.pid)


def _allow_connections(files: int) -> None:
    """Each connection is an open file; the usual soft limit is 1,024, on macOS 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < files:
        logger.warning("{} open files are allowed, {} would be needed for WORKER_CONNECTIONS", allowed, files)
