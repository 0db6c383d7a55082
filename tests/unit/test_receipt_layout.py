"""Long and strange texts keep to their places, and the words and colours of a receipt are right."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import ImageChops

from tests.receipts import GALA, NOBODY, SEALER, ZOE, a_purchase, pictures, text_of
from ticketing.model import Contact, Event, Purchase, ticket_id
from workers import layout, wording
from workers.fitting import ELLIPSIS, Step, clusters, fit
from workers.layout import CARD_MM, CODE_MM, HERO_MM, PAGE_MM, POINTS_PER_MM, EventFormat, PurchaseWords, Text
from workers.palette import CONTRAST_MIN, Palette, contrast
from workers.receipt_pdf import ReceiptRenderer
from workers.shaping import width_em
from workers.typefaces import typefaces

LONG = (
    "The Extraordinarily Long-Winded International Festival of Chamber Music and of Everything Else That Happens Here "
)
LONG_NAMES = [
    "W" * 300,
    LONG * 3,
    "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch " * 3,
    "國" * 200,
    "محمد " * 50,
    "﷽" * 20,
]
LADDER = (Step(12, 1), Step(9, 2), Step(6, 3))

# Words, ideographs, wide and narrow letters, letters with marks, emoji.
letters = st.sampled_from([*"WiM.", " ", "國", "ש", "क्ष", "\u0e19\u0e49", "👩‍💻", "é", "Wolfe ", "steinhausen"])
texts = st.lists(letters, max_size=120).map("".join)


def placed(event: Event, purchase: Purchase, holder: str) -> Iterator[Text]:
    """Every line of the first page."""
    form = EventFormat(event)
    words = PurchaseWords(
        wording.clean(holder),
        purchase.purchase_id,
        wording.total(purchase.quantity, event.price_amount, event.price_currency),
        wording.sold(wording.local_time(purchase.sold_at_ms, event.timezone)),
    )
    named = bool(words.holder)
    yield from form.labels()
    yield from form.texts(width_em)
    yield from layout.purchase_labels(named)
    yield from layout.purchase_texts(words, width_em)
    yield from layout.ticket_texts(form, purchase.ticket_ids[0], f"1 OF {purchase.quantity}", named, width_em)


def box_of(text: Text) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in mm: from the height of capitals to below the base line."""
    width_pt = width_em(text.text, text.bold) * text.size_pt + text.spacing_pt * len(text.text)
    height_mm = text.size_pt / POINTS_PER_MM
    return text.x_mm, text.y_mm - 0.72 * height_mm, text.x_mm + width_pt / POINTS_PER_MM, text.y_mm + 0.22 * height_mm


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def assert_all_in_place(event: Event, purchase: Purchase, holder: str) -> None:
    lines = [text for text in placed(event, purchase, holder) if text.text]
    boxes = [box_of(text) for text in lines]
    left, top, side = CODE_MM
    quiet_mm = 4 * side / 37
    code = (left - quiet_mm, top - quiet_mm, left + side + quiet_mm, top + side)
    for text, box in zip(lines, boxes, strict=True):
        assert box[0] >= 11.99, text
        assert box[2] <= 136.01, text
        assert not overlap(box, code), text
    for (one, one_box), (other, other_box) in combinations(zip(lines, boxes, strict=True), 2):
        assert not overlap(one_box, other_box), (one, other)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, texts, texts, texts, texts)
@example("W" * 300, "W" * 300, "W" * 300, "W" * 300, "W" * 300)
@example(LONG, LONG, LONG, LONG, LONG)
@example("", "", "", "", "")
def test_no_text_overlaps_another_or_leaves_its_column(
    name: str, venue: str, address: str, organiser: str, holder: str
) -> None:
    event = replace(GALA, name=name, venue=venue, address=address, organiser=organiser)
    assert_all_in_place(event, a_purchase(4), holder)


@pytest.mark.parametrize("event_id", ["1", "W" * 64, "i" * 64, "midsummer-night-gala-royal-albert-hall-2027"])
@pytest.mark.parametrize("number", [1, 10**12])
def test_ids_are_never_cut(event_id: str, number: int) -> None:
    event = replace(GALA, event_id=event_id)
    purchase = a_purchase(1, event_id)._replace(ticket_ids=(ticket_id(event_id, number),))
    assert_all_in_place(event, purchase, "W" * 200)
    whole = "".join(text.text for text in placed(event, purchase, ""))
    assert whole.count(purchase.ticket_ids[0]) == 2
    assert purchase.purchase_id in whole


@pytest.mark.parametrize(
    ("amount", "currency"), [("0.00", "EUR"), ("9" * 15 + ".99", "CHF"), ("12345678901.50", "VND")]
)
def test_money_is_never_cut(amount: str, currency: str) -> None:
    event = replace(GALA, price_amount=amount, price_currency=currency)
    assert_all_in_place(event, a_purchase(100), "Ann")
    whole = "".join(text.text for text in placed(event, a_purchase(100), "Ann")).replace(" ", "")
    assert wording.money(amount, currency).replace(" ", "") in whole
    assert wording.total(100, amount, currency).replace(" ", "") in whole


@pytest.mark.parametrize("name", LONG_NAMES, ids=[name[:4] for name in LONG_NAMES])
def test_a_long_holder_changes_no_pixel_outside_its_row(name: str) -> None:
    renderer = ReceiptRenderer(SEALER)
    long, short = (pictures(renderer.render(GALA, a_purchase(), Contact(who)))[0] for who in (name, "Ann"))
    scale = long.width / PAGE_MM[0]
    left, top, right, bottom = ImageChops.difference(long, short).getbbox()
    box = layout.HOLDER
    assert left >= (box.x_mm - 1.5) * scale
    assert right <= (box.x_mm + box.width_mm + 1.5) * scale
    assert top >= (box.y_mm - 5.5) * scale
    assert bottom <= (layout.TICKET.y_mm - 7.6) * scale


@pytest.mark.parametrize("name", LONG_NAMES, ids=[name[:4] for name in LONG_NAMES])
def test_a_long_title_changes_no_pixel_outside_its_place(name: str) -> None:
    renderer = ReceiptRenderer(SEALER)
    long, short = (pictures(renderer.render(replace(GALA, name=who), a_purchase(), ZOE))[0] for who in (name, "Gala"))
    scale = long.width / PAGE_MM[0]
    left, top, right, bottom = ImageChops.difference(long, short).getbbox()
    assert left >= 10.5 * scale
    assert right <= 137.5 * scale
    assert top >= 20 * scale
    assert bottom <= 53 * scale


def test_a_tower_of_accents_stays_on_its_line() -> None:
    renderer = ReceiptRenderer(SEALER)
    tower = pictures(renderer.render(GALA, a_purchase(), Contact("Z" + "\u0301\u0316" * 60 + "oe")))[0]
    plain = pictures(renderer.render(GALA, a_purchase(), Contact("Ann")))[0]
    _, top, _, bottom = ImageChops.difference(tower, plain).getbbox()
    scale = plain.width / PAGE_MM[0]
    assert top >= (CARD_MM[1] + 43) * scale  # below the address
    assert bottom <= (layout.TICKET.y_mm - 7) * scale


def test_a_cut_text_ends_in_an_ellipsis() -> None:
    text = text_of(ReceiptRenderer(SEALER).render(replace(GALA, name=LONG * 3), a_purchase(), NOBODY))
    assert ELLIPSIS in text


@given(texts.map(wording.clean).filter(bool), st.floats(40, 300))
def test_every_fitted_line_fits_and_nothing_is_lost_but_at_the_end(text: str, width_pt: float) -> None:
    def width(part: str) -> float:
        return width_em(part, True)

    size_pt, lines = fit(text, width_pt, LADDER, width)
    step = next(step for step in LADDER if step.size_pt == size_pt)
    assert 1 <= len(lines) <= step.lines
    assert all(width(line) * size_pt <= width_pt + 1e-6 for line in lines)
    shown = "".join(lines).replace(" ", "")
    whole = text.replace(" ", "")
    assert shown == whole or (shown.endswith(ELLIPSIS) and whole.startswith(shown[:-1]) and len(lines) == step.lines)


@pytest.mark.parametrize(
    ("text", "width_pt", "lines"),
    [
        ("one two three four", 110, ["one two", "three four"]),
        ("aaaaaaaaaaaaaaaaaaaa", 110, ["aaaaaaaaaa"] * 2),
        ("東京国立競技場東京国立", 80, ["東京国立競技", "場東京国立"]),
        ("one", 110, ["one"]),
    ],
)
def test_lines_break_between_words_and_come_out_even(text: str, width_pt: float, lines: list[str]) -> None:
    assert fit(text, width_pt, [Step(10, 2)], len) == (10, lines)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("añb", ["a", "ñ", "b"]),
        ("e\u0301x", ["e\u0301", "x"]),
        ("👩‍💻a", ["👩‍💻", "a"]),
        ("🇬🇧🇫🇷", ["🇬🇧", "🇫🇷"]),
        ("👍🏽!", ["👍🏽", "!"]),
        ("1️⃣2", ["1️⃣", "2"]),
        ("क्षा", ["क्", "षा"]),
    ],
)
def test_letters_keep_what_belongs_to_them(text: str, parts: list[str]) -> None:
    assert clusters(text) == parts


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_text_is_readable_on_any_accent(accent: tuple[int, int, int]) -> None:
    palette = Palette.of("#{:02x}{:02X}{:02x}".format(*accent))
    assert palette.accent == accent
    assert contrast(palette.text, accent) >= CONTRAST_MIN
    assert contrast(palette.quiet, accent) >= CONTRAST_MIN
    assert contrast(palette.text, palette.ring) >= 3.5  # large text crosses the rings


@pytest.mark.parametrize("accent", ["", "blue", "#12345", "#1234567", "#gggggg", "232d78", "#\uff12\uff13\uff12d78"])
def test_an_accent_that_is_none_gives_the_usual_one(accent: str) -> None:
    assert Palette.of(accent) == Palette.of("#232d78")


def test_a_card_on_a_pale_accent_has_an_outline() -> None:
    for accent, outlined in {"#ffffff": True, "#fdf6e3": True, "#232d78": False, "#ffcc00": False}.items():
        assert Palette.of(accent).pale is outlined
    assert CARD_MM[1] < HERO_MM


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("45.00", "GBP", "£45.00"),
        ("45", "EUR", "€45.00"),
        ("1234567.5", "USD", "$1,234,567.50"),
        ("4500", "JPY", "¥4,500"),
        ("4500.00", "JPY", "¥4,500"),
        ("4500.50", "JPY", "¥4,500.5"),
        ("12.345", "EUR", "€12.345"),
        ("3.5", "KWD", "KWD\u00a03.500"),
        ("45.00", "CHF", "CHF\u00a045.00"),
        ("250000", "VND", "₫250,000"),
        ("0.00", "GBP", "Free"),
        ("0", "", "Free"),
        ("-5.00", "GBP", "\N{MINUS SIGN}£5.00"),
        ("10000000000000000000000000000000.01", "EUR", "€10,000,000,000,000,000,000,000,000,000,000.01"),
        ("about 5", "EUR", "about 5 EUR"),
        ("1e3", "EUR", "1e3 EUR"),
        ("NaN", "EUR", "NaN EUR"),
    ],
)
def test_money_is_shown_as_its_currency_is_written_and_never_rounded(amount: str, currency: str, shown: str) -> None:
    assert wording.money(amount, currency) == shown


@pytest.mark.parametrize(
    ("quantity", "amount", "currency", "shown"),
    [
        (4, "45.00", "GBP", "4 \u00d7 £45.00 = £180.00"),
        (3, "0.10", "EUR", "3 \u00d7 €0.10 = €0.30"),
        (100, "4500", "JPY", "100 \u00d7 ¥4,500 = ¥450,000"),
        (3, "99999999999999999999999999999.99", "USD", "3 \u00d7 $99,999,999,999,999,999,999,999,999,999.99"
         " = $299,999,999,999,999,999,999,999,999,999.97"),
        (1, "0.00", "EUR", "1 ticket, free of charge"),
        (2, "0", "EUR", "2 tickets, free of charge"),
    ],
)  # fmt: skip
def test_the_total_is_quantity_times_price(quantity: int, amount: str, currency: str, shown: str) -> None:
    assert wording.total(quantity, amount, currency) == shown


def test_every_currency_sign_is_in_the_prepared_fonts() -> None:
    for bold in (False, True):
        assert typefaces(bold).latin.has(map(ord, "".join(wording.SYMBOLS.values())))


@pytest.mark.parametrize(
    ("timezone", "clock", "offset", "day"),
    [
        ("Europe/London", "19:30", "BST (UTC+01:00)", "Friday, 18 June 2027"),
        ("UTC", "18:30", "UTC", "Friday, 18 June 2027"),
        ("Asia/Kathmandu", "00:15", "UTC+05:45", "Saturday, 19 June 2027"),
        ("Asia/Kolkata", "00:00", "IST (UTC+05:30)", "Saturday, 19 June 2027"),
        ("America/New_York", "14:30", "EDT (UTC-04:00)", "Friday, 18 June 2027"),
        ("America/Sao_Paulo", "15:30", "UTC-03:00", "Friday, 18 June 2027"),
        ("Pacific/Kiritimati", "08:30", "UTC+14:00", "Saturday, 19 June 2027"),
        ("Nowhere/Land", "18:30", "UTC", "Friday, 18 June 2027"),
        ("../../etc/passwd", "18:30", "UTC", "Friday, 18 June 2027"),
    ],
)
def test_times_are_those_of_the_events_time_zone(timezone: str, clock: str, offset: str, day: str) -> None:
    moment = wording.local_time(GALA.starts_at_ms, timezone)
    assert (wording.clock(moment), wording.offset(moment), wording.day(moment)) == (clock, offset, day)


def test_the_time_of_sale_tells_its_zone() -> None:
    assert wording.sold(wording.local_time(1_795_556_225_000, "Europe/London")) == "Sold 24 Nov 2026, 21:37 GMT"
    assert wording.sold(wording.local_time(1_795_556_225_000, "Asia/Dubai")) == "Sold 25 Nov 2026, 01:37 UTC+04:00"


@given(st.text(max_size=400))
def test_clean_text_is_clean(text: str) -> None:
    cleaned = wording.clean(text)
    assert wording.clean(cleaned) == cleaned
    assert len(cleaned) <= wording.TEXT_LENGTH_MAX
    assert not set(cleaned) & set("\n\r\t\u202e\u202d\u2066\u2067\u2028\u2029\x00\x7f\ufeff")
