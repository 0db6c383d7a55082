"""The syntax of a PDF file: objects behind one another, then the table that says where each begins.

What must stay true: every object's offset is the one in the table; no object is written twice in one file.
"""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

COMPRESSION = 1  # level 6 saves 250 bytes of 23,000 and costs a fifth of the whole receipt's time
_ENTRY = re.compile(rb"(\d{10}) 00000 n")


class Writer:
    """Puts objects behind a file that is already begun."""

    def __init__(self, base: bytes, offsets: Sequence[int]) -> None:
        self._parts = [base]
        self._size = len(base)
        self._offsets = list(offsets)  # of object 1, 2, ...

    def put(self, number: int, body: bytes) -> None:
        """Writes the object of a number that is already taken."""
        part = b"%d 0 obj\n%b\nendobj\n" % (number, body)
        self._offsets[number - 1] = self._size
        self._parts.append(part)
        self._size += len(part)

    def add(self, body: bytes) -> int:
        """Writes an object under the next number, and returns that."""
        self._offsets.append(0)
        number = len(self._offsets)
        self.put(number, body)
        return number

    def add_stream(self, data: bytes, entries: bytes = b"") -> int:
        """Writes a compressed stream, and returns its number."""
        packed = zlib.compress(data, COMPRESSION)
        head = b"<</Filter /FlateDecode %b/Length %d>>\nstream\n" % (entries, len(packed))
        return self.add(head + packed + b"\nendstream")

    def begun(self) -> tuple[bytes, list[int]]:
        """What is written so far, to go on from with another Writer."""
        return b"".join(self._parts), self._offsets

    def finish(self, root: int, info: int, file_id: bytes) -> bytes:
        """The whole file."""
        count = len(self._offsets) + 1
        self._parts.append(b"xref\n0 %d\n0000000000 65535 f \n" % count)
        self._parts += [b"%010d 00000 n \n" % offset for offset in self._offsets]
        self._parts.append(
            b"trailer\n<</Size %d /Root %d 0 R /Info %d 0 R /ID [<%b><%b>]>>\nstartxref\n%d\n%%%%EOF\n"
            % (count, root, info, file_id, file_id, self._size)
        )
        return b"".join(self._parts)


class Parsed(NamedTuple):
    """A file as fpdf2 writes it: its objects, and where each stands."""

    body: bytes  # all before the table
    spans: list[tuple[int, int]]  # of object 1, 2, ...: from its number to behind its endobj
    trailer: bytes

    def object(self, number: int) -> bytes:
        """The text of one object."""
        start, end = self.spans[number - 1]
        return self.body[start:end]

    def without(self, numbers: Sequence[int]) -> tuple[bytes, list[int]]:
        """The body with some objects cut out, and the offsets in it; those of the cut ones mean nothing."""
        parts, offsets, position, shift = [], [0] * len(self.spans), 0, 0
        for index, (start, end) in sorted(enumerate(self.spans), key=lambda item: item[1]):
            offsets[index] = start - shift
            if index + 1 in numbers:
                parts.append(self.body[position:start])
                position, shift = end, shift + end - start
        return b"".join([*parts, self.body[position:]]), offsets


def parse(file: bytes) -> Parsed:
    """Reads a file with one table and no free objects, such as fpdf2 writes. Raises ValueError for another."""
    table = int(find(rb"startxref\s+(\d+)\s+%%EOF\s*$", file))
    offsets = [int(entry[1]) for entry in _ENTRY.finditer(file, table)]
    spans = [(offset, file.index(b"endobj", offset) + len(b"endobj\n")) for offset in offsets]
    return Parsed(file[:table], spans, file[table:])


def find(pattern: bytes, text: bytes) -> bytes:
    """The first group of the pattern's first match. Raises ValueError where there is none."""
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"fpdf2 wrote no {pattern!r}")
    return match[1]


def string(text: str) -> bytes:
    """A text string, in UTF-16 where ASCII is not enough."""
    raw = text.encode() if text.isascii() else b"\xfe\xff" + text.encode("utf-16-be")
    for byte in (b"\\", b"(", b")"):
        raw = raw.replace(byte, b"\\" + byte)
    return b"(%b)" % raw.replace(b"\r", b"\\r").replace(b"\n", b"\\n")


@lru_cache(maxsize=256)
def rgb(colour: tuple[int, int, int]) -> bytes:
    """The operator that fills with a colour."""
    return b"%.4f %.4f %.4f rg" % tuple(part / 255 for part in colour)
