"""The settings: the only reader of the environment and of .env, and the keeper of the secrets that nobody set.

What must stay true: a `Settings` is complete and frozen; bad settings stop a start with every fault in one message.
"""

import base64
import contextlib
import math
import os
import re
import secrets
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ticketing import addresses
from ticketing.errors import SettingsError

FILES_BESIDE_CONNECTIONS = 256  # that a web process has open besides
SECRET_BYTES = 32
SECRETS = ("id_secret", "admin_token", "signing_key")
SECRET_CHARACTERS = {"id_secret": 32, "admin_token": 16}  # at least

BUCKET_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(\w[\w.-]*(?:/\w[\w.-]*)*))?/?", re.ASCII)

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
Secret = Annotated[str, Field(repr=False)]
Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class Settings(BaseSettings):
    """Every setting, by the name of its environment variable in lower case. .env.example says what each does."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    host: str = "127.0.0.1"
    port: Port = 3049
    data_dir: Path = Path("var")

    redis_url: Secret = ""
    queue_url: Secret = ""
    store_port: Port = 3050
    store_timeout_s: Seconds = 2.0
    store_connect_timeout_s: Seconds = 1.0
    store_connections: Count = 32
    replicas_to_confirm: NonNegative = 0
    confirm_timeout_ms: Count = 500

    secrets_folder: Path | None = None  # before id_secret, whose rule asks for it
    admin_token: Secret = ""
    id_secret: Secret = ""
    signing_key: Secret = ""

    web_workers: Count = 2
    web_server: Literal["express", "gevent"] = "express"
    receipt_workers: Count = 2
    worker_connections: Count = 20_000
    backlog: Count = 4096
    graceful_timeout_s: Count = 8
    forwarded_allow_ips: str = "127.0.0.1,::1"

    rate_limit_per_s: Annotated[float, Field(ge=0)] = 0.0
    rate_limit_burst: Count = 20

    batch_max: Annotated[int, Field(ge=1, le=1000)] = 1000
    batch_pace_ms: NonNegative = 2
    sold_out_memory_ms: NonNegative = 200

    reserve_tickets: Annotated[int, Field(ge=0, le=1000)] = 50
    reserve_per_mille: Annotated[int, Field(ge=0, le=1000)] = 10
    reserve_low_water: NonNegative = 5
    journal_folder: Path | None = None
    journal_fsync: bool = True

    receipt_due_ms: Count = 5_000
    receipt_job_size: Annotated[int, Field(ge=1, le=1000)] = 64
    receipt_collect_ms: Count = 50
    receipt_tries: Count = 5
    receipt_retry_base_ms: Count = 5_000
    receipt_job_timeout_s: Count = 60
    sweep_interval_s: Seconds = 1.0

    receipts_url: str = ""
    receipts_redirect_s: Annotated[int, Field(ge=0, le=3600)] = 0
    receipts_s3_endpoint: str = ""
    receipts_s3_public_endpoint: str = ""
    receipts_s3_region: str = ""
    receipts_s3_access_key: Secret = ""
    receipts_s3_secret_key: Secret = ""
    receipts_s3_timeout_s: Seconds = 5.0

    seed_events: NonNegative = 5
    seed_tickets: Count = 10_000

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "text", "json"] = "auto"
    metrics_dir: Path | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65_000)] = 3060

    otel_exporter_otlp_endpoint: str = ""  # these three by OpenTelemetry's own names
    otel_traces_sampler: Sampler = "parentbased_traceidratio"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    prometheus_url: str = ""
    grafana_url: str = ""
    jaeger_url: str = ""

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("redis_url", "queue_url")
    @classmethod
    def _redis_address(cls, value: str) -> str:
        if value:
            addresses.parse(value)
        return value

    @field_validator("queue_url")
    @classmethod
    def _not_on_a_cluster(cls, value: str, info: ValidationInfo) -> str:
        queue = value or info.data.get("redis_url", "")
        if queue and addresses.parse(queue).is_cluster:
            raise ValueError("must be a Redis of its own where REDIS_URL is a cluster: jobs can't be on one")
        return value

    @field_validator("confirm_timeout_ms")
    @classmethod
    def _before_the_answer_is_given_up(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("replicas_to_confirm") and 2 * value > 1000 * info.data.get("store_timeout_s", math.inf):
            raise ValueError("must be half of STORE_TIMEOUT_S at most")
        return value

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for word in value.split(","):
            if word.strip() not in ("", "*"):
                ip_network(word.strip())
        return value

    @field_validator(
        "otel_exporter_otlp_endpoint",
        "prometheus_url",
        "grafana_url",
        "jaeger_url",
        "receipts_s3_endpoint",
        "receipts_s3_public_endpoint",
    )
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @field_validator("receipts_url")
    @classmethod
    def _bucket_address(cls, value: str) -> str:
        if value and BUCKET_ADDRESS.fullmatch(value) is None:
            raise ValueError("must be s3://bucket or s3://bucket/prefix; without it receipts are in DATA_DIR")
        return value

    @field_validator("receipts_redirect_s")
    @classmethod
    def _redirects_to_a_bucket(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("receipts_url") == "":
            raise ValueError("needs RECEIPTS_URL: a folder has no addresses to send buyers to")
        return value

    @field_validator("receipts_s3_secret_key")
    @classmethod
    def _with_its_other_half(cls, value: str, info: ValidationInfo) -> str:
        if bool(value) != bool(info.data.get("receipts_s3_access_key")):
            raise ValueError("goes with RECEIPTS_S3_ACCESS_KEY: set both, or neither where the machine has a role")
        return value

    @field_validator("id_secret", "admin_token", "signing_key")
    @classmethod
    def _hard_to_guess(cls, value: str, info: ValidationInfo) -> str:
        if value and (fault := _secret_fault(str(info.field_name), value)) is not None:
            raise ValueError(fault)
        return value

    @field_validator("id_secret")
    @classmethod
    def _shared_by_all_hosts(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("redis_url") and info.data.get("secrets_folder") is None:
            raise ValueError(
                "is required when REDIS_URL is set: two hosts with different secrets would sell one key twice"
            )
        return value

    @property
    def runs_own_store(self) -> bool:
        """Whether `make run` starts a Valkey server of its own: where REDIS_URL is not set."""
        return not self.redis_url

    @property
    def local_url(self) -> str:
        """Where a browser on this machine finds the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def run_dir(self) -> Path:
        """Where the parts of one running service find one another."""
        return self.data_dir / "run"

    @property
    def receipts_dir(self) -> Path:
        """The folder of the stored receipts, where RECEIPTS_URL names no bucket."""
        return self.data_dir / "receipts"

    @property
    def journal_dir(self) -> Path:
        """The folder of this host's journals: what was sold in an outage and is not in Redis yet."""
        return self.journal_folder or self.data_dir / "journal"

    @property
    def secrets_dir(self) -> Path:
        """The folder of the secrets that nobody set."""
        return self.secrets_folder or self.data_dir / "secrets"

    @property
    def metrics_dirs(self) -> tuple[Path, Path]:
        """The folders in which the web processes and the receipt workers of this host keep their counters."""
        folder = self.metrics_dir or self.run_dir / "metrics"
        return folder / "web", folder / "workers"

    @property
    def faults_file(self) -> Path:
        """Where the processes of this host write down what went wrong last: beside counters that all of them share."""
        return self.metrics_dirs[1] / "faults.jsonl"

    @property
    def store_url_file(self) -> Path:
        """Holds the URL (with password) of the store that `make run` started."""
        return self.run_dir / "store.url"

    @property
    def store_url(self) -> str:
        """REDIS_URL, or the URL of the running store of this DATA_DIR. Raises SettingsError where there is neither."""
        if self.redis_url:
            return self.redis_url
        try:
            return self.store_url_file.read_text().strip()
        except OSError:
            raise SettingsError(
                f"No store: REDIS_URL is not set and none was started in {self.data_dir}. Start one with: make run"
            ) from None

    @property
    def resolved_queue_url(self) -> str:
        """QUEUE_URL, by default the store's."""
        return self.queue_url or self.store_url


def load(**overrides: Any) -> Settings:
    """The settings from `overrides`, the environment and .env, in this order; missing secrets are made and kept.

    True afterwards: id_secret, admin_token and signing_key are set, the same in every process of this SECRETS_FOLDER.
    Raises SettingsError, which names every fault.
    """
    settings = _read(**overrides)
    made = {name: kept_secret(settings, name) for name in SECRETS}
    return settings.model_copy(update=made)


def load_as_it_is(**overrides: Any) -> Settings:
    """The same, for who only looks: a secret that is neither set nor kept yet is empty."""
    settings = _read(**overrides)
    kept = [name for name in SECRETS if getattr(settings, name) or (settings.secrets_dir / name).exists()]
    return settings.model_copy(update={name: kept_secret(settings, name) for name in kept})


def _read(**overrides: Any) -> Settings:
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [f"  {_where(fault['loc'])}{fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()]
        raise SettingsError("These settings are wrong:\n" + "\n".join(lines)) from None


def present_signing_key() -> str:
    """The signing key as it is set or kept, for checking codes. Raises SettingsError where there is none."""
    settings = Settings()
    if settings.signing_key or (settings.secrets_dir / "signing_key").exists():
        return kept_secret(settings, "signing_key")
    raise SettingsError(f"No signing key is kept in {settings.secrets_dir}: give the public key with --key")


def kept_secret(settings: Settings, name: str) -> str:
    """The secret as it was set, or the one kept in SECRETS_FOLDER (mode 0600), made now if it is the first time.

    Two processes that make it at once end with the same. Raises SettingsError where it can't be kept, or is damaged.
    """
    if value := getattr(settings, name):
        return str(value)
    folder = settings.secrets_dir
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_secret(path, _new_secret(name))
        kept = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{name.upper()} is not set, and can't be kept in {folder}: {error.strerror}") from None
    return _checked(name, kept, path)


def _make_secret(path: Path, secret: str) -> None:
    """The file appears whole, by a link that only one of several processes can set, and survives a power cut."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(descriptor)
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checked(name: str, kept: str, path: Path) -> str:
    """A kept secret fits the rules of a given one: an empty file would make ids that anybody can forge."""
    if kept and _secret_fault(name, kept) is None:
        return kept
    raise SettingsError(f"{path} is damaged: restore it from a backup, or set {name.upper()}")


def _new_secret(name: str) -> str:
    if name == "admin_token":
        return secrets.token_urlsafe(24)
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _secret_fault(name: str, value: str) -> str | None:
    """What is wrong with a secret that is set; None where nothing is."""
    if name == "signing_key":
        return None if _is_key(value) else "must be an Ed25519 private key: 32 bytes in base64"
    least = SECRET_CHARACTERS[name]
    return None if len(value) >= least else f"must have {least} characters or more"


def _is_key(value: str) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == SECRET_BYTES
    except ValueError:
        return False


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part).upper() for part in location) + ": " if location else ""
