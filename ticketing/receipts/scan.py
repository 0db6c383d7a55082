"""Reads the QR codes of a PDF, as a gate's camera would: pages become pictures, and pictures are searched.

What must stay true: every code of every page is found, in the order of the pages. Needs no network and no key.
"""

from pathlib import Path

from ticketing.errors import TicketingError

SCAN_DPI = 200
_POINTS_PER_INCH = 72


class UnreadableFile(TicketingError):
    """The file is missing, or is no PDF that can be opened."""


def codes_in(pdf: Path | bytes, dpi: int = SCAN_DPI) -> list[str]:
    """The texts of all QR codes, page by page. Raises UnreadableFile."""
    # Imported here: the API never scans, and should not carry these libraries in every process.
    import pypdfium2  # noqa: PLC0415

    try:
        document = pypdfium2.PdfDocument(pdf)
    except (pypdfium2.PdfiumError, OSError) as error:
        raise UnreadableFile(f"{pdf if isinstance(pdf, Path) else 'this'} can't be read as a PDF") from error
    try:
        return [text for page in document for text in _codes_on(page, dpi)]
    finally:
        document.close()


def _codes_on(page: object, dpi: int) -> list[str]:
    import zxingcpp  # noqa: PLC0415

    picture = page.render(scale=dpi / _POINTS_PER_INCH, grayscale=True)  # type: ignore[attr-defined]
    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
    found = zxingcpp.read_barcodes(picture.to_pil(), formats=formats)
    return [code.text for code in found]
