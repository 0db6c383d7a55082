"""A primary, its replicas and their sentinels, as real processes; each is reached through a proxy that can part it.

What must stay true: every process that is started here is ended here, by its own pid. A node goes by its proxy's
address everywhere, so that a partition needs no rights: servers and sentinels on one side, clients on the other, or one
client's user alone. A node that is started again asks the sentinels whom to follow, as a start script should.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.proxy import CLIENTS, SERVERS, Link, Proxy, Way
from tests.servers import HOST, ValkeyServer, steady_port, valkey_binary, wait_until
from ticketing.store.connection import no_retry

SERVICE = "sale"
DOWN_AFTER_MS = 700
PATIENT_MS = 30_000
FAILOVER_TIMEOUT_MS = 4_000
FAILOVER_DEADLINE_S = 40.0
COMPLETE_DEADLINE_S = 30.0
# Sentinels look at nodes every 10 s, and wait 8 s before they demote a primary that is back. So that a round is short,
# these do so after 1 and 2 s; `hasty=False` leaves their defaults.
HASTE = ("INFO-PERIOD", 1_000, "PUBLISH-PERIOD", 500, "ASK-PERIOD", 300, "PING-PERIOD", 300)
PASSWORD = "a-password-of-tests"


class Node:
    """One data node: its server, and the proxy under whose port everybody knows it."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.server = ValkeyServer(folder)
        self.server.port = steady_port()
        self.gate = Proxy(self.server.port)
        self._options = tuple(options)
        self.is_running = False
        self.is_suspended = False

    @property
    def port(self) -> int:
        """The port under which it is known."""
        return self.gate.port

    @property
    def url(self) -> str:
        """Its own address, past the proxy."""
        return self.server.url

    def start(self, primary_port: int = 0) -> None:
        """It runs with what its folder holds, and follows the node that is known under this port."""
        follow = ("--replicaof", f"{HOST} {primary_port}") if primary_port not in {0, self.port} else ()
        known_as = ("--replica-announce-ip", HOST, "--replica-announce-port", str(self.port))
        self.server.start("--repl-diskless-sync-delay", "0", *known_as, *self._options, *follow)
        self.gate.target_port = self.server.port
        self.is_running, self.is_suspended = True, False

    def kill(self) -> None:
        """It ends as in a power cut."""
        self.is_running = False
        self.server.kill()

    def suspend(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        self.is_suspended = True
        self.server.suspend()

    def resume(self) -> None:
        """SIGCONT: it goes on with all that was sent to it meanwhile."""
        self.server.resume()
        self.is_suspended = False

    def ask(self, *command: str | int) -> object:
        """The reply to one command, past the proxy. Raises redis.RedisError."""
        return _ask(self.server.port, *command)

    def replication(self) -> dict[str, str]:
        """What INFO says of its part in the group; empty where it does not answer."""
        try:
            found = self.ask("INFO", "replication")
        except redis.RedisError:
            return {}
        assert isinstance(found, dict)
        return {name: str(value) for name, value in found.items()}

    def is_primary(self) -> bool:
        return self.replication().get("role") == "master"

    def is_in_step(self) -> bool:
        """Whether it is a replica that has a primary, and what that had."""
        return self.replication().get("master_link_status") == "up"

    def stop(self) -> None:
        self.gate.stop()
        if self.is_running:
            self.server.stop()
        self.is_running = False


class Sentinel(ValkeyServer):
    """One sentinel. It writes what it knows into its configuration file, and finds it there when started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = steady_port()

    def watch(self, port: int, quorum: int, down_after_ms: int) -> None:
        """It will watch the primary that is known under this port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f'dir "{self.folder}"',
            f"sentinel monitor {SERVICE} {HOST} {port} {quorum}",
            f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}",
            f"sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}",
        ]
        self._file.write_text("\n".join(lines) + "\n")

    def ask(self, *command: str | int) -> object:
        return _ask(self.port, "SENTINEL", *command)

    @property
    def _file(self) -> Path:
        return self.folder / "sentinel.conf"

    def _launch(self, _: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen([valkey_binary(), str(self._file), "--sentinel"], stdout=log, stderr=log)


class SentinelGroup:
    """All of them. `users` are clients that sign in under a name, so that each can be parted alone."""

    def __init__(
        self,
        folder: Path,
        replicas: int = 1,
        sentinels: int = 3,
        *,
        users: Sequence[str] = (),
        options: Sequence[str] = (),
        down_after_ms: int = DOWN_AFTER_MS,
        hasty: bool = True,
    ) -> None:
        """`options`: more of valkey-server's, for each data node, as --min-replicas-to-write 1."""
        self.folder = folder
        self.users = tuple(users)
        rights = [word for user in users for word in ("--user", user, "on", f">{PASSWORD}", "~*", "&*", "+@all")]
        self.nodes = [Node(folder / f"node-{number}", [*rights, *options]) for number in range(1 + replicas)]
        self.sentinels = [Sentinel(folder / f"sentinel-{number}") for number in range(sentinels)]
        # Clients ask the sentinels through these; sentinels know each other by their own ports. One list a party.
        self.doors = {party: [Proxy(one.port) for one in self.sentinels] for party in (CLIENTS, *users)}
        self._down_after_ms = down_after_ms
        self._hasty = hasty

    def start(self) -> None:
        """The first node is the primary, the others are in step, and every sentinel knows all of them."""
        first, *others = self.nodes
        first.start()
        for node in others:
            node.start(first.port)
        wait_until(lambda: all(node.is_in_step() for node in others), COMPLETE_DEADLINE_S, "replicas are in step")
        for sentinel in self.sentinels:
            sentinel.watch(first.port, len(self.sentinels) // 2 + 1, self._down_after_ms)
            sentinel.start()
            if self._hasty:
                sentinel.ask("DEBUG", *HASTE)
        self.wait_until_complete()

    @property
    def url(self) -> str:
        """Where a service finds the group."""
        return self.url_of()

    def url_of(self, user: str = "") -> str:
        """The same for a client that signs in as one of `users`."""
        who = f"{user}:{PASSWORD}@" if user else ""
        return f"redis+sentinel://{who}{self.sentinel_addresses(user or CLIENTS)}/{SERVICE}"

    def way_of(self, user: str) -> "UserWay":
        """What this user's connections go through, whichever node they go to."""
        return UserWay(self, user)

    def sentinel_addresses(self, party: str = CLIENTS) -> str:
        return ",".join(f"{HOST}:{door.port}" for door in self.doors[party])

    def primary(self) -> Node:
        """The node that most sentinels name."""
        return self._node(self.named())

    @property
    def replicas(self) -> list[Node]:
        """All the others, running or not."""
        primary = self.primary()
        return [node for node in self.nodes if node is not primary]

    def named(self) -> int:
        """The port that most sentinels name, or 0."""
        named = [port for sentinel in self.sentinels if (port := _primary_port(sentinel))]
        most = max(set(named), key=named.count, default=0)
        return most if named.count(most) > len(self.sentinels) // 2 else 0

    def kill_primary(self) -> Node:
        """The node that was the primary, and ended as in a power cut."""
        node = self.primary()
        node.kill()
        return node

    def restart(self, node: Node) -> None:
        """It runs again, and follows whom the sentinels name (itself perhaps)."""
        node.start(self.named())

    def part(self, node: Node, *clients: str) -> None:
        """A network is cut in two: this node and these clients (all, unless named) here, everybody else there.

        Nothing is lost: what was sent arrives when the network is mended, as TCP sends it again.
        """
        parties = {CLIENTS, *self.users}
        here = set(clients) or parties
        node.gate.parted = frozenset({SERVERS} | (parties - here))
        for other in self.nodes:
            if other is not node:
                other.gate.parted = frozenset(here)
        for party in here:
            for door in self.doors[party]:
                door.parted = frozenset(parties)

    def mend(self) -> None:
        """The network is whole."""
        for gate in self._gates():
            gate.parted = frozenset()

    def be_patient(self) -> None:
        """From now on a primary that is only slow, as on a busy machine, is not taken for one that is down."""
        for sentinel in self.sentinels:
            sentinel.ask("SET", SERVICE, "down-after-milliseconds", PATIENT_MS)

    def wait_until_failed_over(self, old: Node, deadline_s: float = FAILOVER_DEADLINE_S) -> Node:
        """The new primary: most sentinels name it, and it takes it so."""

        def is_over() -> bool:
            port = self.named()
            return port not in {0, old.port} and self._node(port).is_primary()

        wait_until(is_over, deadline_s, f"another primary than {old.port}, see {self.folder}")
        return self.primary()

    def wait_until_complete(self, deadline_s: float = COMPLETE_DEADLINE_S) -> None:
        """One primary, every other node is in step with it, and every sentinel knows all nodes and sentinels."""
        wait_until(self._is_complete, deadline_s, f"a complete group, see {self.folder}")

    def stop(self) -> None:
        """Nothing runs any more; logs stay in the folder."""
        self.mend()
        for server in self.sentinels:
            server.kill()  # asked to end it would write its file first, which nobody reads any more
        for node in self.nodes:
            node.stop()
        for doors in self.doors.values():
            for door in doors:
                door.stop()

    def _is_complete(self) -> bool:
        port = self.named()
        if not port or not self._node(port).is_primary():
            return False
        others = [node for node in self.nodes if node.port != port]
        followed = {node.replication().get("master_port") for node in others if node.is_in_step()}
        well = not others or (followed == {str(port)} and all(node.is_in_step() for node in others))
        return well and all(self._knows_all(sentinel) for sentinel in self.sentinels)

    def _knows_all(self, sentinel: Sentinel) -> bool:
        try:
            known = sentinel.ask("MASTER", SERVICE)
            nodes = sentinel.ask("REPLICAS", SERVICE)
        except redis.RedisError:
            return False
        assert isinstance(known, dict)
        assert isinstance(nodes, list)
        is_whole = known["flags"] == "master" and known["num-other-sentinels"] == str(len(self.sentinels) - 1)
        in_step = [one for one in nodes if one["flags"] == "slave" and one["master-link-status"] == "ok"]
        return is_whole and len(in_step) == len(self.nodes) - 1

    def _node(self, port: int) -> Node:
        found = [node for node in self.nodes if node.port == port]
        assert found, f"the sentinels name no node of this group: {port}"
        return found[0]

    def _gates(self) -> list[Proxy]:
        return [*(node.gate for node in self.nodes), *(door for doors in self.doors.values() for door in doors)]


class UserWay(Way):
    """The way of one user to every node and to the sentinels, to be spoiled as one."""

    def __init__(self, group: SentinelGroup, user: str) -> None:
        super().__init__(luck=group.nodes[0].port)
        self._group = group
        self._user = user
        for node in group.nodes:
            node.gate.alone[user] = self
        for door in group.doors[user]:
            door.alone[CLIENTS] = self

    @property
    def url(self) -> str:
        return self._group.url_of(self._user)

    @property
    def links(self) -> list[Link]:
        to_nodes = [link for node in self._group.nodes for link in node.gate.links if link.party == self._user]
        return to_nodes + [link for door in self._group.doors[self._user] for link in door.links]

    def heal(self) -> None:
        """New connections work again; old ones keep what they kept."""
        self.pass_on()


@contextmanager
def a_group(
    folder: Path, replicas: int = 1, sentinels: int = 3, *, users: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[SentinelGroup]:
    """A complete group, gone afterwards."""
    group = SentinelGroup(folder, replicas, sentinels, users=users, options=options)
    try:
        group.start()
        yield group
    finally:
        group.stop()


def _primary_port(sentinel: Sentinel) -> int:
    try:
        found = sentinel.ask("GET-MASTER-ADDR-BY-NAME", SERVICE)
    except redis.RedisError:
        return 0
    return int(found[1]) if isinstance(found, list) else 0


def _ask(port: int, *command: str | int) -> object:
    client = redis.Redis(
        host=HOST, port=port, decode_responses=True, socket_timeout=2, socket_connect_timeout=2, retry=no_retry()
    )
    with client:
        return client.execute_command(*command)
