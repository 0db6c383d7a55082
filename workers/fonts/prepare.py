"""Makes the font files of this folder from the Noto fonts of one pinned wheel. Run by hand, never by the service.

    pip download --no-deps --dest /tmp/noto manimgx-fonts==2026.9.26.post1
    python -m workers.fonts.prepare /tmp/noto/manimgx_fonts-2026.9.26.post1-py3-none-any.whl

The sources are variable fonts. Each is fixed at one weight. Noto Sans is cut to Latin with Vietnamese, Greek, Cyrillic,
punctuation and currency signs, with kerning and placed accents, but without small capitals and other alternates; the
others keep all they have. Hints go: no viewer of PDF needs them. Running it twice makes the same bytes.
"""

import io
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

from workers.fonts import FOLDER

WESTERN = (
    *range(0x20, 0x7F),
    *range(0xA0, 0x530),  # Latin with its extensions, IPA, modifiers, combining accents, Greek, Cyrillic
    *range(0x1E00, 0x2000),  # Latin additional (Vietnamese), Greek extended
    *range(0x2000, 0x2194),  # punctuation, superscripts, currency signs, letterlike, number forms, arrows
    0x2212,  # minus sign
    0x2215,  # division slash
    0x25CC,  # the dotted circle that carries a lone accent
    *range(0xFB00, 0xFB07),  # ligatures
    0xFFFD,
)
WESTERN_FEATURES = ["kern", "mark", "mkmk", "ccmp", "locl", "liga"]
NAMES_KEPT = [0, 1, 2, 3, 4, 5, 6, 13, 14]  # copyright, family, style, version, licence
TABLES_DROPPED = ["MVAR", "STAT", "DSIG", "meta"]


class Recipe(NamedTuple):
    """One prepared file: what it is made from, at which weight, and what is kept."""

    source: str
    target: str
    weight: int
    characters: tuple[int, ...] = ()  # none: all
    features: tuple[str, ...] = ("*",)


RECIPES = (
    Recipe("NotoSans", "NotoSans-Regular", 400, WESTERN, tuple(WESTERN_FEATURES)),
    Recipe("NotoSans", "NotoSans-Bold", 700, WESTERN, tuple(WESTERN_FEATURES)),
    # Better than what weblate-fonts has: there they are of another style, or hardly bolder in bold.
    Recipe("NotoSansHebrew", "NotoSansHebrew-Regular", 400),
    Recipe("NotoSansHebrew", "NotoSansHebrew-Bold", 700),
    Recipe("NotoSansThai", "NotoSansThai-Regular", 400),
    Recipe("NotoSansThai", "NotoSansThai-Bold", 700),
    Recipe("NotoSansDevanagari", "NotoSansDevanagari-Regular", 400),
    Recipe("NotoSansDevanagari", "NotoSansDevanagari-Bold", 700),
    # Not in weblate-fonts, or only in part. One weight each, between regular and bold, serves both.
    Recipe("NotoEmoji", "NotoEmoji-Medium", 500),
    Recipe("NotoSansKhmer", "NotoSansKhmer-SemiBold", 600),
    Recipe("NotoSansMyanmar", "NotoSansMyanmar-SemiBold", 600),
)


def main(wheel_path: str) -> None:
    """Every file of RECIPES, and the licence, stand in this folder afterwards."""
    with zipfile.ZipFile(wheel_path) as wheel:
        for recipe in RECIPES:
            prepare(wheel.read(f"manimgx_fonts/{recipe.source}[wght].ttf"), recipe)
        licence = next(name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
        (FOLDER / "OFL.txt").write_bytes(wheel.read(licence))


def prepare(variable_font: bytes, recipe: Recipe) -> Path:
    """Writes the file of one recipe and returns its path."""
    font = TTFont(io.BytesIO(variable_font), recalcTimestamp=False)
    font = instancer.instantiateVariableFont(font, {"wght": recipe.weight})
    cutter = subset.Subsetter(_options(recipe))
    cutter.populate(unicodes=recipe.characters or sorted(font.getBestCmap()))
    cutter.subset(font)
    path = FOLDER / f"{recipe.target}.ttf"
    font.save(path)
    return path


def _options(recipe: Recipe) -> subset.Options:
    options = subset.Options(hinting=False, notdef_outline=True, recalc_timestamp=False, name_IDs=NAMES_KEPT)
    options.layout_features = list(recipe.features)
    options.drop_tables += TABLES_DROPPED
    return options


if __name__ == "__main__":
    main(sys.argv[1])
