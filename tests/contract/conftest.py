"""The service on one store, spoken to as HTTP: on fakeredis and on a real server, and through each web server.

What must stay true: every answer that a test gets through `Api` was held against the contract, openapi.yaml; and a test
that runs through a web server did ask something there.
"""

import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import fakeredis
import gevent
import pytest
import redis
from loguru import logger
from werkzeug.test import TestResponse

from tests.contract import contract
from tests.contract.web import Client, DirectClient, WebClient, WebServer
from tests.servers import ID_SECRET
from ticketing.api import shared_look
from ticketing.app import create_app
from ticketing.config import Settings
from ticketing.model import Event, EventState
from ticketing.store import keys
from ticketing.store.cluster import ClusterStore
from ticketing.store.connection import Store
from ticketing.store.events import EventStore, create
from ticketing.store.queue import open_client
from ticketing.store.sale import Versions

ADMIN_TOKEN = "an admin token=with an equals sign"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
PDF = b"%PDF-1.7\na receipt\n%%EOF\n"
WEB_SERVERS = get_args(Settings.model_fields["web_server"].annotation)
STARTS_AT_MS = 1_800_000_000_000


def new_key() -> str:
    return str(uuid.uuid4())


def basic(password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'admin:{password}'.encode()).decode()}"}


def problem_of(answer: TestResponse) -> tuple[int, str]:
    """Status and type of a problem, whose form was checked by then."""
    assert answer.mimetype == "application/problem+json", answer.data
    told = answer.get_json(force=True)
    assert told["status"] == answer.status_code
    assert told["title"]
    assert told["detail"]
    return answer.status_code, told["type"].removeprefix("/problems/")


class Api:
    """A running service and its caller."""

    def __init__(self, settings: Settings, store: Store, queue: redis.Redis, web_server: WebServer | None) -> None:
        self.app = create_app(settings, store=store, queue_client=queue)
        self.client: Client = DirectClient(self.app) if web_server is None else WebClient(web_server, self.app)
        self.service = self.app.extensions["ticketing"]
        # What is a second old would make every test wait a second. Its age has a test of its own.
        self.service.catalogue._fresh_s = 0.0
        self.store = store
        self.events = EventStore(store, Versions())

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """The answer to a request, held against the contract."""
        gevent.sleep(0)  # the greenlets of the service have their turn
        answer = self.client.ask(method, path, **options)
        contract.check(method, path, answer)
        return answer

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.call("POST", path, **options)

    def admin(self, method: str, path: str, **options: Any) -> TestResponse:
        return self.call(method, path, headers=ADMIN | options.pop("headers", {}), **options)

    def buy(self, event_id: str = "1", body: Any = None, key: str | None = None) -> TestResponse:
        headers = {} if key is None else {"Idempotency-Key": key}
        sent = {} if body is None else {"json": body}
        return self.post(f"/buy/{event_id}", headers=headers, **sent)

    def bought(self, event_id: str = "1", body: Any = None, key: str | None = None) -> dict[str, Any]:
        """The purchase, which was sold now."""
        answer = self.buy(event_id, body, key)
        assert answer.status_code == 201, answer.data
        return answer.get_json()

    def open_event(self, event_id: str = "1", tickets: int = 10, planned: int | None = None, **said: Any) -> str:
        """An event with tickets, on sale where all that were planned are issued; its seed."""
        description = {"name": "Gala", "venue": "Hall", "timezone": "Europe/London"} | said
        event = Event(event_id, starts_at_ms=STARTS_AT_MS, price_amount="45.00", price_currency="GBP", **description)
        seed = create(self.store, event, seed=f"seed of {event_id}", planned=tickets if planned is None else planned)
        if tickets:
            self.events.add_more(event_id, seed.seed, 0, tickets)
        return seed.seed

    def state(self, event_id: str = "1") -> EventState:
        return self.events.read([event_id])[0]

    def render(self, purchase_id: str, pdf: bytes = PDF) -> None:
        """Its receipt is stored, as a worker would."""
        self.service.files.put(purchase_id, pdf)
        self.service.outbox.finish(purchase_id.partition(".")[0], [purchase_id])

    def give_up(self, purchase_id: str) -> None:
        """Its receipt has failed for good, as after a worker's last try."""
        event_id = purchase_id.partition(".")[0]
        for _ in range(self.service.settings.receipt_tries + 1):
            self.service.outbox.begin(event_id, [purchase_id])

    def lease(self, *ticket_ids: str, event_id: str = "1") -> None:
        """Another process holds these tickets for an outage, taken out of the pool; without any, none any more."""
        k = keys.of_event(event_id)
        for ticket_id in ticket_ids:
            assert self.store.one("LREM", k.tickets, 1, ticket_id) == 1
        self.store.one("HSET", k.leases, "a-host-1", f"token|{','.join(ticket_ids)}")


def contents(store: Store) -> dict[str, Any]:
    """Everything in the store but the queue, and the signs of life that hosts give by the clock."""
    found: dict[str, Any] = {}
    for key in sorted(key for server in store.servers() for key in server.one("KEYS", "*")):
        if key.startswith(("rq:", "{ticketing:hosts}:")):
            continue
        kind = store.one("TYPE", key)
        found[key] = READERS[kind](store, key)
    return found


READERS: dict[str, Callable[[Store, str], Any]] = {
    "string": lambda store, key: store.one("GET", key),
    "list": lambda store, key: store.one("LRANGE", key, 0, -1),
    "set": lambda store, key: sorted(store.one("SMEMBERS", key)),
    "hash": lambda store, key: store.one("HGETALL", key),
    "zset": lambda store, key: store.one("ZRANGE", key, 0, -1, "WITHSCORES"),
}


@pytest.fixture
def queue(store: Store, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """Where the jobs go: beside the store on a real server, in a fakeredis of its own otherwise."""
    if store.shebang and not isinstance(store, ClusterStore):
        url = request.getfixturevalue("valkey_server").url
        client = open_client(url, timeout_s=5, connect_timeout_s=2)
    else:
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 2)))
    yield client
    client.close()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asked(*ways): asks only so, of direct, express and gevent, and not in each way")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "web_server" in metafunc.fixturenames:
        asked = metafunc.definition.get_closest_marker("asked")
        metafunc.parametrize("web_server", asked.args if asked else ("direct", *WEB_SERVERS), indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Through a web server one store is enough: what differs from one to the other lies below the app."""
    items[:] = [item for item in items if not _is_too_much(item.callspec.params if hasattr(item, "callspec") else {})]


def _is_too_much(params: dict[str, Any]) -> bool:
    return params.get("store") in ("valkey", "cluster") and params.get("web_server") in WEB_SERVERS


@pytest.fixture(scope="package")
def web_servers() -> Iterator[Callable[[str], WebServer]]:
    """The one web server of each kind, which is started when it is asked for."""
    started: dict[str, WebServer] = {}

    def find(name: str) -> WebServer:
        if name not in started:
            started[name] = WebServer(name)
        return started[name]

    yield find
    for each in started.values():
        each.stop()


@pytest.fixture
def web_server(request: pytest.FixtureRequest) -> Iterator[WebServer | None]:
    """What the test's requests go through, if not directly to the app."""
    if request.param == "direct":
        yield None
        return
    server = request.getfixturevalue("web_servers")(request.param)
    before, server.complaints[:] = server.worker.nr, []
    yield server
    assert server.complaints == []
    assert server.worker.nr > before, "nothing was asked through the web server: mark it asked('direct')"


StartApi = Callable[..., Api]


@pytest.fixture
def start_api(
    store: Store,
    queue: redis.Redis,
    web_server: WebServer | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StartApi]:
    """Starts services on the same store: `start_api(**settings)`. Each is stopped afterwards."""
    monkeypatch.setattr(shared_look, "FRESH_S", 0.0)
    running: list[Api] = []

    def start(**settings: Any) -> Api:
        defaults = {"data_dir": tmp_path, "admin_token": ADMIN_TOKEN, "id_secret": ID_SECRET, "batch_pace_ms": 0}
        chosen = Settings(_env_file=None, redis_url="redis://unused", **(defaults | settings))
        api = Api(chosen, store, queue, web_server)
        api.service.start()
        running.append(api)
        return api

    yield start
    for api in running:
        api.client.close()
        api.service.stop()


@pytest.fixture
def api(start_api: StartApi) -> Api:
    """A service with the usual settings, on an empty store."""
    return start_api()


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """What is logged during the test, as loguru's records."""
    records: list[Any] = []
    sink = logger.add(lambda message: records.append(message.record), level="DEBUG")
    yield records
    logger.remove(sink)


@pytest.fixture
def quiet_log(log: list[Any]) -> Iterator[None]:
    """Nothing is logged as an error, and no traceback, while the test runs."""
    yield
    loud = [record for record in log if record["level"].no >= logger.level("ERROR").no or record["exception"]]
    assert loud == []
