"""Lines in any script: which font has each letter, which way it runs, and which glyphs HarfBuzz makes of it.

What must stay true: every visible character gets a glyph. One that no font has is drawn as the empty box of Noto Sans
and logged by its number; it never vanishes. The same text gives the same glyphs in any process.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import uharfbuzz as hb
from fontTools import unicodedata as scripts
from fpdf.bidi import BidiParagraph
from loguru import logger

from workers.fitting import clusters
from workers.typefaces import Typeface, typefaces

_SHARED_SCRIPTS = frozenset({"Zyyy", "Zinh", "Zzzz"})  # common, inherited, unknown: they go with their neighbours
_EMOJI_STYLE = "\ufe0f"
_CJK_SCRIPTS = frozenset({"Hani", "Hira", "Kata", "Bopo", "Hang"})
_KANA = frozenset({"Hira", "Kata"})  # Kurinto's are of one weight
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")
_UNSEEN = frozenset(map(chr, [0xAD, 0x34F, *range(0x200B, 0x2010), *range(0x2060, 0x2065), *range(0xFE00, 0xFE10)]))


class Glyph(NamedTuple):
    """One glyph, measured in thousandths of the size."""

    number: int  # in its typeface
    advance: float
    dx: float
    dy: float
    text: str  # the characters it stands for; "" where an earlier glyph stands for them


@dataclass(frozen=True, slots=True)
class Run:
    """Glyphs of one typeface, from left to right."""

    face: Typeface
    glyphs: tuple[Glyph, ...]
    thin: bool = False  # bold is asked for, and the typeface's bold is as light as its regular


@dataclass(frozen=True, slots=True)
class ShapedLine:
    """One line as it is drawn, from left to right."""

    text: str
    runs: tuple[Run, ...]
    width_em: float
    one_way: bool  # nothing in it runs from right to left


class _Letter(NamedTuple):
    text: str
    level: int  # of UAX 9: odd is from right to left
    face: Typeface
    script: str


def _run_key(letter: _Letter) -> tuple[int, Typeface, str]:
    return letter.level, letter.face, letter.script


@lru_cache(maxsize=512)
def shape(text: str, bold: bool, region: str = "") -> ShapedLine:
    """The glyphs of one clean line. `region` (of typefaces.CJK_VARIANTS) chooses between the forms of ideographs."""
    letters = _letters(text, bold, region)
    runs = tuple(
        _shaped_run(face, script, level, bold, "".join(letter.text for letter in group))
        for (level, face, script), group in groupby(_visual(letters), key=_run_key)
    )
    width = sum(glyph.advance for run in runs for glyph in run.glyphs)
    return ShapedLine(text, runs, width / 1000, all(letter.level == 0 for letter in letters))


def width_em(text: str, bold: bool, region: str = "") -> float:
    """The width of the shaped line."""
    return shape(text, bold, region).width_em


def _letters(text: str, bold: bool, region: str) -> list[_Letter]:
    levels = _levels(text)
    script = next((found for found in map(_script, text) if found not in _SHARED_SCRIPTS), "Zyyy")
    with_spaces = (typefaces(bold).latin, *typefaces(bold).others)  # an emoji's space would be too wide
    letters: list[_Letter] = []
    position = 0
    for cluster in clusters(text):
        script = next((found for found in map(_script, cluster) if found not in _SHARED_SCRIPTS), script)
        if cluster == " " and letters and letters[-1].face in with_spaces:
            face = letters[-1].face  # one run of two words, and one font less in the file
        else:
            face = _face_for(cluster, script, bold, region)
        letters.append(_Letter(cluster, levels[position], face, script))
        position += len(cluster)
    return letters


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    return str(scripts.script(character))


def _levels(text: str) -> list[int]:
    """The embedding level of each character, by the bidirectional algorithm of Unicode."""
    if text.isascii():
        return [0] * len(text)
    found = BidiParagraph(text, preserve_bn_chars=True).get_characters_with_embedding_level()
    return [character.embedding_level for character in found] if len(found) == len(text) else [0] * len(text)


def _visual(letters: list[_Letter]) -> list[_Letter]:
    """Letters as they stand from left to right; inside a run of one level they keep their logical order (rule L2)."""
    runs = [list(group) for _, group in groupby(letters, key=_run_key)]
    for level in range(max((letter.level for letter in letters), default=0), 0, -1):
        runs = _turned(runs, level)
    return [letter for run in runs for letter in run]


def _turned(runs: list[list[_Letter]], level: int) -> list[list[_Letter]]:
    """`runs` with each stretch of runs of this level or a higher one turned around."""
    turned: list[list[_Letter]] = []
    stretch: list[list[_Letter]] = []
    for run in runs:
        if run[0].level >= level:
            stretch.insert(0, run)
        else:
            turned += [*stretch, run]
            stretch = []
    return turned + stretch


def _face_for(cluster: str, script: str, bold: bool, region: str) -> Typeface:
    seen = [ord(character) for character in cluster if character not in _UNSEEN]
    candidates = _candidates(cluster, script, bold, region)
    for face in candidates:
        if face.has(seen):
            return face
    missing = [code for code in seen if not any(face.has([code]) for face in candidates)]
    if missing:
        _report(tuple(missing))
    return max(candidates, key=lambda face: sum(face.has([code]) for code in seen))


@lru_cache(maxsize=256)
def _report(missing: tuple[int, ...]) -> None:
    logger.warning("no font has {}: drawn as a box", " ".join(f"U+{code:04X}" for code in missing))


def _candidates(cluster: str, script: str, bold: bool, region: str) -> Iterable[Typeface]:
    order = typefaces(bold)
    if script in _CJK_SCRIPTS and cluster[0] >= "\u1100":
        return (*_cjk_first(order.cjk, script, region), order.latin, *order.others)
    if _EMOJI_STYLE in cluster:
        return (order.emoji, order.latin, *order.others, *order.cjk.values())
    return (order.latin, order.emoji, *order.others, *_cjk_first(order.cjk, script, region))


def _cjk_first(faces: dict[str, Typeface], script: str, region: str) -> Iterator[Typeface]:
    """The variant that the script or the region asks for, then the others."""
    wanted = {"Hira": "JP", "Kata": "JP", "Hang": "KR", "Bopo": "TC"}.get(script, region)
    if wanted in faces:
        yield faces[wanted]
    yield from (face for variant, face in faces.items() if variant != wanted)


def _shaped_run(face: Typeface, script: str, level: int, bold: bool, text: str) -> Run:
    buffer = hb.Buffer()
    buffer.cluster_level = hb.BufferClusterLevel.MONOTONE_CHARACTERS
    buffer.add_str(text)
    buffer.guess_segment_properties()
    if script not in _SHARED_SCRIPTS:
        buffer.script = script
    buffer.direction = "rtl" if level % 2 else "ltr"
    hb.shape(face.font, buffer)
    return Run(face, tuple(_glyphs(buffer, text, face.scale, level)), bold and script in _KANA)


def _glyphs(buffer: hb.Buffer, text: str, scale: float, level: int) -> Iterator[Glyph]:
    infos, positions = buffer.glyph_infos, buffer.glyph_positions
    starts = sorted({info.cluster for info in infos})
    ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
    told: set[int] = set()
    for info, position in zip(infos, positions, strict=True):
        meant = "" if info.cluster in told else text[info.cluster : ends[info.cluster]]
        told.add(info.cluster)
        if level % 2:  # viewers turn what they read: the letters of a ligature too, but not brackets into one another
            meant = meant[::-1].translate(_MIRRORED)
        yield Glyph(
            info.codepoint, position.x_advance * scale, position.x_offset * scale, position.y_offset * scale, meant
        )
