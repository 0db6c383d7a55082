"""Bodies of purchases: the fast parser takes what is plain, and nothing that the strict one would read otherwise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.api import bodies
from ticketing.errors import BadRequest
from ticketing.model import Buyer

STEADY = settings(max_examples=300, deadline=None, derandomize=True)
PLAIN = [
    b"{}",
    b' { "quantity" : 2 } \r\n',
    b'{"quantity":100}',
    b'{"buyer":{}}',
    b'{"quantity":1,"buyer":{"id":"buyer-17","name":"Ada Lovelace","email":"ada@example.org"}}',
    '{"buyer":{"name":"Zo\u00eb \u05d0\u05d1 \U0001f600"}}'.encode(),
]
NOT_PLAIN = [
    b'{"quantity":1,"quantity":2}',
    b'{"buyer":{"id":"a","id":"b"}}',
    b'{"buyer":{"id":"a"},"buyer":{"id":"b"}}',
    b'{"buyer":{"name":"\\u0041"}}',
    b'{"buyer":{"n\\u0061me":"a","name":"b"}}',
    b'{"quantity":true}',
    b'{"quantity":2.0}',
    b'{"quantity":NaN}',
    b'{"quantity":1e400}',
    b'{"quantity":' + b"9" * 5000 + b"}",
    b'{"quantity":"2"}',
    b'{"buyer":{"id":{"id":"a"}}}',
    b'{"buyer":["a"]}',
    b'{"buyer":null}',
    b"[]",
    b"1",
    b'"a"',
    b"{",
    b'{"a":1}x',
    b"\xef\xbb\xbf{}",
    b'{"buyer":{"name":"\xff"}}',
    b'{"buyer":{"name":"\xed\xa0\x80"}}',
    b'{"buyer":{"name":"a\x00"}}',
    b"[" * 5000,
]
ODD = [
    b'{"quantity":99999999999999999999}',
    b'{"quantity":-1}',
    b'{"qty":2}',
    b'{"buyer":{"x":"y"}}',
    b'{"quantity":0}',
]


def told(body: bytes) -> object:
    """What a body is read as, or all that its refusal says."""
    try:
        return bodies._parsed(body)  # without the memory for short ones
    except BadRequest as error:
        return type(error), str(error), [(fault.pointer, fault.detail) for fault in error.faults]


def told_strictly(body: bytes) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "_plain", lambda _: None)
        return told(body)


@pytest.mark.parametrize("body", PLAIN)
def test_what_is_plain_is_read_by_the_fast_parser(body: bytes) -> None:
    assert bodies._plain(body) == json.loads(body)


@pytest.mark.parametrize("body", NOT_PLAIN, ids=lambda body: str(body[:30]))
def test_what_is_not_plain_is_left_to_the_strict_parser(body: bytes) -> None:
    assert bodies._plain(body) is None


@pytest.mark.parametrize("body", PLAIN + NOT_PLAIN + ODD, ids=lambda body: str(body[:30]))
def test_both_parsers_say_the_same(body: bytes) -> None:
    assert told(body) == told_strictly(body)


words = st.text(max_size=8) | st.sampled_from(["quantity", "buyer", "id", "name", "email", '"', "\\", "a@b.c"])
values = st.recursive(
    words | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
members = st.lists(st.tuples(words, values), max_size=4)


@STEADY
@given(members, st.booleans())
def test_both_parsers_say_the_same_of_any_object_whose_names_may_come_twice(
    pairs: list[tuple[str, object]], ascii_only: bool
) -> None:
    text = ",".join(f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=ascii_only)}" for name, value in pairs)
    body = f"{{{text}}}".encode("utf-8", "surrogatepass")
    assert told(body) == told_strictly(body)


@STEADY
@given(st.binary(max_size=60) | st.sampled_from(PLAIN), st.integers(0, 80), st.binary(max_size=2))
def test_both_parsers_say_the_same_of_bytes_with_something_in_between(body: bytes, place: int, more: bytes) -> None:
    spoilt = body[:place] + more + body[place + 1 :]
    assert told(spoilt) == told_strictly(spoilt)


def test_a_short_body_is_read_alike_each_time() -> None:
    for body in (b"", b'{"quantity": 2}', b'{"quantity": 2}', b'{"buyer":{}}'):
        assert bodies.parse_purchase(body) == bodies._parsed(body)
    for _ in range(2):
        with pytest.raises(BadRequest):
            bodies.parse_purchase(b'{"quantity": 0}')


def test_a_buyer_without_members_is_nobody() -> None:
    assert bodies.parse_purchase(b'{"buyer":{}}') == (1, Buyer())
