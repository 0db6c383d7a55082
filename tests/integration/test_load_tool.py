"""The load tool from its command line: exact totals on services of its own and of others, and what it leaves behind.

What must stay true: nothing is asserted of how long anything took.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import ROOT, environment, wait_until
from tests.service import ADMIN_TOKEN, Service

CONNECTIONS = 300
POOL = 150


def load(tmp_path: Path, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """`python -m tests.load`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.load", *words, "--html", str(tmp_path / "report.html")],
        cwd=tmp_path,
        env={**environment(tmp_path, **settings), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def load_processes() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "tests.load.process" in (process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.mark.timeout(300)
def test_a_rush_on_a_service_of_its_own_sells_exactly_what_there_is(tmp_path: Path) -> None:
    before = {process.pid for process in load_processes()}
    done = load(tmp_path, "--rush", "--connections", str(CONNECTIONS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{CONNECTIONS} connections open" in done.stdout
    assert re.search(rf"rush of {CONNECTIONS}: .*, {POOL} sold, {POOL} told sold out, 0 errors", done.stdout)
    assert re.search(r"after the rush: 0 purchases/s, 0 sold, [\d,]+ told sold out, 0 errors", done.stdout)
    assert f"receipts: {POOL} ready, 0 still being made, 0 failed" in done.stdout
    assert f"audit: every invariant holds; told to buyers: {POOL} tickets" in done.stdout
    assert "every promise was kept" in (tmp_path / "report.html").read_text()
    assert {process.pid for process in load_processes()} <= before


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Somebody else's service, with a small event, a large one, and one to rehearse."""
    running = Service(tmp_path_factory.mktemp("service"))
    running.start()
    try:
        running.seed({"small": POOL, "large": 50_000, "gala": POOL})
        yield running
    finally:
        running.stop()


def sold(service: Service, event_id: str) -> int:
    return int(service.request("GET", f"/events/{event_id}").json()["sold"])


def state(service: Service, event_id: str) -> str:
    return str(service.request("GET", f"/events/{event_id}").json()["sales"]["state"])


@pytest.mark.timeout(300)
def test_a_running_service_is_sold_out_and_then_nothing_is_sold(tmp_path: Path, service: Service) -> None:
    words = ["--host", service.url, "--event", "small", "--connections", "200", "--duration", "1"]
    done = load(tmp_path, *words, "--loops", "closed", "--admin-token", ADMIN_TOKEN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"event small, closed: .*, {POOL} sold, [\d,]+ told sold out, 0 errors", done.stdout)
    assert f"audit: every invariant holds; told to buyers: {POOL} tickets" in done.stdout
    again = load(tmp_path, *words, "--loops", "closed")
    assert again.returncode == 1, again.stdout + again.stderr
    assert "nothing was sold" in again.stdout
    assert "not audited" in again.stdout
    assert sold(service, "small") == POOL


@pytest.mark.timeout(300)
def test_what_buyers_were_told_is_what_the_store_sold_with_retries_too(tmp_path: Path, service: Service) -> None:
    words = ["--host", service.url, "--full", "--events", "large", "--connections", "100", "--duration", "1"]
    done = load(tmp_path, *words, "--admin-token", ADMIN_TOKEN)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("sold", "replayed", "dropped", "receipt held"):
        assert re.search(rf"\b{kind} +[\d,]+ ", done.stdout), kind
    assert "from the intended start" in done.stdout
    told = re.search(r"told to buyers: ([\d,]+) tickets", done.stdout)
    assert told is not None
    assert int(told[1].replace(",", "")) == sold(service, "large") > 100


@pytest.mark.timeout(300)
def test_a_rehearsal_sells_a_shadow_and_leaves_the_event_alone(tmp_path: Path, service: Service) -> None:
    settings = {**service.settings, "ADMIN_TOKEN": ADMIN_TOKEN, "DATA_DIR": service.data_dir}
    easy = ["--p99-ms", "100000", "--last-answer-s", "1000", "--receipts", "120"]
    words = ["rehearse", "--host", service.url, "--event", "gala", "--connections", "200", "--duration", "1", *easy]
    done = load(tmp_path, *words, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nGO\n" in done.stdout
    assert f"audit: every invariant holds; told to buyers: {POOL} tickets" in done.stdout
    (shadow_id,) = [event["event_id"] for event in service.events() if event["event_id"].startswith("rehearsal-gala-")]
    assert sold(service, shadow_id) == POOL
    wait_until(lambda: state(service, shadow_id) == "paused", 10, "each process has seen that it is paused")
    assert sold(service, "gala") == 0


def test_a_service_that_is_not_there_and_an_event_that_is_not_on_sale_end_with_two(
    tmp_path: Path, service: Service
) -> None:
    nobody = load(tmp_path, "--host", "http://127.0.0.1:1", "--event", "1")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert "http://127.0.0.1:1" in nobody.stderr
    unknown = load(tmp_path, "--host", service.url, "--event", "nowhere")
    assert unknown.returncode == 2
    assert "not on sale" in unknown.stderr
