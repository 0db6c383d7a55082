"""The slots of a cluster, and which node serves each. Pure.

What must stay true: a slot that nobody serves is None, never somebody.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ticketing.errors import StoreRefused

Host = tuple[str, int]


class Range(NamedTuple):
    """Slots of one primary, from `first` to `last`."""

    first: int
    last: int
    host: Host


def slot_of(key: str) -> int:
    """The slot of a key."""
    return key_slot(key.encode())


class SlotMap:
    """Which primary serves which slot, as a node told it, and where redirects sent us since."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._ranges = sorted(ranges)
        self._firsts = [each.first for each in self._ranges]
        self._moved: dict[int, Host] = {}
        self._tags: dict[Host, str] = {}
        self.hosts = sorted({each.host for each in ranges})  # every primary that serves slots

    def host_of(self, slot: int) -> Host | None:
        """The primary that serves a slot."""
        if slot in self._moved:
            return self._moved[slot]
        at = bisect_right(self._firsts, slot) - 1
        return self._ranges[at].host if at >= 0 and slot <= self._ranges[at].last else None

    def move(self, slot: int, host: Host) -> None:
        """A node said that the slot is another's."""
        self._moved[slot] = host

    def tag_of(self, host: Host) -> str:
        """A hash tag whose slot this primary serves, for what has to be written there and belongs to no event.

        Raises StoreRefused where it serves none: a node to which a slot is on its way, say.
        """
        if host not in self._tags:
            if all(self.host_of(slot) != host for slot in range(REDIS_CLUSTER_HASH_SLOTS)):
                raise StoreRefused(f"{host[0]}:{host[1]} serves no slot")
            self._tags[host] = next(tag for tag in map(str, count()) if self.host_of(slot_of(tag)) == host)
        return self._tags[host]


def replicas_told(reply: Any) -> list[int]:
    """What CLUSTER SHARDS says: how many replicas each primary has that serves slots."""
    shards = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in reply]
    return [sum("replica" in node for node in shard["nodes"]) for shard in shards if shard["slots"]]


def slots_told(reply: Any, asked: str) -> tuple[list[Range], list[Host]]:
    """What CLUSTER SLOTS says: who serves what, and everybody who can be asked, replicas too.

    A node that does not know its own address leaves it out: then it is the one that was asked.
    """
    ranges: list[Range] = []
    everybody: dict[Host, None] = {}
    for first, last, *servers in reply:
        hosts = [(server[0] or asked, int(server[1])) for server in servers]
        everybody |= dict.fromkeys(hosts)
        ranges.append(Range(int(first), int(last), hosts[0]))
    return ranges, list(everybody)
