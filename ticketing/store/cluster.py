"""A store of several nodes (Redis Cluster): which node serves a key, and one pipeline a node.

Rules, before the code:

1. An event's keys are in one slot, and a slot is on one node, which runs its scripts as a single server would. Nothing
   is atomic, or of one moment, across events.
2. Commands go to all nodes before any reply is read. A command goes to a second node only after MOVED or ASK, which
   prove that the first did nothing.
3. A node that fails fails its own commands: NodeFailed or NodeAway stand in their places. It is asked nothing more
   until a write on the side has succeeded there, so that nobody waits for it. The store fails as a whole only where
   every node has failed.
4. Each node's pipeline is confirmed by that node's replicas. redis-py's RedisCluster is not used: its WAIT goes to some
   node, or stays on the old one after a redirect.
5. A Deadline is told to each node in that node's own time: their clocks may be apart by minutes.
6. A command without a key (PING, TIME, INFO, SCRIPT ...) goes to every primary. Its reply is the first error of a node
   that answers, else the first reply; NodeFailed only where none answers.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import redis
from redis.exceptions import AskError, MovedError

from ticketing.addresses import Address
from ticketing.errors import NodeAway, NodeFailed, OutcomeUnknown, StoreError, StoreRefused
from ticketing.store import connection, keys
from ticketing.store.absences import Absences
from ticketing.store.connection import (
    UNCONFIRMED_COUNTS,
    Command,
    Confirmation,
    Connection,
    Pool,
    Store,
    code_of,
    is_refusal,
)
from ticketing.store.pipeline import Errand, Node, Pipeline, key_of, own_key_beside
from ticketing.store.slots import Host, SlotMap, replicas_told, slot_of, slots_told

REDIRECTS_MOST = 2  # of one command; a slot that wanders on is refused
REST_S = 0.05  # at least, between two looks
LOOK_S = 0.25  # while a node is away: so often it is asked who serves its slots now
TRY_S = 0.3  # a try on the side waits no longer, beside the time for a confirmation
# What a node answers when it does nothing for anybody, or nothing for one slot.
NODE_REFUSALS = frozenset(
    {"LOADING", "READONLY", "OOM", "MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"}
)
SIDE_CONNECTIONS = 2
ASKED_AT_ONCE = 2  # nodes that may all hang; those who did not answer are the last to be asked again
OF_ONE_SLOT = "TRYAGAIN"
OpenPool = Callable[[Host], Pool]


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
        self, seeds: Sequence[Host], open_pool: OpenPool, open_side_pool: OpenPool, confirmation: Confirmation
    ) -> None:
        """`seeds` are where to ask first who serves what; `open_side_pool` makes connections that are soon given up."""
        self._pools = Pools(open_pool)
        super().__init__(self._pools, confirmation=confirmation)
        self._side = Pools(open_side_pool)
        self._seeds = tuple(seeds)
        self._known = list(seeds)  # everybody who can be asked, those that failed lately at the end
        self._slots = SlotMap(())
        self._is_stale = True
        self._looked_s = 0.0
        self._looking = threading.Lock()
        self._absences = Absences(self._try_write)

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """A reply a command, in its place, or the error reply, or a NodeFailed where its node failed.

        Raises StoreRefused where no node tells who serves what; StoreRefused or OutcomeUnknown where every node failed.
        """
        return self._exchange(commands, UNCONFIRMED_COUNTS)

    def exchange_confirmed(self, commands: Sequence[Command]) -> list[Any]:
        """The same; where a node's replicas have not confirmed what it did, that node failed."""
        return self._exchange(commands, self.confirmation)

    def servers(self) -> list[Store]:
        """Every primary. Raises StoreRefused."""
        return [
            Store(self._pools.node(host).pool, confirmation=self.confirmation, name=f"{host[0]}:{host[1]}")
            for host in self._fresh_slots().hosts
        ]

    def nodes_away(self) -> Sequence[str]:
        """Those that did not answer lately, and that nobody has taken over from."""
        return tuple(f"{host}:{port}" for host, port in self._absences.hosts())

    def replicas(self) -> int:
        """How many could take over from a primary, at most, now or when they are back. Raises StoreError."""
        return max(self.replicas_of_each())

    def replicas_of_each(self) -> list[int]:
        """How many each primary has, those that are down included. Raises StoreError."""
        failure: StoreError = StoreRefused("no node answers")
        for server in self.servers():
            try:
                return replicas_told(server.one("CLUSTER", "SHARDS"))
            except StoreError as error:
                failure = error
        raise failure

    def close(self) -> None:
        """Close every connection."""
        super().close()
        self._side.disconnect()

    def _exchange(self, commands: Sequence[Command], confirmation: Confirmation) -> list[Any]:
        replies: dict[int, Any] = {}
        errands = self._routed(commands, self._fresh_slots(), replies)
        for _ in range(1 + REDIRECTS_MOST):
            if not errands:
                break
            errands = self._carry_out(errands, confirmation, replies)
        whole = [_unredirected(replies[place]) for place in range(len(commands))]
        self._raise_where_all_failed(whole)
        return whole

    def _raise_where_all_failed(self, replies: Sequence[Any]) -> None:
        if (
            replies
            and all(isinstance(reply, NodeFailed) for reply in replies)
            and self._absences.are(self._slots.hosts)
        ):
            unknown = next((reply for reply in replies if not isinstance(reply, NodeAway)), None)
            raise StoreRefused(str(replies[0])) if unknown is None else OutcomeUnknown(str(unknown))

    def _routed(self, commands: Sequence[Command], slots: SlotMap, replies: dict[int, Any]) -> dict[Host, list[Errand]]:
        """What goes to which node; a command whose node is away has its reply."""
        routed: dict[Host, list[Errand]] = {}
        for place, command in enumerate(commands):
            key = key_of(command)
            for host in slots.hosts if key is None else [slots.host_of(slot_of(key))]:
                if host is None:
                    _keep(replies, place, NodeAway(f"nobody serves the slot of {key}"))
                    self._is_stale = True
                else:
                    routed.setdefault(host, []).append(Errand(place, command))
        return routed

    def _carry_out(
        self, errands: dict[Host, list[Errand]], confirmation: Confirmation, replies: dict[int, Any]
    ) -> dict[Host, list[Errand]]:
        """Each errand has its reply; those that were sent on to another node are returned for that."""
        pipelines = []
        for host in sorted(errands):  # in one order everywhere, so that nobody waits for one who waits for him
            if (why := self._absences.why(host)) is not None:
                for errand in errands[host]:
                    _keep(replies, errand.place, NodeAway(why))
            else:
                own_key = self._own_key(host, errands[host])
                pipelines.append(Pipeline(self._pools.node(host), errands[host], confirmation, own_key))
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
            if isinstance(reply, AskError):
                host = (reply.host or pipeline.node.host[0], reply.port)
                asking = not isinstance(reply, MovedError)
                sent_on.setdefault(host, []).append(Errand(errand.place, errand.command, asking))
                if not asking:
                    self._slots.move(reply.slot_id, host)
                    self._is_stale = True
            _keep(replies, errand.place, self._judged(pipeline.node.host, reply))

    def _judged(self, host: Host, reply: Any) -> Any:
        """What a node's failure or refusal is for its commands; from now on it is away, if it is so for all of them."""
        if isinstance(reply, StoreError):
            self._suspect(host, reply)
            return NodeAway(str(reply)) if isinstance(reply, StoreRefused) else NodeFailed(str(reply))
        if isinstance(reply, redis.RedisError) and is_refusal(reply) and code_of(reply) in NODE_REFUSALS:
            if code_of(reply) != OF_ONE_SLOT:
                self._suspect(host, reply)
            return NodeAway(f"Redis refused: {reply}")
        return reply

    def _own_key(self, host: Host, errands: Sequence[Errand]) -> str:
        """A key in a slot of this node, to be written where its replicas are to confirm."""
        keyed = (errand.command for errand in errands if key_of(errand.command) is not None)
        command = next(keyed, None)
        return keys.confirm(self._slots.tag_of(host)) if command is None else own_key_beside(command)

    def _suspect(self, host: Host, why: Exception) -> None:
        """It failed: perhaps another serves its slots by now, and somebody else knows."""
        self._is_stale = True
        self._absences.failed(host, str(why))
        self._put_last(host)

    def _put_last(self, host: Host) -> None:
        known = self._known  # who looks may put another in its place meanwhile
        if host in known:
            self._known = [*(other for other in known if other != host), host]

    def _try_write(self, host: Host) -> None:
        """Returns where the node would do what is asked of it, and its replicas confirm it. Raises StoreError."""
        command: Command = ("SET", keys.confirm(self._slots.tag_of(host)), "")
        pipeline = Pipeline(self._side.node(host), [Errand(0, command)], self.confirmation, str(command[1]))
        try:
            pipeline.send()
            (reply,) = pipeline.read()
        finally:
            pipeline.end()
        if (error := connection.error_of(reply)) is not None:
            raise error

    def _fresh_slots(self) -> SlotMap:
        """Who serves what, asked anew on the side where there is reason to. Raises StoreRefused where nobody ever told.

        Nobody waits for those who are asked, since they may hang; but where nothing is known yet all wait for one look.
        """
        if self._is_to_look() and self._looking.acquire(blocking=not self._slots.hosts):
            if self._slots.hosts:
                threading.Thread(target=self._look_around, daemon=True).start()
            else:
                self._look_around()
        return self._slots

    def _look_around(self) -> None:
        try:
            if self._is_to_look():
                self._look()
                self._absences.try_again()
        finally:
            self._looking.release()

    def _is_to_look(self) -> bool:
        if not self._slots.hosts:
            return True
        rested_s = time.monotonic() - self._looked_s
        return (self._is_stale and rested_s >= REST_S) or (bool(self._absences.hosts()) and rested_s >= LOOK_S)

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        for host in self._known[: ASKED_AT_ONCE if self._slots.hosts else None]:
            try:
                told = Store(self._side.node(host).pool).one("CLUSTER", "SLOTS")
            except StoreError:
                self._put_last(host)
                continue
            ranges, everybody = slots_told(told, host[0])
            if ranges:
                self._slots, self._is_stale = SlotMap(ranges), False
                self._absences.keep(self._slots.hosts)
                # The next look begins with another one: this one may be on the wrong side of a partition.
                first = [known for known in self._known if known in everybody and known != host]
                self._known = list(dict.fromkeys([*first, *everybody, *self._seeds]))
                self._put_last(host)
                return
        if not self._slots.hosts:
            raise StoreRefused("no node of the cluster tells who serves what")


def _keep(replies: dict[int, Any], place: int, reply: Any) -> None:
    """Of several replies to one command the one that says most (rule 6); any goes before a redirect."""
    if place not in replies or _weight(reply) > _weight(replies[place]):
        replies[place] = reply


def _weight(reply: Any) -> int:
    if isinstance(reply, AskError):
        return 0
    if isinstance(reply, NodeFailed):
        return 1
    return 3 if isinstance(reply, Exception) else 2


def _unredirected(reply: Any) -> Any:
    return NodeAway(f"its slot is on its way: {reply}") if isinstance(reply, AskError) else reply


def open_cluster(
    address: Address, *, timeout_s: float, connect_timeout_s: float, connections: int, confirmation: Confirmation
) -> ClusterStore:
    """The store on a cluster; so many connections a node. Connects when it is first used."""

    def open_pool(host: Host) -> Pool:
        return _pool(address, host, timeout_s, connect_timeout_s, connections)

    def open_side_pool(host: Host) -> Pool:
        patience_s = TRY_S + confirmation.timeout_ms / 1000
        return _pool(address, host, min(timeout_s, patience_s), min(connect_timeout_s, TRY_S), SIDE_CONNECTIONS)

    return ClusterStore(address.hosts, open_pool, open_side_pool, confirmation)


def _pool(address: Address, host: Host, timeout_s: float, connect_timeout_s: float, connections: int) -> Pool:
    limits = {"timeout_s": timeout_s, "connect_timeout_s": connect_timeout_s}
    return connection.open_pool(_url_of(address, host), connections=connections, **limits)


def _url_of(address: Address, host: Host) -> str:
    login = f"{quote(address.username or '', '')}:{quote(address.password, '')}@" if address.password else ""
    name = f"[{host[0]}]" if ":" in host[0] else host[0]
    return f"{'rediss' if address.tls else 'redis'}://{login}{name}:{host[1]}/0"
