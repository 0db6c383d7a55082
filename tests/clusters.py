"""A real cluster for tests: Valkey nodes on free ports of loopback, each with a bus port.

What must stay true: every process that is started here is ended here; a cluster that was started serves all slots.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.servers import HOST, ValkeyServer, steady_port, wait_until
from ticketing import addresses
from ticketing.store.cluster import ClusterStore, open_cluster
from ticketing.store.connection import Confirmation

NODE_TIMEOUT_MS = 1_000
DEADLINE_S = 30.0


class ClusterNode(ValkeyServer):
    """One node."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        super().__init__(folder)
        self.port = steady_port()  # also while it is down: the others know it by this one
        self.bus_port = steady_port()
        self.is_suspended = False
        self._options = (
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)),
            *("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-require-full-coverage", "no"),
            *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
            *options,
        )

    def start(self, *options: str) -> None:
        """It answers; started again it is the node that it was."""
        super().start(*self._options, *options)

    @property
    def answers(self) -> bool:
        """Whether it can be asked."""
        return not self.is_suspended and not self._has_ended()

    def suspend(self) -> None:
        super().suspend()
        self.is_suspended = True

    def resume(self) -> None:
        super().resume()
        self.is_suspended = False

    def kill(self) -> None:
        super().kill()
        self.is_suspended = False

    def ask(self, *command: str | int) -> Any:
        """One command over a connection of its own; an error reply is raised."""
        client = redis.Redis(host=HOST, port=self.port, decode_responses=True, socket_timeout=5, protocol=2)
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    @property
    def node_id(self) -> str:
        return str(self.ask("CLUSTER", "MYID"))

    @property
    def role(self) -> str:
        """master or slave."""
        return str(self.ask("ROLE")[0])

    @property
    def is_ok(self) -> bool:
        """Whether it takes part in a cluster that serves."""
        return "cluster_state:ok" in self.ask("CLUSTER", "INFO")


class ValkeyCluster:
    """Primaries that share the slots evenly, and `replicas` of each."""

    def __init__(self, folder: Path, primaries: int = 3, replicas: int = 0, *options: str) -> None:
        self._shape = primaries, replicas
        self.nodes = [ClusterNode(folder / f"node-{at}", options) for at in range(primaries * (1 + replicas))]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def store(self, timeout_s: float = 5.0, confirm: int = 0, connections: int = 8) -> ClusterStore:
        """A store of its own connections; the caller closes it."""
        confirmation = Confirmation(confirm, 500)
        address = addresses.parse(self.url)
        return open_cluster(
            address, timeout_s=timeout_s, connect_timeout_s=2.0, connections=connections, confirmation=confirmation
        )

    def start(self) -> None:
        """Every slot is served, and every replica follows its primary. About two seconds."""
        primaries, replicas = self._shape
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", HOST, first.port, first.bus_port)
        for node, (begin, end) in zip(self.nodes, _ranges(primaries), strict=False):
            node.ask("CLUSTER", "ADDSLOTSRANGE", begin, end)
        for at in range(primaries * replicas):
            self._follow(self.nodes[primaries + at], self.nodes[at % primaries])
        wait_until(self._is_whole, DEADLINE_S, "every node knows of every slot")

    def stop(self) -> None:
        """Every node has ended."""
        for node in self.nodes:
            node.kill()

    def primaries(self) -> list[ClusterNode]:
        """Those that own slots now, as the nodes themselves say."""
        return [node for node in self.nodes if node.answers and node.role == "master"]

    def owner(self, key: str) -> ClusterNode:
        """The primary of a key, as the nodes that run agree; fails after a while where they don't."""
        found: list[ClusterNode] = []

        def agree() -> bool:
            said = {self._owner_by(node, key_slot(key.encode())) for node in self.nodes if node.answers}
            found[:] = [node for node in self.nodes if node.port in said]
            return len(said) == 1 and len(found) == 1

        wait_until(agree, DEADLINE_S, f"every node names one owner of {key}")
        return found[0]

    def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """A node that follows it."""
        return next(node for node in self.nodes if node.answers and node.role == "slave" and _follows(node, primary))

    def move(self, key: str, target: ClusterNode) -> None:
        """The key's slot is the target's, moved as Valkey 9 does it: at once, every key of it together."""
        source, slot = self.owner(key), key_slot(key.encode())
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.node_id)
        wait_until(lambda: self.owner(key) is target, DEADLINE_S, f"slot {slot} is the other node's")

    def begin_move(self, key: str, target: ClusterNode) -> None:
        """The key's slot is on its way as Redis 7 does it: none of its keys has gone yet."""
        source, slot = self.owner(key), key_slot(key.encode())
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)

    def move_keys(self, key: str, source: ClusterNode, target: ClusterNode) -> int:
        """Every key of the slot that the source has goes to the target; how many."""
        moved = 0
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", key_slot(key.encode()), 100):
            source.ask("MIGRATE", HOST, target.port, "", 0, 5_000, "KEYS", *keys)
            moved += len(keys)
        return moved

    def end_move(self, key: str, source: ClusterNode, target: ClusterNode) -> None:
        """The slot is the target's, and every node knows it."""
        slot, target_id = key_slot(key.encode()), target.node_id
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        wait_until(lambda: self.owner(key) is target, DEADLINE_S, f"slot {slot} is the other node's")

    def _follow(self, replica: ClusterNode, primary: ClusterNode) -> None:
        primary_id = primary.node_id

        def follows() -> bool:
            try:
                replica.ask("CLUSTER", "REPLICATE", primary_id)
            except redis.ResponseError:  # it has not met its primary yet
                return False
            return True

        wait_until(follows, DEADLINE_S, "a replica knows its primary")

    def _is_whole(self) -> bool:
        primaries, replicas = self._shape
        return all(node.is_ok and _served(node) == (primaries, primaries * replicas) for node in self.nodes) and all(
            node.ask("INFO", "replication").get("master_link_status", "up") == "up" for node in self.nodes
        )

    def _owner_by(self, node: ClusterNode, slot: int) -> int:
        ranges = node.ask("CLUSTER", "SLOTS")
        return next((int(primary[1]) for begin, end, primary, *_ in ranges if begin <= slot <= end), 0)


def event_ids_on(cluster: ValkeyCluster, each: int) -> list[str]:
    """Ids of events of which every primary holds so many."""
    wanted = dict.fromkeys((node.port for node in cluster.primaries()), each)
    found = []
    for event_id in map(str, range(1, 10_000)):
        port = cluster.owner(f"event:{{{event_id}}}:info").port if any(wanted.values()) else 0
        if wanted.get(port):
            wanted[port] -= 1
            found.append(event_id)
        if not any(wanted.values()):
            return found
    raise AssertionError("no events for every node")


def _ranges(primaries: int) -> Iterator[tuple[int, int]]:
    bounds = [at * REDIS_CLUSTER_HASH_SLOTS // primaries for at in range(primaries + 1)]
    return ((begin, end - 1) for begin, end in pairwise(bounds))


def _served(node: ClusterNode) -> tuple[int, int]:
    """How many primaries and replicas it knows, where they have slots."""
    ranges = node.ask("CLUSTER", "SLOTS")
    return len({entry[2][1] for entry in ranges}), sum(len(entry) - 3 for entry in ranges)


def _follows(replica: ClusterNode, primary: ClusterNode) -> bool:
    return bool(replica.ask("ROLE")[2] == primary.port)
