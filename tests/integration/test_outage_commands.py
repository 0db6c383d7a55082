"""`python -m ticketing outage` as an operator runs it: real processes, a real server, a slot that is held meanwhile."""

import subprocess
from pathlib import Path

import pytest

from tests.contract.test_settlement import Host
from tests.leases import K
from tests.sales import Sale
from tests.servers import ValkeyServer, run_module
from ticketing.outage import slots
from ticketing.store import keys
from ticketing.store.connection import Store


class Operator:
    """The command on one host with one server, and a process of that host that holds a slot."""

    def __init__(self, server: ValkeyServer, store: Store, data_dir: Path) -> None:
        self.url, self.data_dir = server.url, data_dir
        Sale(store, greeted=False).open(1_000)
        self.slot = slots.take_lowest(data_dir / "journal")
        self.process = Host(store, self.slot.journal_path)
        self.process.holder.name = self.slot.holder
        self.process.round()
        store.one("DEL", keys.ID_SECRET)  # that of the tests: the command greets with its own

    def run(self, *words: str, url: str = "") -> subprocess.CompletedProcess[str]:
        done = run_module("ticketing", "outage", *words, data_dir=self.data_dir, REDIS_URL=url or self.url)
        assert "Traceback" not in done.stderr
        return done

    def said(self, *words: str, code: int, url: str = "") -> str:
        """What it prints, its line breaks taken out."""
        done = self.run(*words, url=url)
        assert done.returncode == code, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def killed(self) -> None:
        self.process.writer.stop()
        self.slot.release()


@pytest.fixture
def operator(valkey_server: ValkeyServer, real_store: Store, tmp_path: Path) -> Operator:
    return Operator(valkey_server, real_store, tmp_path)


def test_from_a_halt_to_a_settled_store(operator: Operator, real_store: Store) -> None:
    sold = operator.process.sell(2)
    assert "Nothing is left to decide" not in operator.said("show", code=1)
    real_store.one("HSET", K.info, "halted", "1", "halted_why", "a test \x1b[31mwants it")
    operator.killed()
    shown = operator.said("show", code=1)
    assert "slot-0 none 1 1 2 8 0" in shown
    assert "because 1 yes" in shown
    assert "a test ?[31mwants it" in shown
    assert f"{operator.slot.holder} 10 this host, no process" in shown
    assert "python -m ticketing outage resume 1" in shown
    assert "1 purchase of event 1 parked: their event is halted." in operator.said("settle", code=1)
    asked = operator.said("accept", "event", "1", code=1)
    assert "Nothing was done. To do it, say --yes." in asked
    assert "10 tickets of 1 lease would be in the pool again, which would hold 1,000:" in asked
    assert real_store.one("HGET", K.info, "halted") == "1"
    assert "Event 1 goes on; 10 tickets are in the pool again" in operator.said("accept", "event", "1", "--yes", code=0)
    assert "is not halted: nothing is to be decided" in operator.said("accept", "event", "1", "--yes", code=1)
    assert "1 purchase of event 1 settled." in operator.said("settle", code=0)
    assert real_store.one("HKEYS", K.purchases) == [sold.purchase_id]
    last = operator.said("show", code=0)
    assert last.endswith("Nothing is left to decide.")
    assert sold.purchase_id not in shown + asked + last


def test_a_slot_that_is_held_is_shown_so_and_left_alone(operator: Operator) -> None:
    operator.process.sell(2)
    assert "slot-0 lives 1" in operator.said("show", code=1)
    assert "nothing to settle" in operator.said("settle", code=0)
    assert "a living process holds slot-0" in operator.said("accept", "journal", "slot-0", "--yes", code=1)
    assert "is a living process of this host" in operator.said("accept", "lease", operator.slot.holder, code=1)


def test_without_redis_the_disk_is_shown_and_a_journal_can_be_given_up(operator: Operator) -> None:
    away = "redis://127.0.0.1:1/0"
    operator.process.sell(2)
    operator.killed()
    shown = operator.said("show", code=1, url=away)
    assert "Redis can't be asked" in shown
    assert "slot-0 holds 1 unsettled purchase" in shown
    done = operator.run("settle", url=away)
    assert (done.returncode, done.stdout) == (2, "")
    assert "can't connect to Redis" in done.stderr
    assert "at most, since the store can't be asked" in operator.said("accept", "journal", "slot-0", code=1, url=away)
    assert "Given up: 1 unsettled purchase" in operator.said("accept", "journal", "slot-0", "--yes", code=0, url=away)
    assert len(list((operator.data_dir / "journal").glob("slot-0.journal.accepted-*"))) == 1


def test_a_host_without_journals_has_nothing_to_decide(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    done = run_module("ticketing", "outage", "show", data_dir=tmp_path, REDIS_URL=valkey_server.url)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Nothing is left to decide.")
    assert not (tmp_path / "journal").exists()
