"""A store of several nodes (Redis Cluster): which node serves a key, and one pipeline a node.

Rules, before the code:

1. An event's keys are in one slot, and a slot is on one node, which runs its scripts as a single server would. Nothing
   is atomic, or of one moment, across events.
2. Commands go to all nodes before any reply is read. A node that fails fails its own commands: their places hold
   StoreErrors. A command goes to a second node only after MOVED or ASK, which prove that the first did nothing.
3. Each node's pipeline is confirmed by that node's replicas, over the connection that wrote. redis-py's RedisCluster is
   not used: its WAIT goes to some node, or stays on the old one after a redirect.
4. A Deadline is told to each node in that node's own time: their clocks may be apart by minutes.
5. A command without a key (PING, TIME, INFO, SCRIPT ...) goes to every primary. Its reply is the first error, if there
   is one, else that of the first node.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import redis
from redis.exceptions import AskError, MovedError

from ticketing.addresses import Address
from ticketing.errors import OutcomeUnknown, StoreError, StoreRefused
from ticketing.store import connection, keys
from ticketing.store.connection import (
    BROKEN,
    UNCONFIRMED_COUNTS,
    Command,
    Confirmation,
    Connection,
    Deadline,
    Pool,
    Store,
    StoreClock,
    is_refusal,
    reply_of,
)
from ticketing.store.slots import Host, SlotMap, replicas_told, slot_of, slots_told

KEYLESS = frozenset({"PING", "TIME", "INFO", "CONFIG", "SCRIPT", "FLUSHALL"})
SCRIPTS = frozenset({"EVAL", "EVALSHA"})
DEADLINE_AT_MOST = 16  # where a deadline stands in a command: behind its keys and a few words
REDIRECTS_MOST = 2  # of one command; a slot that wanders on is refused
ASKING, OWN_WRITE, WAIT, TIME = -1, -2, -3, -4  # places of what a pipeline carries beside its errands


class Node:
    """One server of the cluster."""

    def __init__(self, host: Host, pool: Pool) -> None:
        self.host = host
        self.pool = pool
        self.clock = StoreClock()

    def timed(self, command: Command) -> Command:
        """The command with its deadline, if it has one, by this node's clock. Raises StoreError."""
        if not any(type(part) is Deadline for part in command[:DEADLINE_AT_MOST]):
            return command
        if self.clock.now_ms() is None:
            self.clock.saw(Store(self.pool).clock_ms())
        return tuple(self.clock.at(part) if type(part) is Deadline else part for part in command)


class Errand(NamedTuple):
    """A command on its way: its place among the caller's, and whether it comes behind an ASKING."""

    place: int
    command: Command
    asking: bool = False


class Pipeline:
    """Commands to one node, in two halves: `send`, and `read` when every node's were sent. `end` in any case."""

    def __init__(self, node: Node, errands: Sequence[Errand], confirmation: Confirmation, own_key: str) -> None:
        self.node = node
        self.errands = errands
        self.failure: StoreError | None = None
        self._confirmation = confirmation
        self._own_key = own_key
        self._sent: list[tuple[int, Command]] = []
        self._connection: Connection | None = None
        self._is_sound = False  # whether the connection may be used again

    def send(self) -> None:
        """Everything is on its way, or `failure` says why not."""
        try:
            self._sent = list(self._lines())
            self._connection = self.node.pool.get_connection()
        except (StoreError, redis.RedisError, OSError) as error:
            self.failure = StoreRefused(f"can't connect to Redis: {error}")
            return
        try:
            self._write(self._sent)
        except BROKEN as error:
            self._break(error)

    def read(self) -> list[Any]:
        """A reply an errand: StoreErrors where the node failed, or its replicas did not confirm."""
        if self.failure is None:
            try:
                replies = self._confirmed(self._read(self._sent))
            except BROKEN as error:
                self._break(error)
            else:
                return [replies[errand.place] for errand in self.errands]
        return [self.failure] * len(self.errands)

    def end(self) -> None:
        """The connection is given back; closed first, where replies are left unread."""
        if self._connection is not None:
            if not self._is_sound:
                self._connection.disconnect()
            self.node.pool.release(self._connection)
            self._connection = None

    def _break(self, error: Exception) -> None:
        self.failure = OutcomeUnknown(f"Redis did not answer: {error}")

    def _lines(self) -> Iterator[tuple[int, Command]]:
        """Each command that is sent, and the place of its reply. Raises StoreError."""
        for place, command, asking in self.errands:
            if asking:
                yield ASKING, ("ASKING",)
            yield place, self.node.timed(command)
        if self._confirmation.replicas:
            if self.errands[0].asking:
                yield ASKING, ("ASKING",)
            yield from self._confirming(self._own_key)
        yield TIME, ("TIME",)

    def _confirming(self, own_key: str) -> Iterator[tuple[int, Command]]:
        """WAIT waits for its connection's last write: here that of a key, since a cluster's messages go past it."""
        yield OWN_WRITE, ("SET", own_key, "")
        yield WAIT, ("WAIT", *self._confirmation)

    def _write(self, lines: Sequence[tuple[int, Command]]) -> None:
        assert self._connection is not None
        self._connection.send_packed_command(self._connection.pack_commands([command for _, command in lines]))

    def _read(self, lines: Sequence[tuple[int, Command]]) -> dict[int, Any]:
        assert self._connection is not None
        self._is_sound = False
        replies = {place: reply_of(self._connection) for place, _ in lines}
        self._is_sound = True
        if isinstance(told := replies.get(TIME), list):
            self.node.clock.saw(int(told[0]) * 1000 + int(told[1]) // 1000)
        return replies

    def _confirmed(self, replies: dict[int, Any]) -> dict[int, Any]:
        """The replies, of which those that the replicas have not confirmed are unknown."""
        if not self._confirmation.replicas:
            return replies
        done = [errand for errand in self.errands if not isinstance(replies[errand.place], AskError)]
        own = replies[OWN_WRITE]
        if isinstance(own, AskError) and done:  # its slot has left, those of others have not
            again = list(self._confirming(own_key_beside(done[0].command)))
            self._write(again)
            replies |= self._read(again)
        if all(is_refusal(replies[errand.place]) for errand in done) or self._is_confirmed(replies):
            return replies
        self._is_sound = False
        self.node.pool.disconnect(inuse_connections=False)
        wanted, timeout_ms = self._confirmation
        self.failure = OutcomeUnknown(f"not confirmed by {wanted} replicas within {timeout_ms} ms: {replies[WAIT]}")
        return replies | dict.fromkeys((errand.place for errand in done), self.failure)

    def _is_confirmed(self, replies: dict[int, Any]) -> bool:
        own, waited = replies[OWN_WRITE], replies[WAIT]
        return not isinstance(own, Exception) and isinstance(waited, int) and waited >= self._confirmation.replicas


class Pools:
    """The connections to every node, as far as they are closed together."""

    def __init__(self, open_pool: Callable[[Host], Pool]) -> None:
        self.nodes: dict[Host, Node] = {}
        self._open_pool = open_pool
        self.connection_kwargs: dict[str, Any] = {}  # what each pool gets besides

    def node(self, host: Host) -> Node:
        """The node there, however it was met first."""
        if host not in self.nodes:
            self.nodes[host] = Node(host, self._open_pool(host))
            self.nodes[host].pool.connection_kwargs.update(self.connection_kwargs)
        return self.nodes[host]

    def get_connection(self) -> Connection:
        """Never: nobody knows to which node."""
        raise StoreRefused("a command to a cluster needs a key")

    def release(self, connection: Connection) -> None:
        """None was ever lent."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close those to every node."""
        for node in list(self.nodes.values()):
            node.pool.disconnect(inuse_connections)


class ClusterStore(Store):
    """The store, where it is a cluster."""

    has_clocks = True

    def __init__(
        self, seeds: Sequence[Host], open_pool: Callable[[Host], Pool], *, timeout_s: float, confirmation: Confirmation
    ) -> None:
        """`seeds` are where to ask first who serves what. A look for that gives up after `timeout_s`."""
        self._pools = Pools(open_pool)
        super().__init__(self._pools, confirmation=confirmation)
        self._known = list(seeds)  # everybody who can be asked, those that failed lately at the end
        self._timeout_s = timeout_s
        self._slots = SlotMap(())
        self._is_stale = True
        self._looking = threading.Lock()

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """A reply a command, in its place, or the error reply, or a StoreError where its node failed.

        Raises StoreRefused where no node tells who serves what.
        """
        return self._exchange(commands, UNCONFIRMED_COUNTS)

    def exchange_confirmed(self, commands: Sequence[Command]) -> list[Any]:
        """The same; what a node's replicas have not confirmed is OutcomeUnknown in its places."""
        return self._exchange(commands, self.confirmation)

    def servers(self) -> list[Store]:
        """Every primary. Raises StoreRefused."""
        return [
            Store(self._pools.node(host).pool, confirmation=self.confirmation, name=f"{host[0]}:{host[1]}")
            for host in self._fresh_slots().hosts
        ]

    def replicas(self) -> int:
        """How many could take over from a primary, at most, now or when they are back. Raises StoreError."""
        return max(self.replicas_of_each())

    def replicas_of_each(self) -> list[int]:
        """How many each primary has, those that are down included. Raises StoreError."""
        return replicas_told(self.servers()[0].one("CLUSTER", "SHARDS"))

    def _exchange(self, commands: Sequence[Command], confirmation: Confirmation) -> list[Any]:
        replies: dict[int, Any] = {}
        errands = self._routed(commands, self._fresh_slots(), replies)
        for _ in range(1 + REDIRECTS_MOST):
            if not errands:
                break
            errands = self._carry_out(errands, confirmation, replies)
        return [replies[place] for place in range(len(commands))]

    def _routed(self, commands: Sequence[Command], slots: SlotMap, replies: dict[int, Any]) -> dict[Host, list[Errand]]:
        """What goes to which node; a command whose slot nobody serves has its reply."""
        routed: dict[Host, list[Errand]] = {}
        for place, command in enumerate(commands):
            key = key_of(command)
            hosts = slots.hosts if key is None else [slots.host_of(slot_of(key))]
            for host in hosts:
                if host is None:
                    replies[place] = StoreRefused(f"nobody serves the slot of {key}")
                    self._is_stale = True
                else:
                    routed.setdefault(host, []).append(Errand(place, command))
        return routed

    def _carry_out(
        self, errands: dict[Host, list[Errand]], confirmation: Confirmation, replies: dict[int, Any]
    ) -> dict[Host, list[Errand]]:
        """Each errand has its reply; those that were sent on to another node are returned for that."""
        pipelines = [  # in one order everywhere, so that nobody waits for a connection that waits for his
            Pipeline(self._pools.node(host), errands[host], confirmation, self._own_key(host, errands[host]))
            for host in sorted(errands)
        ]
        sent_on: dict[Host, list[Errand]] = {}
        try:
            for pipeline in pipelines:
                pipeline.send()
            for pipeline in pipelines:
                self._take(pipeline, replies, sent_on)
        finally:
            for pipeline in pipelines:
                pipeline.end()
        return sent_on

    def _take(self, pipeline: Pipeline, replies: dict[int, Any], sent_on: dict[Host, list[Errand]]) -> None:
        for errand, reply in zip(pipeline.errands, pipeline.read(), strict=True):
            before = replies.get(errand.place)
            if isinstance(reply, AskError):
                host = (reply.host or pipeline.node.host[0], reply.port)
                asking = not isinstance(reply, MovedError)
                sent_on.setdefault(host, []).append(Errand(errand.place, errand.command, asking))
                if not asking:
                    self._slots.move(reply.slot_id, host)
                    self._is_stale = True
            if before is None or isinstance(before, AskError) or (_failed(reply) and not _failed(before)):
                replies[errand.place] = reply
        if pipeline.failure is not None:
            self._suspect(pipeline.node.host)

    def _own_key(self, host: Host, errands: Sequence[Errand]) -> str:
        """A key in a slot of this node, to be written where its replicas are to confirm."""
        keyed = (errand.command for errand in errands if key_of(errand.command) is not None)
        command = next(keyed, None)
        return keys.confirm(self._slots.tag_of(host)) if command is None else own_key_beside(command)

    def _suspect(self, host: Host) -> None:
        """It failed: perhaps another serves its slots by now, and somebody else knows."""
        self._is_stale = True
        if host in self._known:
            self._known.remove(host)
            self._known.append(host)

    def _fresh_slots(self) -> SlotMap:
        """Who serves what, asked anew where there is reason to. Raises StoreRefused where nobody ever told."""
        if self._is_stale:
            with self._looking:
                if self._is_stale:
                    self._look()
        return self._slots

    def _look(self) -> None:
        until_s = time.monotonic() + self._timeout_s
        for host in list(self._known):
            try:
                ranges, everybody = slots_told(Store(self._pools.node(host).pool).one("CLUSTER", "SLOTS"), host[0])
            except StoreError:
                self._suspect(host)
            else:
                if ranges:
                    self._slots, self._is_stale = SlotMap(ranges), False
                    self._known = [*(known for known in self._known if known in everybody and known != host), host]
                    self._known += (new for new in everybody if new not in self._known)
                    return
            if time.monotonic() > until_s:
                break
        if not self._slots.hosts:
            raise StoreRefused("no node of the cluster tells who serves what")


def open_cluster(
    address: Address, *, timeout_s: float, connect_timeout_s: float, connections: int, confirmation: Confirmation
) -> ClusterStore:
    """The store on a cluster; so many connections a node. Connects when it is first used."""

    def open_pool(host: Host) -> Pool:
        url = _url_of(address, host)
        made = connection.client(
            url, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, connections=connections, decode=True
        )
        return cast(Pool, made.connection_pool)

    return ClusterStore(address.hosts, open_pool, timeout_s=timeout_s, confirmation=confirmation)


def _url_of(address: Address, host: Host) -> str:
    login = f"{quote(address.username or '', '')}:{quote(address.password, '')}@" if address.password else ""
    name = f"[{host[0]}]" if ":" in host[0] else host[0]
    return f"{'rediss' if address.tls else 'redis'}://{login}{name}:{host[1]}/0"


def key_of(command: Command) -> str | None:
    """The key that says where a command goes; None where it goes everywhere."""
    name = command[0]
    if name in KEYLESS:
        return None
    return str(command[3] if name in SCRIPTS else command[1])


def own_key_beside(command: Command) -> str:
    """What is written in the slot of a command that has a key, so that replicas confirm it."""
    return keys.confirm(keys.tag_of(key_of(command) or ""))


def _failed(reply: Any) -> bool:
    return isinstance(reply, Exception)
