"""One node of a cluster, and what is sent to it in one write.

What must stay true: whatever of a pipeline is reported as done is confirmed by this node's own replicas, where they are
to, over the connection that wrote; a reply is never read as that to another command.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from redis.exceptions import AskError

from ticketing.errors import OutcomeUnknown, StoreError, StoreRefused
from ticketing.store import keys
from ticketing.store.connection import (
    BROKEN,
    UNCONNECTED,
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
from ticketing.store.slots import Host

KEYLESS = frozenset({"PING", "TIME", "INFO", "CONFIG", "SCRIPT", "FLUSHALL"})
SCRIPTS = frozenset({"EVAL", "EVALSHA"})
DEADLINE_AT_MOST = 16  # where a deadline stands in a command: behind its keys and a few words
ASKING, OWN_WRITE, WAIT, TIME = -1, -2, -3, -4  # places of what a pipeline carries beside its errands


def key_of(command: Command) -> str | None:
    """The key that says where a command goes; None where it goes everywhere."""
    name = command[0]
    if name in KEYLESS:
        return None
    return str(command[3] if name in SCRIPTS else command[1])


def own_key_beside(command: Command) -> str:
    """What is written in the slot of a command that has a key, so that replicas confirm it."""
    return keys.confirm(keys.tag_of(key_of(command) or ""))


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
        except (StoreError, *UNCONNECTED) as error:
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
