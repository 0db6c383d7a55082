"""The stamp: as fpdf2 alone would have drawn it, the same bytes each time, and a sound PDF."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image, ImageChops

from tests.receipts import GALA, NOBODY, SEALER, ZOE, a_purchase, pictures, pure, text_of
from ticketing.model import Contact, Event, Purchase
from ticketing.receipts.scan import codes_in
from workers.layout import CODE_MM, PAGE_MM
from workers.receipt_pdf import RENDERER_VERSION, STAMPS_MAX, ReceiptRenderer

CHARSETS = {
    "none": "",
    "ascii": "Ann Lee",
    "latin-1": "Zoë Müller",
    "latin": "Łukasz Đorđe",
    "wide": "Ελένη Ђура Nguyễn",
}
SHAPED = Contact("山田太郎 שלום 😀")


@pytest.fixture
def renderer() -> ReceiptRenderer:
    return ReceiptRenderer(SEALER)


def differences(one: Image.Image, other: Image.Image) -> tuple[int, int]:
    """The largest difference of a pixel outside the QR code, and inside it, of 255."""
    difference = ImageChops.difference(one, other)
    scale = one.width / PAGE_MM[0]
    left, top, side = CODE_MM
    box = tuple(round(edge * scale) for edge in (left - 1, top - 1, left + side + 1, top + side + 1))
    inside = difference.crop(box)
    difference.paste((0, 0, 0), box)
    return _largest(difference), _largest(inside)


def _largest(picture: Image.Image) -> int:
    return max(high for _, high in picture.getextrema())


@pytest.mark.parametrize("name", CHARSETS.values(), ids=CHARSETS)
@pytest.mark.parametrize(
    "event",
    [GALA, replace(GALA, name="AVATAR & To Wave", accent="#ffe27a", address="", organiser="")],
    ids=["dark", "light"],
)
def test_a_stamped_page_is_pixel_for_pixel_what_fpdf2_draws(renderer: ReceiptRenderer, name: str, event: Event) -> None:
    purchase, contact = a_purchase(2), Contact(name)
    stamped = pictures(renderer.render(event, purchase, contact), dpi=150)
    drawn = pictures(pure(event, purchase, contact), dpi=150)
    assert len(stamped) == len(drawn) == 2
    for one, other in zip(stamped, drawn, strict=True):
        outside, inside = differences(one, other)
        assert outside == 0
        assert inside <= 1  # pdfium multiplies two matrices here and one there: its floats may round a grey otherwise


def test_the_comparison_would_see_a_letter_out_of_place(renderer: ReceiptRenderer) -> None:
    one = pictures(renderer.render(GALA, a_purchase(), Contact("Ann Lee")))[0]
    other = pictures(renderer.render(GALA, a_purchase(), Contact("Ann Lea")))[0]
    assert differences(one, other)[0] > 100


@pytest.mark.parametrize("contact", [NOBODY, ZOE, SHAPED], ids=["nobody", "plain", "shaped"])
def test_the_same_purchase_gives_the_same_bytes(contact: Contact) -> None:
    purchase = a_purchase(3)
    renderer = ReceiptRenderer(SEALER)
    first = renderer.render(GALA, purchase, contact)
    renderer.render(GALA, a_purchase(1), Contact("Somebody Else Ωμέγα"))
    assert renderer.render(GALA, purchase, contact) == first
    assert ReceiptRenderer(SEALER).render(GALA, purchase, contact) == first


def test_another_process_gives_the_same_bytes() -> None:
    event = replace(GALA, name="夏の音楽祭 Gala")
    code = (
        "import hashlib; from dataclasses import replace; from tests.receipts import *;"
        "from workers.receipt_pdf import ReceiptRenderer; renderer = ReceiptRenderer(SEALER);"
        "event = replace(GALA, name='夏の音楽祭 Gala');"
        "print([hashlib.sha256(renderer.render(event, a_purchase(2), Contact(name))).hexdigest()"
        " for name in ('Zoë Müller', '山田太郎 שלום 😀')])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4217", "TZ": "Asia/Tokyo", "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    pdfs = [ReceiptRenderer(SEALER).render(event, a_purchase(2), contact) for contact in (ZOE, SHAPED)]
    assert ran.stdout.strip() == str([hashlib.sha256(pdf).hexdigest() for pdf in pdfs])


@pytest.mark.parametrize("quantity", [1, 4, 10, 100])
def test_each_ticket_has_its_page_and_its_code(renderer: ReceiptRenderer, quantity: int) -> None:
    purchase = a_purchase(quantity)
    pdf = renderer.render(GALA, purchase, ZOE)
    document = pypdfium2.PdfDocument(pdf)
    texts = [page.get_textpage().get_text_range() for page in document]
    document.close()
    assert len(texts) == quantity
    for number, (ticket, text) in enumerate(zip(purchase.ticket_ids, texts, strict=True), 1):
        assert text.count(ticket) == 2  # beside the code and under it
        assert f"{number} OF {quantity}" in text
        assert purchase.purchase_id in text
    if quantity <= 10:
        assert codes_in(pdf, 110) == [SEALER.seal("1", ticket) for ticket in purchase.ticket_ids]


def test_the_page_tells_all_there_is_to_tell(renderer: ReceiptRenderer) -> None:
    text = text_of(renderer.render(GALA, a_purchase(4), ZOE))
    for words in (
        "Midsummer Night Gala", "Royal Albert Hall", "Kensington Gore, London SW7 2AP", "Friday, 18 June 2027", "19:30",
        "BST (UTC+01:00)", "£45.00", "E1-004217", "Zoë Müller", "1 OF 4", "1.7f3a9c0d2b4e6f8a1c3d5e7f90a1",
        "4 \u00d7 £45.00 = £180.00", "Sold 24 Nov 2026, 21:37 GMT", "Organised by Albert Nights Ltd.", "HOLDER",
    ):  # fmt: skip
        assert words in text


def test_without_a_holder_nothing_is_said_of_one(renderer: ReceiptRenderer) -> None:
    for contact in (NOBODY, Contact("  \u202e\t ", email="a@example.org")):
        text = text_of(renderer.render(GALA, a_purchase(), contact))
        assert "HOLDER" not in text
        assert "example" not in text
        assert text.count("E1-004217") == 2


def test_free_tickets_say_so(renderer: ReceiptRenderer) -> None:
    text = text_of(renderer.render(replace(GALA, price_amount="0.00"), a_purchase(2), ZOE))
    assert "Free" in text
    assert "2 tickets, free of charge" in text
    assert "£" not in text


def test_the_file_says_what_it_is(renderer: ReceiptRenderer) -> None:
    pdf = renderer.render(GALA, a_purchase(), ZOE)
    document = pypdfium2.PdfDocument(pdf)
    about = document.get_metadata_dict(skip_empty=True)
    document.close()
    assert about["Title"] == "Midsummer Night Gala \N{EN DASH} E1-004217"
    assert about["Author"] == "Albert Nights Ltd"
    assert about["CreationDate"] == "D:20261124213705Z"
    assert b"/Lang (en)" in pdf
    assert b"/DisplayDocTitle true" in pdf
    assert pdf.endswith(b"%%EOF\n")


def test_titles_with_brackets_and_other_scripts_stay_whole(renderer: ReceiptRenderer) -> None:
    for name in ("Rock (and) Roll \\ 2", "夏の音楽祭", "a) Tj (b", "\u28a8\u5c29 \u0a0d"):
        document = pypdfium2.PdfDocument(renderer.render(replace(GALA, name=name), a_purchase(), ZOE))
        assert document.get_metadata_value("Title").startswith(name.split(" \u0a0d")[0])
        document.close()


def test_a_changed_event_is_drawn_anew(renderer: ReceiptRenderer) -> None:
    assert "19:30" in text_of(renderer.render(GALA, a_purchase(), ZOE))
    moved = replace(GALA, starts_at_ms=GALA.starts_at_ms + 3_600_000, revision=2)
    assert "20:30" in text_of(renderer.render(moved, a_purchase(), ZOE))


def test_stamps_are_kept_for_the_last_events_only(renderer: ReceiptRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STAMPS_MAX == 64
    monkeypatch.setattr("workers.receipt_pdf.STAMPS_MAX", 2)
    for number in range(4):
        renderer.render(replace(GALA, revision=number), a_purchase(), Contact("Ann"))
    assert [event.revision for event, _ in renderer._stamps] == [2, 3]
    renderer.render(replace(GALA, revision=2), a_purchase(), Contact("Ann"))
    assert [event.revision for event, _ in renderer._stamps] == [3, 2]


def test_a_prepared_event_needs_no_drawing_for_usual_names(renderer: ReceiptRenderer) -> None:
    renderer.prepare(GALA)
    kept = dict(renderer._stamps)
    for contact in (NOBODY, ZOE, Contact("Ann Lee"), SHAPED):
        renderer.render(GALA, a_purchase(), contact)
    assert dict(renderer._stamps) == kept


def test_a_purchase_of_another_event_is_refused(renderer: ReceiptRenderer) -> None:
    with pytest.raises(ValueError, match="not a ticket id of event"):
        renderer.render(GALA, a_purchase(1, "2"), ZOE)


def test_the_renderer_version_names_all_that_makes_the_bytes() -> None:
    assert "2.8.9" in RENDERER_VERSION
    assert len(RENDERER_VERSION.split("-")) == 8


def test_a_receipt_is_small(renderer: ReceiptRenderer) -> None:
    assert len(renderer.render(GALA, a_purchase(), Contact("Ann Lee"))) < 30_000
    assert len(renderer.render(GALA, a_purchase(100), Contact("Ann Lee"))) < 300_000


@pytest.mark.skipif(not shutil.which("qpdf"), reason="qpdf is not installed (apt-get install qpdf)")
@pytest.mark.parametrize("contact", [NOBODY, ZOE, SHAPED], ids=["nobody", "plain", "shaped"])
@pytest.mark.parametrize("name", [GALA.name, "夏の音楽祭 ليلة"], ids=["plain", "shaped"])
def test_qpdf_finds_nothing_wrong(renderer: ReceiptRenderer, tmp_path: Path, name: str, contact: Contact) -> None:
    path = tmp_path / "receipt.pdf"
    purchase: Purchase = a_purchase(4)
    path.write_bytes(renderer.render(replace(GALA, name=name), purchase, contact))
    ran = subprocess.run(["qpdf", "--check", path], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
