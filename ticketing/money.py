"""How many decimals a currency has: ISO 4217, list one, as the events file is checked and a receipt is written by it.

What must stay true: this is the only table of them; a currency that is not in it has two.
"""

_USUAL = 2
_OTHERS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DECIMALS = {currency: decimals for decimals, currencies in _OTHERS.items() for currency in currencies.split()}


def decimals_of(currency: str) -> int:
    """The decimals of an ISO 4217 code, such as 2 for "EUR"; unknown ones have 2."""
    return DECIMALS.get(currency, _USUAL)
