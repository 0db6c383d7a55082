"""JSON bodies, read strictly: what is not understood is refused, never guessed or passed over.

What must stay true: duplicate members, NaN, unknown members, wrong types, invalid UTF-8 and deep nesting all end in a
BadRequest that names the place. `{"qty": 2}` must not buy one ticket.
"""

import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, NoReturn

import orjson
from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from ticketing.errors import BadBuyer, BadKey, BadQuantity, BadRequest, Fault
from ticketing.model import NOBODY, QUANTITY_MAX, Buyer

BODY_MAX_BYTES = 16 * 1024
JSON_TYPE = "application/json"
SHORT_BYTES = 20
KEY_MIN, KEY_MAX = 16, 255
DIGITS_MAX = 18
PURCHASE_FIELDS = frozenset({"quantity", "buyer"})
BUYER_FIELDS = {"id": 255, "name": 200, "email": 254}  # the most characters of each
TEXT = frozenset({str})
CONTROL = frozenset(map(chr, [*range(0x20), 0x7F, *range(0x80, 0xA0)]))


def is_json(content_type: str | None) -> bool:
    """Whether a Content-Type header says JSON."""
    return content_type == JSON_TYPE or (content_type or "").partition(";")[0].strip().lower() == JSON_TYPE


def read_whole(request: Request) -> bytes:
    """The body as it was sent. Raises RequestEntityTooLarge, and UnsupportedMediaType where it is packed.

    The application's MAX_CONTENT_LENGTH is a byte more than a body may have: werkzeug cuts a body that comes without
    its length off there and says nothing, and half of what was sent must not be taken for all of it.
    """
    if request.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType
    body = request.get_data(cache=False)
    if len(body) > BODY_MAX_BYTES:
        raise RequestEntityTooLarge
    return body


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises BadRequest."""
    try:
        value = _STRICT.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadRequest(Fault("", "is not UTF-8")) from None
    except RecursionError:
        raise BadRequest(Fault("", "is nested too deeply")) from None
    except json.JSONDecodeError as error:
        raise BadRequest(Fault("", f"is not JSON: {error}")) from None
    except ValueError as error:  # ours, below
        raise BadRequest(Fault("", str(error))) from None
    if not isinstance(value, dict):
        raise BadRequest(Fault("", "must be a JSON object"))
    return value


def parse_purchase(body: bytes) -> tuple[int, Buyer]:
    """Quantity and buyer that a body asks for; one ticket for nobody where it is empty. Raises BadRequest.

    What the event allows is not checked here.
    """
    return _parsed_short(body) if len(body) <= SHORT_BYTES else _parsed(body)


def _parsed(body: bytes) -> tuple[int, Buyer]:
    if not body:
        return 1, NOBODY
    members = _plain(body)
    if members is None:
        members = parse_object(body)
    refuse_unknown(members, PURCHASE_FIELDS, "")
    quantity = members.get("quantity", 1)
    if type(quantity) is not int or not 1 <= quantity <= QUANTITY_MAX:  # a bool is an int, and not a quantity
        raise BadQuantity(QUANTITY_MAX)
    return quantity, _buyer(members["buyer"]) if "buyer" in members else NOBODY


# A quantity and no more: there are few of these, and a crowd sends them again and again.
_parsed_short = lru_cache(maxsize=256)(_parsed)


def parse_key(header: str | None) -> str | None:
    """The Idempotency-Key as it was sent, or None. Raises BadKey: a short one could be guessed.

    Two headers arrive as one, joined by a comma. Taken for a key they would buy again what one of them has bought.
    """
    if header is None:
        return None
    if not KEY_MIN <= len(header) <= KEY_MAX or not (header.isascii() and header.isprintable()) or "," in header:
        rule = f"must be one key of {KEY_MIN} to {KEY_MAX} printable ASCII characters, without a comma"
        raise BadKey(Fault("Idempotency-Key", rule))
    return header


def refuse_unknown(members: Mapping[str, Any], known: AbstractSet[str], at: str) -> None:
    """Raises BadRequest where there is a member that nobody would read."""
    if not members.keys() <= known:
        raise BadRequest(*(Fault(f"{at}/{pointer(name)}", "is not known") for name in members if name not in known))


def pointer(name: str) -> str:
    """A member's name as a part of a JSON pointer (RFC 6901), shortened to what fits an answer.

    A lone surrogate, which JSON can spell and UTF-8 can't, becomes a question mark.
    """
    return name[:64].encode("utf-8", "replace").decode().replace("~", "~0").replace("/", "~1")


def _plain(body: bytes) -> dict[str, Any] | None:
    """The members of a body that hides nothing, by a parser that is ten times faster, but lets a name come twice.

    Without a backslash a string has two quotation marks, so a body with two for each string found has no other. None
    for any that is not this plain: the strict parser tells what it is.
    """
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(members) is not dict or b"\\" in body:
        return None
    strings = len(members)
    for value in members.values():
        if type(value) is dict:
            strings += 2 * len(value)
            if not {*map(type, value.values())} <= TEXT:
                return None
        elif type(value) is not int:
            return None
    return members if body.count(b'"') == 2 * strings else None


def _buyer(value: Any) -> Buyer:
    if not isinstance(value, dict):
        raise BadBuyer(Fault("/buyer", "must be an object"))
    faults = [fault for name in BUYER_FIELDS if name in value and (fault := _text_fault(name, value[name]))]
    if faults or not value.keys() <= BUYER_FIELDS.keys():
        unknown = [Fault(f"/buyer/{pointer(name)}", "is not known") for name in value if name not in BUYER_FIELDS]
        raise BadBuyer(*unknown, *faults)
    return Buyer(value.get("id", ""), value.get("name", ""), value.get("email", "")) if value else NOBODY


def _text_fault(name: str, value: Any) -> Fault | None:
    at = f"/buyer/{name}"
    if not isinstance(value, str):
        return Fault(at, "must be a string")
    if not 1 <= len(value) <= BUYER_FIELDS[name]:
        return Fault(at, f"must have 1 to {BUYER_FIELDS[name]} characters")
    if not (value.isascii() and value.isprintable()):
        if not CONTROL.isdisjoint(value):
            return Fault(at, "must have no control characters")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
            return Fault(at, "must have no lone surrogates")
    if name == "email" and ("@" not in value[1:-1] or " " in value):
        return Fault(at, "must be an e-mail address")
    return None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("has a member twice")
    return members


def _whole(digits: str) -> float:
    """Beyond what any member means: infinity, which fits none. Python refuses to read 5,000 digits, and says why."""
    return int(digits) if len(digits) <= DIGITS_MAX else math.inf


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_no_constant, parse_int=_whole)
