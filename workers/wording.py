"""The words of a receipt: money, times and clean text, in English. No fonts, no places, no floats for money.

What must stay true: money is never rounded; a time is shown in the event's time zone, with what tells the zone; text
that comes from people has no character that could hide, reorder or leave its line.
"""

import re
import unicodedata
from datetime import UTC, datetime, tzinfo
from decimal import Context, Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ticketing.money import decimals_of

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

TIMES, MINUS, DASH = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"
TEXT_LENGTH_MAX = 300  # characters of one field; more could not be read on a page of this size
_ACCENTS_MAX = 4  # marks on one letter: real writing needs no more, and a tower of them would leave its line
_DIGITS = re.compile(r"-?\d{1,40}(\.\d{1,20})?", re.ASCII)
_EXACT = Context(prec=100)  # digits: Python's own 28 would round what _DIGITS lets through

# Only signs that say which currency it is, and that the prepared fonts have. Others are named by their code.
SYMBOLS = {
    "AUD": "A$", "BRL": "R$", "CAD": "CA$", "CRC": "₡", "EUR": "€", "GBP": "£", "GEL": "₾", "GHS": "₵", "HKD": "HK$",
    "ILS": "₪", "INR": "₹", "JPY": "¥", "KRW": "₩", "KZT": "₸", "LAK": "₭", "MNT": "₮", "MXN": "MX$", "NGN": "₦",
    "NZD": "NZ$", "PHP": "₱", "PYG": "₲", "RUB": "₽", "SGD": "S$", "TRY": "₺", "TWD": "NT$", "UAH": "₴", "USD": "$",
    "VND": "₫", "AZN": "₼",
}  # fmt: skip


def clean(text: str) -> str:
    """`text` in NFC, on one line, of bounded length, without control, bidi-override and half characters."""
    if text.isprintable() and max(text, default="") < "\u0300" and "  " not in text:
        return text.strip()[:TEXT_LENGTH_MAX].rstrip()  # the usual case: Latin letters, composed already
    kept: list[str] = []
    accents = 0
    for character in unicodedata.normalize("NFC", text[: 4 * TEXT_LENGTH_MAX]):
        category = unicodedata.category(character)
        accents = accents + 1 if category in ("Mn", "Me") else 0
        if category in ("Zs", "Zl", "Zp") or character in "\t\n\r":
            kept.append(" " if character != "\u00a0" else character)
        elif category not in ("Cc", "Cs") and character not in _HIDDEN and accents <= _ACCENTS_MAX:
            kept.append(character)
    return re.sub(" {2,}", " ", "".join(kept)).strip()[:TEXT_LENGTH_MAX].rstrip()


# Embeddings, overrides, isolates, direction marks, the byte order mark, and fillers that look like nothing.
_HIDDEN = frozenset(
    map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C, 0xFEFF, 0x115F, 0x1160, 0x3164])
)


@lru_cache(maxsize=256)
def money(amount: str, currency: str) -> str:
    """`amount` with the sign or code of its currency; "Free" for nothing. What is no number is shown as it is."""
    value = _decimal(amount)
    if value is None:
        return f"{amount} {currency}".strip()
    return "Free" if value == 0 else _with_currency(value, currency)


@lru_cache(maxsize=1024)
def total(quantity: int, amount: str, currency: str) -> str:
    """How the total comes about: "4 x £45.00 = £180.00", with a real multiplication sign."""
    value = _decimal(amount)
    if value is None:
        return f"{quantity} {TIMES} {money(amount, currency)}"
    if value == 0:
        return "1 ticket, free of charge" if quantity == 1 else f"{quantity} tickets, free of charge"
    sum_of_all = _EXACT.multiply(value, quantity)
    return f"{quantity} {TIMES} {_with_currency(value, currency)} = {_with_currency(sum_of_all, currency)}"


def _decimal(amount: str) -> Decimal | None:
    return Decimal(amount) if _DIGITS.fullmatch(amount) else None


def _with_currency(value: Decimal, currency: str) -> str:
    digits = f"{value:,.{_decimals_shown(value, currency)}f}"
    sign, digits = (MINUS, digits[1:]) if digits.startswith("-") else ("", digits)
    symbol = SYMBOLS.get(currency)
    return f"{sign}{symbol}{digits}" if symbol else f"{sign}{currency}\u00a0{digits}"


def _decimals_shown(value: Decimal, currency: str) -> int:
    """As many as the currency has, or more where the value would be rounded otherwise."""
    exponent = value.normalize(_EXACT).as_tuple().exponent
    return max(decimals_of(currency), -exponent if isinstance(exponent, int) else 0)


@lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """The time zone of an IANA name. An unknown one is UTC, and the receipt says so: it must come, and be true."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def local_time(at_ms: int, timezone: str) -> datetime:
    """The moment as clocks in `timezone` show it, to the second."""
    return datetime.fromtimestamp(at_ms // 1000, zone(timezone))


def day(moment: datetime) -> str:
    """Such as "Friday, 18 June 2027"."""
    return f"{DAYS[moment.weekday()]}, {moment.day} {MONTHS[moment.month - 1]} {moment.year}"


def clock(moment: datetime) -> str:
    """Such as "19:30"."""
    return f"{moment.hour:02d}:{moment.minute:02d}"


def offset(moment: datetime) -> str:
    """Such as "BST (UTC+01:00)", or "UTC+03:00" where the zone has no letters of its own."""
    name = moment.tzname() or ""
    if name == "UTC":
        return name
    shift = moment.strftime("%z")
    utc = f"UTC{shift[:3]}:{shift[3:5]}"
    return f"{name} ({utc})" if name.isalpha() else utc


def sold(moment: datetime) -> str:
    """Such as "Sold 24 Nov 2026, 21:37 GMT"."""
    name = moment.tzname() or ""
    where = name if name.isalpha() else offset(moment)
    return f"Sold {moment.day} {MONTHS[moment.month - 1][:3]} {moment.year}, {clock(moment)} {where}"
