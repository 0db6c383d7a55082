"""Which bytes are a plain request, and what environ they give."""

from typing import Any

import pytest

from ticketing.server.plain import BODY_MAX, HEAD_MAX, NAMES_MAX, Reader, schemes_of

SCHEMES = schemes_of({"X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"})
TEMPLATE = {"SERVER_NAME": "here", "wsgi.url_scheme": "http"}


def a_reader(line_max: int = 4094, field_max: int = 8190, fields_max: int = 100) -> Reader:
    return Reader(line_max=line_max, field_max=field_max, fields_max=fields_max)


def head(*lines: str, line: str = "GET /a HTTP/1.1") -> bytes:
    return "".join(f"{each}\r\n" for each in (line, *lines, "")).encode("latin-1")


def read(data: bytes, trusted: bool = False) -> tuple[dict[str, Any], int, int, bool] | None:
    return a_reader().read(data, TEMPLATE, SCHEMES if trusted else ())


def test_a_plain_request_has_an_environ_and_a_body() -> None:
    sent = head(
        "Host: x", "Content-Type: a/b", "content-length: 5", "X-Odd:  y ", line="POST /caf%C3%A9?b=%20 HTTP/1.1"
    )
    found = read(sent + b"hellorest")
    assert found is not None
    environ, begins, ends, closes = found
    assert environ == {
        "SERVER_NAME": "here",
        "wsgi.url_scheme": "http",
        "REQUEST_METHOD": "POST",
        "RAW_URI": "/caf%C3%A9?b=%20",
        "PATH_INFO": "/caf\xc3\xa9",
        "QUERY_STRING": "b=%20",
        "HTTP_HOST": "x",
        "CONTENT_TYPE": "a/b",
        "CONTENT_LENGTH": "5",
        "HTTP_X_ODD": "y",
    }
    assert (begins, ends, closes) == (len(sent), len(sent) + 5, False)


def test_the_template_of_a_connection_is_left_as_it_is() -> None:
    before = dict(TEMPLATE)
    assert read(head("Host: x", "X-Forwarded-Proto: https"), trusted=True) is not None
    assert before == TEMPLATE


@pytest.mark.parametrize(
    ("value", "closes"), [("close", True), ("Close", True), ("keep-alive", False), ("Keep-Alive", False), ("", False)]
)
def test_a_client_says_whether_the_connection_closes(value: str, closes: bool) -> None:
    found = read(head(f"Connection: {value}"))
    assert found is not None
    assert found[3] == closes


PLAIN = {
    "no header": head(),
    "any of the methods": head(line="DELETE /a HTTP/1.1"),
    "two slashes": head(line="GET //a//b HTTP/1.1"),
    "8-bit value": head("X-A: caf\xe9"),
    "no space": head("X-A:1"),
    "colons in a value": head("X-A: 1:2"),
    "body at the limit": head(f"Content-Length: {BODY_MAX}"),
    "as many headers as may be": head(*(f"X-{number}: 1" for number in range(100))),
    "a head at the limit": head("X-A: " + "a" * (4092 - len("GET /a HTTP/1.1\r\nX-A: "))),
}
NOT_PLAIN = {
    "nothing": b"",
    "half a head": head()[:-1],
    "other method": head(line="TRACE /a HTTP/1.1"),
    "lower method": head(line="get /a HTTP/1.1"),
    "1.0": head(line="GET /a HTTP/1.0"),
    "2.0": head(line="GET /a HTTP/2.0"),
    "two spaces": head(line="GET  /a HTTP/1.1"),
    "fragment": head(line="GET /a#b HTTP/1.1"),
    "fragment in a query": head(line="GET /a?b#c HTTP/1.1"),
    "absolute": head(line="GET http://x/a HTTP/1.1"),
    "asterisk": head(line="OPTIONS * HTTP/1.1"),
    "8-bit path": head(line="GET /\xff HTTP/1.1"),
    "DEL in the path": head(line="GET /\x7f HTTP/1.1"),
    "empty line first": b"\r\n" + head(),
    "bare LF": b"GET /a HTTP/1.1\nX: y\n\n",
    "bare LF after the line": b"GET /a HTTP/1.1\nX: y\r\n\r\n",
    "bare LF in a header": head("X-A: 1\nX-B: 2"),
    "bare CR in a header": head("X-A: 1\rX-B: 2"),
    "folded": head("X-A: 1", " 2"),
    "folded with a tab": head("X-A: 1", "\t2"),
    "tab": head("X-A: 1\t2"),
    "NUL": head("X-A: 1\0"),
    "C1": head("X-A: 1\x85"),
    "no colon": head("X-A"),
    "known name without a colon": head("X-A: 1", "X-B: 2", "X-A"),
    "no name": head(": 1"),
    "space in a name": head("X A: 1"),
    "space before the colon": head("Content-Length : 1"),
    "underscore": head("Content_Length: 1"),
    "8-bit name": head("X-\xdf: 1"),
    "repeated": head("X-A: 1", "x-a: 1"),
    "repeated Host": head("Host: x", "Host: x"),
    "repeated length": head("Content-Length: 1", "content-length: 1"),
    "transfer coding": head("Transfer-Encoding: chunked"),
    "transfer coding in capitals": head("TRANSFER-ENCODING: chunked"),
    "Expect": head("Expect: 100-continue"),
    "Upgrade": head("Upgrade: h2c"),
    "HTTP2-Settings": head("HTTP2-Settings: AAM"),
    "Connection with a list": head("Connection: keep-alive, X-A"),
    "length with a sign": head("Content-Length: +1"),
    "negative length": head("Content-Length: -1"),
    "list of lengths": head("Content-Length: 1,1"),
    "length with a letter": head("Content-Length: 1a"),
    "empty length": head("Content-Length:"),
    "length of other digits": head("Content-Length: \xb2"),
    "body above the limit": head(f"Content-Length: {BODY_MAX + 1}"),
    "length without an end": head("Content-Length: " + "9" * 500),
    "too many headers": head(*(f"X-{number}: 1" for number in range(101))),
    "a head above the limit": head("X-A: " + "a" * (4093 - len("GET /a HTTP/1.1\r\nX-A: "))),
}


@pytest.mark.parametrize("name", PLAIN)
def test_it_is_plain(name: str) -> None:
    assert read(PLAIN[name]) is not None


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_it_is_not_plain(name: str) -> None:
    assert read(NOT_PLAIN[name]) is None
    reader = a_reader()
    assert reader.read(head("X-A: 1", "Content-Length: 0", "Host: x"), TEMPLATE, ()) is not None
    assert reader.read(NOT_PLAIN[name], TEMPLATE, ()) is None, "nor after another request on the same reader"


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([], "http"),
        (["X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Proto: HTTPS"], "http"),
        (["X-Forwarded-Ssl: on", "X-Forwarded-For: 1.1.1.1"], "https"),
        (["X-Forwarded-Ssl: off"], "http"),
    ],
)
def test_a_trusted_proxy_says_the_scheme(lines: list[str], scheme: str) -> None:
    found = read(head(*lines), trusted=True)
    assert found is not None
    assert found[0]["wsgi.url_scheme"] == scheme
    of_anybody = read(head(*lines))
    assert of_anybody is not None
    assert of_anybody[0]["wsgi.url_scheme"] == "http"


def test_a_scheme_that_is_said_twice_is_not_plain() -> None:
    said = head("X-Forwarded-Proto: https", "X-Forwarded-Ssl: on")
    assert read(said, trusted=True) is None
    assert read(said) is not None


@pytest.mark.parametrize("limits", [{"line_max": 100}, {"field_max": 100}])
def test_a_head_within_none_of_the_limits_is_not_plain(limits: dict[str, int]) -> None:
    reader = a_reader(**limits)
    line = "GET /a HTTP/1.1\r\n"
    assert reader.read(head("X-A: " + "a" * (98 - len(line + "X-A: "))), TEMPLATE, ()) is not None
    assert reader.read(head("X-A: " + "a" * (99 - len(line + "X-A: "))), TEMPLATE, ()) is None


def test_where_nothing_is_limited_a_plain_head_is() -> None:
    reader = a_reader(line_max=0, field_max=0)
    assert reader.read(head("X-A: " + "a" * HEAD_MAX), TEMPLATE, ()) is None


def test_made_up_names_do_not_fill_the_memory() -> None:
    reader = a_reader()
    for number in range(NAMES_MAX + 10):
        found = reader.read(head(f"X-{number}: 1"), TEMPLATE, ())
        assert found is not None
        assert found[0][f"HTTP_X_{number}"] == "1"
    assert len(reader._keys) == NAMES_MAX
