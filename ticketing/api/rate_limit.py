"""How often one client may ask to buy: a leaky bucket each (GCRA), in one table that a host's processes share.

What must stay true: a client can't choose who it is taken for; the table never grows, whoever comes; two clients
that meet in it are rare (10,000 at their limit hold back 4 of 10,000 others), and nobody can arrange it.
"""

import mmap
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import ceil

from loguru import logger

ROWS = 2  # a client is held back only where its places in all rows are full
PLACES = 1 << 19  # a row, 8 bytes each
TABLE_BYTES = ROWS * PLACES * 8  # pages that nobody touches take no memory
EVERYBODY = "*"
IPV6_PREFIX = 64  # what one household gets
ADDRESSES_REMEMBERED = 4096
FORWARDED_FOR_READ = 512  # characters, from the right
ROUNDING_S = 1e-6

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class TrustedProxies:
    """Whose X-Forwarded-For is believed, as FORWARDED_ALLOW_IPS names them: addresses, networks, or `*`."""

    def __init__(self, named: str) -> None:
        """Raises ValueError where a name is neither an address nor a network."""
        words = [word.strip() for word in named.split(",") if word.strip()]
        self._everybody = EVERYBODY in words
        self._said_untrusted = False
        self._networks: list[Network] = [ip_network(word) for word in words if word != EVERYBODY]

    def client_of(self, peer: str, forwarded_for: str | None) -> str:
        """Whom a request comes from, as an address: the last hop that no trusted proxy stands behind.

        Read from the right, since a client can write whatever it likes to the left of what a proxy adds. With `*` it
        is the last entry: the proxy is trusted, and what others told the proxy is not.
        """
        address = _address(peer)
        if not forwarded_for or address is None:
            return peer
        if not self._trusts(address):
            self._say_untrusted(peer)
            return peer
        for hop in reversed(forwarded_for.split(",")):
            before = _address(hop.strip())
            if before is None:
                break
            address = before
            if self._everybody or not self._trusts(address):
                break
        return str(address)

    def _say_untrusted(self, peer: str) -> None:
        """Once, since anybody can send the header: a proxy that nobody named makes all who come through it one."""
        if not self._said_untrusted:
            self._said_untrusted = True
            logger.warning(
                "{} sends X-Forwarded-For and is not in FORWARDED_ALLOW_IPS: if it is your proxy, all who come through "
                "it count as one client",
                peer,
            )

    def _trusts(self, address: Address) -> bool:
        return self._everybody or any(address in network for network in self._networks)


def bucket_of(client: str) -> bytes:
    """What is limited together: one IPv4 address, or the /64 of an IPv6 one."""
    address = _address(client)
    if address is None:
        return client.encode("utf-8", "replace")
    return address.packed[: IPV6_PREFIX // 8] if address.version == 6 else address.packed


def _address(text: str) -> Address | None:
    """An address as proxies write it, with a port or a zone perhaps; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class RateLimit:
    """At most `per_s` purchases a second a client, over time, and `burst` at once, from all processes that share it."""

    def __init__(
        self,
        per_s: float,
        burst: int,
        proxies: TrustedProxies,
        secret: bytes,
        clock_s: Callable[[], float] = time.monotonic,  # one clock for all processes of a host
    ) -> None:
        """Alone until it is given a table that others have too. `secret` keeps strangers from aiming at a place."""
        self._interval_s = 1 / per_s
        self._slack_s = (burst - 1) / per_s
        self._proxies = proxies
        self._secret = blake2b(secret, person=b"rate-limit").digest()
        self._clock_s = clock_s
        self._table: memoryview[float] = memoryview(bytearray(TABLE_BYTES)).cast("d")  # when each place is empty again
        self._places = lru_cache(ADDRESSES_REMEMBERED)(self._find_places)

    def share(self, table: "memoryview[float]") -> None:
        """From now on count in this table, which `shared_table` made before the processes parted."""
        self._table = table

    def wait_s(self, peer: str, forwarded_for: str | None) -> int:
        """0, and the purchase counts; or in how many whole seconds the client may ask again, and it does not count."""
        places = self._places(peer, forwarded_for and forwarded_for[-FORWARDED_FOR_READ:])
        now_s = self._clock_s()
        empty_s = max(now_s, min(self._table[place] for place in places))
        over_s = empty_s - now_s - self._slack_s
        if over_s > ROUNDING_S:
            return ceil(over_s)
        for place in places:
            self._table[place] = max(self._table[place], empty_s + self._interval_s)
        return 0

    def _find_places(self, peer: str, forwarded_for: str | None) -> tuple[int, ...]:
        bucket = bucket_of(self._proxies.client_of(peer, forwarded_for))
        digest = blake2b(bucket, key=self._secret, digest_size=ROWS * 4).digest()
        numbers = (int.from_bytes(digest[row * 4 : row * 4 + 4], "big") for row in range(ROWS))
        return tuple(row * PLACES + number % PLACES for row, number in enumerate(numbers))


def shared_table() -> "memoryview[float]":
    """A table for this process and all that it forks. Memory alone: the disk must not keep a purchase waiting."""
    return memoryview(mmap.mmap(-1, TABLE_BYTES)).cast("d")
