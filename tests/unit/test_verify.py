"""What a gate asks: of one code, or of a whole PDF."""

from pathlib import Path

import pytest

from tests.receipts import GALA, NOBODY, SEALER, ZOE, a_purchase
from ticketing.receipts.scan import UnreadableFile, codes_in
from ticketing.receipts.verify import Verdict, verify
from workers.art import Sheet
from workers.receipt_pdf import ReceiptRenderer

KEYS = [SEALER.public_key]
CODE = SEALER.seal("1", "E1-004217")


def test_a_genuine_code_is_told_with_its_ticket() -> None:
    (verdict,) = verify(CODE, KEYS)
    assert verdict.genuine
    assert verdict.sealed is not None
    assert (verdict.sealed.event_id, verdict.sealed.ticket_id) == ("1", "E1-004217")


def test_space_around_a_code_that_was_copied_does_no_harm() -> None:
    assert [verdict.genuine for verdict in verify(f"  {CODE}\n", KEYS)] == [True]


@pytest.mark.parametrize("source", [CODE[:-1] + ("0" if CODE[-1] != "0" else "1"), CODE[:-3], "hello", "TK1"])
def test_another_text_is_refused_with_a_reason(source: str) -> None:
    (verdict,) = verify(source, KEYS)
    assert not verdict.genuine
    assert verdict.problem


@pytest.mark.parametrize("contact", [ZOE, NOBODY])
def test_every_ticket_of_a_pdf_is_genuine_and_in_order(tmp_path: Path, contact: object) -> None:
    path = tmp_path / "receipt.pdf"
    purchase = a_purchase(4)
    path.write_bytes(ReceiptRenderer(SEALER).render(GALA, purchase, contact))
    verdicts = verify(str(path), KEYS)
    assert [verdict.sealed and verdict.sealed.ticket_id for verdict in verdicts] == list(purchase.ticket_ids)


def test_a_pdf_without_codes_gives_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "empty.pdf"
    sheet = Sheet("empty")
    sheet.add_page()
    path.write_bytes(sheet.output())
    assert verify(str(path), KEYS) == []


@pytest.mark.parametrize("content", [None, b"", b"no PDF"])
def test_a_file_that_is_missing_or_no_pdf_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "receipt.pdf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"receipt\.pdf"):
        verify(str(path), KEYS)


def test_the_pdf_of_another_key_is_refused(tmp_path: Path) -> None:
    from tests.unit.test_seal import another_sealer

    path = tmp_path / "receipt.pdf"
    path.write_bytes(ReceiptRenderer(another_sealer()).render(GALA, a_purchase(2), ZOE))
    assert [verdict.genuine for verdict in verify(str(path), KEYS)] == [False, False]


def test_a_verdict_without_a_ticket_is_not_genuine() -> None:
    assert not Verdict("TK1", problem="made up").genuine


def test_codes_are_read_from_bytes_as_from_a_file() -> None:
    assert codes_in(ReceiptRenderer(SEALER).render(GALA, a_purchase(), ZOE)) == [CODE]
