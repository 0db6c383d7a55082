"""The store and the queue: whether they answer, keep what they acknowledge, have room, and know our scripts."""

import time
from collections.abc import Iterator
from statistics import median

from ticketing.config import Settings
from ticketing.doctor.finding import Finding, fail, ok, warn
from ticketing.errors import StoreError, TicketingError
from ticketing.sale.identity import Identity
from ticketing.store import condition, durability
from ticketing.store.connection import Store
from ticketing.store.opening import queue_client_of
from ticketing.store.queue import QueueLevel, ReceiptQueue

TRIES = 7
FAR_S = 0.005
MEMORY_USED_MOST = 0.75
CLOCK_WARN_MS, CLOCK_FAIL_MS = 1_000, 10_000
CLIENTS_OF_A_WORKER, CLIENTS_BESIDE = 4, 16


def answers(store: Store) -> Iterator[Finding]:
    """How far away it is. Raises StoreError."""
    took_s = []
    for _ in range(TRIES):
        began_s = time.monotonic()
        store.ping()
        took_s.append(time.monotonic() - began_s)
    found = f"answers in {median(took_s) * 1000:.1f} ms"
    if median(took_s) < FAR_S:
        yield ok("store", found)
    else:
        yield warn("store", found, "A purchase takes this long at least.", "Bring store and web processes together.")


def keeps(store: Store) -> Iterator[Finding]:
    """Whether an acknowledged purchase is on its disk. Raises StoreError."""
    policy, told = durability.fsync_policy(store), condition.told_by(store)
    if policy == durability.SAFE:
        yield ok("store's fsync", "always: what is acknowledged is on its disk")
    elif policy == "unknown":
        yield warn(
            "store's fsync",
            "it does not tell (CONFIG is barred)",
            "If it is not `always`, a crash of the store loses purchases whose buyers were told 201.",
            "Ask whoever runs it for appendonly yes and appendfsync always.",
        )
    else:
        yield fail(
            "store's fsync",
            {"off": "it has no append-only file"}.get(policy, f"appendfsync {policy}"),
            "A crash of the store loses purchases whose buyers were told 201, and sells their tickets again.",
            "appendonly yes and appendfsync always, in its configuration (CONFIG SET does it until it restarts).",
        )
    broken = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if told.get(name, "ok") != "ok"]
    if broken:
        yield fail(
            "store's file",
            f"{', '.join(broken)}: {', '.join(told[name] for name in broken)}",
            "It can't write its file: it will refuse purchases, or does already.",
            "Look at the disk of the store and at its log.",
        )
    if told.get("role", "master") != "master":
        yield fail(
            "store's role",
            told["role"],
            "A replica takes no purchase; and one that is made a master may lack the last ones.",
            "Let REDIS_URL name the master.",
        )


def fails_over(store: Store) -> Iterator[Finding]:
    """Whether a replica that takes over has every acknowledged purchase."""
    confirming = store.confirmation.replicas
    try:
        replicas = store.replicas()
    except StoreError as error:
        yield warn(
            "store's failover",
            f"it does not tell of replicas: {error}",
            "A replica that lacks the last purchases may be able to take over: their tickets are sold again then.",
            f"Let every replica that may take over confirm: REPLICAS_TO_CONFIRM is {confirming}.",
        )
        return
    found = f"{replicas} could take over from the primary, {confirming} must confirm each purchase"
    if confirming >= replicas:
        if confirming == replicas > 0:
            yield ok("store's failover", found)
        return
    yield fail(
        "store's failover",
        f"unsafe: {found}",
        "A replica that lacks the last purchases can become the primary: their buyers were told 201, and their tickets "
        "are sold again.",
        f"REPLICAS_TO_CONFIRM={replicas}; or replica-priority 0 for replicas that must not take over.",
    )


def confirms(store: Store) -> Iterator[Finding]:
    """Whether there are fewer replicas than are to confirm a purchase. Raises StoreError."""
    wanted = store.confirmation.replicas
    if wanted and (there := store.followers()) < wanted:
        yield fail(
            "store's replicas",
            f"{there} follow, {wanted} are to confirm",
            "No purchase is confirmed: the reserve is sold, then every purchase is answered 503.",
            "Start the missing replicas; until then, REPLICAS_TO_CONFIRM as many as there are.",
        )


def covers(store: Store) -> Iterator[Finding]:
    """Whether a cluster's node goes on while another is away. Raises StoreError."""
    if not store.name:
        return
    if not condition.needs_every_node(store):
        yield ok("store's coverage", "it goes on while others are away")
        return
    yield warn(
        "store's coverage",
        "cluster-require-full-coverage is yes",
        "While one node's slots are served by nobody, every node refuses, receipts and pages too.",
        "cluster-require-full-coverage no, on every node.",
    )


def room(store: Store, settings: Settings) -> Iterator[Finding]:
    """Memory and connections. Raises StoreError."""
    told = condition.told_by(store)
    policy, most = told.get("maxmemory_policy", "unknown"), int(told.get("maxmemory", 0))
    used = int(told.get("used_memory", 0))
    if policy == "noeviction":
        yield ok("store's eviction", "noeviction: it drops nothing")
    else:
        yield fail(
            "store's eviction",
            f"maxmemory-policy {policy}",
            "When its memory is full it drops tickets, purchases or the queue, without a word.",
            "maxmemory-policy noeviction",
        )
    found = f"{used / 1e6:,.0f} MB used" + (f" of {most / 1e6:,.0f} MB" if most else ", no limit is set")
    if most and used > MEMORY_USED_MOST * most:
        means = "When it is full, every purchase is answered 503 once the reserve is sold."
        yield warn("store's memory", found, means, "Raise maxmemory (STORE_MEMORY in containers).")
    else:
        yield ok("store's memory", found)
    yield from _connections(int(told.get("maxclients", 0)), settings)


def _connections(most: int, settings: Settings) -> Iterator[Finding]:
    web = settings.web_workers * (settings.store_connections + CLIENTS_OF_A_WORKER)
    needed = web + settings.receipt_workers * CLIENTS_OF_A_WORKER + CLIENTS_BESIDE
    if not most or most >= needed:
        yield ok("store's connections", f"this host may open {needed:,}" + (f", it takes {most:,}" if most else ""))
    else:
        yield fail(
            "store's connections",
            f"this host may open {needed:,}, it takes {most:,}",
            "Web processes that can't connect take that for an outage.",
            "Raise maxclients, or lower STORE_CONNECTIONS or WEB_WORKERS.",
        )


def scripts(store: Store) -> Iterator[Finding]:
    """Whether the server takes what sells. Raises StoreError."""
    refused = condition.refused_scripts(store)
    if not refused:
        yield ok("store's scripts", "it takes every one")
        return
    name, why = next(iter(refused.items()))
    yield fail(
        "store's scripts",
        f"{len(refused)} are refused: {name}: {why}",
        "Nothing can be sold.",
        "Redis 7 or Valkey 7.2 or later, and a user that may run EVAL, EVALSHA and SCRIPT LOAD.",
    )


def secret(store: Store, settings: Settings) -> Iterator[Finding]:
    """Whether this host sells with the id secret of the others. Raises StoreError."""
    if not settings.id_secret or condition.is_sold_with(store, Identity(settings.id_secret).secret_fingerprint):
        yield ok("id secret", "no other one sells from this store")
        return
    yield fail(
        "id secret",
        "this store is sold from with another one",
        "This host sells nothing: it would sell keys again that are sold.",
        "Give every host the same ID_SECRET, the one that this store's first host had.",
    )


def clock(store: Store) -> Iterator[Finding]:
    """This machine's time against the store's. Raises StoreError."""
    before_ms = time.time() * 1000
    store_ms = store.clock_ms()
    after_ms = time.time() * 1000
    # The store told it somewhere between.
    apart_ms = max(0.0, before_ms - store_ms, store_ms - after_ms)
    found = f"{apart_ms / 1000:,.1f} s apart from the store's"
    means = "A process that starts while Redis is away opens, closes and dates its sales by this clock; logs differ."
    do = "Let both machines follow a time server (timedatectl, chronyc tracking)."
    if apart_ms >= CLOCK_FAIL_MS:
        yield fail("clock", found, means, do)
    elif apart_ms >= CLOCK_WARN_MS:
        yield warn("clock", found, means, do)
    else:
        yield ok("clock", found)


def workers(settings: Settings) -> Iterator[Finding]:
    """Who draws receipts, and who sweeps. Raises StoreError."""
    queue = ReceiptQueue(queue_client_of(settings), job_timeout_s=settings.receipt_job_timeout_s)
    level = queue.level()
    yield _workers(level, settings.receipt_workers)
    if level.depth > level.workers * 10:
        means = "Receipts come late."
        yield warn(
            "queue", f"{level.depth:,} jobs wait", means, "More receipt workers: RECEIPT_WORKERS, --scale worker=N"
        )
    if queue.was_swept():
        yield ok("sweeper", "has swept")
    else:
        yield warn(
            "sweeper",
            "nobody has swept lately",
            "A receipt that a crash lost is not drawn again.",
            "Start it: make run has it, containers the service `scheduler`, else python -m ticketing sweep",
        )


def _workers(level: QueueLevel, wanted: int) -> Finding:
    found, do = (
        f"{level.workers} receipt workers are alive",
        "Start them: make run, the service `worker`, python -m workers",
    )
    if level.workers == 0:
        return fail("receipt workers", found, "No receipt is drawn; purchases go on.", do)
    if level.workers < wanted:
        return warn(
            "receipt workers", f"{found}, RECEIPT_WORKERS is {wanted}", "Receipts come later than they could.", do
        )
    return ok("receipt workers", found)


def away(error: TicketingError) -> Finding:
    """The store can't be asked."""
    return fail(
        "store",
        str(error),
        "Nothing can be sold, or from the reserve alone. Everything that the store would tell was not looked at.",
        "Start it (make run, docker compose up -d redis), or mend REDIS_URL and the network between.",
    )
