"""The name of a holder in the store: signs of life under it, and whether somebody else lives under the same.

What must stay true: a store that went back in time is never taken for a copied host. So another process is proven only
where the store holds a sign of its life that is younger than our own last one; or where our journal is older than what
the store holds, which a store that went back can't be the reason of.
"""

import time
from collections.abc import Iterable

from ticketing.store.hosts import BESIDE, Contact, HostStore, State, Telling, host_of

BEAT_EVERY_S = 2.0


class Presence:
    """One holder's name."""

    def __init__(self, hosts: HostStore, holder: str, nonce: str, fingerprints: str = "") -> None:
        self.holder = holder
        self.living = 0  # holders of all hosts; 0 where that is not known yet
        self.is_copied = False  # another process lives under this name, or did
        self._hosts = hosts
        self._nonce = nonce
        self._fingerprints = fingerprints
        self._known = {nonce}  # nonces of this process and of those before it that the journal names
        self._last_ms = 0  # contact, by the store's clock
        self._outage_ms = (0, 0)
        self._beaten_s = -BEAT_EVERY_S

    @property
    def name(self) -> str:
        """Under which this process speaks: its holder's, or one beside it that is its own."""
        return f"{self.holder}{BESIDE}{self._nonce}" if self.is_copied else self.holder

    @property
    def host_id(self) -> str:
        """The host's."""
        return host_of(self.holder)

    def knows(self, tokens: Iterable[str]) -> None:
        """The journal names these tokens: who set them lived in this folder."""
        self._known |= {token.partition("-")[0] for token in tokens}

    def had_outage(self, began_ms: int, ended_ms: int) -> None:
        """What this process tells of its last outage from now on."""
        self._outage_ms = (began_ms, ended_ms)

    def is_due(self) -> bool:
        """Whether the next sign of life is to be given."""
        return time.monotonic() - self._beaten_s >= BEAT_EVERY_S

    def beat(self) -> None:
        """A sign of life; `is_copied` says afterwards whether another process gave one too. Raises StoreError."""
        self._beaten_s = time.monotonic()
        self._beat(State.COPIED if self.is_copied else "")

    def leave(self) -> None:
        """This process ends, and has given everything back. Raises StoreError."""
        self._beat(State.LEFT)

    def _beat(self, state: str) -> None:
        telling = Telling(*self._outage_ms, self._fingerprints, state)
        heard = self._hosts.beat(self.name, self._nonce, self._last_ms, telling)
        self.living = heard.living
        if heard.another:
            self.is_copied, self._last_ms = True, 0
        else:
            self._last_ms = heard.now_ms

    def is_of_another(self, token: str) -> bool:
        """Whether a process that lives elsewhere under our name has set this token. Raises StoreError."""
        nonce = token.partition("-")[0]
        if nonce in self._known:
            return False
        heard = self._hosts.contact(self.holder)
        return any(one.nonce == nonce and self._is_since(one, heard.was_heard_lately(one)) for one in heard.all)

    def _is_since(self, contact: Contact, lately: bool) -> bool:
        return contact.contact_ms >= self._last_ms if self._last_ms else lately
