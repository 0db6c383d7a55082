"""The signed codes on the tickets: made with a private key, checked by anyone who holds the public one.

    code       TK1 + base45( body + signature )            all of it fits a QR code's alphanumeric mode
    body       version (1 byte) | key id (4) | length of event id (1) | event id | number (1 to 8)
    signature  Ed25519 over "TK1" + body, 64 bytes
    key id     the first 4 bytes of SHA-256 over the public key: picks the key, proves nothing

What must stay true: one ticket has one code under one key, and no other text passes for it; a changed code never
passes; a gate needs public keys only. The ticket id is not in the code: it follows from event id and number
(model.ticket_id).
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import base45
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ticketing import model
from ticketing.errors import TicketingError

PREFIX = "TK1"
VERSION = 1
KEY_ID_BYTES = 4
KEY_BYTES = 32
SIGNATURE_BYTES = 64
NUMBER_BYTES_MAX = 8
CODE_LENGTH_MAX = 220  # the longest event id and number give 218


class BadCode(TicketingError):
    """The code is not one that was sealed with any of the known keys; the text says what is wrong with it."""


class BadPublicKey(TicketingError):
    """A public key is not 32 bytes in base64."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a genuine code says."""

    event_id: str
    ticket_id: str
    key_id: str  # 8 hex characters


class Sealer:
    """Makes the codes. Holds the private key: only receipt workers need one."""

    def __init__(self, signing_key_b64: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(signing_key_b64, validate=True))
        public = self._key.public_key().public_bytes_raw()
        self.public_key = base64.b64encode(public).decode()
        self._head = bytes([VERSION]) + _key_id(public)

    def seal(self, event_id: str, ticket_id: str) -> str:
        """The code of one ticket: the same text each time. Raises ValueError for a ticket that the event can't have."""
        body = self._head + _pack(event_id, ticket_id)
        signature = self._key.sign(PREFIX.encode() + body)
        return PREFIX + _base45(body + signature)


class Checker:
    """Tells genuine codes from others by public keys alone; an old key is kept as long as its tickets are valid."""

    def __init__(self, public_keys_b64: Iterable[str]) -> None:
        raw_keys = [_public_bytes(key) for key in public_keys_b64]
        self._keys = {_key_id(raw): Ed25519PublicKey.from_public_bytes(raw) for raw in raw_keys}

    def check(self, code: str) -> Sealed:
        """What the code says, if it is genuine. Raises BadCode."""
        body, signature = _split(code)
        key_id = body[1 : 1 + KEY_ID_BYTES]
        if key_id not in self._keys:
            raise BadCode(f"sealed with a key that is not known here ({key_id.hex()})")
        try:
            self._keys[key_id].verify(signature, PREFIX.encode() + body)
        except InvalidSignature as error:
            raise BadCode("the signature is not genuine") from error
        event_id, number = _unpack(body[1 + KEY_ID_BYTES :])
        return Sealed(event_id, model.ticket_id(event_id, number), key_id.hex())


def _split(code: str) -> tuple[bytes, bytes]:
    """Body and signature. Only the one spelling that `seal` gives is read: base45 itself would allow others."""
    if not code.startswith(PREFIX) or len(code) > CODE_LENGTH_MAX:
        raise BadCode(f"not a ticket code: these begin with {PREFIX}")
    text = code.removeprefix(PREFIX)
    try:
        raw = base45.b45decode(text)
    except (ValueError, binascii.Error) as error:
        raise BadCode("not readable: a character is missing or wrong") from error
    if _base45(raw) != text or len(raw) < 1 + KEY_ID_BYTES + 3 + SIGNATURE_BYTES:
        raise BadCode("not readable: a character is missing or wrong")
    if raw[0] != VERSION:
        raise BadCode(f"a code of version {raw[0]}; this reads version {VERSION}")
    return raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]


def _pack(event_id: str, ticket_id: str) -> bytes:
    number = int(ticket_id.rpartition("-")[2])
    if ticket_id != model.ticket_id(event_id, number) or not model.EVENT_ID.fullmatch(event_id):
        raise ValueError(f"{ticket_id!r} is not a ticket id of event {event_id!r}")
    return _packed_event(event_id) + number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


@lru_cache(maxsize=256)
def _packed_event(event_id: str) -> bytes:
    return bytes([len(event_id)]) + event_id.encode("ascii")


def _unpack(packed: bytes) -> tuple[str, int]:
    length = packed[0]
    event_id, number = packed[1 : 1 + length], packed[1 + length :]
    if (
        not event_id.isascii()
        or not model.EVENT_ID.fullmatch(event_id.decode())
        or not 1 <= len(number) <= NUMBER_BYTES_MAX
    ):
        raise BadCode("genuinely signed, but of no form that is known here")
    return event_id.decode(), int.from_bytes(number, "big")


def _base45(raw: bytes) -> str:
    return str(base45.b45encode(raw), "ascii")


def _key_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


def _public_bytes(key_b64: str) -> bytes:
    try:
        raw = base64.b64decode(key_b64.strip(), validate=True)
    except ValueError as error:
        raise BadPublicKey(f"{key_b64!r} is not base64") from error
    if len(raw) != KEY_BYTES:
        raise BadPublicKey(f"{key_b64!r} has {len(raw)} bytes; an Ed25519 public key has {KEY_BYTES}")
    return raw
