"""Settings: what is wrong is said at once and in full; secrets that nobody set are made once."""

import multiprocessing
import re
import stat
from pathlib import Path

import pytest

from tests.servers import ROOT
from ticketing import config
from ticketing.config import Settings
from ticketing.errors import SettingsError

SECRET = "0123456789 0123456789 0123456789"
LINE = re.compile(r"#([A-Z0-9_]+)=(.*)")
CONTAINERS_ALONE = "# --- Containers alone"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_complete(tmp_path: Path) -> None:
    settings = config.load()
    assert (settings.port, settings.data_dir) == (3049, Path("var"))
    assert all((settings.id_secret, settings.admin_token, settings.signing_key))
    assert settings.runs_own_store


def test_every_fault_is_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "PORT": "70000",
        "WEB_WORKERS": "0",
        "REDIS_URL": "http://example.com",
        "ADMIN_TOKEN": "short",
        "ID_SECRET": "short",
        "SIGNING_KEY": "not a key",
        "LOG_LEVEL": "loud",
        "BATCH_MAX": "1001",
        "STORE_TIMEOUT_S": "soon",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "jaeger:4318",
        "OTEL_TRACES_SAMPLER": "sometimes",
        "OTEL_TRACES_SAMPLER_ARG": "1.1",
        "RECEIPTS_URL": "https://example.com/receipts",
        "RECEIPTS_S3_ENDPOINT": "s3.example.com",
        "RECEIPTS_S3_SECRET_KEY": "without its other half",
        "RECEIPTS_REDIRECT_S": "3601",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        config.load()
    said = str(raised.value).splitlines()[1:]
    assert {line.split(":")[0].strip() for line in said} == set(wrong)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"REDIS_URL": "redis+sentinel://one"}, "REDIS_URL: must end with /<service>"),
        ({"REDIS_URL": "redis+cluster://one"}, "QUEUE_URL: must be a Redis of its own"),
        ({"REDIS_URL": "redis+cluster://one", "QUEUE_URL": "redis+cluster://two"}, "QUEUE_URL: must be a Redis"),
        ({"REPLICAS_TO_CONFIRM": "1", "STORE_TIMEOUT_S": "0.9"}, "CONFIRM_TIMEOUT_MS: must be half of STORE_TIMEOUT_S"),
    ],
)
def test_stores_that_can_not_be_sold_from(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], fault: str
) -> None:
    for name, value in {"ID_SECRET": SECRET, **settings}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        config.load()
    [said] = str(raised.value).splitlines()[1:]
    assert said.strip().startswith(fault)


def test_a_short_answer_needs_no_confirmation_in_time_where_nobody_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_TIMEOUT_S", "0.1")
    assert config.load().replicas_to_confirm == 0


def test_no_secret_stands_in_a_message_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "hush-hush")
    with pytest.raises(SettingsError) as raised:
        config.load()
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["s3://", "s3://B", "s3://bucket/../x", "s3://bucket/a b", "s3://bucket?x=1", "file:///x"]
)
def test_a_bucket_is_named_as_one(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RECEIPTS_URL", url)
    with pytest.raises(SettingsError, match="RECEIPTS_URL: must be s3://bucket or s3://bucket/prefix"):
        config.load()


def test_a_redirect_needs_a_bucket_to_lead_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIPTS_REDIRECT_S", "60")
    with pytest.raises(SettingsError, match="RECEIPTS_REDIRECT_S: needs RECEIPTS_URL"):
        config.load()


def test_the_keys_of_a_bucket_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIPTS_S3_ACCESS_KEY", "hush-key")
    monkeypatch.setenv("RECEIPTS_S3_SECRET_KEY", "hush-hush")
    assert "hush" not in repr(config.load())
    monkeypatch.delenv("RECEIPTS_S3_ACCESS_KEY")
    with pytest.raises(SettingsError) as raised:
        config.load()
    assert "RECEIPTS_S3_SECRET_KEY: goes with" in str(raised.value)
    assert "hush" not in str(raised.value)


def test_nothing_is_made_where_a_setting_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "0")
    with pytest.raises(SettingsError):
        config.load()
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_ones_own_needs_an_id_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://example.com")
    with pytest.raises(SettingsError, match="ID_SECRET: is required when REDIS_URL is set"):
        config.load()
    monkeypatch.setenv("ID_SECRET", SECRET)
    settings = config.load()
    assert settings.id_secret == SECRET
    assert not settings.runs_own_store
    assert settings.store_url == settings.resolved_queue_url == "redis://example.com"


def test_what_shares_a_folder_of_secrets_needs_no_id_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://example.com")
    monkeypatch.setenv("SECRETS_FOLDER", str(tmp_path / "shared"))
    one, other = config.load(data_dir=tmp_path / "one"), config.load(data_dir=tmp_path / "other")
    assert one.id_secret == other.id_secret == (tmp_path / "shared" / "id_secret").read_text().strip()
    assert not (tmp_path / "one").exists()


def test_an_empty_setting_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    assert config.load().port == 3049


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=4001\nSEED_EVENTS=3\n")
    monkeypatch.setenv("PORT", "4002")
    settings = config.load()
    assert (settings.port, settings.seed_events) == (4002, 3)


def test_without_a_running_store_it_is_said_how_to_start_one() -> None:
    with pytest.raises(SettingsError, match="make run"):
        _ = config.load().store_url


def test_secrets_are_kept_for_their_owner_alone() -> None:
    first, second = config.load(), config.load()
    names = ("id_secret", "admin_token", "signing_key")
    assert [getattr(first, name) for name in names] == [getattr(second, name) for name in names]
    folder = Path("var/secrets")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(names, 0o600)


def test_eight_processes_that_start_at_once_make_the_same_secrets(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(8)
    told = context.SimpleQueue()
    processes = [context.Process(target=_tell_secrets, args=(tmp_path, barrier, told)) for _ in range(8)]
    for process in processes:
        process.start()
    secrets = {told.get() for _ in processes}
    for process in processes:
        process.join(30)
    assert len(secrets) == 1
    assert len(list((tmp_path / "var" / "secrets").iterdir())) == 3


def test_the_example_names_every_setting_with_its_default() -> None:
    """And then what docker-compose.yml alone reads, of which test_containers.py knows."""
    ours, _, _ = (ROOT / ".env.example").read_text().partition(CONTAINERS_ALONE)
    found = dict(match.groups() for line in ours.splitlines() if (match := LINE.fullmatch(line)))
    fields = Settings.model_fields.items()
    assert found == {name.upper(): _shown(field.default) for name, field in fields}


def _shown(default: object) -> str:
    return "" if default is None else str(default)


def _tell_secrets(folder: Path, barrier, told) -> None:  # type: ignore[no-untyped-def] # multiprocessing's own
    barrier.wait(30)
    settings = config.load(data_dir=folder / "var")
    told.put((settings.id_secret, settings.admin_token, settings.signing_key))
