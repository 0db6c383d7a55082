"""The operator's session in a browser: a signed cookie instead of the token, and what keeps others from using it.

What must stay true: the cookie holds nothing that tells the token; it ends by itself, and with the token's change; a
page of another site can't act with it; guessing the token through the form is slow.

What it does not do: no list of sessions is kept anywhere, so signing out only takes the cookie from that browser. A
copy of it opens /admin until its SESSION_S are over; another ADMIN_TOKEN (or ID_SECRET) ends all sessions at once.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from math import ceil

from flask import Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

COOKIE = "ticketing_admin"
PATH = "/admin"
SESSION_S = 8 * 3600
CLOCKS_APART_S = 3600  # at most, of two hosts
CSRF_HEADER = "X-CSRF-Token"
TRIES, TRIES_S = 5, 60.0
ADDRESSES_MAX = 1000


class Sessions:
    """Opens and finds sessions. Every process with the same two secrets knows all of them, and keeps none."""

    def __init__(self, id_secret: str, admin_token: str) -> None:
        """The id secret makes the key too long to be guessed from a cookie, however short the token is."""
        self._key = hmac.digest(id_secret.encode(), b"admin session\0" + admin_token.encode(), hashlib.sha256)
        self._signer = URLSafeTimedSerializer(
            self._key, salt="cookie", signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        )

    def open(self) -> str:
        """The cookie of a new session."""
        return str(self._signer.dumps(secrets.token_urlsafe(16)))

    def find(self, request: Request) -> str | None:
        """The session that the request's cookie stands for; None where it is not ours, or over."""
        try:
            session, opened = self._signer.loads(request.cookies.get(COOKIE, ""), return_timestamp=True)
        except BadSignature:
            return None
        # Another host may have opened it, whose clock is ahead: itsdangerous refuses what is signed in the future.
        age_s = time.time() - opened.timestamp()
        return str(session) if -CLOCKS_APART_S <= age_s <= SESSION_S else None

    def csrf_token(self, session: str) -> str:
        """What a page of this session sends with each call that changes something: another site can't read it."""
        return hmac.new(self._key, b"csrf\0" + session.encode(), hashlib.sha256).hexdigest()

    def has_csrf_token(self, request: Request, session: str) -> bool:
        """Whether the request comes from a page of this session."""
        given = request.headers.get(CSRF_HEADER, "")
        return hmac.compare_digest(given.encode(), self.csrf_token(session).encode())


def set_cookie(answer: Response, value: str, *, secure: bool) -> None:
    """The browser keeps it from scripts and from other sites' requests; an empty one ends the session."""
    age_s = SESSION_S if value else 0
    answer.set_cookie(COOKIE, value, max_age=age_s, path=PATH, secure=secure, httponly=True, samesite="Strict")


class Tries:
    """How often an address may give a wrong token: TRIES in TRIES_S, counted by each web process."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._wrong_s: dict[bytes, list[float]] = {}

    def wait_s(self, address: bytes) -> int:
        """0 where it may try; else in how many seconds."""
        now_s = self._clock_s()
        recent_s = [at_s for at_s in self._wrong_s.get(address, []) if now_s - at_s < TRIES_S]
        return 0 if len(recent_s) < TRIES else max(1, ceil(recent_s[-TRIES] + TRIES_S - now_s))

    def count_wrong(self, address: bytes) -> None:
        """It gave a wrong one. The address that was wrong longest ago is forgotten where there are too many."""
        recent_s = [*self._wrong_s.pop(address, []), self._clock_s()][-TRIES:]
        self._wrong_s[address] = recent_s
        while len(self._wrong_s) > ADDRESSES_MAX:
            del self._wrong_s[next(iter(self._wrong_s))]
