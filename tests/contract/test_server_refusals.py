"""What a real server says when it can't do what is asked: each is refused before the first write, or unknown."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import gevent.select
import pytest
from redis.exceptions import NoScriptError

from tests.sales import SECRET, SEED, Sale, a_request, account, everything
from tests.servers import ValkeyServer, free_port, wait_until
from ticketing.errors import OutcomeUnknown, StoreError, StoreRefused
from ticketing.model import Outcome
from ticketing.store import keys, scripts
from ticketing.store.connection import Command, Store, open_store, translate
from ticketing.store.events import EventStore
from ticketing.store.sale import EventBatch, Versions

K = keys.of_event("1")


@pytest.fixture(scope="module")
def lone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server whose settings these tests may spoil."""
    server = ValkeyServer(tmp_path_factory.mktemp("refusals"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sale(lone_server: ValkeyServer) -> Iterator[Sale]:
    store = lone_server.store()
    store.read(("FLUSHALL",), ("SCRIPT", "FLUSH"))
    made = Sale(store)
    made.open(10)
    made.open(10, "2")
    yield made
    store.close()


@contextmanager
def configured(store: Store, **settings: str) -> Iterator[None]:
    """The settings hold inside, and are as before afterwards."""
    names = {name: name.replace("_", "-") for name in settings}
    before = {name: store.one("CONFIG", "GET", word)[1] for name, word in names.items()}
    store.read(*(("CONFIG", "SET", names[name], value) for name, value in settings.items()))
    try:
        yield
    finally:
        store.read(*(("CONFIG", "SET", names[name], value) for name, value in before.items()))


@contextmanager
def out_of_memory(_: ValkeyServer, store: Store) -> Iterator[None]:
    with configured(store, maxmemory="1"):
        yield


@contextmanager
def replica(_: ValkeyServer, store: Store) -> Iterator[None]:
    store.one("REPLICAOF", "127.0.0.1", free_port())
    try:
        yield
    finally:
        store.one("REPLICAOF", "NO", "ONE")


@contextmanager
def without_replicas(_: ValkeyServer, store: Store) -> Iterator[None]:
    with configured(store, min_replicas_to_write="1"):
        yield


@contextmanager
def failing_disk(server: ValkeyServer, store: Store) -> Iterator[None]:
    """A snapshot can't be written, since a folder stands in its place; then the server takes no writes."""
    obstacle = server.folder / "dump.rdb"
    obstacle.mkdir()
    try:
        with configured(store, save="3600 1", stop_writes_on_bgsave_error="yes"):
            store.one("BGSAVE")
            wait_until(lambda: "rdb_last_bgsave_status:err" in store.one("INFO", "persistence"), 10)
            yield
    finally:
        obstacle.rmdir()
        store.one("BGSAVE")
        wait_until(lambda: "rdb_last_bgsave_status:ok" in store.one("INFO", "persistence"), 10)
        obstacle.unlink()


@contextmanager
def busy(server: ValkeyServer, store: Store) -> Iterator[None]:
    """Somebody else's script runs for ever."""
    other = server.store(timeout_s=60)
    with configured(store, busy_reply_threshold="10"):
        endless = threading.Thread(target=partial(other.exchange, [("EVAL", "while true do end", 0)]))
        endless.start()
        try:
            wait_until(lambda: "BUSY" in str(store.exchange([("PING",)])[0]), 10)
            yield
        finally:
            store.one("SCRIPT", "KILL")
            endless.join(10)
    other.close()


REFUSING = {
    "OOM": out_of_memory,
    "READONLY": replica,
    "NOREPLICAS": without_replicas,
    "MISCONF": failing_disk,
    "BUSY": busy,
}
READABLE = ["OOM", "READONLY", "NOREPLICAS", "MISCONF"]


@pytest.mark.parametrize("trouble", REFUSING)
def test_a_server_that_can_not_write_refuses_everything_before_the_first_write(
    sale: Sale, lone_server: ValkeyServer, trouble: str
) -> None:
    store = sale.store
    bought = a_request(2)
    sale.buy(bought)
    sale.outbox.begin("1", [bought.purchase_id])
    sale.events.set_paused("2", SEED, False)
    held = everything(store)
    calls: list[Callable[[], object]] = [
        lambda: sale.sales.void("1", SEED, [bought.purchase_id]),
        lambda: sale.events.add_chunk("1", SEED, 10, 5),
        lambda: sale.events.set_paused("1", SEED, True),
        lambda: sale.outbox.begin("1", [bought.purchase_id]),
        lambda: sale.outbox.finish("1", [bought.purchase_id]),
        lambda: sale.outbox.request("1", bought.purchase_id, 1),
        lambda: sale.outbox.sweep(["1", "2"], 10),
        lambda: sale.outbox.retry_failed("1", 10),
        lambda: sale.sales.greet(SECRET),
    ]
    with REFUSING[trouble](lone_server, store):
        replies = sale.sales.purchase(
            [EventBatch(name, SEED, [a_request(3, event_id=name)] * 2) for name in ("1", "2")]
        )
        raised = []
        for call in calls:
            with pytest.raises(StoreError) as caught:
                call()
            raised.append(caught.value)
    assert [reply.outcome for batch in replies for reply in batch] == [Outcome.REFUSED] * 4
    assert {type(error) for error in raised} == {StoreRefused}
    assert everything(store) == held
    assert sale.tags(bought, a_request(3)) == ["replayed", "sold"]  # and it goes on as if nothing had been


@pytest.mark.parametrize("trouble", READABLE)
def test_a_server_that_takes_no_writes_can_still_be_read(sale: Sale, lone_server: ValkeyServer, trouble: str) -> None:
    from ticketing.sale.audit import audit

    sale.buy(a_request(2))
    with REFUSING[trouble](lone_server, sale.store):
        states = sale.events.read(["1", "2"])
        report = audit(sale.store)
    assert [state.sold for state in states] == [2, 0]
    assert report.ok


def test_a_script_that_the_server_does_not_know_is_sent_whole_once(sale: Sale) -> None:
    sale.store.one("SCRIPT", "FLUSH")
    assert sale.tags(a_request(2), a_request(3)) == ["sold", "sold"]
    assert account(sale.store).check().tickets_sold == 5


def test_replies_of_known_scripts_are_kept_where_others_are_not_known(sale: Sale) -> None:
    store = sale.store
    store.one("SCRIPT", "FLUSH")
    sale.tags(a_request(1))  # known again: purchase alone
    sent: list[list[str]] = []

    class Watched(Store):
        def exchange(self, commands: list[Command]) -> list[object]:
            sent.append([f"{command[0]} {command[3]}" for command in commands])
            return store.exchange(commands)

    watched = Watched(None)  # type: ignore[arg-type]
    reader = [K.tickets, K.info, K.purchases, K.receipts, K.failed, K.leases, K.tries]
    pause = scripts.Call("pause", [keys.of_event("2").info], [SEED, 0, "1"])
    buying = sale.sales._call(EventBatch("1", SEED, [a_request(1)]), sale.sales._deadline())
    asked = [scripts.Call("state", reader, []), buying, pause]
    state, bought, paused = scripts.run_all(watched, asked)
    assert sent == [
        [f"EVALSHA {K.tickets}", f"EVALSHA {K.tickets}", f"EVALSHA {keys.of_event('2').info}"],
        [f"EVAL {K.tickets}", f"EVAL {keys.of_event('2').info}"],
    ]
    assert (state[1], bought[0], paused[0]) == (9 - 1, "ok", "ok")
    assert account(store).check().tickets_sold == 2


@pytest.mark.parametrize("failure", [StoreRefused, OutcomeUnknown])
def test_where_sending_whole_fails_only_the_scripts_that_were_not_known_have_failed(
    sale: Sale, failure: type[StoreError]
) -> None:
    store = sale.store

    class Breaking(Store):
        def exchange(self, commands: list[Command]) -> list[object]:
            if commands[0][0] == "EVAL":
                raise failure("broken")
            replies = store.exchange(commands)
            return [replies[0], NoScriptError("No matching script.")]

    sale.tags(a_request(1))
    broken = Sale(Breaking(None), greeted=False)  # type: ignore[arg-type]
    broken.clock.saw(store.clock_ms())
    batches = [EventBatch(name, SEED, [a_request(1, event_id=name)]) for name in ("1", "2")]
    [[first], [second]] = broken.sales.purchase(batches)
    assert first.outcome is Outcome.SOLD
    assert second.outcome is (Outcome.REFUSED if failure is StoreRefused else Outcome.UNKNOWN)


def test_an_error_in_a_script_after_its_first_write_is_unknown(store: Store) -> None:
    """On both backends. Then the void finds the purchase, whole."""
    sale = Sale(store)
    sale.open(10)
    whole = scripts.load("purchase", store.shebang)
    broken = whole.text.replace("  version = version + 1\n", "  call('HINCRBY', tickets, 'no', 'hash')\n")
    assert broken != whole.text
    with mock.patch.object(scripts, "load", return_value=scripts.Script(broken, "0" * 40)):
        asked = a_request(2)
        [reply] = sale.buy(asked)
    assert reply.outcome is Outcome.SCRIPT_FAILED
    assert account(store).sold == {asked.purchase_id: ["E1-000001", "E1-000002"]}
    store.one("HINCRBY", K.info, "sold", 2)
    assert sale.sales.void("1", SEED, [asked.purchase_id]) == ["voided"]
    account(store).check()


def test_a_command_that_is_forbidden_in_the_middle_of_a_script_is_unknown_and_not_refused(
    sale: Sale, lone_server: ValkeyServer
) -> None:
    sale.store.one("ACL", "SETUSER", "clerk", "reset", "on", ">word", "~*", "&*", "+@all", "-zadd")
    url = lone_server.url.replace("redis://", "redis://clerk:word@")
    clerk = Sale(open_store(url, timeout_s=5, connect_timeout_s=2, connections=2))
    asked = a_request(2)
    [reply] = clerk.buy(asked)
    clerk.store.close()
    sale.store.one("ACL", "DELUSER", "clerk")
    assert account(sale.store).sold.keys() == {asked.purchase_id}  # it was written before the refusal
    assert reply.outcome is Outcome.SCRIPT_FAILED


def test_a_server_that_wants_a_password_refuses_every_command_of_a_round_trip(
    sale: Sale, lone_server: ValkeyServer
) -> None:
    held = everything(sale.store)
    with configured(sale.store, requirepass="secret"):
        stranger = Sale(lone_server.store(), greeted=False)
        replies = stranger.store.exchange([("TIME",), ("PING",)])
        with pytest.raises(StoreRefused, match="uthentication"):
            stranger.sales.greet(SECRET)
        stranger.store.close()
        wrong = open_store(
            lone_server.url.replace("redis://", "redis://:wrong@"), timeout_s=5, connect_timeout_s=2, connections=2
        )
        with pytest.raises(StoreRefused):
            wrong.ping()
        wrong.close()
    assert [type(translate(reply)) for reply in replies] == [StoreRefused, StoreRefused]
    assert everything(sale.store) == held


def test_a_process_with_another_id_secret_sells_nothing(sale: Sale) -> None:
    other = Sale(sale.store, greeted=False)
    with pytest.raises(StoreRefused, match="another ID_SECRET"):
        other.sales.greet("fingerprint of another secret")
    assert other.tags(a_request(1)) == ["refused"]
    assert sale.store.one("GET", keys.ID_SECRET) == SECRET


def test_a_connection_that_the_server_closed_is_replaced_before_anything_is_sent_on_it(
    sale: Sale, lone_server: ValkeyServer
) -> None:
    store = lone_server.store()
    idle = Sale(store)
    assert idle.tags(a_request(1)) == ["sold"]
    sale.store.one("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert [idle.tags(a_request(1)) for _ in range(3)] == [["sold"]] * 3
    store.close()


def test_reading_events_needs_no_version(sale: Sale) -> None:
    assert len(EventStore(sale.store, Versions()).read(["1", "2"])) == 2


@pytest.mark.parametrize("gevent_patched", [False, True])
def test_a_connection_closed_while_the_pool_looks_at_it_is_a_refusal(
    lone_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, gevent_patched: bool
) -> None:
    """What one greenlet does to another that had just been given an idle connection."""
    store = lone_server.store()
    store.ping()

    def can_read(_sock: object, _timeout: float) -> bool:
        monkeypatch.undo()
        if gevent_patched:
            monkeypatch.setattr("select.poll", gevent.select.poll)
        store.forget_all()
        return True

    monkeypatch.setattr("redis._parsers.hiredis._socket_can_read", can_read)
    with pytest.raises(StoreRefused):
        store.one("INCR", "sent")
    assert store.one("EXISTS", "sent") == 0
    store.close()
