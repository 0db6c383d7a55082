"""The QR codes: what zxing made is what is drawn, and what is drawn is read back."""

import re

import pytest
import zxingcpp
from PIL import Image

from tests.receipts import GALA, SEALER, ZOE, a_purchase, pictures
from ticketing.receipts.scan import codes_in
from workers import qr
from workers.receipt_pdf import ReceiptRenderer

CODE = SEALER.seal("1", "E1-004217")

# ISO/IEC 18004, table 12 and 8.9: two bits of level and three of mask, masked with 10101 in this place.
LEVEL_BITS = {"L": 0b01, "M": 0b00, "Q": 0b11, "H": 0b10}


def format_of(side: int, picture: bytes) -> tuple[str, int]:
    """Error correction level and mask, as the code itself states them beside its upper left corner."""
    bits = [picture[8 * side + column] == 0 for column in range(5)]
    value = int("".join("1" if bit else "0" for bit in bits), 2) ^ 0b10101
    level = next(name for name, wanted in LEVEL_BITS.items() if wanted == value >> 3)
    return level, value & 0b111


def made_with(**options: object) -> tuple[int, bytes]:
    code = zxingcpp.create_barcode(CODE, zxingcpp.BarcodeFormat.QRCode, **options)
    picture = code.to_image(scale=1, add_quiet_zones=False)
    return picture.shape[0], memoryview(picture).tobytes()


def redrawn(side: int, path: bytes) -> bytes:
    """The modules that a path's rectangles cover."""
    canvas = bytearray(b"\xff" * side * side)
    for column, row, width, height in re.findall(rb"(\d+) (\d+) (\d+) (\d+) re", path):
        assert int(height) == 1
        start = int(row) * side + int(column)
        assert set(canvas[start : start + int(width)]) == {255}, "two rectangles overlap"
        canvas[start : start + int(width)] = bytes(int(width))
    return bytes(canvas)


def test_the_code_states_the_level_and_the_mask_that_were_asked_for() -> None:
    assert format_of(*qr.modules(CODE)) == (qr.ERROR_CORRECTION, qr.DATA_MASK) == ("M", 3)


@pytest.mark.parametrize("mask", range(8))
@pytest.mark.parametrize("level", LEVEL_BITS)
def test_both_keywords_of_zxing_have_their_effect(level: str, mask: int) -> None:
    assert format_of(*made_with(ec_level=level, data_mask=mask)) == (level, mask)


def test_a_usual_code_has_37_modules_a_side() -> None:
    assert qr.modules(CODE)[0] == 37


@pytest.mark.parametrize("text", [CODE, "A", "x" * 20, "TK1" + "Z" * 215, "0" * 3000], ids=len)
def test_the_path_covers_exactly_the_dark_modules(text: str) -> None:
    side, picture = qr.modules(text)
    drawn_side, path = qr.path(text)
    assert drawn_side == side
    assert redrawn(side, path) == picture
    assert path.endswith(b"f")
    assert path.count(b"f") == 1


@pytest.mark.parametrize("dpi", [100, 150, 200, 300])
def test_the_code_is_read_from_the_page(dpi: int) -> None:
    pdf = ReceiptRenderer(SEALER).render(GALA, a_purchase(2), ZOE)
    assert codes_in(pdf, dpi) == [SEALER.seal("1", "E1-004217"), SEALER.seal("1", "E1-004218")]


@pytest.mark.parametrize("degrees", [7, 90, 180, 200])
def test_the_code_is_read_from_a_page_that_was_turned_and_badly_photographed(degrees: int) -> None:
    pdf = ReceiptRenderer(SEALER).render(GALA, a_purchase(), ZOE)
    page = pictures(pdf, 150)[0].convert("L").rotate(degrees, expand=True, fillcolor=128)
    small = page.resize((page.width * 2 // 3, page.height * 2 // 3), Image.Resampling.BILINEAR)
    assert [found.text for found in zxingcpp.read_barcodes(small)] == [CODE]


def test_the_code_of_the_longest_event_id_is_read_too() -> None:
    event_id = "W" * 64
    from dataclasses import replace

    pdf = ReceiptRenderer(SEALER).render(replace(GALA, event_id=event_id), a_purchase(1, event_id), ZOE)
    assert codes_in(pdf, 150) == [SEALER.seal(event_id, f"E{event_id}-004217")]
