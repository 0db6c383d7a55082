"""What the store promises of an acknowledged write, as far as it says, and how its servers stand.

What must stay true: a failover is called safe only where every server that could take over has what was acknowledged.
With one confirmation of two replicas, the one that did not confirm can become the primary: some thousand purchases were
lost so in trials, none where all confirmed. Of several servers the worst counts; numbers are those of all together.
"""

from dataclasses import dataclass
from enum import StrEnum

from ticketing.errors import StoreError
from ticketing.store import condition
from ticketing.store.connection import Store

SAFE, UNKNOWN = "always", "unknown"
WORST_FIRST = ("off", "no", "everysec", UNKNOWN, SAFE)


def fsync_policy(store: Store) -> str:
    """always, everysec, no; `off` without an append-only file; `unknown` where nobody tells. Never raises."""
    try:
        policies = {_fsync_policy(server) for server in store.servers()}
    except StoreError:
        return UNKNOWN
    return next((policy for policy in WORST_FIRST if policy in policies), UNKNOWN)


def _fsync_policy(server: Store) -> str:
    try:
        found = server.one("CONFIG", "GET", "append*")
    except StoreError:
        return UNKNOWN
    settings = dict(zip(found[::2], found[1::2], strict=True)) if isinstance(found, list) else dict(found)
    if settings.get("appendonly") != "yes":
        return "off"
    return str(settings.get("appendfsync", UNKNOWN))


class Failover(StrEnum):
    """What a failover of the store would do to acknowledged purchases."""

    NONE = "none"  # nobody could take over
    SAFE = "safe"
    UNSAFE = "unsafe"  # it could lose some
    UNKNOWN = "unknown"


def failover(store: Store) -> Failover:
    """Whether as many replicas confirm as could take over. Never raises."""
    try:
        replicas = store.replicas()
    except StoreError:
        return Failover.UNKNOWN
    if not replicas:
        return Failover.NONE
    return Failover.SAFE if store.confirmation.replicas >= replicas else Failover.UNSAFE


def promises(store: Store) -> dict[str, str]:
    """Both, by name. Never raises."""
    return {"fsync": fsync_policy(store), "failover": failover(store)}


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the store's server, or all servers of it, tell of themselves."""

    fsync_policy: str
    failover: Failover
    write_failing: bool  # the last write of its append-only file, or the last rewrite
    rewriting: bool
    file_bytes: int
    memory_bytes: int
    memory_limit_bytes: int  # 0: none
    clients: int
    commands: int
    cpu_s: float


def server_state(store: Store) -> ServerState:
    """How the servers stand now; what they don't tell is 0. Raises StoreError."""
    each = [condition.told_by(server) for server in store.servers()]

    def number(name: str) -> float:
        return sum(float(told.get(name) or 0) for told in each)

    return ServerState(
        fsync_policy=fsync_policy(store),
        failover=failover(store),
        write_failing=any(
            "err" in (told.get("aof_last_write_status"), told.get("aof_last_bgrewrite_status")) for told in each
        ),
        rewriting=number("aof_rewrite_in_progress") > 0,
        file_bytes=int(number("aof_current_size")),
        memory_bytes=int(number("used_memory")),
        memory_limit_bytes=int(number("maxmemory")),
        clients=int(number("connected_clients")),
        commands=int(number("total_commands_processed")),
        cpu_s=number("used_cpu_sys") + number("used_cpu_user"),
    )
