"""What the store knows of hosts: when each of their holders was heard last, and what it told of itself.

What must stay true: nothing is sold or settled by what stands here; it may be lost with a primary at any time. It names
no secret: of keys only short fingerprints.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ticketing.errors import StoreRefused
from ticketing.store import keys, scripts
from ticketing.store.connection import Command, Store

# Of the server that keeps the signs of life, which are told in its time. A cluster's nodes may be minutes apart.
ITS_TIME: Command = ("EVAL", "return redis.call('TIME')", 1, keys.HOST_CONTACTS)
LIVES_MS = 10_000  # a holder that was heard so lately counts as living
BESIDE = "+"  # a holder that found another process under its name goes on as <name>+<its nonce>


class State(StrEnum):
    """What became of a holder, by its own word."""

    LEFT = "left"  # it ended, and gave everything back
    COPIED = "copied"  # it found another process under its name, and goes on beside it without a reserve


@dataclass(frozen=True, slots=True)
class Telling:
    """What a holder tells of itself."""

    outage_began_ms: int = 0  # of its last outage, by the store's clock; 0 without one
    outage_ended_ms: int = 0
    keys: str = ""  # fingerprints of what all hosts should have in common
    state: State | str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """A holder as it was heard last."""

    holder: str
    nonce: str
    contact_ms: int  # by the store's clock
    telling: Telling = Telling()

    @property
    def host_id(self) -> str:
        """Whose it is."""
        return host_of(self.holder)


@dataclass(frozen=True, slots=True)
class Beat:
    """The reply to a sign of life."""

    now_ms: int
    living: int  # holders, of all hosts
    another: bool  # another process lives under this name


@dataclass(frozen=True, slots=True)
class Contacts:
    """Everybody who was ever heard and has not left, and the store's time."""

    now_ms: int
    all: list[Contact]

    def living(self) -> list[Contact]:
        """Those that were heard lately."""
        return [one for one in self.all if self.lives(one)]

    def lives(self, contact: Contact) -> bool:
        """Whether it was heard lately, and did not say that it leaves."""
        return self.was_heard_lately(contact) and contact.telling.state != State.LEFT

    def was_heard_lately(self, contact: Contact) -> bool:
        """Whether it was heard lately, if only to leave."""
        return self.now_ms - contact.contact_ms <= LIVES_MS


class HostStore:
    """Signs of life in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def beat(self, holder: str, nonce: str, last_ms: int, telling: Telling) -> Beat:
        """This holder lives. `last_ms` is its last contact, 0 before the first. Raises StoreError."""
        touched = (keys.HOST_CONTACTS, keys.HOST_TELLINGS)
        before = "" if last_ms else self._nonce_of(holder)
        told = (holder, nonce, last_ms, LIVES_MS, _text(telling), before)
        tag, now_ms, living = scripts.run(self._store, "beat", touched, told)
        if tag == "moved":
            raise StoreRefused("another process took the name over meanwhile")
        return Beat(now_ms, living, tag == "another")

    def _nonce_of(self, holder: str) -> str:
        """Of the process that told something last under this name; "" where none did."""
        return str(self._store.one("HGET", keys.HOST_TELLINGS, holder) or "").partition("|")[0]

    def contacts(self) -> Contacts:
        """Every holder, by its name. Raises StoreError."""
        time, flat, told = self._store.read(
            ITS_TIME,
            ("ZRANGE", keys.HOST_CONTACTS, 0, -1, "WITHSCORES"),
            ("HGETALL", keys.HOST_TELLINGS),
        )
        tellings = dict(zip(told[::2], told[1::2], strict=True))
        found = zip(flat[::2], flat[1::2], strict=True)
        heard = [_contact(holder, float(score), tellings.get(holder, "")) for holder, score in found]
        return Contacts(_ms(time), sorted(heard, key=lambda one: one.holder))

    def contact(self, holder: str) -> Contacts:
        """The same of one holder. Raises StoreError."""
        time, score, told = self._store.read(
            ITS_TIME, ("ZSCORE", keys.HOST_CONTACTS, holder), ("HGET", keys.HOST_TELLINGS, holder)
        )
        return Contacts(_ms(time), [] if score is None else [_contact(holder, float(score), told or "")])

    def forget(self, holders: Iterable[str]) -> None:
        """They are gone for good. Raises StoreError."""
        names = list(holders)
        if names:
            self._store.read(("ZREM", keys.HOST_CONTACTS, *names), ("HDEL", keys.HOST_TELLINGS, *names))


def host_of(holder: str) -> str:
    """The id of the host of a holder."""
    return holder.rpartition("-")[0]


def _ms(time: list[str]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000


def _text(telling: Telling) -> str:
    return f"{telling.outage_began_ms}|{telling.outage_ended_ms}|{telling.keys}|{telling.state}"


def _contact(holder: str, score: float, told: str) -> Contact:
    """What is damaged tells nothing; a newer version may tell more."""
    nonce, _, rest = told.partition("|")
    words = [*rest.split("|"), "", "", "", ""]
    try:
        telling = Telling(int(words[0] or 0), int(words[1] or 0), words[2], words[3])
    except ValueError:
        telling = Telling()
    return Contact(holder, nonce, int(score), telling)
