"""The group that other tests rely on: each fault of its primary ends in a failover, and nothing of it stays behind."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from tests.groups import PASSWORD, SentinelGroup, a_group
from tests.servers import HOST
from ticketing.store.connection import no_retry

pytestmark = pytest.mark.scale


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    with a_group(tmp_path, users=["anna", "berta"]) as made:
        yield made
        pids = [server.pid for server in (*made.sentinels, *(node.server for node in made.nodes))]
        assert all(map(psutil.pid_exists, pids))
    assert not any(map(psutil.pid_exists, pids))


def client(port: int, user: str = "") -> redis.Redis:
    signed_in = {"username": user, "password": PASSWORD} if user else {}
    return redis.Redis(host=HOST, port=port, socket_timeout=0.5, retry=no_retry(), **signed_in)


def test_a_killed_primary_comes_back_as_a_replica_of_the_new_one(group: SentinelGroup) -> None:
    old = group.kill_primary()
    new = group.wait_until_failed_over(old)
    new.ask("SET", "sold", "1")
    group.restart(old)
    group.wait_until_complete()
    assert group.primary() is new
    assert group.replicas == [old]
    assert old.ask("GET", "sold") == "1"


def test_a_stopped_primary_forgets_what_nobody_confirmed(group: SentinelGroup) -> None:
    old = group.primary()
    old.suspend()
    new = group.wait_until_failed_over(old)
    with socket.create_connection((HOST, old.server.port)) as late:
        late.sendall(b"SET sold here\r\n")
        old.resume()
        assert late.recv(64) == b"+OK\r\n"  # before anybody told it that it is the primary no more
    group.wait_until_complete()
    assert group.replicas == [old]
    assert (new.ask("GET", "sold"), old.ask("GET", "sold")) == (None, None)


def test_a_parted_primary_serves_the_clients_on_its_side_alone(group: SentinelGroup) -> None:
    old = group.primary()
    group.part(old, "anna")
    new = group.wait_until_failed_over(old)
    assert old.is_primary()
    with client(old.port, "anna") as here, client(new.port, "berta") as there:
        assert here.set("sold", "here") is there.set("sold", "there") is True
    for node, user in ((old, "berta"), (new, "anna")):
        with client(node.port, user) as lost, pytest.raises(redis.TimeoutError):
            lost.ping()
    assert group.url_of("anna") != group.url_of("berta")
    group.mend()
    group.wait_until_complete()
    assert old.ask("GET", "sold") == "there"
