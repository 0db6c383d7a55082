"""An operator at a shell while two web processes sell, and what the log holds of it all at its most talkative."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.receipts import SIGNING_KEY
from tests.servers import ID_SECRET, environment, run_module, wait_until
from tests.service import ADMIN_TOKEN, Service

WEB_WORKERS = 2
BUYER = {"id": "customer-4711", "name": "Zoë Unmistakable", "email": "zoe.unmistakable@example.com"}
PROBLEM_PATHS = ["/buy/nope", "/buy/%00", "/tickets/rock.xyz", "/nope", "/events/nope", "/admin/rq/0/data/job/x.json"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(
        tmp_path_factory.mktemp("operator"),
        WEB_WORKERS=WEB_WORKERS,
        RECEIPT_WORKERS=1,
        LOG_LEVEL="DEBUG",
        LOG_FORMAT="json",
        STORE_TIMEOUT_S=0.5,
        RESERVE_PER_MILLE=100,  # each process has more in reserve than a test buys in an outage
    )
    service.start()
    service.seed({"rock": 500})
    yield service
    service.stop()


def said(service: Service, *words: str, code: int = 0) -> str:
    """What a command prints."""
    done = run_module("ticketing", *words, data_dir=service.data_dir, **service.settings)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def lines(service: Service, part: str) -> list[dict[str, Any]]:
    """What a part has logged, as JSON."""
    text = (service.data_dir / "logs" / f"{part}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def heard(service: Service, message: str) -> int:
    """How many web processes said this."""
    return sum(line["message"] == message for line in lines(service, "web"))


def test_a_pause_and_its_end_reach_every_process(service: Service) -> None:
    assert "state: paused" in said(service, "event", "pause", "rock")
    for _ in range(20):  # whichever process it reaches: the store itself refuses
        refused = service.request("POST", "/buy/rock")
        assert (refused.status, refused.json()["state"]) == (409, "paused")
    wait_until(lambda: heard(service, "event rock: the sale is paused") == WEB_WORKERS, 10, "each process knows")
    assert "state: open" in said(service, "event", "resume", "rock")
    assert {service.request("POST", "/buy/rock").status for _ in range(20)} == {201}
    wait_until(lambda: heard(service, "event rock: the sale is taken up") == WEB_WORKERS, 10, "each process knows")


def test_tickets_are_added_once_where_the_number_before_is_given(service: Service) -> None:
    for _ in range(2):
        assert "issued: 600" in said(service, "event", "add", "rock", "100", "--issued", "500")
    wait_until(lambda: heard(service, "event rock: 600 tickets are issued, 500 before") == WEB_WORKERS, 10)
    (event,) = service.events()
    assert event["issued"] == 600


def test_each_deed_is_kept_with_who_did_it(service: Service) -> None:
    before = len(lines(service, "operator"))
    said(service, "event", "pause", "rock")
    said(service, "event", "resume", "rock")
    assert "0 failed receipts are due again." in said(service, "receipts", "retry")
    kept = lines(service, "operator")[before:]
    assert [line["verb"] for line in kept] == ["pause", "resume", "retry"]
    assert all(" at a shell of " in line["operator"] for line in kept)
    assert service.admin("POST", "/admin/events/rock/resume").status == 200
    (of_http,) = [line for line in lines(service, "web") if line.get("verb") == "resume"]
    assert of_http["operator"].startswith("127.0.0.1, request ")


def test_what_can_not_be_done_is_said_and_kept_by_nobody(service: Service, tmp_path: Path) -> None:
    before = len(lines(service, "operator"))
    assert "There is no event nope." in said(service, "event", "pause", "nope", code=1)
    assert "There is no event a b." in said(service, "event", "add", "a b", "1", code=1)
    said(service, "event", "add", "rock", "0", code=2)
    away = run_module("ticketing", "event", "pause", "rock", data_dir=tmp_path, REDIS_URL="redis://127.0.0.1:1/0")
    assert (away.returncode, "can't connect to Redis" in away.stderr) == (2, True)
    assert len(lines(service, "operator")) == before


def test_the_whole_log_holds_no_secret_and_nothing_of_a_buyer(service: Service) -> None:
    """At DEBUG, after purchases, repetitions, refusals, an outage with its settlement, receipts, and an operator."""
    keys = [str(uuid.uuid4()) for _ in range(10)]
    purchases = [_bought(service, key) for key in keys for _ in range(2)]
    for path in PROBLEM_PATHS:
        for method in ("GET", "POST"):
            assert service.request(method, path, {"buyer": BUYER} if method == "POST" else None).status < 500
    (store,) = service.find("valkey-server")
    store.suspend()
    try:
        keys += [str(uuid.uuid4()) for _ in range(10)]
        purchases += [_bought(service, key) for key in keys[10:]]
        service.request("POST", "/buy/rock", {"quantity": 5, "buyer": BUYER})
    finally:
        store.resume()
    purchase_ids = {purchase["purchase_id"] for purchase in purchases}
    assert len(purchase_ids) == len(keys)
    assert any(purchase["status"] == "provisional" for purchase in purchases)
    service.wait_for_receipts(purchase_ids, 30)
    assert service.admin("GET", "/admin/audit").status == 200
    assert service.request("GET", "/admin/audit", Authorization="Bearer not-this-one").status == 403
    text = "\n".join(path.read_text(errors="replace") for path in (service.data_dir / "logs").glob("*.log*"))
    text += service.log.read_text().partition("admin token:")[0]
    assert '"outcome": "sold"' in text
    assert '"outcome": "provisional"' in text
    secrets = [
        ADMIN_TOKEN,
        ID_SECRET,
        "not-this-one",
        (service.data_dir / "secrets" / "signing_key").read_text().strip(),
    ]
    password = (service.data_dir / "run" / "store.url").read_text().partition("@")[0].rpartition(":")[2]
    assert len(password) > 8
    ends = {purchase_id.partition(".")[2][7:] for purchase_id in purchase_ids}
    leaked = [value for value in {*secrets, password, *keys, *BUYER.values(), *ends} if value in text]
    assert leaked == []


def _bought(service: Service, key: str) -> Any:
    reply = service.request("POST", "/buy/rock", {"quantity": 1, "buyer": BUYER}, Idempotency_Key=key)
    assert reply.status in {200, 201}, reply
    return reply.json()


def test_a_reader_who_has_seen_enough_ends_a_command_without_a_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "ticketing", "public-key"],
            env=environment(tmp_path, SIGNING_KEY=SIGNING_KEY),
            cwd=tmp_path,
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, "")
