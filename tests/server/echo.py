"""A small WSGI app for both workers: it says what it was asked, and answers in every way there is."""

import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent import monkey

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], object]]

FOLDER = Path(os.environ.get("ECHO_FOLDER", "."))  # where tests leave it signs
# What differs by nature: ports, sockets, and the kind of file that a body is read from.
OF_THE_WAY = {"REMOTE_PORT", "SERVER_PORT", "gunicorn.socket", "wsgi.early_hints", "wsgi.input"}
TEXT = [("Content-Type", "text/plain")]
served = 0


def app(environ: Environ, start: Start) -> Iterable[bytes]:
    global served  # noqa: PLW0603 - one process, one count
    served += 1
    return WAYS.get(environ["PATH_INFO"], echo)(environ, start)


def say(start: Start, told: object) -> list[bytes]:
    body = json.dumps(told).encode()
    start("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


def echo(environ: Environ, start: Start) -> list[bytes]:
    body = environ["wsgi.input"].read().decode("latin-1")
    told = {key: _plainly(value) for key, value in sorted(environ.items()) if key not in OF_THE_WAY}
    return say(start, {"environ": told, "body": body})


def _plainly(value: object) -> object:
    return value if isinstance(value, str | bool | int | tuple) else type(value).__name__


def unread(environ: Environ, start: Start) -> list[bytes]:
    return say(start, "the body was not read")


def way(environ: Environ, start: Start) -> list[bytes]:
    return say(start, "short" if isinstance(environ["wsgi.input"], io.BytesIO) else "long")


def count(environ: Environ, start: Start) -> list[bytes]:
    return say(start, served)


def process(environ: Environ, start: Start) -> list[bytes]:
    until_s = time.process_time() + 0.002
    while time.process_time() < until_s:
        pass
    return say(start, os.getpid())


def block(environ: Environ, start: Start) -> list[bytes]:
    """The whole process stands still until the test lets it go."""
    (FOLDER / "blocked").touch()
    while not (FOLDER / "go").exists():
        monkey.get_original("time", "sleep")(0.005)
    return say(start, "went on")


def wait(environ: Environ, start: Start) -> list[bytes]:
    """This request alone waits until the test lets it go."""
    (FOLDER / "waiting").touch()
    while not (FOLDER / "go").exists():
        gevent.sleep(0.005)
    return say(start, "waited")


def stream(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", TEXT)
    yield from (b"one,", b"", b"two,", b"x" * 20_000)


def stream_of_length(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "8")])
    yield from (b"one,", b"two,")


def too_long(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "4")])
    return [b"one,", b"two,"]


def too_short(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "4"), ("Connection", "close")])
    return [b"on"]


def list_without_length(environ: Environ, start: Start) -> list[bytes]:
    start("201 Created", TEXT)
    return [b"one,", b"two"]


def nothing(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)
    return []


def file(environ: Environ, start: Start) -> Any:
    path = FOLDER / "file"
    path.write_bytes(b"a file\n" * 700)
    start("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](path.open("rb"))


def file_of_length(environ: Environ, start: Start) -> Any:
    path = FOLDER / "large"
    path.write_bytes(b"a large file\n" * 100_000)
    start("200 OK", [*TEXT, ("Content-Length", str(path.stat().st_size))])
    return environ["wsgi.file_wrapper"](path.open("rb"))


def part_of_a_file(environ: Environ, start: Start) -> Any:
    path = FOLDER / "part"
    path.write_bytes(b"0123456789")
    opened = path.open("rb")
    opened.seek(2)
    start("206 Partial Content", [*TEXT, ("Content-Length", "3")])
    return environ["wsgi.file_wrapper"](opened)


def file_in_memory(environ: Environ, start: Start) -> Any:
    start("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory"))


def large(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "20000000")])
    return [b"x" * 10_000_000] * 2


def with_write(environ: Environ, start: Start) -> list[bytes]:
    write = start("200 OK", TEXT)
    write(b"written,")
    return [b"returned"]


def no_content(environ: Environ, start: Start) -> list[bytes]:
    start("204 No Content", [("Content-Length", "0"), ("X-A", "b")])
    return [b"never sent"]


def not_modified(environ: Environ, start: Start) -> list[bytes]:
    start("304 Not Modified", [("ETag", '"a"'), ("Content-Length", "10")])
    return []


def hops(environ: Environ, start: Start) -> list[bytes]:
    start(
        "200 OK",
        [
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("Transfer-Encoding", "chunked"),
            ("Server", "mine"),
            ("Date", "now"),
            ("X-Padded", "  padded\t "),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("X-Latin", "caf\xe9"),
            ("Content-Length", "2"),
        ],
    )
    return [b"ok"]


def odd_status(environ: Environ, start: Start) -> list[bytes]:
    start("299", [("Content-Length", "2")])
    return [b"ok"]


def second_thoughts(environ: Environ, start: Start) -> list[bytes]:
    """It began to answer, failed, and says so before anything was sent."""
    start("200 OK", [("Content-Length", "1")])
    error = ValueError("second thoughts")
    start("503 Unavailable", [*TEXT, ("Content-Length", "5")], (type(error), error, None))
    return [b"sorry"]


def twice(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("Content-Length", "2")])
    start("201 Created", [("Content-Length", "2")])
    return [b"ok"]


def fail(environ: Environ, start: Start) -> list[bytes]:
    raise ValueError("the app failed")


def fail_after_start(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", TEXT)
    raise ValueError("the app failed after start")
    yield b""


def fail_in_the_middle(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", TEXT)
    yield b"half,"
    raise ValueError("the app failed in the middle")


def system_failure(environ: Environ, start: Start) -> list[bytes]:
    raise PermissionError(13, "not the client's doing")


def bad_header(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("X-A", "1\r\nX-B: 2"), ("Content-Length", "2")])
    return [b"ok"]


def bad_name(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("X A", "1"), ("Content-Length", "2")])
    return [b"ok"]


def bad_status(environ: Environ, start: Start) -> list[bytes]:
    start("2000 OK\r\nX-B: 2", [("Content-Length", "2")])
    return [b"ok"]


def bad_length(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("Content-Length", "two")])
    return [b"ok"]


def never_starts(environ: Environ, start: Start) -> list[bytes]:
    return [b"ok"]


class Closing:
    """An iterable that must be closed, whatever happens to its answer."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        with (FOLDER / "closed").open("a") as sign:
            sign.write("closed\n")


def closing(environ: Environ, start: Start) -> Closing:
    start("200 OK", [("Content-Length", "50000000")])
    return Closing(b"x" * 100_000 for _ in range(500))


WAYS: dict[str, Callable[[Environ, Start], Iterable[bytes]]] = {
    f"/{made.__name__.replace('_', '-')}": made
    for made in (
        unread, way, count, process, block, wait, stream, stream_of_length, too_long, too_short, list_without_length,
        nothing, file, file_of_length, part_of_a_file, file_in_memory, large, with_write, no_content, not_modified,
        hops, odd_status, second_thoughts, twice, fail, fail_after_start, fail_in_the_middle, system_failure,
        bad_header, bad_name, bad_status, bad_length, never_starts, closing,
    )
}  # fmt: skip
