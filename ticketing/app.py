"""Where the parts meet: `create_app` puts them together, and knows no rule of any of them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flask import Flask, Response, g, request
from loguru import logger
from prometheus_client import CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics
from werkzeug.exceptions import HTTPException, NotFound

import ticketing.store  # noqa: F401 - first of all that imports redis-py, see there
from ticketing.api import (
    admin,
    bodies,
    contract,
    events,
    health,
    live,
    metrics,
    pages,
    paths,
    problems,
    purchases,
    receipts,
)
from ticketing.api.answers import ON_EVERY_ANSWER, REQUEST_ID_HEADER, request_id_of
from ticketing.api.express_lane import ExpressLane
from ticketing.api.rate_limit import RateLimit, TrustedProxies
from ticketing.api.sessions import Sessions
from ticketing.config import Settings
from ticketing.errors import StoreError, TicketingError
from ticketing.operations import Operations
from ticketing.outage.breaker import Breaker
from ticketing.outage.heirs import HeirParts
from ticketing.outage.holder import Tally
from ticketing.outage.journal import Journal
from ticketing.outage.keeper import Keeper, KeeperParts
from ticketing.outage.lookback import Answered
from ticketing.outage.reserve import ReserveSize
from ticketing.outage.ring import REMEMBERED_MOST, Ring
from ticketing.receipts.nearby import NearbyQueue
from ticketing.receipts.opening import storage_of
from ticketing.receipts.outbox import Dispatcher, JobQueue, deleting
from ticketing.receipts.status import ReceiptDesk
from ticketing.receipts.storage import Offload, directly
from ticketing.sale.batch import BatchReport, SaleDesk
from ticketing.sale.batch_log import BatchLog
from ticketing.sale.catalogue import Catalogue
from ticketing.sale.counter import Counter
from ticketing.sale.identity import Identity
from ticketing.sale.sold_out import SoldOutMemory
from ticketing.sale.till import Till
from ticketing.store import durability
from ticketing.store.connection import GuardedStore, Store, StoreClock
from ticketing.store.events import EventStore
from ticketing.store.hosts import HostStore
from ticketing.store.leases import LeaseStore, Settled
from ticketing.store.opening import queue_client_of, store_of
from ticketing.store.outbox import OutboxStore
from ticketing.store.put_back import PutBackStore, holds
from ticketing.store.queue import QueueClient, ReceiptQueue
from ticketing.store.sale import SaleStore, Versions, standing
from ticketing.telemetry.answer_counts import AnswerCounts
from ticketing.telemetry.faults import Faults
from ticketing.telemetry.metrics import Exposition, SaleMetrics
from ticketing.telemetry.pulse import Pulse
from ticketing.telemetry.summary import Summary

if TYPE_CHECKING:  # OpenTelemetry is imported only where traces are on
    from ticketing.telemetry.web_traces import WebTraces

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Stores(NamedTuple):
    """One store, over connections of their own for each use."""

    reading: Store
    selling: Store  # the sale alone, so that readers of a slow store keep no buyer waiting
    keeping: Store  # the keeper's, who asks in an outage too, and a store that nobody may sell from

    def judge_by(self, answered: Answered) -> None:
        """No connection sells before the server at its end was seen to hold what this process was answered last."""
        if self.selling is not self.keeping:
            self.selling.judge_connections(lambda ask: holds(ask, answered.at_stake()))
            self.selling.sell_behind(self.keeping)


class Service:
    """One web process: its parts, started after the fork and stopped before the exit."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        queue_client: QueueClient,
        offload: Offload,
        journal_offload: Offload | None = None,
        receipts_offload: Offload | None = None,
    ) -> None:
        """`offload` runs what would keep a hub waiting.

        `journal_offload` does so for what waits for the journal's disk, `receipts_offload` for what waits for a bucket.
        """
        self.registry = registry = CollectorRegistry()
        versions = Versions()
        self.settings = settings
        self.metrics = SaleMetrics(registry)
        self.counts = AnswerCounts(self.metrics)
        self.breaker = Breaker(self._on_outage, stores.selling.nodes_away)
        self.probe = stores.keeping
        self._stores = stores
        self.store = store = GuardedStore(stores.reading, lambda: self.breaker.is_open)
        self.queue = ReceiptQueue(queue_client, job_timeout_s=settings.receipt_job_timeout_s)
        self.identity = Identity(settings.id_secret)
        self.sales = SaleStore(
            GuardedStore(stores.selling, lambda: self.breaker.is_open),
            versions,
            StoreClock(),
            timeout_ms=int(settings.store_timeout_s * 1000),
            due_ms=settings.receipt_due_ms,
        )
        self.events = EventStore(store, versions)
        self.outbox = OutboxStore(store, tries=settings.receipt_tries, retry_base_ms=settings.receipt_retry_base_ms)
        self.catalogue = Catalogue(self.events)
        self.files = storage_of(settings, receipts_offload or offload)
        self.exposition = Exposition(registry, settings.metrics_dirs, self.counts.hand_over)
        self.dispatcher = self._dispatcher_to(self.queue)
        self.again = self.dispatcher if settings.receipts_url else self._nearby_dispatcher(queue_client)
        answered = Answered(Ring(REMEMBERED_MOST))
        stores.judge_by(answered)
        self.keeper = self._make_keeper(versions, answered, journal_offload or offload)
        self.desk = SaleDesk(
            self.sales,
            batch_max=settings.batch_max,
            pace_ms=settings.batch_pace_ms,
            on_round_trip=lambda reports: self._on_round_trip(reports),  # noqa: PLW0108 - tracing wraps it later
            on_failure=self.keeper.failed,
        )
        sold_out = SoldOutMemory(settings.sold_out_memory_ms)
        self.till = Till(self.desk, self.keeper, answered)
        self.counter = Counter(self.identity, self.catalogue, self.till, self.keeper, sold_out)
        self.receipts = ReceiptDesk(
            self.identity,
            self.files,
            partial(standing, store),
            self.outbox,
            self.again.add,
            settings.receipt_due_ms,
        )
        self.operations = Operations(store, self.events, self.outbox, self.queue, self.files, self.exposition, offload)
        self.proxies = TrustedProxies(settings.forwarded_allow_ips)
        self.rate_limit = _rate_limit(settings, self.proxies)
        self.purchases = purchases.Purchases(
            self.counter, self.receipts, self.counts, self.rate_limit, says_all=settings.log_level == "DEBUG"
        )
        self.health = health.Health(self.catalogue, self.queue, lambda: durability.promises(store), self.keeper)
        self.summary = Summary(self.exposition, self.catalogue.states, settings.run_dir / "summary.lock")
        self.pulse = Pulse(self.exposition, self.catalogue.states, lambda: self.catalogue.store_up)
        self.live = live.Live(
            self.pulse, self.catalogue, self.health, Faults(settings.faults_file), live.links(settings)
        )
        self._batch_log = BatchLog()

    def start(self) -> None:
        """Everything is set up before the first request: setting up lazily is a race under gevent."""
        self.settings.run_dir.mkdir(parents=True, exist_ok=True)
        self.keeper.start()
        self.desk.start()
        self.dispatcher.start()
        self.again.start()
        self.counts.start()
        self.summary.start()
        self.pulse.start()
        self._warn_of_weak_store()

    def stop(self) -> None:
        """What was begun is finished, as far as the store answers."""
        self.summary.stop()
        self.pulse.stop()
        self.desk.stop()
        self.counts.stop()
        self.keeper.stop(GIVE_BACK_S)
        self.dispatcher.stop()
        self.again.stop()
        left = [f"{count} {name}" for name, count in asdict(self.keeper.tally()).items() if count]
        logger.info("web process ends; left to do: {}", ", ".join(left).replace("_", " ") or "nothing")

    def trace(self, traces: "WebTraces") -> None:
        """Each sale is traced from now on. Called before `start`, and only where traces are on."""
        self.till.ask = traces.asking(self.till.ask)  # type: ignore[assignment, method-assign]
        self.sales.purchase = traces.taking(self.sales.purchase)  # type: ignore[assignment, method-assign]
        self._on_round_trip = traces.reporting(self._on_round_trip)  # type: ignore[assignment, method-assign]
        self.queue.carried = traces.carried

    def _nearby_dispatcher(self, client: QueueClient) -> Dispatcher:
        """Of receipts that are drawn again: whoever asked here can get them from here alone."""
        timeout_s = self.settings.receipt_job_timeout_s
        named = lambda name: ReceiptQueue(client, job_timeout_s=timeout_s, name=name)  # noqa: E731 - it is a part
        return self._dispatcher_to(NearbyQueue(self.settings.receipts_dir, self.queue, named))

    def _dispatcher_to(self, queue: JobQueue) -> Dispatcher:
        settings = self.settings
        return Dispatcher(queue, collect_ms=settings.receipt_collect_ms, job_size=settings.receipt_job_size)

    def _make_keeper(self, versions: Versions, answered: Answered, offload: Offload) -> Keeper:
        settings, fingerprint = self.settings, self.identity.secret_fingerprint
        parts = HeirParts(
            leases=LeaseStore(self.probe, versions, due_ms=settings.receipt_due_ms),
            sales=self.sales,
            versions=versions,
            states=self.catalogue.states,
            on_settled=self._on_settled,
            on_voided=deleting(self.files),
            offload=offload,
            open_journal=partial(Journal, fsync=settings.journal_fsync),
            hosts=HostStore(self.probe),
            ring=answered.ring,
            afresh=self._forget_connections,
        )
        keeping = KeeperParts(
            parts,
            self.breaker,
            lambda: self.sales.greet(fingerprint, self.probe),
            fingerprint,
            answered,
            self.identity.fingerprints_of(settings.admin_token, settings.signing_key),
            PutBackStore(self.probe, versions, due_ms=settings.receipt_due_ms),
        )
        size = ReserveSize(settings.reserve_tickets, settings.reserve_per_mille, settings.reserve_low_water)
        return Keeper(keeping, settings.journal_dir, size, self._on_round)

    def _warn_of_weak_store(self) -> None:
        try:
            self.catalogue.states()
        except TicketingError as error:
            logger.warning("nothing can be sold yet: {}", error)
            return
        policy = durability.fsync_policy(self.store)
        if policy != durability.SAFE:
            logger.warning("the store's fsync policy is {}: acknowledged purchases can be lost with it", policy)
        if durability.failover(self.store) is durability.Failover.UNSAFE:
            logger.warning("a failover of the store can lose acknowledged purchases: see REPLICAS_TO_CONFIRM")

    def _forget_connections(self) -> None:
        for store in self._stores:
            store.forget_all()

    def _on_outage(self) -> None:
        for store in self._stores:
            store.forget_idle()
        self.metrics.outages.inc()
        self.metrics.outage.set(1)

    def _on_settled(self, event_id: str, written: list[str], outcomes: list[Settled]) -> None:
        self.dispatcher.add(event_id, written)
        for outcome in outcomes:
            self.metrics.settled[outcome].inc()

    def _on_round(self, tally: Tally) -> None:
        if self._stores.selling.nodes_away():  # tried again also while nobody buys
            with suppress(StoreError):
                self._stores.selling.ping()
        self.metrics.outage.set(self.breaker.is_felt)
        self.metrics.reserve.set(tally.reserve_tickets)
        self.metrics.unsettled.set(tally.unsettled + tally.parked)
        self.metrics.parked.set(tally.parked)
        self.metrics.copied.set(self.keeper.is_copied)
        self.metrics.voids.set(tally.voids)

    def _on_round_trip(self, reports: Sequence[BatchReport]) -> None:
        for report in reports:
            self.dispatcher.add(report.event_id, report.sold_ids)
            self.counts.taken_to_store(report.purchases, report.seconds)
        self._batch_log.tell(reports)


SELLING_CONNECTIONS = 3  # one batch at a time, and the keeper's voids
KEEPER_CONNECTIONS = 2
GIVE_BACK_S = 2.0  # of what the master waits for a worker that stops


def _rate_limit(settings: Settings, proxies: TrustedProxies) -> RateLimit | None:
    if not settings.rate_limit_per_s:
        return None
    return RateLimit(settings.rate_limit_per_s, settings.rate_limit_burst, proxies, settings.id_secret.encode())


def create_app(
    settings: Settings,
    *,
    store: Store | None = None,
    queue_client: QueueClient | None = None,
    offload: Offload = directly,
    journal_offload: Offload | None = None,
    receipts_offload: Offload | None = None,
) -> Flask:
    """The Flask application; its parts are in `app.extensions["ticketing"]`, to be started after the fork.

    Connects to nothing. `offload` runs what would keep a gevent hub waiting.
    """
    stores = Stores(
        store or store_of(settings, connections=settings.store_connections),
        store or store_of(settings, connections=SELLING_CONNECTIONS),
        store or store_of(settings, connections=KEEPER_CONNECTIONS),
    )
    queue_client = queue_client or queue_client_of(settings)
    service = Service(settings, stores, queue_client, offload, journal_offload, receipts_offload)
    app = Flask("ticketing", static_folder="api/static", root_path=str(Path(__file__).parent))
    app.config.update(MAX_CONTENT_LENGTH=bodies.BODY_MAX_BYTES + 1, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.url_map.merge_slashes = False
    app.url_map.converters["text"] = paths.Text
    app.extensions["ticketing"] = service
    _answer_errors(app)
    _name_requests(app)
    _add_routes(app, service)
    app.wsgi_app = ExpressLane(service.purchases, app.wsgi_app)  # type: ignore[method-assign]  # Flask's documented way
    return app


def _add_routes(app: Flask, service: Service) -> None:
    files = pages.Pages()
    app.register_blueprint(purchases.blueprint(service.purchases))
    app.register_blueprint(receipts.blueprint(service.receipts, service.settings.receipts_redirect_s))
    app.register_blueprint(events.blueprint(service.catalogue))
    app.register_blueprint(health.blueprint(service.health))
    app.register_blueprint(
        metrics.blueprint(service.exposition, service.catalogue, lambda: service.keeper.halted_events)
    )
    token = service.settings.admin_token
    sessions = Sessions(service.settings.id_secret, token)
    app.register_blueprint(admin.blueprint(service.operations, token, sessions))
    admin.add_dashboard(app, service.queue.client, token, sessions)
    app.register_blueprint(live.blueprint(service.live, files, token, sessions, service.proxies))
    app.register_blueprint(contract.blueprint())
    app.register_blueprint(pages.blueprint(files, contract.index))
    # /buy is left out: our own counters serve both of its routes. By rule, since a raw path would be a label's value.
    PrometheusMetrics(app, path=None, registry=service.registry, group_by="url_rule", excluded_paths=["^/buy/"])


def _answer_errors(app: Flask) -> None:
    def of_ours(error: TicketingError) -> Response:
        return problems.respond(problems.of_error(error))

    def of_http(error: HTTPException) -> Response:
        kept = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
        return problems.respond(problems.of_status(error.code or 500, kept))

    def of_bug(error: Exception) -> Response:
        return problems.respond(problems.of_bug(error, request.method, request.url_rule, g.request_id))

    app.register_error_handler(TicketingError, of_ours)
    app.register_error_handler(HTTPException, of_http)
    app.register_error_handler(Exception, of_bug)


def _name_requests(app: Flask) -> None:
    @app.before_request
    def name() -> None:
        g.request_id = request_id_of(request.headers.get(REQUEST_ID_HEADER, ""))
        if request.method not in METHODS:  # a label of the exporter, which must not grow with what strangers make up
            request.method = "OTHER"
        if request.environ["PATH_INFO"].startswith("//"):  # werkzeug takes it for one slash, as no other part does
            raise NotFound

    @app.after_request
    def tell(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.request_id
        for name, value in ON_EVERY_ANSWER.items():
            response.headers.setdefault(name, value)
        return response
