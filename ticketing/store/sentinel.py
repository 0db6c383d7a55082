"""The store behind sentinels: each connection goes to the server that they name now, and that takes itself for primary.

What must stay true: whatever fails before a connection is ready has sent nothing, and so is a refusal. Sentinels are
asked with short timeouts of their own, by one at a time. A connection to another server than they named last is given
up as soon as it is free. Nobody sells by a primary that the keeper has not met: what is believed of the store (its
clock, how far it has come) is looked at first.

That a deposed primary is written to all the same can't be prevented here; replicas don't confirm what it writes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis

from ticketing.addresses import Address
from ticketing.store.connection import Confirmation, Pool, Store, as_store_errors, no_retry, patience

SENTINEL_TIMEOUT_S = 0.5
FRESH_S = 0.05  # as many as connect at once ask once
HostAndPort = tuple[str, int]


class Sentinels:
    """Those who know the primary of one service."""

    def __init__(self, address: Address, *, timeout_s: float) -> None:
        self.service = address.service
        self._timeout_s = min(timeout_s, SENTINEL_TIMEOUT_S)
        self._clients = [_sentinel(host, address, self._timeout_s) for host in address.hosts]
        self._asking = threading.Lock()
        self._asked_s = -FRESH_S
        self._doubted = False
        self.on_change: Callable[[], None] = lambda: None
        self.named: HostAndPort | None = None  # the primary, when they were asked last
        self.is_keepers = False
        self.keepers: Sentinels | None = None  # those of who has to meet a primary first
        self._met: HostAndPort | None = None  # the primary to which the keeper was connected last

    def primary(self) -> HostAndPort:
        """Where the primary is. Raises redis.ConnectionError where none of them knows one that is up."""
        with self._one_at_a_time():
            if self._doubted or self.named is None or time.monotonic() - self._asked_s >= FRESH_S:
                self._ask()
            assert self.named is not None
            return self.named

    def doubt(self) -> None:
        """It was not there, or is no primary: they are asked again, and last of all the one who named it."""
        self._doubted = True

    def meet(self, primary: HostAndPort) -> None:
        """A connection leads to this one. Raises redis.ConnectionError where it must not be used yet.

        The keeper's own first try is refused too: that is an outage, and so a greeting and a look come before a sale.
        """
        if self.keepers is not None and self.keepers._met != primary:
            raise redis.ConnectionError(f"the keeper has not met this primary yet: {primary[0]}:{primary[1]}")
        before, self._met = self._met, primary
        if self.is_keepers and before not in (None, primary):
            raise redis.ConnectionError(f"another server is the primary now: {primary[0]}:{primary[1]}")

    def replicas(self) -> int:
        """How many servers a failover could promote, now or when they are back. Raises StoreError."""
        with as_store_errors():
            self.primary()  # so that the first one answers, and knows the service
            listed = self._clients[0].sentinel_slaves(self.service)
        return sum(replica["slave-priority"] > 0 for replica in listed)

    def close(self) -> None:
        """No connection to a sentinel is left."""
        for client in self._clients:
            client.close()

    def _ask(self) -> None:
        if self._doubted:
            self._doubted = False
            self._clients.append(self._clients.pop(0))
        told: list[str] = []
        for client in list(self._clients):
            try:
                state = cast(dict[str, Any], client.sentinel_master(self.service))
            except redis.RedisError as error:
                told.append(str(error))
                continue
            if state["is_master"] and not (state["is_sdown"] or state["is_odown"]):
                self._take(client, (state["ip"], state["port"]))
                return
            told.append(f"{state['ip']}:{state['port']} is down")
        raise redis.ConnectionError(f"no sentinel names a primary of {self.service!r} that is up: {'; '.join(told)}")

    def _take(self, client: redis.Redis, found: HostAndPort) -> None:
        self._clients.remove(client)
        self._clients.insert(0, client)  # whoever answered is asked first next time: others may cost a timeout
        self._asked_s = time.monotonic()
        if found != self.named:
            self.named = found
            self.on_change()

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._asking.acquire(timeout=self._timeout_s * (len(self._clients) + 1)):
            raise redis.ConnectionError("the sentinels are being asked, and don't answer")
        try:
            yield
        finally:
            self._asking.release()


def _sentinel(host: HostAndPort, address: Address, timeout_s: float) -> redis.Redis:
    return redis.Redis(
        *host,
        username=address.sentinel_username,
        password=address.sentinel_password,
        ssl=address.tls,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        retry=no_retry(),
        health_check_interval=0,
        protocol=2,
        decode_responses=True,
        driver_info=None,
    )


class PrimaryConnection(redis.Connection):
    """A connection to the primary of the moment at which it was made."""

    def __init__(self, *, sentinels: Sentinels, hangs_up: bool, **settings: Any) -> None:
        """`hangs_up`: a refusal to write breaks the connection, which is what RQ knows how to wait for."""
        self._sentinels = sentinels
        self._hangs_up = hangs_up
        super().__init__(**settings)

    def _connect(self) -> Any:
        self.host, self.port = self._sentinels.primary()
        try:
            return super()._connect()
        except OSError:
            self._sentinels.doubt()
            raise

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Signed in, and the server has said that it is a primary."""
        try:
            super().on_connect_check_health(check_health)
            self.send_command("ROLE", check_health=False)
            role = self.read_response()[0]
        except (redis.ConnectionError, redis.TimeoutError):
            self._sentinels.doubt()
            raise
        if role not in ("master", b"master"):
            self._sentinels.doubt()
            raise redis.ConnectionError(f"{self.host}:{self.port} is no primary: {role!r}")
        self._sentinels.meet((self.host, self.port))

    def read_response(self, *args: Any, **settings: Any) -> Any:
        """Like redis-py's; a server that turns out to be a replica is asked nothing more on this connection."""
        try:
            return super().read_response(*args, **settings)
        except redis.exceptions.ReadOnlyError as error:
            self.mark_for_reconnect()
            if not self._hangs_up:
                raise
            self.disconnect()
            raise redis.ConnectionError(f"{self.host}:{self.port} is no primary any more") from error

    def should_reconnect(self) -> bool:
        """Whether to give it up when it is given back: also where the sentinels have named another server since."""
        return super().should_reconnect() or (self.host, self.port) != self._sentinels.named


class SecurePrimaryConnection(PrimaryConnection, redis.SSLConnection):
    """The same with TLS."""


class SentinelStore(Store):
    """A store that is found by its sentinels."""

    def __init__(self, pool: Pool, sentinels: Sentinels, confirmation: Confirmation) -> None:
        super().__init__(pool, confirmation=confirmation)
        self._sentinels = sentinels

    def sell_behind(self, keeper: Store) -> None:
        """From now on a primary that this keeper has not met sells nothing."""
        if isinstance(keeper, SentinelStore):
            keeper._sentinels.is_keepers = True
            self._sentinels.keepers = keeper._sentinels

    def replicas(self) -> int:
        """How many could be promoted, as the sentinels list them. Raises StoreError."""
        return self._sentinels.replicas()

    def close(self) -> None:
        """Close every connection, those to sentinels too."""
        super().close()
        self._sentinels.close()


def open_sentinel_store(address: Address, *, confirmation: Confirmation, **limits: Any) -> SentinelStore:
    """The store behind sentinels. Connects when it is first used."""
    pool, sentinels = _pool(address, hangs_up=False, decode=True, **limits)
    return SentinelStore(cast(Pool, pool), sentinels, confirmation)


def open_sentinel_client(address: Address, **limits: Any) -> redis.Redis:
    """The same for a library that speaks Redis itself."""
    pool, _ = _pool(address, hangs_up=True, decode=False, **limits)
    return redis.Redis(connection_pool=pool)


def _pool(
    address: Address,
    *,
    hangs_up: bool,
    decode: bool,
    timeout_s: float,
    connect_timeout_s: float,
    connections: int,
) -> tuple[redis.BlockingConnectionPool, Sentinels]:
    sentinels = Sentinels(address, timeout_s=connect_timeout_s)
    pool = redis.BlockingConnectionPool(
        connection_class=SecurePrimaryConnection if address.tls else PrimaryConnection,
        sentinels=sentinels,
        hangs_up=hangs_up,
        username=address.username,
        password=address.password,
        db=address.db,
        **patience(timeout_s, connect_timeout_s, connections, decode=decode),
    )
    sentinels.on_change = lambda: pool.disconnect(inuse_connections=False)
    return pool, sentinels
