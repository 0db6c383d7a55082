"""What can be said of Dockerfile and docker-compose.yml without an engine; `make test-docker` really runs them."""

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import ROOT
from tests.unit.test_config import CONTAINERS_ALONE, LINE
from ticketing.config import Settings
from ticketing.telemetry.endpoint import worker_ports


class OnceEach(yaml.SafeLoader):
    """Refuses a key that stands twice, as compose does; PyYAML takes the last."""


def _mapping(loader: OnceEach, node: yaml.MappingNode) -> dict[str, Any]:
    names = [name.value for name, _ in node.value if name.tag != "tag:yaml.org,2002:merge"]
    assert len(names) == len(set(names)), f"a key stands twice: {sorted(names)}"
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


OnceEach.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(text: str) -> Any:
    return yaml.load(text, OnceEach)


PROMETHEUS: dict[str, Any] = load((ROOT / "prometheus.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCALE_TEXT = (ROOT / "docker-compose.scale.yml").read_text()
PARTS = ("app", "worker", "scheduler", "seeds")
MONITORING = ("prometheus", "grafana", "jaeger")
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}")
# The host's are not the containers', and prometheus.yml names their ports.
IN_THE_IMAGE = {"HOST", "PORT", "DATA_DIR", "METRICS_DIR", "METRICS_HOST", "METRICS_PORT", "JOURNAL_FOLDER"}
NOT_IN_A_CONTAINER = {"STORE_PORT", "RECEIPT_WORKERS"}  # how many others there are, and a store that it starts itself


def resolved(text: str) -> str:
    """As compose reads it where nothing is set."""
    return VARIABLE.sub(lambda match: match[2] or "", text)


def image_environment() -> dict[str, str]:
    [line] = re.findall(r"^ENV (.+)$", DOCKERFILE, re.MULTILINE)
    return dict(word.split("=", 1) for word in line.split())


def mounted(service: str) -> set[str]:
    volumes = [volume.split(":")[1] for volume in SERVICES[service].get("volumes", [])]
    return {*volumes, *(mount.split(":")[0] for mount in SERVICES[service]["tmpfs"])}


def test_the_services_are_those_of_the_documents() -> None:
    assert set(SERVICES) == {"redis", *PARTS, *MONITORING}
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["monitoring"]} == set(MONITORING)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_names_only_what_is_there(service: str) -> None:
    wanted = SERVICES[service]
    assert set(wanted.get("depends_on", {})) <= set(SERVICES)
    assert set(wanted.get("networks", [])) <= set(COMPOSE["networks"])
    sources = [volume.split(":")[0] for volume in wanted.get("volumes", [])]
    assert {source for source in sources if not source.startswith("./")} <= set(COMPOSE["volumes"])
    for source in sources:
        assert not source.startswith("./") or (ROOT / source).exists(), source  # Docker would make it, as root's folder


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_port_is_published_on_loopback_by_default(service: str) -> None:
    for port in SERVICES[service].get("ports", []):
        assert resolved(port).startswith("127.0.0.1:"), port
        assert resolved(port).count(":") == 2


def test_redis_is_published_nowhere_and_reached_by_the_parts_alone() -> None:
    assert "ports" not in SERVICES["redis"]
    assert COMPOSE["networks"]["store"]["internal"] is True
    assert SERVICES["redis"]["networks"] == ["store"]
    assert {name for name in SERVICES if "store" in SERVICES[name].get("networks", [])} == {"redis", *PARTS}


def test_redis_loses_and_drops_nothing() -> None:
    words = [resolved(word) for word in SERVICES["redis"]["command"]]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--save": "",
        "--maxmemory": "1gb",
        "--maxmemory-policy": "noeviction",
    }
    assert SERVICES["redis"]["volumes"] == ["store:/data"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_everything_comes_back_and_says_whether_it_is_well(service: str) -> None:
    wanted = SERVICES[service]
    one_shot = service == "seeds"
    assert wanted["restart"] == ("no" if one_shot else "unless-stopped")
    assert one_shot or service == "app" or wanted["healthcheck"]["test"]  # the app's is the image's own
    assert "driver" in wanted["logging"]


@pytest.mark.parametrize("service", PARTS)
def test_the_parts_have_no_right_that_they_do_not_need(service: str) -> None:
    wanted = SERVICES[service]
    assert wanted["read_only"] is True
    assert wanted["cap_drop"] == ["ALL"]
    assert wanted["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add", "network_mode", "pid"} & set(wanted)


def test_the_image_is_nobodys_root_and_says_whether_it_lives() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]  # by number, for those who check it
    assert "HEALTHCHECK" in DOCKERFILE
    assert "/health/live" in DOCKERFILE
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "pip" not in last_stage
    assert last_stage.index("\nCOPY") < last_stage.index("\nUSER")


def test_every_image_is_pinned_and_pythons_is_a_build_argument() -> None:
    froms = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(froms) == {"${PYTHON_IMAGE}"}
    [default] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert resolved(SERVICES["app"]["build"]["args"]["PYTHON_IMAGE"]) == default
    for image in [default, *(SERVICES[name]["image"] for name in ("redis", *MONITORING))]:
        tag = image.rpartition(":")[2]
        assert re.match(r"v?\d", tag), image


def test_the_files_ask_nothing_of_a_registry_but_their_images() -> None:
    assert "# syntax" not in DOCKERFILE
    assert "sha256:" not in DOCKERFILE + COMPOSE_TEXT
    assert "pull_policy" not in COMPOSE_TEXT


@pytest.mark.parametrize("service", PARTS)
def test_every_setting_reaches_the_parts_and_none_is_unknown(service: str) -> None:
    given = set(SERVICES[service]["environment"])
    known = {name.upper() for name in Settings.model_fields}
    assert given <= known
    assert known - given == IN_THE_IMAGE | NOT_IN_A_CONTAINER
    assert {"HOST", "DATA_DIR", "METRICS_DIR", "METRICS_HOST", "METRICS_PORT", "LOG_FORMAT"} <= set(image_environment())


def test_there_are_as_many_workers_as_the_setting_says() -> None:
    assert SERVICES["worker"]["deploy"]["replicas"] == "${RECEIPT_WORKERS:-2}"


def test_no_secret_stands_in_the_file() -> None:
    for service in PARTS:
        for name in ("ID_SECRET", "ADMIN_TOKEN", "SIGNING_KEY"):
            assert SERVICES[service]["environment"][name] is None


def test_every_variable_is_in_the_example_with_its_default() -> None:
    _, _, theirs = (ROOT / ".env.example").read_text().partition(CONTAINERS_ALONE)
    said = dict(match.groups() for line in theirs.splitlines() if (match := LINE.fullmatch(line)))
    read = {match[1]: match[2] for match in VARIABLE.finditer(COMPOSE_TEXT + SCALE_TEXT)}
    settings = {name.upper(): str(field.default) for name, field in Settings.model_fields.items()}
    assert {name: default for name, default in read.items() if name not in settings} == said
    others = {name: default for name, default in read.items() if settings.get(name, default) != default}
    theirs_alone = {"RECEIPTS_S3_ACCESS_KEY": "ticketing"}
    assert others == {"REDIS_URL": "redis://redis:6379/0", "LOG_FORMAT": "json", **theirs_alone}


def test_what_must_last_is_on_volumes_and_what_is_written_besides_in_memory() -> None:
    assert mounted("app") == {
        "/tmp", "/data/run", "/data/journal", "/data/receipts", "/data/secrets", "/metrics/web", "/metrics/workers",
    }  # fmt: skip
    assert mounted("worker") == {"/tmp", "/data/receipts", "/data/secrets", "/metrics/workers"}
    assert mounted("scheduler") == {"/tmp", "/data/secrets", "/metrics/workers"}
    assert mounted("seeds") == {"/tmp", "/data/secrets"}
    made = re.findall(r"(?<= )/(?:data|metrics)\S*", DOCKERFILE.partition("install -d")[2].partition("\nCOPY")[0])
    assert mounted("app") - {"/tmp"} <= set(made)  # a new volume takes the owner over from the image


@pytest.mark.parametrize("service", ["app", "worker", "scheduler"])
def test_the_parts_that_run_write_their_faults_into_one_file(service: str) -> None:
    folder = Settings(metrics_dir=Path(image_environment()["METRICS_DIR"])).faults_file.parent
    assert f"metrics:{folder}" in SERVICES[service]["volumes"]


def test_a_journal_and_the_web_counters_belong_to_one_container() -> None:
    holders = {name for name in SERVICES if "journal:/data/journal" in SERVICES[name].get("volumes", [])}
    assert holders == {"app"}
    assert not any("/metrics/web" in volume for name in SERVICES for volume in SERVICES[name].get("volumes", []))


def test_a_part_has_time_to_finish_what_it_has_begun() -> None:
    grace_s = int(SERVICES["app"]["stop_grace_period"].removesuffix("s"))
    assert grace_s >= Settings.model_fields["graceful_timeout_s"].default + 4  # as under supervisord
    assert {"redis", "seeds"} == set(SERVICES["app"]["depends_on"])  # and so the store is stopped last
    for name in ("worker", "scheduler", "seeds"):
        assert "redis" in SERVICES[name]["depends_on"]


def test_prometheus_scrapes_services_of_the_stack() -> None:
    ports = {name: int(image_environment()["METRICS_PORT"]) for name in ("scheduler",)}
    scraped = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    targets = {
        name: [target for static in job.get("static_configs", []) for target in static["targets"]]
        for name, job in scraped.items()
    }
    assert targets == {
        "app": ["app:3049"],
        "workers": [],
        "queue": [f"scheduler:{ports['scheduler']}"],
        "prometheus": ["localhost:9090"],
    }
    [workers] = scraped["workers"]["dns_sd_configs"]  # one address a container
    assert (workers["names"], workers["type"]) == (["worker"], "A")
    assert workers["port"] == worker_ports(ports["scheduler"])[0]


def test_prometheus_finds_its_rules_where_they_are_mounted() -> None:
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    assert mounts["./prometheus.yml"] == "/etc/prometheus/prometheus.yml"
    for rules in PROMETHEUS["rule_files"]:
        folder = Path(rules).parent
        assert mounts[f"./{folder}"] == f"/etc/prometheus/{folder}"
        assert (ROOT / rules).exists()


def test_the_build_sees_what_the_image_takes_and_no_secret() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    seen = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    }
    assert copied == seen
    for hidden in (".env", "var", ".git", "tests", ".venv"):
        assert not any(fnmatch(hidden, pattern) for pattern in seen)


def test_the_run_with_an_engine_is_no_part_of_make_test(pytestconfig: pytest.Config) -> None:
    assert "docker" in pytestconfig.getini("norecursedirs")
