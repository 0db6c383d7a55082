"""Bad input: each piece of it gets the problem that the contract names, changes nothing and leaves no traceback."""

from io import BytesIO
from typing import Any

import pytest

from tests.contract.conftest import Api, contents, new_key, problem_of
from ticketing.api.bodies import BODY_MAX_BYTES

JSON = "application/json"
MALFORMED = (400, "malformed-request")
QUANTITY = (400, "invalid-quantity")
BUYER = (400, "invalid-buyer")
KEY = (400, "invalid-idempotency-key")
TOO_LARGE = (413, "body-too-large")
NOT_JSON = (415, "unsupported-media-type")

ODD_IDS = {
    "empty": "",
    "a slash": "%2F",
    "a slash before": "%2F1",
    "a slash after": "1%2F",
    "a plain slash after": "1/",
    "a slash within": "a%2Fb",
    "an encoded backslash": "1%5C",
    "two full stops": "..",
    "two encoded full stops": "%2e%2e",
    "a way up": "..%2F..%2Fetc%2Fpasswd",
    "NUL": "%00",
    "NUL after": "1%00",
    "a line feed": "%0A",
    "a line feed after": "1%0A",
    "a blank after": "1%20",
    "a blank": "%20",
    "a purchase id": "1.AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "a wildcard": "*",
    "braces": "%7B1%7D",
    "a key": "event%3A%7B1%7D%3Atickets",
    "a leading hyphen": "-1",
    "a leading underscore": "_1",
    "a leading zero": "01",
    "a plus sign": "+1",
    "one with a query": "2?x=1",
    "full-width one": "%EF%BC%91",
    "arabic-indic one": "%D9%A1",
    "an emoji": "%F0%9F%8E%AB",
    "invalid UTF-8": "1%FF%FE",
    "an overlong slash": "%C0%AF",
    "half an escape": "1%2",
    "sixty-five characters": "a" * 65,
    "eight thousand characters": "1" * 8_000,  # about as many as a request line may have
    "thousands of slashes": "%2F" * 2_600,
}


@pytest.mark.usefixtures("quiet_log")
def test_an_odd_event_id_is_an_unknown_event(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    before = contents(api.store)
    for name, odd in ODD_IDS.items():
        with subtests.test(name):
            keyed = {"Idempotency-Key": new_key()}
            assert problem_of(api.post(f"/buy/{odd}")) == (404, "unknown-event")
            assert problem_of(api.post(f"/buy/{odd}", headers=keyed)) == (404, "unknown-event")
            assert problem_of(api.get(f"/events/{odd}")) == (404, "unknown-event")
            if "?" not in odd:
                assert problem_of(api.admin("POST", f"/admin/events/{odd}/pause")) == (404, "unknown-event")
            assert contents(api.store) == before


ODD_PURCHASES = {
    **{name: odd for name, odd in ODD_IDS.items() if name != "a purchase id"},
    "an event": "1",
    "no event": "." + "A" * 28,
    "a made-up id": "1." + "A" * 28,
    "a made-up id of no event": "none." + "A" * 28,
    "a file": "1.%2E%2E%2F%2E%2E%2Fsecrets%2Fadmin_token",
    "blanks": "1." + "%20" * 28,
    "surrogates": "1." + "%ED%A0%80" * 9 + "A",
}


@pytest.mark.usefixtures("quiet_log")
def test_an_odd_purchase_id_is_an_unknown_purchase(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    for name, odd in ODD_PURCHASES.items():
        for accept in ("*/*", JSON):
            with subtests.test(name, accept=accept):
                answer = api.get(f"/tickets/{odd}", headers={"Accept": accept})
                assert problem_of(answer) == (404, "unknown-purchase")


# What is sent; the problem; the pointers that it names.
BODIES: dict[str, tuple[bytes, tuple[int, str], list[str]]] = {
    "quantity 0": (b'{"quantity": 0}', QUANTITY, ["/quantity"]),
    "quantity -1": (b'{"quantity": -1}', QUANTITY, ["/quantity"]),
    "quantity 1.5": (b'{"quantity": 1.5}', QUANTITY, ["/quantity"]),
    "quantity 1.0": (b'{"quantity": 1.0}', QUANTITY, ["/quantity"]),
    "quantity 1e2": (b'{"quantity": 1e2}', QUANTITY, ["/quantity"]),
    "quantity 1e999": (b'{"quantity": 1e999}', QUANTITY, ["/quantity"]),
    "quantity in quotes": (b'{"quantity": "2"}', QUANTITY, ["/quantity"]),
    "quantity true": (b'{"quantity": true}', QUANTITY, ["/quantity"]),
    "quantity null": (b'{"quantity": null}', QUANTITY, ["/quantity"]),
    "quantity in a list": (b'{"quantity": [1]}', QUANTITY, ["/quantity"]),
    "quantity 10^9": (b'{"quantity": 1000000000}', QUANTITY, ["/quantity"]),
    "quantity 2^64": (b'{"quantity": 18446744073709551616}', QUANTITY, ["/quantity"]),
    "quantity of 5,000 digits": (b'{"quantity": ' + b"9" * 5000 + b"}", QUANTITY, ["/quantity"]),
    "quantity NaN": (b'{"quantity": NaN}', MALFORMED, [""]),
    "quantity Infinity": (b'{"quantity": Infinity}', MALFORMED, [""]),
    "a leading zero": (b'{"quantity": 01}', MALFORMED, [""]),
    "half an object": (b'{"quantity": 1', MALFORMED, [""]),
    "two objects": (b"{}{}", MALFORMED, [""]),
    "a trailing comma": (b'{"quantity": 1,}', MALFORMED, [""]),
    "single quotes": (b"{'quantity': 1}", MALFORMED, [""]),
    "a comment": (b'{"quantity": 1} // one', MALFORMED, [""]),
    "a blank": (b" ", MALFORMED, [""]),
    "NUL": (b"\x00", MALFORMED, [""]),
    "a list": (b"[]", MALFORMED, [""]),
    "null": (b"null", MALFORMED, [""]),
    "a number": (b"1", MALFORMED, [""]),
    "a string": (b'"quantity"', MALFORMED, [""]),
    "a member twice": (b'{"quantity": 1, "quantity": 1}', MALFORMED, [""]),
    "a member twice, once escaped": (b'{"quantity": 1, "\\u0071uantity": 1}', MALFORMED, [""]),
    "a nested member twice": (b'{"buyer": {"id": "a", "id": "b"}}', MALFORMED, [""]),
    "invalid UTF-8": (b'{"buyer": {"name": "\xff"}}', MALFORMED, [""]),
    "UTF-8 surrogates": (b'{"buyer": {"name": "\xed\xa0\x80"}}', MALFORMED, [""]),
    "UTF-16": ('{"quantity": 1}'.encode("utf-16"), MALFORMED, [""]),
    "a byte order mark": (b'\xef\xbb\xbf{"quantity": 1}', MALFORMED, [""]),
    "16 KiB of brackets": (b"[" * BODY_MAX_BYTES, MALFORMED, [""]),
    "16 KiB of nested objects": ((b'{"a":' * BODY_MAX_BYTES)[:BODY_MAX_BYTES], MALFORMED, [""]),
    "a bare control character": (b'{"buyer": {"name": "a\nb"}}', MALFORMED, [""]),
    "a form": (b"quantity=2", MALFORMED, [""]),
    "a misspelt member": (b'{"qty": 2}', MALFORMED, ["/qty"]),
    "a member in capitals": (b'{"Quantity": 2}', MALFORMED, ["/Quantity"]),
    "two unknown members": (b'{"a/b": 1, "c~d": 2, "quantity": 1}', MALFORMED, ["/a~1b", "/c~0d"]),
    "an unknown member of a lone surrogate": (b'{"\\ud800": 1}', MALFORMED, ["/?"]),
    "an unknown member of 8,000 characters": (b'{"' + b"n" * 8000 + b'": 1}', MALFORMED, ["/" + "n" * 64]),
    "buyer null": (b'{"buyer": null}', BUYER, ["/buyer"]),
    "buyer a string": (b'{"buyer": "Ada"}', BUYER, ["/buyer"]),
    "buyer a list": (b'{"buyer": []}', BUYER, ["/buyer"]),
    "buyer with an unknown member": (b'{"buyer": {"phone": "1"}}', BUYER, ["/buyer/phone"]),
    "buyer with a lone surrogate as a member": (b'{"buyer": {"\\udfff": "1"}}', BUYER, ["/buyer/?"]),
    "id a number": (b'{"buyer": {"id": 7}}', BUYER, ["/buyer/id"]),
    "id null": (b'{"buyer": {"id": null}}', BUYER, ["/buyer/id"]),
    "id empty": (b'{"buyer": {"id": ""}}', BUYER, ["/buyer/id"]),
    "id of 256 characters": (b'{"buyer": {"id": "' + b"i" * 256 + b'"}}', BUYER, ["/buyer/id"]),
    "id with NUL": (b'{"buyer": {"id": "a\\u0000"}}', BUYER, ["/buyer/id"]),
    "name of 201 characters": (b'{"buyer": {"name": "' + b"n" * 201 + b'"}}', BUYER, ["/buyer/name"]),
    "name with a line feed": (b'{"buyer": {"name": "Ada\\nBob"}}', BUYER, ["/buyer/name"]),
    "name with a C1 control": (b'{"buyer": {"name": "Ada\\u0085"}}', BUYER, ["/buyer/name"]),
    "name with a lone surrogate": (b'{"buyer": {"name": "\\ud800"}}', BUYER, ["/buyer/name"]),
    "name with surrogates the wrong way round": (b'{"buyer": {"name": "\\udc00\\ud800"}}', BUYER, ["/buyer/name"]),
    "name an object": (b'{"buyer": {"name": {}}}', BUYER, ["/buyer/name"]),
    "e-mail without an at": (b'{"buyer": {"email": "ada"}}', BUYER, ["/buyer/email"]),
    "e-mail that is an at": (b'{"buyer": {"email": "@"}}', BUYER, ["/buyer/email"]),
    "e-mail without a name": (b'{"buyer": {"email": "@example.org"}}', BUYER, ["/buyer/email"]),
    "e-mail without a host": (b'{"buyer": {"email": "ada@"}}', BUYER, ["/buyer/email"]),
    "e-mail with a blank": (b'{"buyer": {"email": "ada @example.org"}}', BUYER, ["/buyer/email"]),
    "e-mail of 255 characters": (b'{"buyer": {"email": "' + b"a" * 250 + b'@b.de"}}', BUYER, ["/buyer/email"]),
    "every field wrong": (
        b'{"buyer": {"id": 1, "name": 2, "email": 3, "x": 4}}',
        BUYER,
        ["/buyer/x", "/buyer/id", "/buyer/name", "/buyer/email"],
    ),
}


@pytest.mark.usefixtures("quiet_log")
def test_a_bad_body_buys_nothing(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    key = new_key()
    before = contents(api.store)
    for name, (body, problem, pointers) in BODIES.items():
        with subtests.test(name):
            answer = api.post("/buy/1", data=body, content_type=JSON, headers={"Idempotency-Key": key})
            assert problem_of(answer) == problem
            assert [fault["pointer"] for fault in answer.get_json()["errors"]] == pointers
            assert all(fault["detail"] for fault in answer.get_json()["errors"])
            assert len(answer.data) < 2_000
            assert contents(api.store) == before
    assert api.bought(key=key)["tickets"] == ["E1-000001"]  # nor do refusals leave anything with the key


GOOD_BUYERS = {
    "an id of 255 characters": {"id": "i" * 255},
    "a name of 200 characters": {"name": "n" * 200},
    "200 emojis": {"name": "🎻" * 200},
    "a pair of surrogates": {"name": "\U0001f3bb"},
    "right to left": {"name": "عمر الخيام"},
    "markup": {"name": "<script>alert(1)</script>"},
    "lua": {"name": "'); redis.call('FLUSHALL') --", "id": "a|b,c"},
    "an e-mail in another script": {"email": "пример@пример.рф"},
}


@pytest.mark.usefixtures("quiet_log")
def test_a_name_may_be_any_text(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    for name, buyer in GOOD_BUYERS.items():
        with subtests.test(name):
            key = new_key()
            first = api.bought(body={"buyer": buyer}, key=key)
            assert api.buy(body={"buyer": buyer}, key=key).get_json() == first
    assert api.state().sold == len(GOOD_BUYERS)


KEYS: dict[str, str] = {
    "empty": "",
    "of 15 characters": "k" * 15,
    "of 256 characters": "k" * 256,
    "of 8 kB": "k" * 8_000,
    "with a tab": "k" * 16 + "\tk",
    "of another script": "schlüssel-schlüssel",
    "in UTF-8 as servers show it": "schlüssel-schlüssel".encode().decode("latin-1"),
    "twice": "first-key-0123456789,second-key-0123456789",
    "twice with a blank": "first-key-0123456789, second-key-0123456789",
}
# gunicorn refuses them; the app does not count on it.
REFUSED_KEYS: dict[str, str] = {
    "of 16 KiB": "k" * 16_384,
    "with a control character": "k" * 16 + "\x07",
    "with DEL": "k" * 16 + "\x7f",
    "with NUL": "k" * 16 + "\x00",
}


@pytest.mark.usefixtures("quiet_log")
def test_a_bad_key_buys_nothing(api: Api, subtests: pytest.Subtests) -> None:
    _ask_with_each(KEYS, api, subtests)


@pytest.mark.asked("direct")
@pytest.mark.usefixtures("quiet_log")
def test_a_bad_key_that_servers_refuse_buys_nothing(api: Api, subtests: pytest.Subtests) -> None:
    _ask_with_each(REFUSED_KEYS, api, subtests)


def _ask_with_each(keys: dict[str, str], api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    before = contents(api.store)
    for name, key in keys.items():
        with subtests.test(name):
            answer = api.post("/buy/1", environ_overrides={"HTTP_IDEMPOTENCY_KEY": key})
            assert problem_of(answer) == KEY
            assert [fault["pointer"] for fault in answer.get_json()["errors"]] == ["Idempotency-Key"]
            assert contents(api.store) == before


def test_two_headers_with_a_key_each_buy_nothing(api: Api) -> None:
    api.open_event()
    answer = api.post("/buy/1", headers=[("Idempotency-Key", new_key()), ("Idempotency-Key", new_key())])
    assert problem_of(answer) == KEY
    assert api.state().sold == 0


CONTENT_TYPES = [
    None,
    "",
    "text/plain",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "application/problem+json",
    "application/json, text/plain",
    "application/\xff",
]


@pytest.mark.usefixtures("quiet_log")
def test_a_body_of_another_type_buys_nothing(api: Api, subtests: pytest.Subtests) -> None:
    api.open_event()
    before = contents(api.store)
    for content_type in CONTENT_TYPES:
        with subtests.test(content_type=content_type):
            answer = api.post("/buy/1", data=b'{"quantity": 1}', content_type=content_type)
            assert problem_of(answer) == NOT_JSON
            assert contents(api.store) == before


def in_chunks(body: bytes) -> dict[str, Any]:
    """A body as a server hands it on that came without its length."""
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return {"input_stream": BytesIO(body), "environ_overrides": environ}


@pytest.mark.parametrize("size", [BODY_MAX_BYTES + 1, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.usefixtures("quiet_log")
def test_a_body_over_16_kib_buys_nothing(api: Api, size: int, chunked: bool) -> None:
    api.open_event()
    before = contents(api.store)
    body = b'{"quantity": 1}'.ljust(size)
    sent = in_chunks(body) if chunked else {"data": body}
    assert problem_of(api.post("/buy/1", content_type=JSON, **sent)) == TOO_LARGE
    assert contents(api.store) == before


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_16_kib_buys(api: Api, chunked: bool) -> None:
    api.open_event()
    body = b'{"quantity": 2}'.ljust(BODY_MAX_BYTES)
    sent = in_chunks(body) if chunked else {"data": body}
    answer = api.post("/buy/1", content_type=JSON, **sent)
    assert (answer.status_code, answer.get_json()["quantity"]) == (201, 2)


def test_a_length_that_lies_buys_nothing_larger(api: Api) -> None:
    api.open_event()
    environ = {"CONTENT_LENGTH": str(10**12)}
    answer = api.post("/buy/1", data=b"{}", content_type=JSON, environ_overrides=environ)
    assert problem_of(answer) == TOO_LARGE
    assert api.state().sold == 0
