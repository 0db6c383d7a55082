"""`python -m ticketing doctor` on a real server and a real service, with each fault made and found."""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.buckets import BUCKET, BucketServer
from tests.leases import K
from tests.sales import Sale
from tests.servers import ID_SECRET, ValkeyServer, free_port, run_module
from tests.service import Service
from tests.unit.test_doctor import GOOD
from ticketing.config import Settings
from ticketing.doctor import bucket, command
from ticketing.doctor.finding import Finding, Level
from ticketing.receipts.opening import bucket_of, prefix_of
from ticketing.store import condition, keys
from ticketing.store.queue import ReceiptQueue, open_client

Found = dict[str, list[Finding]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server of this module's own, whose settings a test may spoil."""
    server = ValkeyServer(tmp_path_factory.mktemp("doctor"))
    server.start()
    yield server
    server.stop()


class Patient:
    """A store with an event on sale, and this host's settings."""

    def __init__(self, server: ValkeyServer, data_dir: Path) -> None:
        self.server = server
        self.store = server.store()
        self.data_dir = data_dir
        self.settings: dict[str, Any] = {"worker_connections": 100, "port": free_port(), "web_workers": 1}

    def look(self, **said: Any) -> Found:
        """What is found, by check."""
        given = {"data_dir": self.data_dir, "id_secret": ID_SECRET, "redis_url": self.server.url}
        settings = Settings(_env_file=None, **(given | self.settings | said))
        found: Found = {}
        for finding in command.look(settings, f"http://127.0.0.1:{self.settings['port']}"):
            found.setdefault(finding.check, []).append(finding)
        return found

    def set(self, name: str, value: str) -> None:
        self.store.one("CONFIG", "SET", name, value)


@pytest.fixture
def patient(server: ValkeyServer, tmp_path: Path) -> Iterator[Patient]:
    patient = Patient(server, tmp_path)
    patient.store.read(("FLUSHALL",), ("SCRIPT", "FLUSH"))
    Sale(patient.store, greeted=False).open(100)
    patient.store.one("DEL", keys.ID_SECRET)
    yield patient
    patient.store.close()


def in_bucket(server: BucketServer, **more: object) -> dict[str, Any]:
    """Settings that keep receipts in a bucket."""
    return {name.lower(): value for name, value in server.settings(**more).items()}


def worst(found: Found, check: str) -> Level:
    return max((finding.level for finding in found[check]), key=list(Level).index)


def test_a_store_as_it_should_be_is_all_right_and_stays_as_it_was(patient: Patient) -> None:
    before = patient.store.one("KEYS", "*")
    found = patient.look()
    not_started = {"web", "receipt workers", "sweeper"}
    wrong = {check for check in found if worst(found, check) is not Level.OK}
    assert wrong == not_started
    assert sorted(patient.store.one("KEYS", "*")) == sorted(before)
    assert list(patient.data_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "good", "check"),
    [
        ("appendfsync", "everysec", "always", "store's fsync"),
        ("appendonly", "no", "yes", "store's fsync"),
        ("maxmemory-policy", "allkeys-lru", "noeviction", "store's eviction"),
        ("maxclients", "40", "10000", "store's connections"),
    ],
)
def test_a_server_that_keeps_too_little_fails(patient: Patient, name: str, value: str, good: str, check: str) -> None:
    patient.set(name, value)
    try:
        assert worst(patient.look(), check) is Level.FAIL
    finally:
        patient.set(name, good)


def test_a_server_that_is_nearly_full_is_said(patient: Patient) -> None:
    used = int(condition.told_by(patient.store)["used_memory"])
    patient.set("maxmemory", str(int(used * 1.25)))
    try:
        assert worst(patient.look(), "store's memory") is Level.WARN
    finally:
        patient.set("maxmemory", "0")


def test_a_server_that_bars_what_is_needed_fails_and_the_rest_is_told(patient: Patient) -> None:
    patient.store.one("ACL", "SETUSER", "limited", "on", ">a-password", "~*", "&*", "+@all", "-script", "-config")
    found = patient.look(redis_url=patient.server.url.replace("//", "//limited:a-password@"))
    assert worst(found, "store's scripts") is Level.FAIL
    assert worst(found, "store's fsync") is Level.WARN
    assert worst(found, "events") is Level.OK


def test_a_replica_fails(patient: Patient) -> None:
    patient.store.one("REPLICAOF", "127.0.0.1", free_port())
    try:
        assert worst(patient.look(), "store's role") is Level.FAIL
    finally:
        patient.store.one("REPLICAOF", "NO", "ONE")


def test_a_store_that_is_away_fails_and_the_host_is_looked_at_all_the_same(patient: Patient) -> None:
    found = patient.look(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert worst(found, "store") is Level.FAIL
    assert worst(found, "journal") is Level.OK
    assert worst(found, "earlier outages") is Level.OK
    assert "events" not in found


def test_a_clock_that_is_wrong_is_said(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.time
    for ahead_s, level in ((0, Level.OK), (5, Level.WARN), (-5, Level.WARN), (3_600, Level.FAIL)):
        monkeypatch.setattr("ticketing.doctor.server.time.time", lambda ahead_s=ahead_s: now_s() + ahead_s)
        assert worst(patient.look(), "clock") is level


def test_another_id_secret_fails(patient: Patient) -> None:
    patient.store.one("SET", keys.ID_SECRET, "the fingerprint of another")
    assert worst(patient.look(), "id secret") is Level.FAIL


def test_events_that_can_not_be_sold_fail(patient: Patient) -> None:
    for field, value, good in (("planned", "200", "100"), ("halted", "1", "0"), ("seed", "", "s")):
        patient.store.one("HSET", K.info, field, value)
        if field == "seed":
            patient.store.one("HDEL", K.info, "seed")
        assert worst(patient.look(), "events") is Level.FAIL, field
        patient.store.one("HSET", K.info, field, good)
    patient.store.read(("DEL", *K), ("DEL", keys.EVENTS))
    assert worst(patient.look(), "events") is Level.FAIL


def test_failed_receipts_are_said(patient: Patient) -> None:
    patient.store.one("HSET", K.failed, "1.abc", "1")
    assert worst(patient.look(), "receipts") is Level.WARN


def test_what_a_lost_process_left_is_said_with_the_command_that_decides_it(patient: Patient) -> None:
    from ticketing.outage import slots

    slot = slots.take_lowest(patient.data_dir / "journal")
    patient.store.one("HSET", K.leases, slot.holder, "a-token|E1-000001,E1-000002")
    slot.release()
    found = patient.look()
    assert worst(found, "earlier outages") is Level.WARN
    assert any("python -m ticketing outage" in finding.do for finding in found["earlier outages"])


def test_a_sweeper_is_seen_by_what_it_leaves(patient: Patient) -> None:
    client = open_client(patient.server.url, timeout_s=5, connect_timeout_s=2)
    ReceiptQueue(client, job_timeout_s=10).say_swept()
    assert worst(patient.look(), "sweeper") is Level.OK
    assert 0 < client.ttl(keys.SWEPT) <= 30
    client.close()


def test_a_journal_that_can_not_be_written_fails(patient: Patient) -> None:
    in_the_way = patient.data_dir / "a file"
    in_the_way.write_text("")
    found = patient.look(journal_folder="/proc/self/journal")  # a folder in which nobody can make one
    assert worst(found, "journal") is Level.FAIL


def test_a_bucket_that_does_what_it_should_is_all_right_and_nothing_is_left_in_it(
    patient: Patient, bucket_server: BucketServer
) -> None:
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    found = patient.look(**in_bucket(bucket_server, RECEIPTS_URL=url))
    assert [finding.level for finding in found["bucket of receipts"]] == [Level.OK]
    assert f"disk of {patient.data_dir / 'receipts'}" not in found
    with_a_key = bucket_of(Settings(_env_file=None, **in_bucket(bucket_server, RECEIPTS_URL=url)))
    assert list(with_a_key.listed(prefix_of(Settings(_env_file=None, receipts_url=url)))) == []
    assert "bucket of receipts" not in patient.look()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"RECEIPTS_S3_SECRET_KEY": "another-key"}, "could not be written: the bucket's server answers SignatureDoes"),
        ({"RECEIPTS_URL": "s3://no-such-bucket"}, "could not be written: the bucket's server answers NoSuchBucket"),
        ({"RECEIPTS_S3_ENDPOINT": "http://127.0.0.1:1"}, "could not be written: no answer from the bucket"),
    ],
)
def test_a_bucket_that_takes_nothing_fails(
    patient: Patient, bucket_server: BucketServer, wrong: dict[str, object], why: str
) -> None:
    [finding] = patient.look(**in_bucket(bucket_server, **wrong))["bucket of receipts"]
    assert finding.level is Level.FAIL
    assert why in finding.found
    assert "s3:PutObject" in finding.do
    assert "another-key" not in str(finding)


def test_a_bucket_that_everybody_can_read_fails(
    patient: Patient, bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(bucket, "ask", lambda url: asked.append(url) or (200, b""))
    [finding] = patient.look(**in_bucket(bucket_server))["bucket of receipts"]
    assert (finding.level, "lets everybody read objects" in finding.found) == (Level.FAIL, True)
    assert asked[0].startswith(f"{bucket_server.url}/{BUCKET}/of/tests/.doctor-")
    assert "?" not in asked[0]


def test_a_running_service_is_all_right_and_the_exit_code_says_so(tmp_path: Path) -> None:
    service = Service(tmp_path, WEB_WORKERS=1, RECEIPT_WORKERS=1, WORKER_CONNECTIONS=100, ADMIN_TOKEN=GOOD)
    service.start()
    service.seed({"rock": 50})
    try:
        done = _doctor(service, "--json")
        told = json.loads(done.stdout)
        levels = {one["check"]: one["level"] for one in told["checks"]}
        wrong = {check for check, level in levels.items() if level != "ok"} - {"backlog"}  # a matter of this machine
        assert (wrong, told["ok"], done.returncode) == (set(), True, 0), told
        assert {"web", "store", "sweeper", "receipt workers", "events", "journal"} <= levels.keys()
        text = _doctor(service).stdout
        assert "0 to mend first." in text
        secret = (service.data_dir / "secrets" / "signing_key").read_text().strip()
        assert not [value for value in (ID_SECRET, secret, "redis://") if value in text + done.stdout]
    finally:
        service.stop()
    stopped = _doctor(service)
    assert stopped.returncode == 1
    assert "FAIL  store:" in stopped.stdout
    assert "make run" in stopped.stdout


def _doctor(service: Service, *words: str) -> Any:
    grafana = ("--grafana", f"http://127.0.0.1:{free_port()}")
    done = run_module("ticketing", "doctor", *grafana, *words, data_dir=service.data_dir, **service.settings)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_wrong_settings_are_told_and_nothing_is_made(tmp_path: Path) -> None:
    done = run_module("ticketing", "doctor", data_dir=tmp_path, PORT=0)
    assert done.returncode == 2
    assert "PORT" in done.stderr
    assert list(tmp_path.iterdir()) == []
