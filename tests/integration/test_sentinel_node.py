"""ops/sentinel on real processes: the sample files are taken, and a node follows whom the sentinels name."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.groups import SERVICE, Node, SentinelGroup, a_group
from tests.servers import HOST, ROOT, free_port, valkey_binary, wait_until

OPS = ROOT / "ops" / "sentinel"
# Where there is no valkey-cli: the one command that the script asks.
STAND_IN = f"""#!{sys.executable}
import socket, sys
_, _, host, _, port, _, *words = sys.argv
with socket.create_connection((host, int(port)), timeout=2) as sentinel:
    sent = f"*{{len(words)}}\\r\\n" + "".join(f"${{len(word)}}\\r\\n{{word}}\\r\\n" for word in words)
    sentinel.sendall(sent.encode())
    told = sentinel.recv(4096).decode().split("\\r\\n")
print("\\n".join(told[2::2]).strip() if told[0] == "*2" else "")
"""


class Started:
    """What the script started."""

    def __init__(self, node: Node, group: SentinelGroup, folder: Path, *words: str, cli: str, sentinels: str) -> None:
        config, self.log = folder / "valkey.conf", folder / "start.log"
        changes = {"port": node.server.port, "bind": HOST, "dir": node.server.folder, "maxmemory": "100mb"}
        if not config.exists():
            config.write_text(changed((OPS / "valkey.conf").read_text(), changes))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(OPS / "start-node.sh"), str(config), *words],
                env={
                    "PATH": os.environ["PATH"],
                    "NODE": f"{HOST}:{node.port}",
                    "SENTINELS": sentinels,
                    "SERVICE": SERVICE,
                    "FOLDER": str(node.server.folder),
                    "SERVER": valkey_binary(),
                    "CLI": cli,
                },
                stdout=log,
                stderr=log,
            )

    def said(self, words: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return words in self.log.read_text()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def changed(text: str, changes: dict[str, object]) -> str:
    lines = []
    for line in text.splitlines():
        name = line.partition(" ")[0]
        lines.append(f"{name} {changes[name]}" if name in changes else line)
    return "\n".join(lines) + "\n"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    with a_group(tmp_path / "group") as made:
        yield made


@pytest.fixture
def cli(tmp_path: Path) -> str:
    for name in ("valkey-cli", "redis-cli"):
        if found := shutil.which(name):
            return found
    stand_in = tmp_path / "cli"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    return str(stand_in)


def sentinels_of(group: SentinelGroup) -> str:
    return group.sentinel_addresses().replace(",", " ")


def test_a_node_that_was_the_primary_follows_the_new_one_from_its_first_moment(
    group: SentinelGroup, tmp_path: Path, cli: str
) -> None:
    old = group.kill_primary()
    new = group.wait_until_failed_over(old)
    started = Started(old, group, tmp_path, cli=cli, sentinels=sentinels_of(group))
    try:
        wait_until(old.replication, 15, "the node answers")
        assert old.replication()["role"] == "slave"
        assert f"follows {HOST}:{new.port}" in started.log.read_text()
        group.wait_until_complete()
        assert new.ask("WAIT", 1, 5_000) == 1
    finally:
        started.stop()


def test_a_node_that_is_named_itself_begins_as_primary_with_what_it_has(
    group: SentinelGroup, tmp_path: Path, cli: str
) -> None:
    node = group.primary()
    node.ask("SET", "sold", "1")
    for sentinel in group.sentinels:
        sentinel.ask("SET", SERVICE, "down-after-milliseconds", 60_000)
    node.kill()
    (tmp_path / "valkey.conf").write_text(
        changed((OPS / "valkey.conf").read_text(), {"port": node.server.port, "bind": HOST, "dir": node.server.folder})
        + f"replicaof {HOST} {free_port()}\n"  # as a sentinel may have written it once
    )
    started = Started(node, group, tmp_path, cli=cli, sentinels=sentinels_of(group))
    try:
        wait_until(node.replication, 15, "the node answers")
        assert node.is_primary()
        assert node.ask("GET", "sold") == "1"
    finally:
        started.stop()


def test_a_primary_whose_disk_is_empty_waits_for_another_to_take_over(
    group: SentinelGroup, tmp_path: Path, cli: str
) -> None:
    old = group.primary()
    old.ask("SET", "sold", "1")
    assert old.ask("WAIT", 1, 5_000) == 1
    old.kill()
    shutil.rmtree(old.server.folder / "appendonlydir")
    started = Started(old, group, tmp_path, cli=cli, sentinels=sentinels_of(group))
    try:
        new = group.wait_until_failed_over(old)
        group.wait_until_complete()
        assert (new.ask("GET", "sold"), old.ask("GET", "sold")) == ("1", "1")
        assert "nothing is in" in started.log.read_text()
    finally:
        started.stop()


def test_the_very_first_start_needs_a_word(group: SentinelGroup, tmp_path: Path, cli: str) -> None:
    node = group.primary()
    for sentinel in group.sentinels:
        sentinel.ask("SET", SERVICE, "down-after-milliseconds", 60_000)
    node.kill()
    shutil.rmtree(node.server.folder / "appendonlydir")
    started = Started(node, group, tmp_path, "--first", cli=cli, sentinels=sentinels_of(group))
    try:
        wait_until(node.replication, 15, "the node answers")
        assert node.is_primary()
    finally:
        started.stop()


def test_it_waits_until_most_sentinels_answer(group: SentinelGroup, tmp_path: Path, cli: str) -> None:
    old = group.kill_primary()
    group.wait_until_failed_over(old)
    one, *_ = sentinels_of(group).split()
    nobody = f"{HOST}:{free_port()}"
    started = Started(old, group, tmp_path, cli=cli, sentinels=f"{one} {nobody} {nobody}")
    try:
        wait_until(lambda: started.said("waiting until most of"), 15)
        assert not old.replication()
    finally:
        started.stop()


def test_the_sample_of_a_sentinel_is_taken(group: SentinelGroup, tmp_path: Path) -> None:
    port, primary = free_port(), group.primary()
    config = tmp_path / "sentinel.conf"
    text = changed((OPS / "sentinel.conf").read_text(), {"port": port, "bind": HOST, "dir": tmp_path})
    config.write_text(text.replace("10.0.0.1 6379", f"{HOST} {primary.port}"))
    process = subprocess.Popen(
        [valkey_binary(), str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: f"known-replica sale {HOST}" in config.read_text(), 30, "it has found the replica")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
