"""Currencies: one table of their decimals, for the events file and for the receipt."""

import json

import pytest

from seeds.events_file import parse
from ticketing.money import DECIMALS, decimals_of
from workers import wording


@pytest.mark.parametrize(
    ("decimals", "currencies"),
    [
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (2, "EUR GBP USD CHF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    ],
)
def test_the_file_and_the_receipt_give_each_currency_its_decimals(decimals: int, currencies: str) -> None:
    for currency in currencies.split():
        price = {"amount": "7", "currency": currency}
        entry = {"event_id": "1", "name": "a", "venue": "b", "starts_at": "2031-06-18T19:30Z", "tickets": 1}
        [plan] = parse(json.dumps([{**entry, "price": price}]))
        written = f"7.{'0' * decimals}".rstrip(".")
        assert decimals_of(currency) == decimals
        assert plan.event.price_amount == written
        assert wording.money("7", currency).endswith(written)
        assert not wording.money("7", currency).endswith(f"{written}0" if decimals else "7.0")


def test_only_codes_that_are_three_capitals_stand_in_the_table() -> None:
    assert all(len(code) == 3 and code.isupper() for code in DECIMALS)
    assert len(DECIMALS) == 26
