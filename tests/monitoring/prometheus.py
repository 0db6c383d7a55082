"""A real Prometheus that scrapes a service of the tests, by prometheus.yml as it stands but for addresses and pace.

What must stay true: it listens on loopback alone, keeps its files in the test's folder, and is gone afterwards.
"""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import HOST, ROOT, free_port, wait_until
from tests.service import Service

ENDPOINT = re.compile(r"metrics on http://(?P<address>[^/]+)/metrics")
JOB_OF_PART = {"receipts": "workers", "sweeper": "queue"}
PACE = "1s"
READY_DEADLINE_S = 60.0
MISSING = "prometheus is missing; Debian has it as a package: apt-get install prometheus"


def require() -> None:
    """There is a Prometheus; otherwise the test is skipped, and says what to install."""
    if shutil.which("prometheus") is None:
        pytest.skip(MISSING)


def telling(service: Service) -> dict[str, list[str]]:
    """Where each job of prometheus.yml finds its targets, as the parts of a service say in a log of JSON."""
    found: dict[str, list[str]] = {"app": [f"{HOST}:{service.port}"], "workers": [], "queue": []}
    for line in service.log.read_text().splitlines():
        if told := ENDPOINT.search(line):
            found[JOB_OF_PART[json.loads(line)["part"]]].append(told["address"])
    return found


class Prometheus:
    """One server, from its start to its end."""

    def __init__(self, folder: Path, targets: dict[str, list[str]]) -> None:
        """`targets` by the name of their job in prometheus.yml."""
        self.port = free_port()
        self._folder = folder
        self._targets = targets | {"prometheus": [f"{HOST}:{self.port}"]}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(self._configuration()))
        words = [
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=warn",
        ]
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(["prometheus", *words], stdout=log, stderr=log, cwd=self._folder)
        wait_until(self._is_ready, READY_DEADLINE_S, f"ready, see {self._folder}/prometheus.log")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def get(self, path: str, **parameters: Any) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each series that a query finds now."""
        found = self.get("query", query=expr)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def value(self, expr: str) -> float | None:
        """Of a query that finds one series; None where it finds none."""
        found = self.query(expr)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def targets(self) -> dict[str, set[str]]:
        """How its targets are, by their job."""
        told: dict[str, set[str]] = {}
        for target in self.get("targets")["activeTargets"]:
            told.setdefault(target["labels"]["job"], set()).add(target["health"])
        return told

    def _configuration(self) -> dict[str, Any]:
        read: dict[str, Any] = yaml.safe_load((ROOT / "prometheus.yml").read_text())
        read["global"] = dict.fromkeys(read["global"], PACE)
        read["rule_files"] = [str(ROOT / name) for name in read["rule_files"]]
        for job in read["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": self._targets[job["job_name"]]}]
        return read

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
