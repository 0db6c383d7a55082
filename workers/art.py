"""The page as fpdf2 draws it: the shapes, the labels and the event's own words. Only here is fpdf2 called to draw.

What must stay true: what is drawn depends on the event alone; a word that the prepared fonts can't set is handed
back, never left out. `alphabet` reads names of fpdf2 that its manual doesn't promise (font.subset, cw, cmap): its
version is pinned, and tests/unit/test_receipt_stamp.py compares each pixel with pages that fpdf2 alone has drawn.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fpdf import FPDF, ViewerPreferences
from fpdf.enums import StrokeCapStyle

from workers.layout import CARD_MM, HERO_MM, PAGE_MM, PERFORATION_MM, RULE_MM, EmWidth, EventFormat, Text
from workers.palette import HAIRLINE, PAPER, SHADOW, WHITE, Colour, Palette
from workers.shaping import shape
from workers.typefaces import BOLD_PATH, REGULAR_PATH, typefaces

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every table that it cuts

FAMILY = {False: "Regular", True: "Bold"}
_RING_CENTRE_MM = (132.0, 10.0)
_RING_RADII_MM = (20.0, 36.0, 52.0, 68.0, 84.0)
_RING_WIDTH_MM = 5.6
_CORNER_MM, _NOTCH_MM, _SHADOW_MM = 4.2, 3.0, 0.7


@dataclass(frozen=True)
class Alphabet:
    """What a stamp needs to set text in a font that fpdf2 has embedded: codes in hex, and advances in em."""

    font: int  # its number: /F1 ...
    codes: dict[str, str]
    advances: dict[str, float]


class Sheet(FPDF):
    """An empty page of a receipt, with the prepared fonts."""

    def __init__(self, title: str) -> None:
        super().__init__(format=PAGE_MM)
        self.set_margin(0)
        self.c_margin = 0
        self.set_auto_page_break(False)
        self.set_title(title)
        self.set_lang("en")
        self.viewer_preferences = ViewerPreferences(display_doc_title=True)
        self.add_font(FAMILY[False], fname=REGULAR_PATH)
        self.add_font(FAMILY[True], fname=BOLD_PATH)

    def write_plain(self, text: Text) -> None:
        """One line, a glyph a character, as the stamp sets the words of a purchase."""
        self._choose(text)
        self.set_char_spacing(text.spacing_pt)
        self.text(text.x_mm, text.y_mm, text.text)
        self.set_char_spacing(0)

    def write_shaped(self, text: Text) -> None:
        """One line with kerning and placed accents."""
        self._choose(text)
        self.set_text_shaping(True)
        self.set_xy(text.x_mm, text.y_mm - 0.8 * self.font_size)  # a cell of the font's height has its base line here
        self.cell(h=self.font_size, text=text.text)
        self.set_text_shaping(False)

    def _choose(self, text: Text) -> None:
        self.set_font(FAMILY[text.bold], size=text.size_pt)
        self.set_text_color(*text.colour)

    def alphabet(self, bold: bool, characters: Iterable[str]) -> Alphabet:
        """Embeds these characters, as far as the font has them, whether or not a text has used them."""
        font: Any = self.fonts[FAMILY[bold].lower()]
        known = [character for character in sorted(characters) if ord(character) in font.cmap]
        codes = {character: f"{font.subset.pick(ord(character)):04X}" for character in known}
        return Alphabet(font.i, codes, {character: font.cw[ord(character)] / 1000 for character in known})


def draw(sheet: Sheet, form: EventFormat, em_width: EmWidth) -> list[Text]:
    """Adds a page with all that the event decides; returns those of its texts that need other fonts or directions."""
    sheet.add_page()
    _shapes(sheet, form.palette)
    for label in form.labels():
        sheet.write_plain(label)
    left: list[Text] = []
    for text in filter(lambda text: text.text, form.texts(em_width)):  # an event may have no address or organiser
        if _is_plain(text):
            sheet.write_shaped(text)
        else:
            left.append(text)
    return left


def _is_plain(text: Text) -> bool:
    latin = typefaces(text.bold).latin
    return latin.has(map(ord, text.text)) and all(run.face is latin for run in shape(text.text, text.bold).runs)


def _shapes(sheet: Sheet, palette: Palette) -> None:
    _fill(sheet, PAPER, 0, 0, *PAGE_MM)
    _fill(sheet, palette.accent, 0, 0, PAGE_MM[0], HERO_MM)
    _rings(sheet, palette)
    _card(sheet, palette.pale)
    _perforation(sheet)
    sheet.set_draw_color(*HAIRLINE)
    sheet.set_line_width(0.2)
    sheet.line(12, RULE_MM, 136, RULE_MM)


def _fill(sheet: Sheet, colour: Colour, x: float, y: float, width: float, height: float, corner: float = 0) -> None:
    sheet.set_fill_color(*colour)
    sheet.rect(x, y, width, height, style="F", round_corners=corner > 0, corner_radius=corner)


def _rings(sheet: Sheet, palette: Palette) -> None:
    sheet.set_draw_color(*palette.ring)
    sheet.set_line_width(_RING_WIDTH_MM)
    with sheet.rect_clip(0, 0, PAGE_MM[0], HERO_MM):
        for radius_mm in _RING_RADII_MM:
            sheet.circle(*_RING_CENTRE_MM, radius=radius_mm, style="D")


def _card(sheet: Sheet, outlined: bool) -> None:
    left, top, width, height = CARD_MM
    _fill(sheet, SHADOW, left, top + _SHADOW_MM, width, height, _CORNER_MM)
    _fill(sheet, WHITE, left, top, width, height, _CORNER_MM)
    if outlined:
        sheet.set_draw_color(*HAIRLINE)
        sheet.set_line_width(0.2)
        sheet.rect(left, top, width, height, round_corners=True, corner_radius=_CORNER_MM)
    sheet.set_fill_color(*PAPER)
    for x_mm in (left, left + width):
        sheet.circle(x_mm, PERFORATION_MM, radius=_NOTCH_MM, style="F")


def _perforation(sheet: Sheet) -> None:
    with sheet.new_path(12, PERFORATION_MM) as path:
        path.style.fill_color = None
        path.style.stroke_color = "#cfd1d8"
        path.style.stroke_width = 0.8
        path.style.stroke_cap_style = StrokeCapStyle.ROUND
        path.style.stroke_dash_pattern = (0.01, 1.9)
        path.line_to(136, PERFORATION_MM)
