"""An event's page, drawn once by fpdf2, and stamped for each purchase with its own words and codes.

A receipt is the stamp's constant part (fonts, art, resources: fpdf2's own bytes) and, behind it, a content stream and
a page object a ticket, the page tree, the document's information and the table of offsets.

What must stay true: a stamped page looks, pixel for pixel, like the same page drawn by fpdf2 alone; the same purchase
gives the same bytes; a stamp sets only characters that it embedded, and shapes the others with fonts that go with
that purchase.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ticketing.model import Purchase
from workers import layout, qr, wording
from workers.art import Sheet, draw
from workers.layout import CODE_MM, PAGE_MM, POINTS_PER_MM, EventFormat, PurchaseWords, Text
from workers.lettering import Lettering
from workers.pdf_file import COMPRESSION, Parsed, Writer, find, parse, rgb, string
from workers.shaping import shape, width_em
from workers.wording import DASH

_COMMON = {*map(chr, range(0x20, 0x7F)), *"\u2013\u2018\u2019\u201c\u201d\u2026\u00a0"}
_LATIN_1 = _COMMON | set(map(chr, [*range(0xA1, 0xAD), *range(0xAE, 0x100)]))
_LATIN = _LATIN_1 | set(map(chr, range(0x100, 0x180)))
_VIETNAMESE = [0x1A0, 0x1A1, 0x1AF, 0x1B0, *range(0x1EA0, 0x1EFA)]
_GREEK_AND_CYRILLIC = [*range(0x370, 0x483), *range(0x48A, 0x530)]  # without the accents that need placing
_WIDE = _LATIN | set(map(chr, [*_VIETNAMESE, *_GREEK_AND_CYRILLIC, *range(0x218, 0x21C)]))

# What a holder's name may consist of, the smallest first: a larger class makes every receipt larger. Only characters
# that run from left to right and stand alone: a glyph each, no shaping.
CHARSETS = tuple(map(frozenset, (_COMMON, _LATIN_1, _LATIN, _WIDE)))

# Where ideographs are drawn in the forms of another land than mainland China.
REGION_OF_ZONE = {
    "Asia/Tokyo": "JP", "Japan": "JP", "Asia/Seoul": "KR", "ROK": "KR", "Asia/Taipei": "TC", "Asia/Hong_Kong": "TC",
    "Hongkong": "TC", "Asia/Macau": "TC", "ROC": "TC",
}  # fmt: skip


# As fpdf2 rounds the lengths of a path and the scale before it: so both draw a code alike, to the pixel.
_PATH_DECIMALS = 4
_PATH_SCALE = round(POINTS_PER_MM, _PATH_DECIMALS)


def charset_of(name: str) -> int | None:
    """The index of the smallest class that sets `name`; None if it must be shaped."""
    if name.isascii():
        return 0
    characters = set(name)
    return next((index for index, charset in enumerate(CHARSETS) if characters <= charset), None)


@dataclass(frozen=True)
class _Frame:
    """Where the replaceable objects of the constant part are."""

    base: bytes
    offsets: list[int]
    root: int
    info: int
    pages: int
    first_page: int  # the catalog opens the file at this object
    contents: bytes  # references to what is drawn before a purchase's own
    resources: bytes  # the dictionary, its fonts' entries left out
    fonts: bytes  # their entries
    media_box: bytes


class Stamp:
    """The receipts of one event, for holders whose names need one class of characters."""

    def __init__(self, event_format: EventFormat, charset: int) -> None:
        self.form = event_format
        self._region = REGION_OF_ZONE.get(event_format.event.timezone, "")
        sheet = Sheet(event_format.title)
        unset = draw(sheet, event_format, self._shaped_width)
        money = wording.total(1, event_format.event.price_amount, event_format.event.price_currency)
        self._alphabets = (sheet.alphabet(False, _COMMON | set(money)), sheet.alphabet(True, CHARSETS[charset]))
        self._frame = self._framed(sheet, unset)
        self._labels = {named: self._plain(layout.purchase_labels(named)) for named in (False, True)}
        self._resources = _resources(self._frame, b"")

    def render(self, purchase: Purchase, holder: str, codes: Sequence[str]) -> bytes:
        """The whole file: a page a ticket, with `codes` in the order of its tickets. `holder` is a clean name or ""."""
        writer = Writer(self._frame.base, self._frame.offsets)
        named = bool(holder)
        words = self._words(purchase, holder)
        if self._sets(holder):
            shared, resources = self._plain(layout.purchase_texts(words, self._width)), self._resources
        else:
            shared, resources = self._shaped(layout.purchase_texts(words, self._any_width), writer)
        shared += self._labels[named]
        kids = []
        for index, (ticket_id, code) in enumerate(zip(purchase.ticket_ids, codes, strict=True)):
            count = f"{index + 1} OF {purchase.quantity}"
            own = self._plain(layout.ticket_texts(self.form, ticket_id, count, named, self._width))
            kids.append(self._add_page(writer, shared + own + _code(code), resources, first=index == 0))
        self._put_tree(writer, kids)
        writer.put(self._frame.info, self._information(purchase))
        file_id = hashlib.blake2b(purchase.purchase_id.encode(), digest_size=16).hexdigest().encode()
        return writer.finish(self._frame.root, self._frame.info, file_id)

    def _words(self, purchase: Purchase, holder: str) -> PurchaseWords:
        event = self.form.event
        return PurchaseWords(
            holder,
            purchase.purchase_id,
            wording.total(purchase.quantity, event.price_amount, event.price_currency),
            wording.sold(wording.local_time(purchase.sold_at_ms, event.timezone)),
        )

    # How wide a text is: as the stamp sets it, as HarfBuzz does, or whichever it will be.

    def _width(self, text: str, bold: bool) -> float:
        return sum(map(self._alphabets[bold].advances.__getitem__, text))

    def _shaped_width(self, text: str, bold: bool) -> float:
        return width_em(text, bold, self._region)

    def _any_width(self, text: str, bold: bool) -> float:
        return self._width(text, bold) if self._sets(text, bold) else self._shaped_width(text, bold)

    def _sets(self, text: str, bold: bool = True) -> bool:
        return self._alphabets[bold].codes.keys() >= set(text)

    # What is drawn.

    def _plain(self, texts: Sequence[Text]) -> bytes:
        """The operators of lines that need no shaping."""
        parts = [b"BT"]
        for text in texts:
            alphabet = self._alphabets[text.bold]
            codes = "".join([alphabet.codes[character] for character in text.text])
            parts.append(
                b"%b /F%d %.2f Tf %.2f Tc 1 0 0 1 %.2f %.2f Tm <%b> Tj"
                % (
                    rgb(text.colour),
                    alphabet.font,
                    text.size_pt,
                    text.spacing_pt,
                    text.x_mm * POINTS_PER_MM,
                    (PAGE_MM[1] - text.y_mm) * POINTS_PER_MM,
                    codes.encode(),
                )
            )
        return b"\n".join([*parts, b"0 Tc ET\n"])

    def _shaped(self, texts: Sequence[Text], writer: Writer) -> tuple[bytes, bytes]:
        """The operators of lines of which some need shaping, and the resources with the fonts for these."""
        shaped = [text for text in texts if not self._sets(text.text, text.bold)]
        operators, fonts = _lettered(shaped, "P", self._region, writer)
        plain = self._plain([text for text in texts if text not in shaped])
        return plain + operators, _resources(self._frame, fonts)

    def _framed(self, sheet: Sheet, unset: Sequence[Text]) -> _Frame:
        """fpdf2's file without what each purchase replaces, and with the texts that fpdf2 was not asked to draw."""
        parsed = parse(bytes(sheet.output()))
        frame = _take_apart(parsed)
        if not unset:
            return frame
        writer = Writer(frame.base, frame.offsets)
        operators, fonts = _lettered(unset, "E", self._region, writer)
        contents = frame.contents + b" %d 0 R" % writer.add_stream(operators)
        base, offsets = writer.begun()
        return _Frame(
            base, offsets, frame.root, frame.info, frame.pages, frame.first_page, contents, frame.resources,
            frame.fonts + b" " + fonts, frame.media_box,
        )  # fmt: skip

    def _add_page(self, writer: Writer, content: bytes, resources: bytes, first: bool) -> int:
        frame = self._frame
        packed = zlib.compress(content, COMPRESSION)
        stream = writer.add(b"<</Filter /FlateDecode /Length %d>>\nstream\n%b\nendstream" % (len(packed), packed))
        page = b"<</Type /Page /Parent %d 0 R /Resources %b /Contents [%b %d 0 R]>>" % (
            frame.pages, resources, frame.contents, stream,
        )  # fmt: skip
        if not first:
            return writer.add(page)
        writer.put(frame.first_page, page)
        return frame.first_page

    def _put_tree(self, writer: Writer, pages: Sequence[int]) -> None:
        kids = b" ".join([b"%d 0 R" % page for page in pages])
        tree = b"<</Type /Pages /Count %d /Kids [%b] /MediaBox %b>>" % (len(pages), kids, self._frame.media_box)
        writer.put(self._frame.pages, tree)

    def _information(self, purchase: Purchase) -> bytes:
        title = f"{self.form.title} {DASH} {purchase.ticket_ids[0]}"
        sold_at = datetime.fromtimestamp(purchase.sold_at_ms // 1000, UTC).strftime("%Y%m%d%H%M%SZ")
        return b"<</Title %b /Author %b /Producer (ticketing, fpdf2) /CreationDate (D:%b)>>" % (
            string(title), string(self.form.organiser), sold_at.encode(),
        )  # fmt: skip


def _code(code: str) -> bytes:
    """The operators of a QR code in its place."""
    left, top, side_mm = CODE_MM
    side, path = qr.path(code)
    module = round(side_mm / side, _PATH_DECIMALS) * _PATH_SCALE
    x, y = left * _PATH_SCALE, PAGE_MM[1] * POINTS_PER_MM - top * _PATH_SCALE
    return b"q 0 g %.6f 0 0 %.6f %.4f %.4f cm\n%b\nQ\n" % (module, -module, x, y, path)


def _lettered(texts: Sequence[Text], prefix: str, region: str, writer: Writer) -> tuple[bytes, bytes]:
    lines = [shape(text.text, text.bold, region) for text in texts]
    lettering = Lettering(lines, prefix)
    fonts = lettering.embed(writer)
    return b"\n".join(lettering.content(text, line) for text, line in zip(texts, lines, strict=True)) + b"\n", fonts


def _resources(frame: _Frame, more_fonts: bytes) -> bytes:
    return b"<<%b /Font <<%b %b>>>>" % (frame.resources, frame.fonts, more_fonts)


def _take_apart(parsed: Parsed) -> _Frame:
    root = _reference(rb"/Root (\d+) 0 R", parsed.trailer)
    info = _reference(rb"/Info (\d+) 0 R", parsed.trailer)
    pages = _reference(rb"/Pages (\d+) 0 R", parsed.object(root))
    page = _reference(rb"/Kids \[(\d+) 0 R\]", parsed.object(pages))
    art = _reference(rb"/Contents (\d+) 0 R", parsed.object(page))
    resources = parsed.object(_reference(rb"/Resources (\d+) 0 R", parsed.object(page)))
    fonts = find(rb"(?s)/Font <<(.*?)>>", resources)
    rest = find(rb"(?s)obj\s*<<(.*)>>\s*endobj", resources).replace(b"/Font <<%b>>" % fonts, b"").strip()
    media_box = find(rb"/MediaBox (\[[^\]]*\])", parsed.object(pages))
    base, offsets = parsed.without((info, pages, page))
    return _Frame(base, offsets, root, info, pages, page, b"%d 0 R" % art, rest, fonts, media_box)


def _reference(pattern: bytes, text: bytes) -> int:
    return int(find(pattern, text))
