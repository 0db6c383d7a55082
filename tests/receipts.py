"""What the tests and the benchmark of receipts share: sample values, pages as pictures, and a receipt by fpdf2 alone.

What must stay true: `pure` uses public calls of fpdf2 only, and none of the stamp.
"""

import base64
import re
from datetime import UTC, datetime

import pypdfium2
from PIL import Image

from ticketing.model import Contact, Event, Purchase, ticket_id
from ticketing.receipts.seal import Sealer
from workers import layout, qr, wording
from workers.art import FAMILY, Sheet, draw
from workers.layout import CODE_MM, EventFormat, PurchaseWords

SIGNING_KEY = base64.b64encode(bytes(range(32))).decode()
SEALER = Sealer(SIGNING_KEY)
GALA = Event(
    event_id="1",
    name="Midsummer Night Gala",
    venue="Royal Albert Hall",
    starts_at_ms=1_813_343_400_000,  # 18 June 2027, 18:30 UTC
    timezone="Europe/London",
    price_amount="45.00",
    price_currency="GBP",
    address="Kensington Gore, London SW7 2AP",
    organiser="Albert Nights Ltd",
)
ZOE = Contact("Zoë Müller")
NOBODY = Contact()


def a_purchase(quantity: int = 1, event_id: str = "1") -> Purchase:
    """The same purchase each time."""
    tickets = tuple(ticket_id(event_id, 4217 + number) for number in range(quantity))
    return Purchase(
        f"{event_id}.7f3a9c0d2b4e6f8a1c3d5e7f90a1", event_id, "0" * 16, 1_795_556_225_000, len(tickets), tickets
    )


def pictures(pdf: bytes, dpi: int = 150) -> list[Image.Image]:
    """Each page as pdfium draws it."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.render(scale=dpi / 72).to_pil().convert("RGB") for page in document]
    finally:
        document.close()


def text_of(pdf: bytes, page: int = 0) -> str:
    """The text that a reader would copy from a page."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return str(document[page].get_textpage().get_text_range())
    finally:
        document.close()


def pure(event: Event, purchase: Purchase, contact: Contact, sealer: Sealer = SEALER) -> bytes:
    """The receipt as fpdf2 alone draws it, each page from nothing."""
    form = EventFormat(event)
    sheet = Sheet(form.title)
    sheet.set_creation_date(datetime.fromtimestamp(purchase.sold_at_ms / 1000, UTC))
    holder = wording.clean(contact.name)
    words = PurchaseWords(
        holder,
        purchase.purchase_id,
        wording.total(purchase.quantity, event.price_amount, event.price_currency),
        wording.sold(wording.local_time(purchase.sold_at_ms, event.timezone)),
    )
    for number, ticket in enumerate(purchase.ticket_ids, 1):
        assert not draw(sheet, form, _shaped_width_of(sheet))
        count = f"{number} OF {purchase.quantity}"
        width = _width_of(sheet)
        for text in [
            *layout.purchase_texts(words, width),
            *layout.purchase_labels(bool(holder)),
            *layout.ticket_texts(form, ticket, count, bool(holder), width),
        ]:
            sheet.write_plain(text)
        _draw_code(sheet, sealer.seal(event.event_id, ticket))
    return bytes(sheet.output())


def _width_of(sheet: Sheet) -> layout.EmWidth:
    def width(text: str, bold: bool) -> float:
        sheet.set_font(FAMILY[bold], size=100)
        return sheet.get_string_width(text) * sheet.k / 100

    return width


def _shaped_width_of(sheet: Sheet) -> layout.EmWidth:
    plain = _width_of(sheet)

    def width(text: str, bold: bool) -> float:
        sheet.set_text_shaping(True)
        try:
            return plain(text, bold)
        finally:
            sheet.set_text_shaping(False)

    return width


def _draw_code(sheet: Sheet, code: str) -> None:
    left, top, side_mm = CODE_MM
    side, picture = qr.modules(code)
    module = round(side_mm / side, 4)
    with sheet.new_path() as path:
        path.style.fill_color = "#000000"
        path.style.stroke_color = None
        for row in range(side):
            for run in re.finditer(rb"\x00+", picture[row * side : (row + 1) * side]):
                x, width = left + run.start() * module, (run.end() - run.start()) * module
                path.rectangle(x, top + row * module, width, module)


def ink_in(picture: Image.Image, box_mm: tuple[float, float, float, float]) -> int:
    """How many pixels of a box (left, top, right, bottom) differ from its upper left one."""
    scale = picture.width / layout.PAGE_MM[0]
    part = picture.crop(tuple(round(edge * scale) for edge in box_mm)).convert("L")
    ground = part.getpixel((0, 0))
    return sum(abs(value - ground) > 24 for value in part.get_flattened_data())
