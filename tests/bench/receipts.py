"""What a receipt costs: CPU milliseconds on one core, by each way of drawing it, and as ratios. Prints; stores nothing.

    python -m tests.bench.receipts                    the figures
    python -m tests.bench.receipts ops/receipt.png    a page as a picture, for the README

The best of several rounds counts: others on the machine can only make a round slower.
"""

import gc
import sys
import time
from collections.abc import Callable

from tests.receipts import GALA, SEALER, ZOE, a_purchase, pictures, pure
from ticketing.model import Contact
from ticketing.receipts.seal import Checker
from workers import qr
from workers.layout import EventFormat
from workers.receipt_pdf import RENDERER_VERSION, ReceiptRenderer
from workers.stamp import Stamp

ROUNDS = 7
ROUND_S = 0.25
PICTURE_DPI = 130


def cpu_ms(work: Callable[[], object]) -> float:
    """The CPU time of one call, by the best round."""
    began = time.process_time()
    work()
    once_s = max(time.process_time() - began, 1e-6)
    calls = max(1, min(5000, int(ROUND_S / once_s)))
    gc.collect()
    return min(_round_s(work, calls) for _ in range(ROUNDS)) / calls * 1000


def _round_s(work: Callable[[], object], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        work()
    return time.process_time() - began


def figures() -> dict[str, float]:
    """CPU ms a call, by what was called."""
    renderer = ReceiptRenderer(SEALER)
    one, four, hundred = a_purchase(1), a_purchase(4), a_purchase(100)
    codes = {
        purchase: [SEALER.seal("1", ticket) for ticket in purchase.ticket_ids] for purchase in (one, four, hundred)
    }
    stamp = Stamp(EventFormat(GALA), 1)
    code = codes[one][0]
    checker = Checker([SEALER.public_key])
    return {
        "plain fpdf2, 1 ticket": cpu_ms(lambda: pure(GALA, one, ZOE)),
        "plain fpdf2, 4 tickets": cpu_ms(lambda: pure(GALA, four, ZOE)),
        "stamp with QR, 1 ticket": cpu_ms(lambda: stamp.render(one, "Zoë Müller", codes[one])),
        "stamp with QR, 4 tickets": cpu_ms(lambda: stamp.render(four, "Zoë Müller", codes[four])),
        "stamp with QR, 100 tickets": cpu_ms(lambda: stamp.render(hundred, "Zoë Müller", codes[hundred])),
        "whole receipt (seal, QR, stamp), 1 ticket": cpu_ms(lambda: renderer.render(GALA, one, ZOE)),
        "whole receipt, 4 tickets": cpu_ms(lambda: renderer.render(GALA, four, ZOE)),
        "whole receipt, shaped Chinese name": cpu_ms(lambda: renderer.render(GALA, one, Contact("山田太郎"))),
        "whole receipt, shaped Arabic name": cpu_ms(lambda: renderer.render(GALA, one, Contact("محمد عبد الله"))),
        "sealing a code": cpu_ms(lambda: SEALER.seal("1", "E1-004217")),
        "checking a code": cpu_ms(lambda: checker.check(code)),
        "a QR code as a path": cpu_ms(lambda: qr.path(code)),
        "an event's stamp, drawn by fpdf2": cpu_ms(lambda: Stamp(EventFormat(GALA), 1)),
    }


def main() -> None:
    """Prints the figures, or writes the picture whose path was given."""
    if len(sys.argv) > 1:
        page = pictures(ReceiptRenderer(SEALER).render(GALA, a_purchase(4), ZOE), PICTURE_DPI)[0]
        page.quantize(128).save(sys.argv[1], optimize=True)
        return
    found = figures()
    base = found["plain fpdf2, 1 ticket"]
    print(f"renderer {RENDERER_VERSION}, Python {sys.version.split()[0]}")
    for name, ms in found.items():
        print(f"{name:45} {ms:9.3f} ms   plain fpdf2 / this = {base / ms:7.1f}")


if __name__ == "__main__":
    main()
