"""Names and titles in any script: each visible character is really there."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger

from tests.receipts import GALA, NOBODY, SEALER, a_purchase, ink_in, pictures, text_of
from ticketing.model import Contact
from ticketing.receipts.scan import codes_in
from workers.layout import HOLDER
from workers.receipt_pdf import ReceiptRenderer
from workers.shaping import shape
from workers.stamp import charset_of
from workers.wording import clean

NAMES = {
    "ascii": "Ann Lee",
    "latin-1": "Zoë Müller",
    "latin": "Łukasz Đorđević Ğöker",
    "romanian": "Ștefan Țepeș",
    "vietnamese": "Nguyễn Thị Hường",
    "yoruba": "Ọ̀ṣun Adéṣọlá",
    "greek": "Ελένη Παπαδοπούλου",
    "greek, old": "Ἀριστοτέλης",
    "cyrillic": "Володимир Зеленський Љубав",
    "hebrew": "שלום לוי",
    "hebrew with points": "שָׁלוֹם",
    "arabic": "محمد عبد الله",
    "persian": "پژمان گل‌محمدی",
    "urdu": "علی ٹیپو",
    "devanagari": "राम प्रसाद क्षत्रिय",
    "bengali": "রবীন্দ্রনাথ ঠাকুর",
    "tamil": "தமிழ்ச்செல்வி",
    "telugu": "తెలుగు శ్రీ",
    "kannada": "ಕನ್ನಡ ಶ್ರೀ",
    "malayalam": "മലയാളം",
    "gujarati": "ગુજરાતી",
    "gurmukhi": "ਪੰਜਾਬੀ",
    "sinhala": "සිංහල",
    "thai": "สมชาย ใจดี",
    "lao": "ສົມຊາຍ",
    "khmer": "សុខ ខ្មែរ",
    "myanmar": "မြန်မာ",
    "georgian": "ნინო საქართველო",
    "armenian": "Արմեն Հայաստան",
    "ethiopic": "አበበ ቢቂላ",
    "cherokee": "ᏣᎳᎩ",
    "chinese, simple": "汉语 龙",
    "chinese, traditional": "漢語 龍",
    "japanese": "山田 太郎 さくら カナ",
    "korean": "김철수",
    "rare ideograph": "𠮷野家",
    "emoji": "😀 🎉 🎫",
    "emoji, joined": "👩‍💻 👨‍👩‍👧",
    "emoji, coloured skin": "👍🏽",
    "flag": "🇬🇧",
    "keycap": "1️⃣",
    "heart": "❤️",
    "both directions": "Dr. שלום (Levi) 42",
    "mixed": "Anna 山田 שלום Ελένη",
}  # fmt: skip
OF_ONE_CLASS = {
    "ascii": 0, "latin-1": 1, "latin": 2, "romanian": 3, "vietnamese": 3, "greek": 3, "cyrillic": 3,
    "yoruba": None, "arabic": None,
}  # fmt: skip
ROW_MM = (HOLDER.x_mm - 1, HOLDER.y_mm - 4.6, HOLDER.x_mm + HOLDER.width_mm, HOLDER.y_mm + 2)
renderer = ReceiptRenderer(SEALER)


@pytest.fixture
def complaints() -> list[str]:
    """What is logged during a test."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    yield lines
    logger.remove(sink)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("bold", [False, True], ids=["regular", "bold"])
def test_every_character_has_a_glyph_of_its_own(name: str, bold: bool, complaints: list[str]) -> None:
    line = shape(clean(name), bold)
    assert all(glyph.number != 0 for run in line.runs for glyph in run.glyphs)
    assert complaints == []
    meant = "".join(glyph.text for run in line.runs for glyph in run.glyphs)
    assert sorted(meant.translate(str.maketrans("()", ")("))) == sorted(
        clean(name).translate(str.maketrans("()", ")("))
    )


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_holder_of_any_script_is_drawn_and_can_be_copied(name: str) -> None:
    pdf = renderer.render(GALA, a_purchase(), Contact(name))
    picture = pictures(pdf)[0]
    letters = sum(unicodedata.category(character)[0] in "LS" for character in name)
    assert ink_in(picture, ROW_MM) > 20 * letters
    line = shape(clean(name), True)
    if line.one_way and all(character <= "\uffff" for character in name):  # pdfium's text of others is its own
        assert clean(name) in text_of(pdf).replace("\r\n", " ")


@pytest.mark.parametrize("name", ["山田太郎", "שלום לוי", "राम प्रसाद", "😀"])
def test_a_name_in_another_script_looks_different_from_a_missing_one(name: str) -> None:
    drawn = pictures(renderer.render(GALA, a_purchase(), Contact(name)))[0]
    missing = pictures(renderer.render(GALA, a_purchase(), Contact("\U000f0000" * len(name))))[0]
    assert ink_in(drawn, ROW_MM) != ink_in(missing, ROW_MM)


@pytest.mark.parametrize(("kind", "charset"), OF_ONE_CLASS.items())
def test_a_name_goes_to_the_smallest_class_that_sets_it(kind: str, charset: int | None) -> None:
    assert charset_of(clean(NAMES[kind])) == charset


@pytest.mark.parametrize("words", ["夏の音楽祭", "ليلة الصيف", "संगीत महोत्सव", "Party 🎉", "เทศกาล"])
def test_titles_venues_and_organisers_may_be_in_any_script(words: str, complaints: list[str]) -> None:
    event = replace(GALA, name=words, venue=words, organiser=words, address=words)
    pdf = renderer.render(event, a_purchase(2), Contact("Ann"))
    for picture in pictures(pdf, 100):
        assert ink_in(picture, (11, 34, 136, 49)) > 300
        assert ink_in(picture, (11, 52, 136, 60)) > 50
        assert ink_in(picture, (11, 104, 80, 114)) > 50
    assert codes_in(pdf, 110) == [SEALER.seal("1", ticket) for ticket in a_purchase(2).ticket_ids]
    assert complaints == []


def test_ideographs_take_the_form_of_the_events_land() -> None:
    zones = {"Asia/Tokyo": "JP", "Asia/Seoul": "KR", "Asia/Taipei": "TC", "Europe/London": "SC"}
    for zone, variant in zones.items():
        pdf = renderer.render(replace(GALA, timezone=zone), a_purchase(), Contact("骨直"))
        assert f"+KurintoSans{variant}-Bd".encode() in pdf


def test_a_missing_glyph_is_drawn_as_a_box_and_logged_without_the_name(complaints: list[str]) -> None:
    before = ink_in(pictures(renderer.render(GALA, a_purchase(), Contact("Ann")))[0], ROW_MM)
    pdf = renderer.render(GALA, a_purchase(), Contact("Ann \U000f1234"))
    assert ink_in(pictures(pdf)[0], ROW_MM) > before + 50
    assert [line for line in complaints if "U+F1234" in line and "Ann" not in line]


def test_a_name_of_nothing_to_see_counts_as_none() -> None:
    for name in ("\u202e\u2066", " \t\n", "\x00\x1b", "\ufeff", "\ud800"):
        assert clean(name) == ""
        assert renderer.render(GALA, a_purchase(), Contact(name)) == renderer.render(GALA, a_purchase(), NOBODY)


def test_a_name_can_not_turn_or_move_what_stands_beside_it() -> None:
    plain = renderer.render(GALA, a_purchase(), Contact("Ann Lee"))
    for name in ("\u202eAnn Lee", "Ann\u2028Lee", "Ann\r\n Lee\x07", "\u2067Ann Lee\u2069", "A\u200enn Lee\ufeff"):
        assert renderer.render(GALA, a_purchase(), Contact(name)) == plain


def test_composed_and_decomposed_names_give_the_same_receipt() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë Nguyễn 각") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert renderer.render(GALA, a_purchase(), Contact(composed)) == renderer.render(
        GALA, a_purchase(), Contact(decomposed)
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_name_gives_a_receipt_whose_code_can_be_read(name: str) -> None:
    pdf = renderer.render(GALA, a_purchase(), Contact(name))
    assert codes_in(pdf, 100) == [SEALER.seal("1", "E1-004217")]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=80))
def test_any_event_gives_a_receipt_whose_code_can_be_read(name: str, venue: str, organiser: str) -> None:
    event = replace(GALA, name=name, venue=venue, organiser=organiser, address=organiser)
    assert codes_in(renderer.render(event, a_purchase(), NOBODY), 100) == [SEALER.seal("1", "E1-004217")]
