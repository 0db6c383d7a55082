"""A TCP proxy that spoils a connection on purpose: it keeps commands or loses them, swallows replies, cuts, is late.

What must stay true: it changes no byte of what it passes on; what it kept it delivers in order, even when the client is
long gone, as a network or a stopped server would. What follows a lost command on its connection is lost too, as in a
half-open one. A network can be parted: who is on the other side is told by what it says first, since on loopback
everybody has one address.
"""

import contextlib
import random
import socket
import struct
import threading
import time

from tests.servers import HOST, POLL_S

SERVERS, CLIENTS = "servers", "clients"  # parties; a client that signs in under a name is a party of that name
SIGN_IN = frozenset({b"AUTH", b"HELLO"})
OF_A_REPLICA = frozenset({b"REPLCONF", b"PSYNC"})
CHUNK = 1 << 16
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, as a crash would


class _Commands:
    """Tells the commands in a stream of bytes, which break anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[list[bytes]]:
        """The commands that are whole now, their names in capitals."""
        self._rest += data
        commands = []
        while (command := self._first()) is not None:
            commands.append(command)
        return commands

    def _first(self) -> list[bytes] | None:
        count, words, rest = -1, [], self._rest
        while len(words) != count:
            line, end, rest = rest.partition(b"\r\n")
            if not end:
                return None
            if count < 0:
                count = int(line[1:])
                continue
            size = int(line[1:])
            if len(rest) < size + 2:
                return None
            words.append(rest[:size])
            rest = rest[size + 2 :]
        self._rest = rest
        return [words[0].upper(), *words[1:]]


def _party(command: list[bytes], before: str) -> str:
    """Whose connection it is that says this, as far as that is known."""
    name = command[0]
    if name in OF_A_REPLICA or (name == b"CLIENT" and command[-1].startswith(b"sentinel-")):
        return SERVERS
    signs_in = command[command.index(b"AUTH") + 1 :] if b"AUTH" in command and name in SIGN_IN else []
    return signs_in[0].decode() if len(signs_in) > 1 else before


class Link:
    """One client's connection and its own connection to the server."""

    def __init__(self, proxy: "Proxy", client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = socket.create_connection((HOST, proxy.target_port))
        self._sending = threading.Lock()
        self._kept: list[bytes] = []
        self._client_has_gone = False
        self._is_lost = False
        self._asked = _Commands()
        self.party = CLIENTS
        self.has_ended = False
        for work in (self._commands, self._replies):
            threading.Thread(target=work, daemon=True).start()

    @property
    def _way(self) -> "Way":
        return self._proxy.alone.get(self.party, self._proxy)

    def _commands(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(CHUNK):
                asked = self._look_at(data)
                self._wait_while_parted()
                with self._sending:
                    self._pass_on(data, asked)
        self._client_has_gone = True
        self._wait_while_parted()
        if not self._kept:
            self.close()

    def _look_at(self, data: bytes) -> int:
        """How many commands were whole now. What servers say to one another is not taken apart."""
        if self.party == SERVERS:
            return 0
        commands = self._asked.feed(data)
        for command in commands:
            self.party = _party(command, self.party)
        if commands and self._way.refuses and not self._proxy.refuses:
            raise ConnectionRefusedError  # it was let in before it said who it is
        self._proxy.asked += [command[0].decode() for command in commands]
        return len(commands)

    def _wait_while_parted(self) -> None:
        while self.party in self._proxy.parted:
            time.sleep(POLL_S)

    def _pass_on(self, data: bytes, asked: int) -> None:
        if self._proxy.answer:
            self._client.sendall(self._proxy.answer * asked)
            return
        self._is_lost = self._is_lost or self._way.loses()
        if self._is_lost:
            return
        if self._way.keeps_commands or self._kept:  # in order
            self._kept.append(data)
        else:
            self._server.sendall(data)

    def _replies(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(CHUNK):
                time.sleep(self._way.delay_s)
                self._wait_while_parted()
                if self._way.swallows_replies:
                    self._way.swallowed += len(data)
                else:
                    with contextlib.suppress(OSError):
                        self._client.sendall(data)
        self._wait_while_parted()
        self.close()  # the server has hung up: nothing can be delivered any more
        self.has_ended = True

    def is_open(self) -> bool:
        """Whether its client holds the connection."""
        return not self._client_has_gone

    def kept(self) -> int:
        return sum(map(len, self._kept))

    def keeps(self, part: str) -> bool:
        return part.encode() in b"".join(self._kept)

    def deliver(self) -> None:
        with self._sending, contextlib.suppress(OSError):
            is_late = bool(self._kept) and self._client_has_gone
            self._way.delivered_late += b"".join(self._kept).count(b"EVALSHA") if is_late else 0
            while self._kept:
                self._server.sendall(self._kept.pop(0))
            if is_late:
                self._server.shutdown(socket.SHUT_WR)  # the server reads all of it, then hangs up

    def close_client(self) -> None:
        self._client_has_gone = True
        _reset(self._client)

    def close(self) -> None:
        _reset(self._client)
        _reset(self._server)


class Way:
    """Connections that are spoiled together. At first everything is passed on."""

    def __init__(self, luck: int) -> None:
        self.keeps_commands = False  # they are delivered when `deliver` says so
        self.swallows_replies = False  # the server gets the commands, and nobody its replies
        self.refuses = False  # new connections are closed at once
        self.delay_s = 0.0  # of each reply
        self.loses_share = 0.0  # of the commands, each with its connection
        self.swallowed = 0  # bytes
        self.delivered_late = 0  # scripts whose client had gone
        self._luck = random.Random(luck)

    @property
    def links(self) -> list[Link]:
        """The connections that there are, and some that have ended."""
        raise NotImplementedError

    def loses(self) -> bool:
        """Whether the next command is lost."""
        return self._luck.random() < self.loses_share

    def pass_on(self) -> None:
        """Everything is passed on again; what was kept stays kept."""
        self.keeps_commands = self.swallows_replies = self.refuses = False
        self.delay_s = self.loses_share = 0.0

    def connections(self) -> int:
        """How many clients hold a connection now."""
        return sum(link.is_open() for link in self.links)

    def kept(self) -> int:
        """Bytes of commands that wait to be delivered."""
        return sum(link.kept() for link in self.links)

    def keeps(self, part: str) -> bool:
        """Whether a command that waits has this in it: others, of who only looks, may wait as well."""
        return any(link.keeps(part) for link in self.links)

    def deliver(self) -> None:
        """Every kept command reaches the server now, in the order of its connection."""
        for link in self.links:
            link.deliver()

    def drop_clients(self) -> None:
        """Clients are reset; what was kept of them can still be delivered."""
        for link in self.links:
            link.close_client()

    def cut(self) -> None:
        """All connections are reset on both sides."""
        for link in self.links:
            link.close()

    def reset(self) -> None:
        """The same, but what was kept stays on its way: it can still be delivered."""
        for link in self.links:
            link.close_client() if link.kept() else link.close()


class Proxy(Way):
    """Stands before a server of this host, on a free port of its own. Its switches are for everybody but `alone`."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.target_port = target_port
        self.alone: dict[str, Way] = {}  # parties with switches of their own
        self.parted: frozenset[str] = frozenset()  # parties of which nothing comes through, until it is emptied
        self.answer = b""  # what every command is answered, in the place of the server
        self.asked: list[str] = []  # the name of every command, whatever became of it
        self._links: list[Link] = []
        self._listener = socket.create_server((HOST, 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def links(self) -> list[Link]:
        return self._links

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def heal(self) -> None:
        """New connections work again; old ones keep what they kept."""
        self.pass_on()
        self.answer = b""
        self.parted = frozenset()

    def stop(self) -> None:
        """No connection is left, and nobody listens."""
        self.parted = frozenset()
        # Closing a socket does not wake the thread that waits in accept; shutting it down does.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    if self.refuses:
                        raise ConnectionRefusedError
                    self._links = [link for link in self._links if not link.has_ended]
                    self._links.append(Link(self, client))
                except OSError:  # the server is away
                    _reset(client)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
