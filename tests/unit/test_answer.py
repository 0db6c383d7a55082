"""From start_response and blocks to the bytes of an answer."""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from ticketing.server.answer import Answer


class Worker:
    alive = True


class Sent(list[bytes]):
    """What was sent, a call each."""

    def answer(self, *, head_only: bool = False, closes: bool = False, worker: Any = Worker) -> Answer:
        return Answer(self.append, worker, head_only=head_only, closes=closes)


HEAD = re.compile(rb"HTTP/1\.1 (.*)\r\nServer: gunicorn\r\nDate: (.{29})\r\nConnection: (.*?)\r\n", re.MULTILINE)


def given(
    status: str, headers: list[tuple[str, str]], blocks: Iterable[bytes], **options: Any
) -> tuple[list[bytes], Answer]:
    """What is sent for an application that says this; the head without what is the same in all."""
    sent = Sent()
    answer = sent.answer(**options)
    answer(status, headers)
    for block in blocks:
        answer.write(block)
    answer.finish()
    assert answer.begun
    found = HEAD.match(sent[0])
    assert found is not None
    return [found[1] + b"|" + found[3] + b"|" + sent[0][found.end() :], *sent[1:]], answer


def test_a_short_answer_is_sent_at_once() -> None:
    sent, answer = given("201 CREATED", [("Content-Length", "5"), ("X-A", " b ")], [b"hello"])
    assert sent == [b"201 CREATED|keep-alive|Content-Length: 5\r\nX-A: b\r\n\r\nhello"]
    assert not answer.closes


@pytest.mark.parametrize("head_only", [False, True])
def test_a_whole_answer_is_what_its_parts_would_be(head_only: bool) -> None:
    sent, in_parts = given(
        "409 CONFLICT", [("X-A", "b"), ("Content-Length", "5")], [b"he", b"llo"], head_only=head_only, closes=True
    )
    at_once = Sent()
    answer = at_once.answer(head_only=head_only, closes=True)
    answer.whole("409 CONFLICT", "X-A: b\r\nContent-Length: 5\r\n", b"hello")
    answer.finish()
    assert (answer.begun, answer.closes) == (in_parts.begun, in_parts.closes) == (True, True)
    (whole,) = at_once
    found = HEAD.match(whole)
    assert found is not None
    assert found[1] + b"|" + found[3] + b"|" + whole[found.end() :] == b"".join(sent)


def test_a_stream_is_sent_in_chunks_each_as_it_comes() -> None:
    sent, _ = given("200 OK", [], [b"one", b"", b"x" * 17])
    assert sent == [
        b"200 OK|keep-alive|Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
        b"11\r\n" + b"x" * 17 + b"\r\n",
        b"0\r\n\r\n",
    ]


def test_an_empty_stream_ends_with_its_head() -> None:
    assert given("200 OK", [], [])[0] == [b"200 OK|keep-alive|Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
    assert given("200 OK", [("Content-Length", "0")], [b""])[0] == [b"200 OK|keep-alive|Content-Length: 0\r\n\r\n"]


def test_no_more_than_was_promised_is_sent() -> None:
    sent, _ = given("200 OK", [("content-length", "4")], [b"one", b"two", b"three"])
    assert sent == [b"200 OK|keep-alive|content-length: 4\r\n\r\none", b"t"]


@pytest.mark.parametrize("status", ["204 NO CONTENT", "304 NOT MODIFIED", "103 EARLY HINTS"])
def test_some_answers_have_no_body(status: str) -> None:
    sent, _ = given(status, [("X-A", "b")], [b"body"])
    assert sent == [status.encode() + b"|keep-alive|X-A: b\r\n\r\n"]


def test_head_has_no_body_and_the_length_of_one() -> None:
    assert given("200 OK", [("Content-Length", "4")], [b"body"], head_only=True)[0] == [
        b"200 OK|keep-alive|Content-Length: 4\r\n\r\n"
    ]
    assert given("200 OK", [], [b"body"], head_only=True)[0] == [b"200 OK|keep-alive|\r\n"]
    assert given("304 OK", [("Content-Length", "4")], [])[0] == [b"304 OK|keep-alive|Content-Length: 4\r\n\r\n"]
    assert given("204 OK", [("Content-Length", "4")], [])[0] == [b"204 OK|keep-alive|\r\n"]


def test_what_the_application_says_of_the_connection_is_dropped() -> None:
    hops = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Server", "x"), ("DATE", "x"), ("Upgrade", "x")]
    assert given("200 OK", [*hops, ("Content-Length", "0")], [])[0] == [b"200 OK|keep-alive|Content-Length: 0\r\n\r\n"]


def test_a_connection_closes_where_the_client_asks_for_it_or_the_worker_ends() -> None:
    class Ending:
        alive = False

    for options in ({"closes": True}, {"worker": Ending}):
        sent, answer = given("200 OK", [("Content-Length", "0")], [], **options)
        assert sent == [b"200 OK|close|Content-Length: 0\r\n\r\n"]
        assert answer.closes


def test_a_worker_that_ends_while_the_application_works_says_so() -> None:
    class Ending:
        alive = True

    sent, worker = Sent(), Ending()
    answer = sent.answer(worker=worker)
    answer("200 OK", [("Content-Length", "0")])
    worker.alive = False
    answer.finish()
    assert b"\r\nConnection: close\r\n" in sent[0]
    assert answer.closes


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK\r\nX: y", []),
        ("20", []),
        ("2000", []),
        ("ok", []),
        ("200 OK", [("X-A", "1\r\nX-B: 2")]),
        ("200 OK", [("X-A", "1\nX-B: 2")]),
        ("200 OK", [("X-A", "1\0")]),
        ("200 OK", [("X-A\r\nX-B", "1")]),
        ("200 OK", [("X A", "1")]),
        ("200 OK", [("", "1")]),
        ("200 OK", [("X-A:", "1")]),
        ("200 OK", [("Content-Length", "two")]),
    ],
)
def test_what_must_not_be_sent_is_refused(status: str, headers: list[tuple[str, str]]) -> None:
    sent = Sent()
    answer = sent.answer()
    with pytest.raises(ValueError):  # noqa: PT011 - the words are for a log
        answer(status, headers)
    assert (sent, answer.begun) == ([], False)


def test_a_value_that_is_refused_is_not_told() -> None:
    with pytest.raises(ValueError, match="X-A") as caught:
        Sent().answer()("200 OK", [("X-A", "a secret\n")])
    assert "secret" not in str(caught.value)


def test_other_types_are_refused() -> None:
    for status, headers in ((200, []), ("200 OK", [("X-A", 1)]), ("200 OK", [(b"X-A", "1")])):
        with pytest.raises((TypeError, AttributeError)):
            Sent().answer()(status, headers)  # type: ignore[arg-type]
    sent = Sent()
    answer = sent.answer()
    answer("200 OK", [])
    with pytest.raises(TypeError):
        answer.write("text")  # type: ignore[arg-type]
    assert sent == []


def test_an_answer_is_started_once() -> None:
    answer = Sent().answer()
    answer("200 OK", [])
    with pytest.raises(AssertionError):
        answer("200 OK", [])


def test_an_answer_that_was_never_started_can_not_end() -> None:
    sent = Sent()
    with pytest.raises(AssertionError):
        sent.answer().finish()
    with pytest.raises(AssertionError):
        sent.answer().write(b"x")
    assert sent == []


def test_an_error_replaces_what_was_not_sent_and_ends_what_was() -> None:
    sent = Sent()
    answer = sent.answer()
    error = ValueError("it failed")
    answer("200 OK", [("Content-Length", "1")])
    answer("500 NO", [("Content-Length", "2")], (ValueError, error, None))
    answer.write(b"no")
    assert sent[0].startswith(b"HTTP/1.1 500 NO\r\n")
    with pytest.raises(ValueError, match="it failed"):
        answer("501 NO", [], (ValueError, error, None))
    assert len(sent) == 1


def test_a_header_beyond_latin_1_fails_before_anything_has_begun() -> None:
    sent = Sent()
    answer = sent.answer()
    answer("200 OK", [("X-A", "\u20ac"), ("Content-Length", "1")])
    with pytest.raises(ValueError, match="latin-1"):
        answer.write(b"a")
    assert (sent, answer.begun) == ([], False)
