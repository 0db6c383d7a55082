"""Where everything stands on the page of a ticket, and how its texts are fitted into their places. Pure: no PDF here.

What must stay true: no text leaves its box, and boxes never touch; ids and money are never cut; what depends on the
event alone comes from `event_texts`, the rest from `purchase_texts` and `ticket_texts`.

Places are in mm from the upper left corner of the page, sizes in points.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from ticketing.model import Event
from workers import wording
from workers.fitting import Ladder, Step, Width, fit
from workers.palette import GREY, INK, Colour, Palette

PAGE_MM = (148.0, 210.0)
POINTS_PER_MM = 72 / 25.4
HERO_MM = 80.0  # height of the coloured part
CARD_MM = (6.0, 70.0, 136.0, 96.0)  # left, top, width, height
PERFORATION_MM = 92.4
CODE_MM = (88.0, 100.0, 48.0)  # left, top, side; the white around it is wider than four modules
RULE_MM = 194.6
_LEFT, _RIGHT, _ASIDE = 12.0, 136.0, 88.0
_LINE = 1.22  # of the size, from line to line
_CAPITAL = 0.714  # of the size, the height of a capital

EmWidth = Callable[[str, bool], float]  # of a text, in bold or not


@dataclass(frozen=True, slots=True)
class Text:
    """One line, placed: `x_mm` is its left end, `y_mm` its base line."""

    text: str
    x_mm: float
    y_mm: float
    size_pt: float
    bold: bool
    colour: Colour
    spacing_pt: float = 0.0


@dataclass(frozen=True, slots=True)
class Box:
    """A place for a text: the base line of the first line (of the last, if it grows upwards) and the ways to set it."""

    x_mm: float
    y_mm: float
    width_mm: float
    ladder: Ladder
    bold: bool = True
    colour: Colour = INK
    align: str = "L"
    grows_up: bool = False

    def place(self, text: str, em_width: EmWidth) -> list[Text]:
        """`text` in this box."""
        bold = self.bold
        width_pt = self.width_mm * POINTS_PER_MM
        size_pt = self.ladder[0].size_pt
        if em_width(text, bold) * size_pt <= width_pt:
            return [self._line(text, self.y_mm, size_pt, em_width)]
        size_pt, lines = fit(text, width_pt, self.ladder, _in_style(em_width, bold))
        step_mm = size_pt * _LINE / POINTS_PER_MM
        first_mm = self.y_mm
        if self.grows_up:
            first_mm -= (len(lines) - 1) * step_mm
        elif len(lines) > 1:  # the tops of small capitals stand where those of large ones would
            first_mm -= (self.ladder[0].size_pt - size_pt) * _CAPITAL / POINTS_PER_MM
        return [self._line(line, first_mm + n * step_mm, size_pt, em_width) for n, line in enumerate(lines)]

    def _line(self, text: str, y_mm: float, size_pt: float, em_width: EmWidth) -> Text:
        x_mm = self.x_mm
        if self.align != "L":
            free_mm = self.width_mm - em_width(text, self.bold) * size_pt / POINTS_PER_MM
            x_mm += free_mm if self.align == "R" else free_mm / 2
        return Text(text, x_mm, y_mm, size_pt, self.bold, self.colour)


def _in_style(em_width: EmWidth, bold: bool) -> Width:
    return lambda text: em_width(text, bold)


def _steps(*steps: tuple[float, int]) -> Ladder:
    return tuple(Step(*step) for step in steps)


_TITLE = _steps((30, 1), (27, 1), (24, 1), (22, 2), (19, 2), (16, 2), (14, 3), (13, 4))
_SUBTITLE = _steps((12, 1), (11, 1), (10, 1), (9, 2), (8, 2))
_VENUE = _steps((10.5, 1), (9.5, 1), (8.5, 2), (7.5, 2))
_ADDRESS = _steps((8, 1), (7.5, 1), (7, 2), (6.5, 2))
_ADDRESS_SHORT = _steps((8, 1), (7, 1), (6, 1))
_VALUE = _steps((13, 1), (12, 1), (11, 1), (10, 1), (9, 1))
_ASIDE_VALUE = _steps((7.5, 1), (6.5, 1), (5.5, 1))
_HOLDER = _steps((12, 1), (11, 1), (10, 1), (9, 1), (9, 2), (8, 2), (7, 3))
_TICKET = _steps((12, 1), (11, 1), (10, 1), (9, 1), (9, 2), (8, 2), (6.5, 3))
_PRICE = _steps((12, 1), (10, 1), (8, 1), (7, 2), (6, 3))
_CAPTION = _steps((9, 1), (8, 1), (7, 1), (6, 1), (6, 2), (5, 3))
_PURCHASE = _steps((8, 1), (7, 1), (6.5, 1), (6, 1), (6, 2))
_SMALL = _steps((7.5, 1), (7, 1), (6, 1), (5, 1), (5, 2))
_TERMS = _steps((6.5, 1), (6, 1), (5.5, 1))

_COLUMN_MM = 68.0
TICKET_COUNT = Box(_LEFT + 74, 17.3, 50, _steps((8, 1)), align="R")  # in the colour that is read on the accent
HOLDER = Box(_LEFT, 126.4, _COLUMN_MM, _HOLDER)
TICKET = Box(_LEFT, 143.3, _COLUMN_MM, _TICKET)
TICKET_ALONE = Box(_LEFT, 134.6, _COLUMN_MM, _TICKET)  # where no holder is named
CAPTION = Box(_ASIDE, 153.4, 48, _CAPTION, align="C")
PURCHASE = Box(_LEFT, 183.2, _RIGHT - _LEFT, _PURCHASE, bold=False)
TOTAL = Box(_LEFT, 191.2, 72, _SMALL, bold=False)
SOLD = Box(_LEFT + 74, 191.2, 50, _SMALL, bold=False, align="R")
_LABEL_ABOVE_MM = 6.1

LABEL_SIZE_PT, LABEL_SPACING_PT = 6.5, 0.9
TERMS = (
    "Admits one person, once. The first scan of this code lets in; copies are refused. Keep it to yourself.",
    "Open this file at full brightness at the gate, or print it: one side, black and white is fine.",
)


class PurchaseWords(NamedTuple):
    """What a purchase says on each of its pages."""

    holder: str
    purchase_id: str
    total: str
    sold: str


class EventFormat:
    """An event's own look: its palette and its texts, which all its receipts share."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.palette = Palette.of(event.accent)
        self.title = wording.clean(event.name) or wording.clean(event.event_id)
        self.venue = wording.clean(event.venue)
        self.organiser = wording.clean(event.organiser)
        self.count_box = replace(TICKET_COUNT, colour=self.palette.text)

    def labels(self) -> Iterator[Text]:
        """The fixed words: the same on every receipt of every event, but for the colour of the first."""
        yield Text("ADMISSION TICKET", _LEFT, 17.3, 7.5, True, self.palette.quiet, 1.1)
        yield _label("DATE", _LEFT, 79.0)
        yield _label("STARTS", _ASIDE, 79.0)
        if self.venue or self.event.address:
            yield _label("VENUE", _LEFT, 102.0)
        yield _label("PRICE", _LEFT, 154.2)
        yield _label("RECEIPT", _LEFT, 178.0)

    def texts(self, em_width: EmWidth) -> Iterator[Text]:
        """The event's own words."""
        palette, event = self.palette, self.event
        starts = wording.local_time(event.starts_at_ms, event.timezone)
        yield from Box(_LEFT, 46.0, 124, _TITLE, colour=palette.text, grows_up=True).place(self.title, em_width)
        yield from Box(_LEFT, 57.4, 124, _SUBTITLE, bold=False, colour=palette.quiet).place(self.venue, em_width)
        yield from Box(_LEFT, 86.0, _ASIDE - _LEFT - 3, _VALUE).place(wording.day(starts), em_width)
        yield from _time(wording.clock(starts), wording.offset(starts), em_width)
        yield from self._place(em_width)
        price = wording.money(event.price_amount, event.price_currency)
        yield from Box(_LEFT, 160.3, _COLUMN_MM, _PRICE).place(price, em_width)
        yield from self._terms(em_width)

    def _place(self, em_width: EmWidth) -> Iterator[Text]:
        """Venue and address share three lines: an address has one where the venue took two."""
        y_mm = 107.3
        if self.venue:
            lines = Box(_LEFT, y_mm, _COLUMN_MM, _VENUE).place(self.venue, em_width)
            yield from lines
            y_mm = lines[-1].y_mm + 4.6
            ladder = _ADDRESS if len(lines) == 1 else _ADDRESS_SHORT
        else:
            ladder = _ADDRESS
        address = wording.clean(self.event.address)
        yield from Box(_LEFT, y_mm, _COLUMN_MM, ladder, bold=False, colour=GREY).place(address, em_width)

    def _terms(self, em_width: EmWidth) -> Iterator[Text]:
        lines = [*TERMS, f"Organised by {self.organiser}."] if self.organiser else TERMS
        for row, line in enumerate(lines):
            box = Box(_LEFT, 198.6 + 3.2 * row, _RIGHT - _LEFT, _TERMS, bold=False, colour=GREY)
            yield from box.place(line, em_width)


def _time(clock: str, offset: str, em_width: EmWidth) -> Iterator[Text]:
    yield from Box(_ASIDE, 86.0, _RIGHT - _ASIDE, _VALUE).place(clock, em_width)
    after_mm = _ASIDE + em_width(clock, True) * _VALUE[0].size_pt / POINTS_PER_MM + 1.6
    yield from Box(after_mm, 86.0, _RIGHT - after_mm, _ASIDE_VALUE, bold=False, colour=GREY).place(offset, em_width)


def _label(text: str, x_mm: float, y_mm: float) -> Text:
    return Text(text, x_mm, y_mm, LABEL_SIZE_PT, True, GREY, LABEL_SPACING_PT)


def purchase_labels(named: bool) -> list[Text]:
    """The labels that move: over the ticket's id, and over the holder's name where one was given."""
    boxes = {"HOLDER": HOLDER, "TICKET": TICKET} if named else {"TICKET": TICKET_ALONE}
    return [_label(label, box.x_mm, box.y_mm - _LABEL_ABOVE_MM) for label, box in boxes.items()]


def purchase_texts(words: PurchaseWords, em_width: EmWidth) -> list[Text]:
    """What is the same on every page of a purchase."""
    holder = HOLDER.place(words.holder, em_width) if words.holder else []
    return [
        *holder,
        *PURCHASE.place(words.purchase_id, em_width),
        *TOTAL.place(words.total, em_width),
        *SOLD.place(words.sold, em_width),
    ]


def ticket_texts(form: EventFormat, ticket_id: str, count: str, named: bool, em_width: EmWidth) -> list[Text]:
    """What each page of a purchase has of its own; `count` is such as "1 OF 4"."""
    return [
        *form.count_box.place(count, em_width),
        *(TICKET if named else TICKET_ALONE).place(ticket_id, em_width),
        *CAPTION.place(ticket_id, em_width),
    ]
