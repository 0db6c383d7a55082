"""Who a purchase is: its id, its fingerprint, and the keyed hash of its buyer. Pure, apart from random bytes.

What must stay true: a purchase id can be told from a made-up one without Redis; an idempotency key of an event always
gives the same id; nothing of a buyer can be read back from what is stored.

    purchase_id = <event_id>.<22 base64url characters><6 of a tag>

The 22 characters are HMAC-SHA-256(id secret, event and key) where there is an Idempotency-Key, else random (128 bits
either way); the tag is the first 36 bits of an HMAC-SHA-256 over what stands before it. Source: shared design, sale.md.
"""

import binascii
import hashlib
import hmac
import os
import unicodedata
from functools import lru_cache

import orjson

from ticketing.model import EVENT_ID, NOBODY, Buyer

BODY_BYTES = 16
BODY_CHARACTERS = 22
TAG_CHARACTERS = 6
BUYER_BYTES = 8
URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Identity:
    """Makes ids with the id secret, which never rotates: the same key must give the same id next week."""

    def __init__(self, id_secret: str) -> None:
        secret = id_secret.encode()
        self._keyed = hmac.new(secret, digestmod="sha256")  # copied for each text: half of what a new one costs
        self.secret_fingerprint = hashlib.sha256(b"id secret\0" + secret).hexdigest()[:16]

    def new_purchase_id(self, event_id: str) -> str:
        """An id that nobody had before."""
        return self._tagged(event_id, os.urandom(BODY_BYTES))

    def purchase_id_of_key(self, event_id: str, key: str) -> str:
        """The id that this key stands for in this event."""
        return self._tagged(event_id, self._hash(f"key\0{event_id}\0{key}"))

    def is_genuine(self, purchase_id: str) -> bool:
        """Whether a holder of the id secret made this id. Says nothing of whether the purchase exists."""
        event_id, _, rest = purchase_id.partition(".")
        if len(rest) != BODY_CHARACTERS + TAG_CHARACTERS or not purchase_id.isascii():
            return False
        tag = self._tag(purchase_id[:-TAG_CHARACTERS])
        return EVENT_ID.fullmatch(event_id) is not None and hmac.compare_digest(tag, purchase_id[-TAG_CHARACTERS:])

    def buyer_tag(self, event_id: str, buyer_id: str) -> str:
        """11 characters that stand for a buyer in one event, and mean nothing in another; "" for ""."""
        if not buyer_id:
            return ""
        return _base64url(self._hash(f"buyer\0{event_id}\0{_nfc(buyer_id)}")[:BUYER_BYTES])

    def fingerprints_of(self, *secrets: str) -> str:
        """Short fingerprints: they tell whether two hosts have the same secrets, and no more without the id secret."""
        return ".".join(self._hash(f"secret\0{secret}").hex()[:8] for secret in secrets)

    def _tagged(self, event_id: str, body: bytes) -> str:
        untagged = f"{event_id}.{_base64url(body[:BODY_BYTES])}"
        return untagged + self._tag(untagged)

    def _tag(self, untagged: str) -> str:
        return _base64url(self._hash(f"tag\0{untagged}")[:BODY_BYTES])[:TAG_CHARACTERS]

    def _hash(self, text: str) -> bytes:
        hashed = self._keyed.copy()
        hashed.update(text.encode())
        return hashed.digest()


def fingerprint(quantity: int, buyer: Buyer) -> str:
    """16 hex characters that differ when quantity or any field of the buyer does: what a key is compared by."""
    return _anonymous_fingerprint(quantity) if buyer is NOBODY else _fingerprint(quantity, buyer)


@lru_cache(maxsize=256)
def _anonymous_fingerprint(quantity: int) -> str:
    return _fingerprint(quantity, NOBODY)


def _fingerprint(quantity: int, buyer: Buyer) -> str:
    said = {"quantity": quantity, "id": buyer.buyer_id, "name": buyer.name, "email": buyer.email}
    canonical = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    if not canonical.isascii():
        canonical = _nfc(canonical.decode()).encode()
    # Hexadecimal, so that no fingerprint looks like a tombstone, which begins with a minus sign.
    return hashlib.sha256(canonical).hexdigest()[:16]


def _nfc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _base64url(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(URL_SAFE).rstrip(b"=").decode("ascii")
