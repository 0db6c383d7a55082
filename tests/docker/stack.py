"""The stack of docker-compose.yml on whichever engine answers, as a project of its own on free ports.

What must stay true: it is the files of this repository, with .env.example and what a test sets besides as their .env;
afterwards no container, network or volume of it is left, whatever a test did to it.
"""

import base64
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers import HOST, ROOT, free_port, wait_until
from tests.service import Reply
from ticketing.store import keys

COMMAND_DEADLINE_S = 300
BUILD_DEADLINE_S = 1800
REQUEST_DEADLINE_S = 30
PAUSE_S = 0.1
PUBLISHED = ("PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "JAEGER_PORT")
KEPT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
NO_ENGINE = """No Docker engine can be used: {}
This test takes any engine on this machine that answers `docker info`, with compose 2 (`docker compose version`). Start
Docker Desktop, or `sudo systemctl start docker`; where its socket is not the usual one, set DOCKER_HOST or say
`docker context use`. The images that Dockerfile and docker-compose.yml name are pulled, or must be there already."""


def require_engine() -> None:
    """An engine and compose answer. Otherwise the run ends here, and says what to do."""
    if shutil.which("docker") is None:
        pytest.exit(NO_ENGINE.format("there is no `docker` on the PATH"), returncode=1)
    for words in (("info",), ("compose", "version")):
        asked = subprocess.run(["docker", *words], capture_output=True, check=False, text=True, env=_kept(), timeout=60)
        if asked.returncode != 0:
            why = (asked.stderr or asked.stdout).strip().splitlines()[-1]
            pytest.exit(NO_ENGINE.format(f"`docker {' '.join(words)}` says: {why}"), returncode=1)


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ}


class Stack:
    """The running stack. `files`: more compose files than the first, as an operator would name them."""

    def __init__(self, folder: Path, files: Sequence[str] = (), **settings: str) -> None:
        self._files = ["docker-compose.yml", *files]
        self.project = f"ticketing-test-{os.getpid()}"
        self.ports = {name: free_port() for name in PUBLISHED}
        self._env_file = folder / ".env"
        own = "".join(f"{name}={value}\n" for name, value in settings.items())
        self._env_file.write_text((ROOT / ".env.example").read_text() + own)

    def compose(self, *words: str, deadline_s: float = COMMAND_DEADLINE_S) -> str:
        """What `docker compose` printed. It succeeded."""
        done = self.try_compose(*words, deadline_s=deadline_s)
        assert done.returncode == 0, f"docker compose {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def try_compose(self, *words: str, deadline_s: float = COMMAND_DEADLINE_S) -> subprocess.CompletedProcess[str]:
        options = ["--project-name", self.project, "--env-file", str(self._env_file), "--progress", "quiet"]
        options += [word for name in self._files for word in ("--file", name)]
        return subprocess.run(
            ["docker", "compose", *options, *words],
            check=False,
            cwd=ROOT,
            env=_kept() | {name: str(port) for name, port in self.ports.items()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_s,
        )

    def build(self, *services: str) -> None:
        self.compose("build", *(services or ("app",)), deadline_s=BUILD_DEADLINE_S)

    def set(self, **settings: str) -> None:
        """From the next `up` on."""
        with self._env_file.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    def up(self, *words: str) -> None:
        """Every service of these is well."""
        self.compose("up", "--detach", "--wait", *words)

    def remove(self) -> None:
        """Nothing of it is left, volumes included."""
        self.compose("--profile", "monitoring", "down", "--volumes", "--remove-orphans")

    def in_app(self, *words: str) -> str:
        """What a command prints that an operator runs beside the web processes. It succeeded."""
        return self.compose("exec", "--no-TTY", "app", *words)

    def aside(self, *words: str) -> str:
        """The same in a container of its own, with the app's volumes."""
        return self.compose("run", "--rm", "--no-deps", "--no-TTY", "app", *words)

    def inspect(self, service: str) -> list[dict[str, Any]]:
        """What the engine knows of the containers of a service."""
        found = self.compose("ps", "--all", "--quiet", service).split()
        inspected = subprocess.run(["docker", "inspect", *found], capture_output=True, check=True, env=_kept())
        containers: list[dict[str, Any]] = json.loads(inspected.stdout)
        return containers

    def request(self, method: str, path: str, port: str = "PORT", **headers: str) -> Reply:
        """One call to a published port. Raises OSError."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{HOST}:{self.ports[port]}{path}", None, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_DEADLINE_S) as answer:
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())

    def buy(self, event_id: str, key: str) -> Reply:
        return self.request("POST", f"/buy/{event_id}", Idempotency_Key=key)

    def purchase(self, purchase_id: str) -> Any:
        """The purchase as it stands now."""
        return self.request("GET", f"/tickets/{purchase_id}", Accept="application/json").json()

    def receipt(self, purchase_id: str) -> bytes:
        """Its PDF, once it is there."""
        stored: list[bytes] = []

        def is_there() -> bool:
            reply = self.request("GET", f"/tickets/{purchase_id}")
            assert reply.status in {200, 202}, reply
            stored.extend([reply.body] if reply.status == 200 else [])
            return bool(stored)

        wait_until(is_there, 60, f"the receipt of {purchase_id}")
        return stored[0]

    def health(self) -> Any:
        return self.request("GET", "/health").json()

    def sold(self, event_id: str) -> int:
        """Purchases of an event that the store has."""
        shown = self.compose("exec", "--no-TTY", "redis", "valkey-cli", "HLEN", keys.of_event(event_id).purchases)
        return int(shown)

    def metric(self, name: str) -> float:
        """The sum of the samples of a metric."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def grafana(self, path: str) -> Any:
        login = base64.b64encode(b"admin:admin").decode()
        return self.request("GET", path, "GRAFANA_PORT", Authorization=f"Basic {login}").json()


@dataclass
class Buyers:
    """Some who buy one ticket after another, each under a key of its own, and remember what they were told."""

    stack: Stack
    event_id: str
    number: int = 3
    told: dict[str, Reply | OSError] = field(default_factory=dict)

    def __enter__(self) -> "Buyers":
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._buy) for _ in range(self.number)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def count(self, status: str) -> int:
        """How many were told this of their purchase."""
        return sum(body["status"] == status for body in self.bought())

    def bought(self) -> list[Any]:
        """What they were told of the purchases that were made."""
        replies = [reply for reply in list(self.told.values()) if isinstance(reply, Reply)]
        return [reply.json() for reply in replies if reply.status == 201]

    def _buy(self) -> None:
        while not self._ended.wait(PAUSE_S):
            key = str(uuid.uuid4())
            try:
                self.told[key] = self.stack.buy(self.event_id, key)
            except OSError as error:  # the app is stopped
                self.told[key] = error
