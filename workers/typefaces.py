"""The typefaces of receipts: the prepared ones, then those of weblate-fonts; each opened when it is first needed.

What must stay true: files are mapped into memory, and only of a typeface that is cut are the outlines copied, once;
the order in which typefaces are asked never changes within one RENDERER_VERSION.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import uharfbuzz as hb

from workers import fonts

REGULAR_PATH = fonts.FOLDER / "NotoSans-Regular.ttf"
BOLD_PATH = fonts.FOLDER / "NotoSans-Bold.ttf"
CJK_VARIANTS = ("SC", "TC", "JP", "KR")

_SUBSET_FLAGS = hb.SubsetFlags.NO_HINTING | hb.SubsetFlags.NOTDEF_OUTLINE | hb.SubsetFlags.NO_LAYOUT_CLOSURE
_TABLES_OF_A_PDF_FONT = ("glyf", "head", "hhea", "hmtx", "loca", "maxp")  # in the order that sfnt files ask for


@dataclass(frozen=True)
class Typeface:
    """One font file."""

    path: Path

    @cached_property
    def font(self) -> hb.Font:
        """For shaping."""
        return hb.Font(self._face)

    @cached_property
    def scale(self) -> float:
        """From the font's units to thousandths of the size."""
        return float(1000 / self._face.upem)

    @cached_property
    def name(self) -> str:
        """Its PostScript name, for the PDF."""
        return self.path.stem

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """Ascent and descent, in thousandths of the size."""
        extents = self.font.get_font_extents("ltr")
        return round(extents.ascender * self.scale), round(extents.descender * self.scale)

    def has(self, codes: Iterable[int]) -> bool:
        """Whether it has a glyph for every one of these characters."""
        return all(code in self._characters for code in codes)

    def width(self, glyph: int) -> int:
        """The advance of a glyph, in thousandths of the size."""
        return round(float(self.font.get_glyph_h_advance(glyph)) * self.scale)

    def cut(self, glyphs: Iterable[int]) -> tuple[bytes, dict[int, int]]:
        """A font file of these glyphs alone, and their numbers in it."""
        wanted = hb.SubsetInput()
        wanted.glyph_set.update(glyphs)
        wanted.flags = _SUBSET_FLAGS
        plan = hb.SubsetPlan(self._outlines, wanted)
        return plan.execute().blob.data, dict(plan.old_to_new_glyph_mapping)

    @cached_property
    def _face(self) -> hb.Face:
        return hb.Face(hb.Blob.from_file_path(str(self.path)))

    @cached_property
    def _outlines(self) -> hb.Face:
        """The outlines alone. HarfBuzz cuts them 60 times as fast as the whole file: it reads all that there is."""
        return hb.Face(_sfnt({tag: self._face.reference_table(tag).data for tag in _TABLES_OF_A_PDF_FONT}))

    @cached_property
    def _characters(self) -> frozenset[int]:
        return frozenset(self._face.unicodes)


def _sfnt(tables: dict[str, bytes]) -> bytes:
    """A TrueType file of these tables, by tag in ascending order. Checksums stay zero: HarfBuzz reads past them."""
    position = 12 + 16 * len(tables)
    head = [struct.pack(">IHHHH", 0x00010000, len(tables), 0, 0, 0)]
    bodies = []
    for tag, data in tables.items():
        head.append(struct.pack(">4sIII", tag.encode(), 0, position, len(data)))
        bodies.append(data + b"\0" * (-len(data) % 4))
        position += len(bodies[-1])
    return b"".join(head + bodies)


@dataclass(frozen=True)
class Typefaces:
    """The typefaces of one weight, in the order in which they are asked."""

    latin: Typeface  # Greek and Cyrillic too
    emoji: Typeface
    others: tuple[Typeface, ...]
    cjk: dict[str, Typeface]


@cache
def typefaces(bold: bool) -> Typefaces:
    """All of one weight. Only their paths are looked up here."""
    weight = "Bd" if bold else "Rg"
    kurinto = Path(str(resources.files("weblate_fonts"))) / "static/weblate_fonts/kurinto/ttf"
    two_weights = [f"{script}-{'Bold' if bold else 'Regular'}" for script in ("Hebrew", "Thai", "Devanagari")]
    one_weight = [f"{script}-SemiBold" for script in ("Khmer", "Myanmar")]
    prepared = [Typeface(fonts.FOLDER / f"NotoSans{name}.ttf") for name in (*two_weights, *one_weight)]
    return Typefaces(
        latin=Typeface(BOLD_PATH if bold else REGULAR_PATH),
        emoji=Typeface(fonts.FOLDER / "NotoEmoji-Medium.ttf"),
        others=(*prepared, Typeface(kurinto / f"KurintoSans-{weight}.ttf")),
        cjk={variant: Typeface(kurinto / f"KurintoSans{variant}-{weight}.ttf") for variant in CJK_VARIANTS},
    )
