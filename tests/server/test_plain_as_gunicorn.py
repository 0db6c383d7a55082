"""Whatever bytes are read as a plain request: gunicorn's own parser reads the same request from them.

What must stay true: most of what is tried is nearly plain, and some of it is plain; else nothing would be compared.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import base_environ, create
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.server.plain import Reader, schemes_of

PEER = ("127.0.0.1", 4711)
SERVER = ("127.0.0.1", 3049)
METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "GE", "PRI", ""]
TARGETS = [
    "/", "/a", "/a?b", "/a?", "/a?b?c=%20", "/%41%zz%", "/caf%C3%A9", "//a//b?c", "//", "/a:b", "/a;b", "/a#b",
    "/?#", "*", "a", "http://x/a", "/[a", "//[a]/b", "/\\", "/a b", "/\xff", "/\x7f", "/..//", "",
]  # fmt: skip
VERSIONS = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/1.1 ", "http/1.1", ""]
NAMES = [
    "Host", "host", "Content-Length", "content-length", "Content_Length", "Transfer-Encoding", "Content-Type",
    "Connection", "connection", "Expect", "Upgrade", "X-Forwarded-For", "X-Forwarded-Proto", "x-forwarded-proto",
    "X-Forwarded-Ssl", "X-Forwarded-Protocol", "X_A", "X-A", "x-a", "X-B", "Cookie", "Idempotency-Key", "TE",
    "Script-Name", "", "X A", "X\xdf", "X!",
]  # fmt: skip
VALUES = [
    "", "0", "1", "5", "05", "+5", "-1", "5,5", "\xb2", "close", "Close", "keep-alive", "x, close", "chunked",
    "identity", "100-continue", "https", "http", "HTTPS", "on", "ssl", "h2c", "1.1.1.1, 2.2.2.2", "caf\xe9",
    "\xa0", "\xad", "\x85", "a\tb", " a ", "\ta", "a:b", "a\rb", "a\nb", "a\0", "\x7f", "a\r\n b", "16385",
    "16386", "9" * 30,
]  # fmt: skip
LIKELY = [
    "Host: x", "Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "Connection: close", "X-A: 1",
    "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "X-Forwarded-Ssl: off", "X-Forwarded-For: 1.1.1.1",
]  # fmt: skip
COLONS = [":", ": ", ": ", ": ", ": ", " : ", ":\t", ""]
ENDS = ["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n\r\n"]
ODD_BYTES = [b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\xff", b"\r\n", b"#", b"_", b"a", b""]

likely_lines = st.sampled_from([("GET", "/a?b", "HTTP/1.1"), ("POST", "/caf%C3%A9", "HTTP/1.1")])
any_lines = st.tuples(*map(st.sampled_from, (METHODS, TARGETS, VERSIONS)))
any_field = st.tuples(*map(st.sampled_from, (NAMES, COLONS, VALUES, ENDS))).map("".join)
edit = st.tuples(st.integers(0, 10_000), st.integers(0, 2), st.sampled_from(ODD_BYTES))
seldom = st.sampled_from([False] * 4 + [True])


@st.composite
def requests(draw: Any) -> bytes:
    """A request that is nearly right, and a few bytes of what follows it."""
    line = " ".join(draw(any_lines if draw(seldom) else likely_lines))
    fields = [f"{field}\r\n" for field in draw(st.lists(st.sampled_from(LIKELY), max_size=4, unique=True))]
    if draw(seldom):
        fields.append(draw(any_field))
    data = f"{line}\r\n{''.join(fields)}\r\n".encode("latin-1") + b"hello, and the next request"
    if draw(seldom):
        place, taken, put = draw(edit)
        at = place % len(data)
        data = data[:at] + put + data[at + taken :]
    return data


def config(trusted: bool) -> Config:
    made = Config()
    made.set("forwarded_allow_ips", PEER[0] if trusted else "10.0.0.1")
    made.set("http_parser", "python")
    return made


CONFIGS = {trusted: config(trusted) for trusted in (True, False)}
compared = 0


def check(data: bytes, trusted: bool) -> bool:
    """Whether it is plain; if it is, gunicorn's environ is the same."""
    cfg = CONFIGS[trusted]
    template = base_environ(cfg) | {"SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http"}
    reader = Reader(line_max=cfg.limit_request_line, field_max=cfg.limit_request_field_size, fields_max=100)
    found = reader.read(data, template, schemes_of(cfg.secure_scheme_headers) if trusted else ())
    if found is None:
        return False
    environ, begins, ends, closes = found
    body = data[begins:ends]
    request = next(RequestParser(cfg, iter([data + b"x" * (ends - begins)]), PEER))
    theirs = create(request, SimpleNamespace(), PEER, SERVER, cfg)[1]
    of_the_connection = {"REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "gunicorn.socket"}
    of_the_way = {"wsgi.input", "wsgi.early_hints", "wsgi.errors"}
    ours = {key: value for key, value in environ.items() if key not in of_the_way}
    assert ours == {key: value for key, value in theirs.items() if key not in of_the_connection | of_the_way}
    assert request.should_close() == closes
    taken = request.body.read()
    assert (len(taken), taken[: len(body)]) == (ends - begins, body)
    return True


@settings(max_examples=1500, deadline=None)
@given(requests(), st.booleans())
def test_a_plain_request_is_the_same_to_gunicorn(data: bytes, trusted: bool) -> None:
    global compared  # noqa: PLW0603 - Hypothesis has no other place for it
    compared += check(data, trusted)


def test_many_of_them_were_compared() -> None:
    assert compared > 100, compared


@pytest.mark.parametrize("trusted", [True, False])
def test_a_usual_request_is_among_them(trusted: bool) -> None:
    head = "POST /buy/1 HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\nContent-Length: 5\r\n\r\n"
    assert check(head.encode() + b"hello", trusted)
