"""gunicorn's entry point: patches gevent, then imports and builds the app.

What must stay true: nothing of the service is imported before the patch, so that every lock and socket is gevent's.
This module is imported by web workers only, after the fork (gunicorn.conf.py never preloads).
"""

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402 - everything below must see the patched modules
from gevent.threadpool import ThreadPool  # noqa: E402

from ticketing import config  # noqa: E402
from ticketing.app import create_app  # noqa: E402
from ticketing.receipts.storage import Offload  # noqa: E402
from ticketing.telemetry import logs  # noqa: E402
from ticketing.telemetry.faults import Faults  # noqa: E402

RECEIPT_THREADS = 16
TRACES_END_S = 1.0  # of what the worker has for its exit
__all__ = ["app", "started", "stopping"]


def started(clients: "memoryview[float] | None" = None) -> None:
    """The app's parts run. Called once, before the first request; `clients` is what the rate limit shares."""
    service = app.extensions["ticketing"]
    if _traces is not None:
        app.wsgi_app = _traces.answering(app.wsgi_app)  # type: ignore[assignment, method-assign]  # Flask's documented way
        service.trace(_traces)
    if service.rate_limit is not None and clients is not None:
        service.rate_limit.share(clients)
    service.start()


def stopping() -> None:
    """What was begun is finished. Called once, after the last request."""
    app.extensions["ticketing"].stop()
    if _traces is not None:
        _traces.shut_down(TRACES_END_S)


_settings = config.load()
logs.set_up("web", _settings.log_level, _settings.log_format)
Faults(_settings.faults_file).keep()
_in_a_thread: Offload = gevent.get_hub().threadpool.apply  # a real one: the hub serves others meanwhile
# Name lookups share the hub's threads, and hang when the network is gone: the journal must not wait behind them.
_for_the_journal: Offload = ThreadPool(2).apply
# A bucket that does not answer must keep neither waiting.
_for_receipts: Offload = ThreadPool(RECEIPT_THREADS).apply if _settings.receipts_url else _in_a_thread
app = create_app(_settings, offload=_in_a_thread, journal_offload=_for_the_journal, receipts_offload=_for_receipts)
if _settings.otel_exporter_otlp_endpoint:
    from ticketing.telemetry import tracing, web_traces

    _traces: web_traces.WebTraces | None = web_traces.WebTraces(tracing.set_up(_settings, "web"))
else:
    _traces = None
