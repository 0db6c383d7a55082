"""A store that comes back older than it was, or empty: nothing is sold from it until an operator has decided.

What its processes answered in the last minute is put back meanwhile, each purchase with its own tickets.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sales import Sale, a_request, account
from tests.servers import ValkeyServer, run_module, wait_until
from tests.service import Reply, Service
from ticketing.store import keys
from ticketing.store.connection import Store

FOUND_S = 30.0
KEY = "a key that is long enough"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    made = ValkeyServer(tmp_path / "valkey")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def store(server: ValkeyServer) -> Iterator[Store]:
    made = server.store()
    yield made
    made.close()


@pytest.fixture
def service(tmp_path: Path, server: ValkeyServer) -> Iterator[Service]:
    made = Service(tmp_path, REDIS_URL=server.url, RESERVE_TICKETS=20)
    made.start()
    made.seed({"rock": 10_000})
    yield made
    made.stop()


def buy(service: Service, key: str | None = None) -> Reply:
    return service.request("POST", "/buy/rock", **({"Idempotency_Key": key} if key else {}))


def refuses(service: Service) -> bool:
    """Whether several purchases in a row are 503, so that every process has noticed."""
    answers = [buy(service, key) for key in (None, KEY) * 5]
    assert all("Retry-After" in answer.headers for answer in answers if answer.status == 503)
    return {answer.status for answer in answers} == {503}


def halted(service: Service) -> list[list[str]]:
    """What each of several looks at the health says of halted events."""
    answers = [service.request("GET", "/health") for _ in range(10)]
    assert {answer.status for answer in answers} == {200}, service.log.read_text()
    return [answer.json()["checks"]["store"]["halted"] for answer in answers]


def operator(service: Service, *words: str, code: int = 0) -> str:
    """What `python -m ticketing outage` prints, its line breaks taken out."""
    done = run_module("ticketing", "outage", *words, data_dir=service.data_dir, **service.settings)
    assert done.returncode == code, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def statuses(service: Service) -> set[str]:
    """What several looks at the health say; ten in a row may all be answered by one process."""
    return {service.request("GET", "/health").json()["status"] for _ in range(20)}


def decide(service: Service) -> None:
    operator(service, "accept", "event", "rock", "--yes")


def sell_on_every_process(service: Service, store: Store) -> list[dict[str, Any]]:
    """At least ten purchases, until each web process has answered one and says that it remembers it."""
    sold = [buy(service).json() for _ in range(10)]

    def enrolled() -> bool:
        sold.append(buy(service).json())
        return len(processes(store)) == 2

    wait_until(enrolled, FOUND_S, "both have sold")
    return sold


def sell_on(web: psutil.Process, service: Service, webs: list[psutil.Process]) -> list[dict[str, Any]]:
    """Purchases that this web process alone can answer."""
    others = [one for one in webs if one != web]
    for other in others:
        other.suspend()
    try:
        return [buy(service).json() for _ in range(20)]
    finally:
        for other in others:
            other.resume()


def processes(store: Store) -> list[str]:
    found: list[str] = store.one("HKEYS", keys.PROCESSES)
    return found


def put_older(server: ValkeyServer, older: Path) -> None:
    """It ends as in a power cut, and comes back with this copy of its files."""
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    older.rename(server.folder / "appendonlydir")
    server.start()


def tickets_of(purchases: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {one["purchase_id"]: one["tickets"] for one in purchases}


def test_what_an_older_store_has_lost_is_put_back_and_the_sale_taken_up(
    service: Service, server: ValkeyServer, store: Store
) -> None:
    before = sell_on_every_process(service, store)
    older = server.folder / "older"
    shutil.copytree(server.folder / "appendonlydir", older)
    lost = [buy(service).json() for _ in range(40)]
    put_older(server, older)
    wait_until(lambda: halted(service) == [["rock"]] * 10, FOUND_S, "every process says that it is halted")
    wait_until(lambda: refuses(service), FOUND_S, "nothing is sold")
    wait_until(lambda: "nothing is left to put back" in operator(service, "show", code=1), FOUND_S, "all is put back")
    assert "event rock is halted: the store went back in time" in service.log.read_text()
    assert account(store, "rock").check().sold == tickets_of(before + lost)

    assert "Event rock goes on" in operator(service, "resume")
    wait_until(lambda: {buy(service).status for _ in range(10)} == {201}, FOUND_S, "it is sold again")
    wait_until(lambda: halted(service) == [[]] * 10, FOUND_S)
    assert account(store, "rock").check().sold.items() >= tickets_of(before + lost).items()
    service.audit()


def test_a_process_that_died_before_it_could_put_anything_back_is_named_and_the_operator_says_so(
    service: Service, server: ValkeyServer, store: Store
) -> None:
    before = sell_on_every_process(service, store)
    older = server.folder / "older"
    shutil.copytree(server.folder / "appendonlydir", older)
    _, *webs = service.find("gunicorn")
    lost = [one for web in webs for one in sell_on(web, service, webs)]
    died = next(name for name in processes(store) if int(name.split(":")[1]) == webs[0].pid)
    server.kill()
    webs[0].kill()
    put_older(server, older)
    wait_until(lambda: halted(service) == [["rock"]] * 10, FOUND_S, "every process says that it is halted")
    wait_until(lambda: len(reports(store)) == 2, FOUND_S, "the other has put back what it sold, its heir nothing")
    held = account(store, "rock").check()
    own = tickets_of(before + lost)
    assert held.sold.items() <= own.items()
    assert len(held.sold) == len(own) - 20
    assert tickets_of(before).keys() < held.sold.keys()

    asked = operator(service, "resume", "rock", code=1)
    assert died in asked
    assert "Nothing was done" in asked
    assert store.one("HGET", keys.of_event("rock").info, "halted") == "1"
    assert "Event rock goes on" in operator(service, "resume", "rock", "--yes")
    wait_until(lambda: {buy(service).status for _ in range(10)} == {201}, FOUND_S, "it is sold again")
    account(store, "rock").check()
    service.audit()


def reports(store: Store) -> list[str]:
    return [name for name in store.one("HKEYS", keys.of_event("rock").put_back) if name.startswith("report:")]


def test_what_was_sold_twice_meanwhile_is_listed_and_not_put_back(
    service: Service, server: ValkeyServer, store: Store
) -> None:
    """Somebody who saw nothing of it sells from the older copy before anybody looks."""
    before = sell_on_every_process(service, store)
    older = server.folder / "older"
    shutil.copytree(server.folder / "appendonlydir", older)
    lost = [buy(service).json() for _ in range(20)]
    webs = service.find("gunicorn")[1:]
    for web in webs:
        web.suspend()
    put_older(server, older)
    other = Sale(store, greeted=False)
    now_s, _ = store.one("TIME")
    other.clock.saw(int(now_s) * 1000)
    seed = store.one("HGET", keys.of_event("rock").info, "seed")
    twice = a_request(3, event_id="rock")
    [sold] = other.buy(twice, seed=seed)
    for web in webs:
        web.resume()
    wait_until(lambda: halted(service) == [["rock"]] * 10, FOUND_S, "every process says that it is halted")
    wait_until(lambda: len(reports(store)) == 2, FOUND_S, "both have put back what they could")
    taken = set(sold.detail.split("|")[2].split(","))
    own = tickets_of(before + lost)
    conflicts = {purchase_id for purchase_id, tickets in own.items() if taken & set(tickets)}
    held = account(store, "rock").check()
    assert held.sold == {key: own[key] for key in own.keys() - conflicts} | {twice.purchase_id: sorted(taken)}
    assert len(conflicts) == 3
    shown = operator(service, "resume", code=1)
    assert "3 purchases of event rock that buyers were answered could not be put back" in shown
    assert not any(purchase_id in shown for purchase_id in own)
    assert all(f"{purchase_id[:11]}… {own[purchase_id][0]}" in shown for purchase_id in conflicts)
    assert "that were answered can't be put back" in service.log.read_text()
    operator(service, "resume", "--yes")
    wait_until(lambda: {buy(service).status for _ in range(10)} == {201}, FOUND_S, "it is sold again")
    service.audit()
    assert "3 purchases of event rock that buyers were answered stay lost" in operator(service, "show")


def test_a_store_that_came_back_empty_sells_nothing_until_an_operator_decides(service: Service, store: Store) -> None:
    assert {buy(service).status for _ in range(10)} == {201}
    store.one("FLUSHALL")
    wait_until(lambda: halted(service) == [["rock"]] * 10, FOUND_S, "every process says that it is halted")
    wait_until(lambda: refuses(service), FOUND_S, "nothing is sold")
    wait_until(lambda: statuses(service) == {"halted"}, FOUND_S, "every process says so")
    assert service.request("GET", "/health").json()["checks"]["store"]["sells"] is False
    wait_until(lambda: {service.request("GET", "/health/ready").status for _ in range(10)} == {503}, FOUND_S)
    assert "event rock is halted: the store went back in time" in service.log.read_text()
    decide(service)
    wait_until(lambda: {buy(service).status for _ in range(10)} == {404}, FOUND_S, "there is no such event")
    wait_until(lambda: halted(service) == [[]] * 10, FOUND_S, "nothing is to be decided")
    service.seed({"rock": 10_000})
    wait_until(lambda: {buy(service).status for _ in range(10)} == {201}, FOUND_S, "it is sold again")
    service.audit()


@pytest.mark.parametrize(("reserve", "kind"), [(20, "limited"), (20, "rock"), (0, "rock")])
def test_an_older_copy_is_noticed_by_a_service_that_was_away_meanwhile(
    tmp_path: Path, server: ValkeyServer, reserve: int, kind: str
) -> None:
    """An event whose tickets are never leased too: one of them was once sold again after a restore."""
    service = Service(tmp_path, REDIS_URL=server.url, RESERVE_TICKETS=reserve)
    service.start()
    try:
        service.seed({"rock": 1_000})
        service.seed({"rock": 1_000, "limited": 1_000}, limits={"per_buyer": 100} if kind == "limited" else {})
        body = {"buyer": {"id": "ada"}}

        def buys() -> list[int]:
            return [service.request("POST", f"/buy/{kind}", body).status for _ in range(6)]

        assert buys() == [201] * 6
        older = server.folder / "older"
        shutil.copytree(server.folder / "appendonlydir", older)
        assert buys() == [201] * 6
        service.stop()
        server.kill()
        shutil.rmtree(server.folder / "appendonlydir")
        older.rename(server.folder / "appendonlydir")
        server.start()
        service.start("/health/live")
        wait_until(lambda: all(kind in named for named in halted(service)), FOUND_S, "every process notices it")
        assert buys() == [503] * 6
        wait_until(lambda: statuses(service) == {"halted"}, FOUND_S, "every process says so")
    finally:
        service.stop()
