"""schemathesis against the running service: whatever is asked, the contract names the answer, and none is a 5xx."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.servers import ROOT, environment
from tests.service import ADMIN_TOKEN, Service
from ticketing.api.contract import operations

SEED = "20261128"
TICKETS = 5_000
EXAMPLES_MOST = "8"  # of each call, beside the examples of the document and the bounds of every member

# What a valid request may meet: 422 is a key that stands for another purchase, of an earlier example.
SETTINGS = f"""\
[auth.openapi.admin_token]
bearer = "{ADMIN_TOKEN}"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422", "429"]
"""


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("openapi"), WEB_WORKERS=2, RECEIPT_WORKERS=1)
    service.start()
    service.seed({"1": TICKETS, "rock": TICKETS}, limits={"per_purchase": 100})
    yield service
    service.stop()


def test_whatever_is_asked_is_answered_as_the_contract_says(service: Service) -> None:
    said = _schemathesis(service, "--seed", SEED, "--max-examples", EXAMPLES_MOST)
    count = len(list(operations()))
    assert f"Selected: {count}/{count}\n  Tested: {count}\n" in said, said
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None
    assert int(generated[1]) > 20 * count
    events = service.events()
    assert sum(event["sold"] for event in events) > 0
    assert sum(event["issued"] for event in events) > 2 * TICKETS, "the admin's calls had their effect too"
    assert service.admin("GET", "/admin/audit").json()["ok"]
    log = "".join(path.read_text() for path in (service.data_dir / "logs").glob("*.log"))
    assert "Traceback" not in log
    assert "ERROR" not in log


def _schemathesis(service: Service, *words: str) -> str:
    """What it prints. It fails where schemathesis found anything."""
    settings = service.folder / "schemathesis.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings)]
    document = service.folder / "openapi.json"  # from its URL, schemathesis would leave that call out
    document.write_bytes(service.request("GET", "/openapi.json").body)
    command += ["run", str(document), "--url", service.url]
    command += ["--phases", "examples,coverage,fuzzing"]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.integration.openapi_hooks", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        [*command, "--request-timeout", "60", *words],
        cwd=service.folder,
        env=environment(service.folder) | hooks | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
