"""Shaped lines in a PDF: their fonts, cut to the glyphs that are used, and the operators that draw them.

What must stay true: a viewer that copies text gets the characters in reading order, whatever the glyphs are; the same
lines give the same bytes. ToUnicode tells of each glyph, ActualText of each line (Devanagari has glyphs out of
order). Not where something runs from right to left: viewers turn such text themselves, and pdftotext turns ActualText
once too often.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from workers.layout import PAGE_MM, POINTS_PER_MM, Text
from workers.pdf_file import Writer, rgb
from workers.shaping import Run, ShapedLine
from workers.typefaces import Typeface

_EMBOLDEN_EM = 0.035  # the outline that makes light glyphs bold: half of it lies inside

_DESCRIPTOR = (
    b"<</Type /FontDescriptor /FontName /%b /Flags 4 /FontBBox [-500 %d 2000 %d] /ItalicAngle 0 /Ascent %d /Descent %d"
    b" /CapHeight 714 /StemV 80 /FontFile2 %d 0 R>>"
)
_DESCENDANT = (
    b"<</Type /Font /Subtype /CIDFontType2 /BaseFont /%b /FontDescriptor %d 0 R /DW 0 /W [%b] /CIDToGIDMap /Identity"
    b" /CIDSystemInfo <</Registry (Adobe) /Ordering (Identity) /Supplement 0>>>>"
)
_FONT = (
    b"<</Type /Font /Subtype /Type0 /BaseFont /%b /Encoding /Identity-H /DescendantFonts [%d 0 R] /ToUnicode %d 0 R>>"
)


@dataclass
class _Font:
    """One typeface in one file."""

    name: bytes  # in the resources
    face: Typeface
    texts: dict[int, str] = field(default_factory=dict)  # of the glyphs that are used
    numbers: dict[int, int] = field(default_factory=dict)  # of the glyphs in the cut font

    def embed(self, writer: Writer) -> int:
        """Writes the cut font, and returns its number. True afterwards: `numbers` is known."""
        file, self.numbers = self.face.cut(self.texts)
        data = writer.add_stream(file, b"/Length1 %d " % len(file))
        name = f"{_tag(self.texts)}+{self.face.name}".encode()
        ascent, descent = self.face.bounds
        descriptor = writer.add(_DESCRIPTOR % (name, descent, ascent, ascent, descent, data))
        widths = b" ".join(b"%d [%d]" % (self.numbers[glyph], self.face.width(glyph)) for glyph in sorted(self.texts))
        descendant = writer.add(_DESCENDANT % (name, descriptor, widths))
        return writer.add(_FONT % (name, descendant, writer.add_stream(self._to_unicode())))

    def _to_unicode(self) -> bytes:
        pairs = [
            b"<%04X> <%b>" % (self.numbers[glyph], _hex(text)) for glyph, text in sorted(self.texts.items()) if text
        ]
        blocks = [
            b"%d beginbfchar\n%b\nendbfchar" % (len(block), b"\n".join(block))
            for block in (pairs[start : start + 100] for start in range(0, len(pairs), 100))
        ]
        return (
            b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Receipt def /CMapType 2 def\n"
            b"1 begincodespacerange <0000> <FFFF> endcodespacerange\n%b\n"
            b"endcmap CMapName currentdict /CMap defineresource pop end end" % b"\n".join(blocks)
        )


class Lettering:
    """Draws shaped lines in one file. Every line must be given at the start: fonts are cut once, for all of them."""

    def __init__(self, lines: Iterable[ShapedLine], prefix: str) -> None:
        self._fonts: dict[Typeface, _Font] = {}
        for run in (run for line in lines for run in line.runs):
            font = self._fonts.setdefault(run.face, _Font(f"{prefix}{len(self._fonts)}".encode(), run.face))
            for glyph in run.glyphs:
                font.texts[glyph.number] = font.texts.get(glyph.number) or glyph.text

    def embed(self, writer: Writer) -> bytes:
        """Writes the fonts, and returns their entries for a page's font resources."""
        return b" ".join(b"/%b %d 0 R" % (font.name, font.embed(writer)) for font in self._fonts.values())

    def content(self, text: Text, line: ShapedLine) -> bytes:
        """The operators that draw the line. They stand alone: not inside BT and ET."""
        x, y = text.x_mm * POINTS_PER_MM, (PAGE_MM[1] - text.y_mm) * POINTS_PER_MM
        parts = [b"%b BT %b %b" % (_span(line), rgb(text.colour), rgb(text.colour).upper())]
        for run in line.runs:
            parts.append(b"/%b %.1f Tf 1 0 0 1 %.2f %.2f Tm" % (self._fonts[run.face].name, text.size_pt, x, y))
            if run.thin:
                parts.append(b"2 Tr %.3f w" % (text.size_pt * _EMBOLDEN_EM))
            parts += self._show(run, text.size_pt)
            if run.thin:
                parts.append(b"0 Tr")
            x += sum(glyph.advance for glyph in run.glyphs) * text.size_pt / 1000
        return b"\n".join([*parts, b"0 Ts ET EMC"])

    def _show(self, run: Run, size_pt: float) -> Sequence[bytes]:
        """One TJ for glyphs on one height. Where a glyph stands aside, the pen is moved before it."""
        numbers = self._fonts[run.face].numbers
        shown: list[bytes] = []
        array: list[bytes] = []
        pen = wanted = rise = 0.0
        for glyph in run.glyphs:
            if glyph.dy != rise:
                shown += _flush(array, rise, size_pt)
                array, rise = [], glyph.dy
            if abs(move := pen - wanted - glyph.dx) > 0.05:
                array.append(b"%.1f" % move)
                pen -= round(move, 1)
            array.append(b"<%04X>" % numbers[glyph.number])
            pen += run.face.width(glyph.number)
            wanted += glyph.advance
        return [*shown, *_flush(array, rise, size_pt)]


def _flush(array: list[bytes], rise: float, size_pt: float) -> list[bytes]:
    return [b"%.2f Ts [%b] TJ" % (rise * size_pt / 1000, b"".join(array))] if array else []


def _span(line: ShapedLine) -> bytes:
    return b"/Span <</ActualText <FEFF%b>>> BDC" % _hex(line.text) if line.one_way else b"/Span BMC"


def _hex(text: str) -> bytes:
    return text.encode("utf-16-be", "replace").hex().upper().encode()


def _tag(glyphs: Iterable[int]) -> str:
    """The six letters that a cut font's name begins with."""
    number = crc32(repr(sorted(glyphs)).encode())
    return "".join(chr(ord("A") + number // 26**place % 26) for place in range(6))
