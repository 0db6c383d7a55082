"""The events file: a JSON list of events, checked whole before anything is changed.

What must stay true: a file is taken entirely or not at all; every fault is named at once, each with its event and
field; a member that is not known is refused, since a misspelt limit must not sell without one.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from seeds.plan import EVENTS_MAX, TICKETS_MAX, Plan
from ticketing.errors import TicketingError
from ticketing.model import EVENT_ID, QUANTITY_MAX, QUANTITY_MAX_DEFAULT, Event
from ticketing.money import decimals_of

FILE_BYTES_MAX = 64 * 1024 * 1024
ACCENT_DEFAULT = "#232d78"

MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
AMOUNT = re.compile(r"(0|[1-9][0-9]{0,11})(\.([0-9]+))?", re.ASCII)
CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
ACCENT = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)

# Control characters, halves of surrogate pairs, line separators, and what turns the direction of a whole line.
UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
DIRECTION_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class EventsFileError(TicketingError):
    """The events file can't be taken; the text names every fault, a line each."""


def _printable(text: str) -> str:
    for character in text:
        if unicodedata.category(character) in UNPRINTABLE or character in DIRECTION_OVERRIDES:
            raise ValueError(f"holds the control character U+{ord(character):04X}")
    return unicodedata.normalize("NFC", text.strip())


def _said(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _event_id(text: str) -> str:
    if not EVENT_ID.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits, - or _ (A-Z, a-z, 0-9), and begin with a letter or digit")
    return text


def _timezone(name: str) -> str:
    if name not in _timezones():
        raise ValueError('is no time zone: use an IANA name such as "Europe/Berlin"')
    return name


def _currency(text: str) -> str:
    if not CURRENCY.fullmatch(text):
        raise ValueError('must be three capital letters, such as "EUR"')
    return text


def _accent(text: str) -> str:
    if not ACCENT.fullmatch(text):
        raise ValueError('must be a colour such as "#1f4e79"')
    return text.lower()


def _moment(text: object) -> datetime:
    """With an offset or without one; the event's time zone is applied later."""
    if not isinstance(text, str) or not MOMENT.fullmatch(text):
        raise ValueError('must be a time such as "2027-05-01T19:30:00+02:00", or "2027-05-01T19:30" (in the time zone)')
    moment = datetime.fromisoformat(text.upper())
    if not 1971 <= moment.year <= 9000:
        raise ValueError("must be in a year from 1971 to 9000")
    return moment


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


Line = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


class _Strict(BaseModel):
    """No member that is not known, no number in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PriceEntry(_Strict):
    """`{"amount": "49.00", "currency": "EUR"}`."""

    currency: Annotated[str, AfterValidator(_currency)]
    amount: str

    @field_validator("amount")
    @classmethod
    def _of_currency(cls, text: str, info: ValidationInfo) -> str:
        """The amount with all decimals of its currency."""
        parts = AMOUNT.fullmatch(text)
        if not parts:
            raise ValueError('must be a decimal number in quotes, such as "49.00"')
        currency = info.data.get("currency")
        given, decimals = parts[3] or "", decimals_of(str(currency))
        if currency and len(given) > decimals:
            raise ValueError(f"has {len(given)} decimals, {currency} has {decimals or 'none'}")
        return f"{parts[1]}.{given.ljust(decimals, '0')}" if decimals else parts[1]


class SalesEntry(_Strict):
    """`{"opens_at": "...", "closes_at": "..."}`."""

    opens_at: Moment | None = None
    closes_at: Moment | None = None


class LimitsEntry(_Strict):
    """`{"per_purchase": 10, "per_buyer": 20}`, in tickets."""

    per_purchase: Annotated[int, Field(ge=1, le=QUANTITY_MAX)] = QUANTITY_MAX_DEFAULT
    per_buyer: Annotated[int, Field(ge=1, le=TICKETS_MAX)] | None = None


class EventEntry(_Strict):
    """One event of the file."""

    event_id: Annotated[str, AfterValidator(_event_id)]
    name: Annotated[Line, AfterValidator(_said)]
    venue: Annotated[Line, AfterValidator(_said)]
    timezone: Annotated[str, AfterValidator(_timezone)] | None = None  # left out: the offset of starts_at
    starts_at: Moment
    price: PriceEntry
    tickets: Annotated[int, Field(ge=1, le=TICKETS_MAX)]
    address: Annotated[str, Field(max_length=300), AfterValidator(_printable)] = ""
    organiser: Line = ""
    sales: SalesEntry = SalesEntry()
    limits: LimitsEntry = LimitsEntry()
    accent: Annotated[str, AfterValidator(_accent)] = ACCENT_DEFAULT

    @field_validator("starts_at")
    @classmethod
    def _exists(cls, moment: datetime, info: ValidationInfo) -> datetime:
        if info.data.get("timezone", "a fault of its own") is None:
            _zone_of_offset(moment)
        return _in_zone(moment, info)

    @field_validator("sales")
    @classmethod
    def _opens_before_it_closes(cls, sales: SalesEntry, info: ValidationInfo) -> SalesEntry:
        moments = {name: _in_zone(moment, info, name) for name, moment in sales if moment is not None}
        if len(moments) == 2 and moments["opens_at"] >= moments["closes_at"]:
            raise ValueError("closes_at must be later than opens_at")
        starts_at = info.data.get("starts_at")
        if set(moments) == {"opens_at"} and starts_at is not None and moments["opens_at"] >= starts_at:
            raise ValueError(
                "opens_at must be earlier than starts_at, when the sale closes unless closes_at says otherwise"
            )
        return sales.model_copy(update=moments)

    def plan(self) -> Plan:
        """The entry as the store takes it."""
        return Plan(
            Event(
                event_id=self.event_id,
                name=self.name,
                venue=self.venue,
                starts_at_ms=_ms(self.starts_at),
                timezone=self.timezone or _zone_of_offset(self.starts_at),
                price_amount=self.price.amount,
                price_currency=self.price.currency,
                address=self.address,
                organiser=self.organiser,
                accent=self.accent,
                opens_ms=None if self.sales.opens_at is None else _ms(self.sales.opens_at),
                closes_ms=_ms(self.sales.closes_at or self.starts_at),
                quantity_max=self.limits.per_purchase,
                buyer_max=self.limits.per_buyer or 0,
            ),
            self.tickets,
        )


class _Place(NamedTuple):
    """Which entry of the file a fault belongs to."""

    number: int
    entry: Any

    def __str__(self) -> str:
        named = self.entry.get("event_id") if isinstance(self.entry, dict) else None
        return f"event {self.number}" + (f" ({named[:70]!r})" if isinstance(named, str) else "")


def read(path: Path) -> list[Plan]:
    """The events of a file, in its order. Raises EventsFileError."""
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise EventsFileError(f"{path}: has {size:,} bytes, more than {FILE_BYTES_MAX:,}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EventsFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise EventsFileError(f"{path}: is not UTF-8 (byte {error.start})") from None
    try:
        return parse(text)
    except EventsFileError as error:
        raise EventsFileError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def parse(text: str) -> list[Plan]:
    """The events of a file's text. Raises EventsFileError."""
    found = _json(text)
    if not isinstance(found, list):
        raise EventsFileError("must be a list of events: [{...}, ...]")
    if len(found) > EVENTS_MAX:
        raise EventsFileError(f"has {len(found):,} events, more than {EVENTS_MAX:,}")
    places = [_Place(number, entry) for number, entry in enumerate(found, start=1)]
    plans: list[Plan] = []
    faults: list[str] = []
    for place in places:
        try:
            plans.append(EventEntry.model_validate(place.entry).plan())
        except ValidationError as error:
            faults += (f"{place}: {fault}" for fault in _faults(error))
    faults += _twins(places)
    if faults:
        raise EventsFileError("\n".join(faults))
    return plans


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_no_twin_members, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise EventsFileError(f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise EventsFileError("is nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python reads
        raise EventsFileError(f"is not JSON: {error}") from None


def _no_twin_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twin, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise EventsFileError(f"has the member {twin!r} twice in one object")
    return members


def _no_constant(name: str) -> None:
    raise EventsFileError(f"is not JSON: {name} is no number")


def _twins(places: Sequence[_Place]) -> Iterator[str]:
    first: dict[str, int] = {}
    for place in places:
        event_id = place.entry.get("event_id") if isinstance(place.entry, dict) else None
        if isinstance(event_id, str) and first.setdefault(event_id, place.number) != place.number:
            yield f"{place}: event_id: is used by event {first[event_id]} already"


# What pydantic calls a fault, in the words of somebody who edits the file.
WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "is not a known member",
    "string_type": lambda _: "must be a text in quotes",
    "string_unicode": lambda _: "is no valid Unicode text",
    "int_type": lambda _: "must be a whole number without quotes",
    "model_type": lambda _: "must be an object: {...}",
    "string_too_long": lambda context: f"has more than {context['max_length']} characters",
    "greater_than_equal": lambda context: f"must be {context['ge']:,} or more",
    "less_than_equal": lambda context: f"must be {context['le']:,} or less",
    "value_error": lambda context: str(context["error"]),
}


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        words = WORDS.get(fault["type"])
        message = words(fault.get("ctx", {})) if words else fault["msg"]
        where = ".".join(ascii(part)[1:-1][:70] if isinstance(part, str) else str(part) for part in fault["loc"])
        yield f"{where}: {message}" if where else message


def _in_zone(moment: datetime, info: ValidationInfo, name: str = "") -> datetime:
    """The moment with an offset: its own, or the one that the event's time zone has then."""
    zone_name = info.data.get("timezone")
    if moment.tzinfo is not None or zone_name is None:
        return moment.replace(tzinfo=moment.tzinfo or UTC)  # a wrong time zone is a fault of its own
    local = moment.replace(tzinfo=ZoneInfo(zone_name))
    subject = f"{name} " if name else ""
    if local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != moment:
        raise ValueError(f"{subject}does not exist in {zone_name}: the clocks go forward then")
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise ValueError(f"{subject}comes twice in {zone_name}, when the clocks go back: add its offset")
    return local


def _zone_of_offset(moment: datetime) -> str:
    """The zone of an event that names none: people must read the very time that the organiser wrote."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("needs an offset, such as +01:00, or the event a timezone")
    hours, rest = divmod(round(offset.total_seconds()), 3600)
    zone = "UTC" if hours == 0 else f"Etc/GMT{-hours:+d}"
    if rest or zone not in _timezones():
        raise ValueError("has an offset of its own kind: the event needs a timezone")
    return zone


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
