"""The account: what buyers were told against what the store holds, read with plain commands.

What must stay true: nothing here asks the code under test, apart from the names of keys and the ids that an
idempotency key and a buyer stand for. A wish is told from every other by its buyer, also in the store.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.history import BOUGHT, OPEN, Told, Try, Wish
from tests.sales import account
from tests.servers import ID_SECRET
from ticketing.sale.identity import Identity
from ticketing.store import keys
from ticketing.store.connection import Store

IDENTITY = Identity(ID_SECRET)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that must not be, and whose it is."""

    what: str
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """One purchase in the store."""

    purchase_id: str
    tickets: tuple[str, ...]
    buyer_tag: str


@dataclass
class Books:
    """What the store holds of all events."""

    purchases: dict[str, Held] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    outbox: int = 0
    failed: int = 0
    leased: Counter[str] = field(default_factory=Counter)  # holder -> tickets
    problems: list[Problem] = field(default_factory=list)  # invariants 1 and 2, event by event
    standing: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)  # issued, sold, pool, leased


def read_books(store: Store, event_ids: Iterable[str]) -> Books:
    """Everything, while nobody sells."""
    books = Books()
    for event_id in event_ids:
        _read_event(store, event_id, books)
    return books


def _read_event(store: Store, event_id: str, books: Books) -> None:
    found = account(store, event_id)
    try:
        found.check()
    except AssertionError as error:
        books.problems.append(Problem(f"event {event_id}: its account is wrong: {str(error)[:2000]}"))
    k = keys.of_event(event_id)
    records, leases = store.read(("HGETALL", k.purchases), ("HGETALL", k.leases))
    for purchase_id, record in _pairs(records):
        if not record.startswith("-"):
            _, _, tickets, tag = record.split("|")
            books.purchases[purchase_id] = Held(purchase_id, tuple(tickets.split(",")), tag)
    for holder, lease in _pairs(leases):
        books.leased[holder] += len([ticket for ticket in lease.partition("|")[2].split(",") if ticket])
    books.tombstones |= found.tombstones
    books.outbox += len(found.outbox)
    books.failed += len(found.failed)
    books.standing[event_id] = (found.issued, found.tickets_sold, len(found.pool), len(found.leased))


def _pairs(reply: object) -> list[tuple[str, str]]:
    if isinstance(reply, dict):
        return list(reply.items())
    assert isinstance(reply, list)
    return list(zip(reply[::2], reply[1::2], strict=True))


def judge(tries: dict[Wish, list[Try]], books: Books) -> list[Problem]:
    """Everything in which answers and store differ: invariants 3, 4 and 5 of sale.md."""
    problems = [*books.problems]
    by_buyer: dict[tuple[str, str], list[Held]] = defaultdict(list)
    for held in books.purchases.values():
        by_buyer[held.purchase_id.partition(".")[0], held.buyer_tag].append(held)
    wishes_of: dict[tuple[str, str], list[Wish]] = defaultdict(list)
    for wish, tried in tries.items():
        problems += _judge_wish(wish, tried, books)
        wishes_of[wish.event_id, IDENTITY.buyer_tag(wish.event_id, wish.buyer_id)].append(wish)
    for buyer in by_buyer.keys() | wishes_of.keys():
        problems += _judge_buyer(wishes_of[buyer], by_buyer[buyer], tries)
    return problems


def _judge_wish(wish: Wish, tried: Sequence[Try], books: Books) -> list[Problem]:
    """What this buyer was told is so, and was told in a sequence that makes sense."""
    said = [
        *(f"was answered what nobody expects: {one}" for one in tried if _is_strange(one)),
        *_against_the_store(wish, tried, books),
        *_against_each_other(tried),
    ]
    if wish.key is not None and not any(one.told in BOUGHT for one in tried):
        held = IDENTITY.purchase_id_of_key(wish.event_id, wish.key) in books.purchases
        if held and tried[-1].told is Told.REFUSED:
            said.append("was refused, and holds tickets under its key")
    return [Problem(what, wish) for what in said]


def _is_strange(one: Try) -> bool:
    expected = {Told.KEY_REUSED, Told.PROVISIONAL, Told.UNAVAILABLE} | OPEN | {Told.UNSENT}
    if one.other_content:  # provisional: in an outage the first purchase may be out of sight; it is parked later
        return one.told not in expected
    return one.told in {Told.UNEXPECTED, Told.KEY_REUSED, Told.LATE}


def _against_the_store(wish: Wish, tried: Sequence[Try], books: Books) -> list[str]:
    bought = [one for one in tried if one.told in BOUGHT and not one.other_content]
    said = []
    for one in bought:
        held = books.purchases.get(one.purchase_id)
        if held is None:
            said.append(f"was told {one.told}, and the store has no such purchase")
        elif len(held.tickets) != wish.quantity or one.body["quantity"] != wish.quantity:
            said.append(f"wanted {wish.quantity} tickets and has {len(held.tickets)}")
        elif "tickets" in one.body and tuple(one.body["tickets"]) != held.tickets:
            said.append(f"was told other tickets than it has: {held.tickets}")
        if (one.told is Told.PROVISIONAL) == ("tickets" in one.body):
            said.append(f"was told {one.told} with or without tickets: {one.body}")
    if wish.key is not None and {one.purchase_id for one in bought} - {
        IDENTITY.purchase_id_of_key(wish.event_id, wish.key)
    }:
        said.append("has a purchase of another id than its key's")
    return said


def _against_each_other(tried: Sequence[Try]) -> list[str]:
    own = [one for one in tried if not one.other_content]
    said = []
    if len({one.purchase_id for one in own if one.told in BOUGHT}) > 1:
        said.append("has two purchases")
    if sum(one.told is Told.SOLD for one in own) > 1:
        said.append("was sold anew twice")
    first = next((one.answered_s for one in own if one.told in BOUGHT), None)
    if first is not None and any(one.told is Told.REFUSED and one.asked_s > first for one in own):
        said.append("was refused after it had bought")
    return said


def _judge_buyer(wishes: Sequence[Wish], held: Sequence[Held], tries: dict[Wish, list[Try]]) -> list[Problem]:
    """A buyer holds what it was told, and beyond that at most what it asked for without a key and lost sight of.

    So one that was answered 503 without a key holds nothing; with a limit a buyer has several wishes.
    """
    told = {one.purchase_id for wish in wishes for one in tries[wish] if one.told in BOUGHT}
    by_key = {IDENTITY.purchase_id_of_key(wish.event_id, wish.key) for wish in wishes if wish.key is not None}
    unknown = [one for one in held if one.purchase_id not in told]
    lost = sum(wish.key is None and tries[wish][-1].told in OPEN for wish in wishes)
    beyond = [one for one in unknown if one.purchase_id not in by_key]  # a refused key was judged before
    if len(beyond) <= lost:
        return []
    what = f"{len(beyond)} purchases nobody was told of, and {lost} broken connections: {beyond[:5]}"
    return [Problem(what, wish) for wish in wishes[:5]] or [Problem(f"a purchase of nobody: {what}")]


def provisional_then_sold(tries: dict[Wish, list[Try]], books: Books) -> int:
    """How many purchases were answered provisional and stand in the store: each of them was settled."""
    answered = {one.purchase_id for tried in tries.values() for one in tried if one.told is Told.PROVISIONAL}
    return len(answered & books.purchases.keys())
