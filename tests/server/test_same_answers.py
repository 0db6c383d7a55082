"""Every odd request and every kind of answer, on the short way and by gunicorn's own handler: the same bytes come back.

What must stay true: a probe that gets no answer fails, unless that is what it is for.
"""

import signal
import socket
from collections.abc import Iterator

import pytest

from tests.server.conftest import Pair, start_pair
from tests.server.gunicorns import HOST, LAST, hear

HOST_LINE = b"Host: x\r\n"


def get(*lines: bytes, target: bytes = b"/a", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return (
        b"%b %b %b\r\n" % (method, target, version) + HOST_LINE + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    )


def post(*lines: bytes, body: bytes = b"", target: bytes = b"/a") -> bytes:
    return get(*lines, target=target, method=b"POST") + body


def raw(head: bytes) -> bytes:
    return head


SMUGGLED = get(target=b"/smuggled")

# Requests by name: what is sent, the statuses that must come back, and whether the connection goes on.
ASKED: dict[str, tuple[bytes, list[int], bool]] = {
    "plain": (post(), [200], True),
    "get": (get(), [200], True),
    "put": (get(method=b"PUT"), [200], True),
    "delete": (get(method=b"DELETE"), [200], True),
    "options": (get(method=b"OPTIONS"), [200], True),
    "trace": (get(method=b"TRACE"), [200], True),
    "a method of no standard": (get(method=b"PROPFIND"), [200], True),
    "query": (get(target=b"/a?b=c&d=%20?e"), [200], True),
    "empty query": (get(target=b"/a?"), [200], True),
    "encoded path": (get(target=b"/caf%C3%A9%2F%00%zz"), [200], True),
    "two slashes": (get(target=b"//a//b?c"), [200], True),
    "colon": (get(target=b"/a:b;c=d?e=http://f:80/"), [200], True),
    "brackets": (get(target=b"/[a]{b}|^`\\"), [200], True),
    "fragment": (get(target=b"/a#b"), [200], True),
    "fragment after a query": (get(target=b"/a?b#c"), [200], True),
    "absolute target": (get(target=b"http://y/a?b"), [200], True),
    "asterisk": (get(target=b"*", method=b"OPTIONS"), [200], True),
    "asterisk with GET": (get(target=b"*"), [400], False),
    "no slash": (get(target=b"a"), [400], False),
    "two spaces": (get(target=b"/a b"), [400], False),
    "tab in the line": (raw(b"GET\t/a HTTP/1.1\r\nHost: x\r\n\r\n"), [400], False),
    "empty line first": (raw(b"\r\n") + get(), [200], True),
    "two empty lines first": (raw(b"\r\n\r\n") + get(), [400], False),
    "CL body": (post(b"Content-Length: 5", body=b"hello"), [200], True),
    "CL with zeros": (post(b"Content-Length: 0005", body=b"hello"), [200], True),
    "CL 0": (post(b"Content-Length: 0"), [200], True),
    "CL with GET": (get(b"Content-Length: 5") + b"hello", [200], True),
    "CL+TE": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), [400], False),
    "TE+CL": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), [400], False),
    "two CL same": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), [400], False),
    "two CL differ": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), [400], False),
    "two CL of other case": (post(b"Content-Length: 5", b"content-length: 6", body=b"hello!"), [400], False),
    "CL +5": (post(b"Content-Length: +5", body=b"hello"), [400], False),
    "CL -1": (post(b"Content-Length: -1"), [400], False),
    "CL 5,5": (post(b"Content-Length: 5,5", body=b"hello"), [400], False),
    "CL 0x5": (post(b"Content-Length: 0x5", body=b"hello"), [400], False),
    "CL 5_0": (post(b"Content-Length: 5_0", body=b"hello"), [400], False),
    "CL empty": (post(b"Content-Length:"), [400], False),
    "CL superscript": (post(b"Content-Length: \xb2", body=b"he"), [400], False),
    "CL 1e1": (post(b"Content-Length: 1e1", body=b"hello"), [400], False),
    "CL in a header with an underscore": (post(b"Content_Length: 5"), [200], True),
    "large body": (post(b"Content-Length: 100000", body=b"x" * 100_000), [200], True),
    "body at the limit": (post(b"Content-Length: 16385", body=b"x" * 16_385), [200], True),
    "body above the limit": (post(b"Content-Length: 16386", body=b"x" * 16_386), [200], True),
    "TE xchunked": (post(b"Transfer-Encoding: xchunked"), [501], False),
    "TE identity": (post(b"Transfer-Encoding: identity"), [400], False),
    "TE gzip, chunked": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), [501], False),
    "TE space": (post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), [400], False),
    "TE tab": (post(b"Transfer-Encoding:\tchunked", body=b"0\r\n\r\n"), [200], True),
    "TE twice": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), [400], False),
    "TE with an underscore": (post(b"Transfer_Encoding: chunked", body=b"0\r\n\r\n"), [200], False),
    "chunked ok": (post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), [200], True),
    "chunked with a trailer": (post(b"Transfer-Encoding: chunked", body=b"2\r\nhi\r\n0\r\nX: y\r\n\r\n"), [200], True),
    # The echo app does not catch what its read raises, and gets no answer then; the service says 400.
    "chunked bad": (post(b"Transfer-Encoding: chunked", body=b"zz\r\nhello\r\n0\r\n\r\n"), [], False),
    "Expect 100": (post(b"Content-Length: 5", b"Expect: 100-continue", body=b"hello"), [100, 200], True),
    "Expect odd": (post(b"Expect: banana"), [417], False),
    "Upgrade h2c": (
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), [200], True,
    ),
    "Upgrade websocket": (get(b"Connection: Upgrade", b"Upgrade: websocket"), [200], True),
    "HTTP/2 preface": (raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), [400], False),
    "bare LF": (raw(b"GET /a HTTP/1.1\nHost: x\n\n"), [400], False),
    "bare LF in a header": (raw(b"GET /a HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"), [400], False),
    "bare CR in a header": (get(b"X-A: 1\rX-B: 2"), [400], False),
    "bare LF at the end": (raw(b"GET /a HTTP/1.1\r\nHost: x\r\n\n\r\n\r\n"), [400], False),
    "obs-fold": (get(b"X-A: 1", b" 2"), [400], False),
    "obs-fold with a tab": (get(b"X-A: 1", b"\t2"), [400], False),
    "folded first header": (raw(b"GET /a HTTP/1.1\r\n Host: x\r\n\r\n"), [400], False),
    "underscore": (get(b"X_Forwarded_For: 1.1.1.1"), [200], True),
    "no colon": (get(b"Cookie"), [400], False),
    "known name without a colon": (get(b"X-A: 1", b"X-A"), [400], False),
    "no name": (get(b": 1"), [400], False),
    "space before the colon": (get(b"X-A : 1"), [400], False),
    "space in a name": (get(b"X A: 1"), [400], False),
    "8-bit name": (get(b"X-\xdf: 1"), [400], False),
    "8-bit value": (get(b"X-A: caf\xe9 \xa0 \x80"), [200], True),
    "tab in a value": (get(b"X-A: 1\t2"), [200], True),
    "padded value": (get(b"X-A:  \t 1 \t "), [200], True),
    "empty value": (get(b"X-A:"), [200], True),
    "no space": (get(b"X-A:1"), [200], True),
    "other token in a name": (get(b"X.A!: 1"), [200], True),
    "NUL in a value": (get(b"X-A: a\0b"), [400], False),
    "DEL in a value": (get(b"X-A: a\x7fb"), [400], False),
    "repeated header": (get(b"X-A: 1", b"x-a: 2"), [200], True),
    "two Host": (get(b"Host: y"), [400], False),
    "two Content-Type": (get(b"Content-Type: a/b", b"content-type: c/d"), [400], False),
    "no Host": (raw(b"GET /a HTTP/1.1\r\n\r\n"), [200], True),
    "Script-Name": (get(b"Script-Name: /a"), [200], True),
    "SCRIPT_NAME": (get(b"SCRIPT_NAME: /a"), [200], True),
    "REMOTE_USER": (get(b"REMOTE_USER: root"), [200], True),
    "PATH-INFO": (get(b"Path-Info: /b", b"Remote-Addr: 1.1.1.1"), [200], True),
    "Proxy": (get(b"Proxy: y"), [200], True),
    "100 headers": (get(*(b"X-%d: 1" % number for number in range(99))), [200], True),
    "101 headers": (get(*(b"X-%d: 1" % number for number in range(100))), [431], False),
    "5k header": (get(b"X-A: " + b"a" * 5000), [200], True),
    "8k header": (get(b"X-A: " + b"a" * (8190 - 7)), [200], True),
    "a little more than 8k": (get(b"X-A: " + b"a" * (8190 - 6)), [431], False),
    "9k header": (get(b"X-A: " + b"a" * 9000), [431], False),
    "4k line": (get(target=b"/" + b"a" * (4094 - 14)), [200], True),
    "a little more than 4k line": (get(target=b"/" + b"a" * (4094 - 13)), [414], False),
    "5k line": (get(target=b"/" + b"a" * 5000), [414], False),
    "9k line": (get(target=b"/" + b"a" * 9000), [414], False),
    "raw 8bit path": (get(target=b"/\xff"), [400], False),
    "DEL in the path": (get(target=b"/\x7f"), [400], False),
    "NUL in the path": (get(target=b"/\0"), [400], False),
    "HTTP/1.0": (get(version=b"HTTP/1.0"), [200], False),
    "HTTP/1.0 keep-alive": (get(b"Connection: keep-alive", version=b"HTTP/1.0"), [200], True),
    "HTTP/1.2": (get(version=b"HTTP/1.2"), [200], True),
    "HTTP/2.0": (get(version=b"HTTP/2.0"), [400], False),
    "HTTP/11": (get(version=b"HTTP/11"), [400], False),
    "http/1.1": (get(version=b"http/1.1"), [400], False),
    "HTTP/0.9": (raw(b"GET /a\r\n\r\n"), [400], False),
    "lower method": (get(method=b"get"), [400], False),
    "long method": (get(method=b"X" * 21), [400], False),
    "CONNECT": (raw(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), [200], False),
    "conn close": (get(b"Connection: close"), [200], False),
    "conn Close": (get(b"Connection: Close"), [200], False),
    "conn keep-alive": (get(b"Connection: Keep-Alive"), [200], True),
    "conn x,close": (get(b"Connection: x, close"), [200], True),
    "conn twice": (get(b"Connection: keep-alive", b"Connection: close"), [200], True),
    "conn empty": (get(b"Connection:"), [200], True),
    "Keep-Alive and TE": (get(b"Keep-Alive: timeout=5", b"TE: trailers", b"Trailer: X"), [200], True),
    "garbage": (raw(b"\x16\x03\x01\x02\x00\r\n\r\n"), [400], False),
    "PROXY protocol": (raw(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n") + get(), [400], False),
    "pipelined 3": (post(b"Content-Length: 2", body=b"hi") + get() + get(target=b"/c"), [200, 200, 200], True),
    "pipelined, the second is not plain": (get() + get(b"X-A: 1", b"X-A: 2") + get(), [200, 200, 200], True),
    "pipelined, the second is wrong": (get() + get(b"X A: 1") + get(), [200, 400], False),
    "pipelined after close": (get(b"Connection: close") + get(), [200], False),
    "pipelined by half": (get() + get()[:20], [200], False),
    "smuggled by an unread body": (
        post(b"Content-Length: %d" % len(SMUGGLED), target=b"/unread", body=SMUGGLED), [200], True,
    ),
    "smuggled by a large unread body": (
        post(b"Content-Length: %d" % (len(SMUGGLED) * 3000), target=b"/unread", body=SMUGGLED * 3000), [200], True,
    ),
}  # fmt: skip

FORWARDED = {
    "for": get(b"X-Forwarded-For: 1.1.1.1, 2.2.2.2"),
    "https": get(b"X-Forwarded-Proto: https"),
    "HTTPS": get(b"X-Forwarded-Proto: HTTPS"),
    "http": get(b"X-Forwarded-Proto: http"),
    "ssl": get(b"X-Forwarded-Protocol: ssl"),
    "on": get(b"X-Forwarded-Ssl: on"),
    "off": get(b"X-Forwarded-Ssl: off"),
    "as nginx does": get(b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Real-IP: 1.1.1.1"),
    "both agree": get(b"X-Forwarded-Proto: https", b"X-Forwarded-Ssl: on"),
    "both differ": get(b"X-Forwarded-Proto: https", b"X-Forwarded-Ssl: off"),
    "repeated": get(b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: https"),
    "repeated and different": get(b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: http"),
    "host": get(b"X-Forwarded-Host: evil", b"Forwarded: for=1.1.1.1;proto=https"),
    "script name": get(b"SCRIPT_NAME: /a"),
    "path info": get(b"PATH_INFO: /b"),
}

# Answers by path: their statuses, and whether the connection goes on.
ANSWERED: dict[str, tuple[list[int], bool]] = {
    "/stream": ([200], True),
    "/stream-of-length": ([200], True),
    "/too-long": ([200], True),
    "/list-without-length": ([201], True),
    "/nothing": ([200], True),
    "/file": ([200], True),
    "/file-of-length": ([200], True),
    "/part-of-a-file": ([206], True),
    "/file-in-memory": ([200], True),
    "/large": ([200], True),
    "/with-write": ([200], True),
    "/no-content": ([204], True),
    "/not-modified": ([304], True),
    "/hops": ([200], True),
    "/odd-status": ([299], True),
    "/twice": ([500], False),
    "/fail": ([500], False),
    "/fail-after-start": ([500], False),
    "/fail-in-the-middle": ([200], False),
    "/system-failure": ([], False),
    "/bad-header": ([500], False),
    "/bad-name": ([500], False),
    "/bad-status": ([500], False),
    "/bad-length": ([500], False),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_request_gets_the_same_answer(pair: Pair, name: str) -> None:
    sent, statuses, goes_on = ASKED[name]
    answers = len([status for status in statuses if status >= 200])
    express, gevent = (each.ask(sent, answers=answers) for each in pair)
    assert express == gevent
    assert (express.statuses, express.goes_on) == (statuses, goes_on)


@pytest.mark.parametrize("name", FORWARDED)
def test_what_a_trusted_proxy_says_is_believed_alike(pair: Pair, name: str) -> None:
    express, gevent = (each.ask(FORWARDED[name]) for each in pair)
    assert express == gevent
    assert express.statuses in ([200], [400])
    assert (b'"wsgi.url_scheme": "https"' in express.said) == (
        name in {"https", "ssl", "on", "as nginx does", "both agree", "repeated"}
    )


@pytest.fixture(scope="module")
def distrustful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both trust another address than ours."""
    made = start_pair(tmp_path_factory.mktemp("distrustful"), forwarded_allow_ips="10.0.0.1")
    yield made
    for each in made:
        each.stop(signal.SIGQUIT)


@pytest.mark.parametrize("name", FORWARDED)
def test_what_anybody_else_says_is_not_believed_alike(distrustful: Pair, name: str) -> None:
    express, gevent = (each.ask(FORWARDED[name]) for each in distrustful)
    assert express == gevent
    assert express.statuses in ([200], [400])
    assert b'"wsgi.url_scheme": "https"' not in express.said


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
@pytest.mark.parametrize("path", ANSWERED)
def test_an_answer_is_the_same(pair: Pair, path: str, method: bytes) -> None:
    statuses, goes_on = ANSWERED[path]
    heard = []
    for each in pair:
        with each.connect() as connection:
            connection.sendall(get(method=method, target=path.encode()))
            heard.append(hear(connection, head=method == b"HEAD" and statuses != [500]))
    express, gevent = heard
    assert express == gevent
    assert express.statuses == statuses
    if method != b"HEAD":
        assert express.goes_on == goes_on


def test_second_thoughts_replace_what_was_not_sent_yet(pair: Pair) -> None:
    """gunicorn's own sends both Content-Lengths."""
    heard = pair[0].ask(get(target=b"/second-thoughts"))
    assert (heard.statuses, heard.body, heard.goes_on) == ([503], b"sorry", True)
    assert heard.said.count(b"Content-Length") == 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_an_answer_that_was_never_started_is_an_error(pair: Pair, method: bytes) -> None:
    """gunicorn's own answers a HEAD with the status None."""
    heard = pair[0].ask(get(target=b"/never-starts", method=method))
    assert (heard.statuses, heard.goes_on) == ([500], False)


SPLIT = {
    "head": [b"POST /a HT", b"TP/1.1\r\nHo", b"st: x\r\nContent-Le", b"ngth: 5\r\n\r\nhe", b"llo"],
    "head and body": [post(b"Content-Length: 5"), b"hello"],
    "body": [post(b"Content-Length: 5", body=b"he"), b"l", b"lo"],
    "after the CR": [get()[:-3], b"\n\r", b"\n"],
    "with the next": [post(b"Content-Length: 5", body=b"he"), b"llo" + get()],
}


@pytest.mark.parametrize("name", SPLIT)
def test_a_request_in_pieces_gets_the_same_answer(pair: Pair, name: str) -> None:
    answers = 2 if name == "with the next" else 1
    express, gevent = (each.ask(*SPLIT[name], answers=answers) for each in pair)
    assert express == gevent
    assert (express.statuses, express.goes_on) == ([200] * answers, True)


@pytest.mark.parametrize(
    "sent", [b"", get()[:10], post(b"Content-Length: 5", body=b"he")], ids=["nothing", "head", "body"]
)
def test_a_client_that_ends_early_gets_the_same(pair: Pair, sent: bytes) -> None:
    heard = []
    for each in pair:
        with each.connect() as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            heard.append(hear(connection))
    assert heard[0] == heard[1]
    assert heard[0].statuses == ([200] if b"POST" in sent else [])


@pytest.mark.parametrize(
    "lines", [(), (b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https"), (b"Connection: close",)]
)
def test_plain_requests_go_the_short_way(pair: Pair, lines: tuple[bytes, ...]) -> None:
    express, gevent = (each.ask(get(*lines, target=b"/way")) for each in pair)
    assert (express.body, gevent.body) == (b'"short"', b'"long"')


def test_a_connection_stays_on_the_long_way(pair: Pair) -> None:
    with pair[0].connect() as connection:
        ways = []
        for lines in ((), (b"X-A: 1", b"X-A: 2"), ()):
            connection.sendall(get(*lines, target=b"/way"))
            ways.append(hear(connection).body)
    assert ways == [b'"short"', b'"long"', b'"long"']


def test_the_probes_ask_for_what_they_say() -> None:
    assert len(ASKED) > 39
    assert HOST == "127.0.0.1", "the address that the pair trusts"
    assert LAST.count(b"\r\n\r\n") == 1
