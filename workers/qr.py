"""QR codes as PDF paths: one filled path a code, a module a unit, the upper left corner at the origin.

What must stay true: the dark modules of the path are exactly those that zxing made. The mask is fixed: choosing one
costs zxing five times as long, and every reader reads any of the eight. zxing ignores keywords that it does not know,
without a word; tests/unit/test_qr.py proves that both have their effect.
"""

from operator import getitem
from typing import Any

import zxingcpp

ERROR_CORRECTION = "M"  # 15 % of a code may be lost
DATA_MASK = 3
_SIDE_MAX = 177  # modules, version 40
_DARK = 0  # a byte of zxing's picture, else 255

_TO_DIGIT = bytes(ord("1") if value == _DARK else ord("0") for value in range(256))
_ROWS = [b"%d" % row for row in range(_SIDE_MAX)]


def _strips(column: int, bits: int) -> bytes:
    """The dark runs among 8 modules from `column` on, as rectangles of a row that is still called R."""
    runs = []
    start = None
    for offset in range(9):
        dark = offset < 8 and bits >> (7 - offset) & 1
        if dark and start is None:
            start = offset
        elif not dark and start is not None:
            runs.append(b"%d R %d 1 re\n" % (column + start, offset - start))
            start = None
    return b"".join(runs)


# Eight modules are drawn by one look-up: the path of each of the 256 patterns, for each group of columns.
_PATHS = [[_strips(column, bits) for bits in range(256)] for column in range(0, _SIDE_MAX + 7, 8)]


def modules(text: str) -> tuple[int, bytes]:
    """The side in modules, and a byte a module row by row: 0 is dark, 255 light. No quiet zone."""
    code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level=ERROR_CORRECTION, data_mask=DATA_MASK)
    picture: Any = code.to_image(scale=1, add_quiet_zones=False)
    return picture.shape[0], memoryview(picture).tobytes()


def path(text: str) -> tuple[int, bytes]:
    """The side in modules, and the path (ending in its fill) with a module a unit, rows growing in y.

    All in one path, so that a viewer's smoothing leaves no seams between modules that touch.
    """
    side, picture = modules(text)
    groups = (side + 7) // 8
    digits = picture.translate(_TO_DIGIT)
    padding = b"0" * (groups * 8 - side)
    rows = padding.join([digits[row * side : (row + 1) * side] for row in range(side)]) + padding
    packed = int(rows, 2).to_bytes(groups * side, "big")
    strips = list(map(getitem, _PATHS[:groups] * side, packed))
    lines = [b"".join(strips[row * groups : (row + 1) * groups]).replace(b"R", _ROWS[row]) for row in range(side)]
    return side, b"".join(lines) + b"f"
