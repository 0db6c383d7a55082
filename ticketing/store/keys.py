"""Every key in Redis: its type, what it holds, and its slot. No other module spells a key.

All keys of an event carry its id as their hash tag, so that a script on them runs on one node of a cluster.

    event:{E}:tickets            list    the pool: ids of unsold tickets, text
    event:{E}:info               hash    seed, version, epoch, issued, planned, sold, voided, paused, halted,
                                         halted_why, accepted, opens_ms, closes_ms, quantity_max, buyer_max; and what
                                         people read: name, venue, address, organiser, starts_at_ms, timezone,
                                         price_amount, price_currency, accent, revision
    event:{E}:purchases          hash    purchase id -> fingerprint|sold_at_ms|ticket,ticket|buyer tag; -<ms>: tombstone
    event:{E}:receipts           zset    the outbox: purchase id by the time (ms) at which it is to be enqueued (again)
    event:{E}:receipts:tries     hash    purchase id -> how often a worker began to render it; only while in the outbox.
                                         0: it was stored before, and asked for again
    event:{E}:receipts:failed    hash    purchase id -> ms of giving up; it left the outbox then
    event:{E}:buyers             hash    buyer tag -> tickets held; only for events with a limit a buyer
    event:{E}:contacts           hash    purchase id -> JSON {"name", "email"}, where given
    event:{E}:leases             hash    holder -> token|ticket,ticket. A token of an operator's decision is
                                         accepted-<version>-<nonce>
    event:{E}:put_back           hash    of an event that is or was halted. report:<process>: what it has put back, till
                                         the halt ends; replayed:<purchase id>: put back by one that had not sold it,
                                         till then too; conflict:<purchase id> -> why|record|contact: answered to a
                                         buyer, and could not be put back; lost:<purchase id>: the same of halts that
                                         ended, stays
    events                       set     event ids
    ticketing:id-secret          string  fingerprint of the id secret of every host that sells from this store
    {ticketing:hosts}:contacts   zset    holder by the time (ms) at which it was heard last, of every host. One that
                                         found another process under its name goes on as <holder>+<nonce>
    {ticketing:hosts}:tellings   hash    holder -> nonce|begin and end of its last outage (ms)|fingerprints|state
    ticketing:processes          hash    web process -> ms when it last said that it has answers to put back
    ticketing:swept              string  beside the queue: there while a sweeper sweeps, gone half a minute after
    ticketing:confirm            a channel that nobody reads: a message to it is a write that replicas confirm
    ticketing:confirm:{...}      string  the same on a cluster, whose messages go past replicas: empty

In `info`, `version` rises with every script that changes a sale, and never falls; `epoch` rises when tickets return or
are added, or the sale's settings change. `sold` and `issued` count tickets; `voided` counts tombstones. `accepted` is
the version of the last decision that ended a halt; it stays, also where an event that is gone is made anew.
"""

from functools import lru_cache
from typing import NamedTuple

EVENTS = "events"
ID_SECRET = "ticketing:id-secret"  # noqa: S105 - the name of a key, not a secret
SWEPT = "ticketing:swept"
HOST_CONTACTS, HOST_TELLINGS = "{ticketing:hosts}:contacts", "{ticketing:hosts}:tellings"
PROCESSES = "ticketing:processes"
CONFIRM = "ticketing:confirm"


class EventKeys(NamedTuple):
    """The keys of one event, in the order in which scripts name them."""

    tickets: str
    info: str
    purchases: str
    receipts: str
    tries: str
    failed: str
    buyers: str
    contacts: str
    leases: str
    put_back: str


def confirm(tag: str) -> str:
    """What is written, in the slot of a hash tag, so that replicas confirm it."""
    return f"{CONFIRM}:{{{tag}}}"


def tag_of(key: str) -> str:
    """The part of a key that its slot comes from."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return tag if opened and closed and tag else key


@lru_cache(maxsize=2_000)  # strangers make up event ids
def of_event(event_id: str) -> EventKeys:
    """The keys of an event."""
    at = f"event:{{{event_id}}}:"
    return EventKeys(
        tickets=f"{at}tickets",
        info=f"{at}info",
        purchases=f"{at}purchases",
        receipts=f"{at}receipts",
        tries=f"{at}receipts:tries",
        failed=f"{at}receipts:failed",
        buyers=f"{at}buyers",
        contacts=f"{at}contacts",
        leases=f"{at}leases",
        put_back=f"{at}put_back",
    )
