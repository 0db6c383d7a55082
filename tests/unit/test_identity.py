"""Purchase ids, fingerprints and buyer tags."""

import base64
import hashlib
import json
import re
import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.model import NOBODY, Buyer, event_id_of
from ticketing.sale.identity import Identity, fingerprint

IDENTITY = Identity("an id secret of tests, long enough")
OTHER = Identity("another id secret of tests, long")
SHAPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.[A-Za-z0-9_-]{28}", re.ASCII)
event_ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
keys = st.text(alphabet=string.printable[:95], min_size=16, max_size=255)
STEADY = settings(derandomize=True, deadline=None, database=None)
CHARACTERS = string.ascii_letters + string.digits + "-_"


@STEADY
@given(event_ids)
def test_a_new_id_is_genuine_names_its_event_and_has_the_documented_shape(event_id: str) -> None:
    made = IDENTITY.new_purchase_id(event_id)
    assert SHAPE.fullmatch(made)
    assert IDENTITY.is_genuine(made)
    assert event_id_of(made) == event_id


@STEADY
@given(event_ids, keys)
def test_a_key_gives_the_same_genuine_id_each_time(event_id: str, key: str) -> None:
    made = IDENTITY.purchase_id_of_key(event_id, key)
    assert SHAPE.fullmatch(made)
    assert IDENTITY.is_genuine(made)
    assert Identity("an id secret of tests, long enough").purchase_id_of_key(event_id, key) == made
    assert OTHER.purchase_id_of_key(event_id, key) != made


def test_a_key_stands_for_something_else_in_another_event() -> None:
    bodies = {IDENTITY.purchase_id_of_key(event_id, "k" * 16).partition(".")[2] for event_id in ("1", "2", "11")}
    assert len(bodies) == 3


def test_event_and_key_can_not_be_shifted_into_one_another() -> None:
    assert IDENTITY.purchase_id_of_key("1", "2" + "k" * 16)[2:] != IDENTITY.purchase_id_of_key("12", "k" * 16)[3:]


def test_ten_thousand_new_ids_are_ten_thousand() -> None:
    assert len({IDENTITY.new_purchase_id("1") for _ in range(10_000)}) == 10_000


def test_an_id_of_another_secret_is_not_genuine() -> None:
    assert not IDENTITY.is_genuine(OTHER.new_purchase_id("1"))
    assert not OTHER.is_genuine(IDENTITY.purchase_id_of_key("1", "k" * 16))


def test_no_single_character_can_be_changed() -> None:
    made = IDENTITY.new_purchase_id("gala")
    for place, old in enumerate(made):
        for new in CHARACTERS + ".":
            if new != old:
                assert not IDENTITY.is_genuine(made[:place] + new + made[place + 1 :])


MADE_UP = [
    *("", ".", "1.", "..", "../..", "1.." + "A" * 27, "a/b." + "A" * 28),
    *("1." + "A" * count for count in (27, 28, 29, 10_000)),
    *("1.\x00" + "A" * 27, "é." + "A" * 28, "1." + "é" * 28, "x" * 65 + "." + "A" * 28),
]


@pytest.mark.parametrize("made_up", MADE_UP)
def test_what_is_no_id_is_not_genuine(made_up: str) -> None:
    assert not IDENTITY.is_genuine(made_up)


def test_an_id_of_an_event_that_may_not_exist_is_not_genuine_even_with_a_right_tag() -> None:
    for event_id in ("../../etc", "-a", "", "a" * 65, "ü"):
        assert not IDENTITY.is_genuine(IDENTITY.new_purchase_id(event_id))


@STEADY
@given(st.text())
def test_any_text_at_all_can_be_asked_about(text: str) -> None:
    assert not IDENTITY.is_genuine(text)


def test_a_fingerprint_is_hexadecimal_so_that_none_looks_like_a_tombstone() -> None:
    for quantity in range(1, 101):
        assert re.fullmatch(r"[0-9a-f]{16}", fingerprint(quantity, NOBODY))


def test_a_fingerprint_differs_with_quantity_and_with_each_field_of_the_buyer() -> None:
    variants = [Buyer(), Buyer("a"), Buyer("", "a"), Buyer("", "", "a"), Buyer("a", "b"), Buyer("b", "a")]
    prints = {fingerprint(quantity, buyer) for quantity in (1, 2, 12) for buyer in variants}
    assert len(prints) == 3 * len(variants)


def test_nobody_and_an_empty_buyer_are_the_same() -> None:
    assert fingerprint(1, Buyer()) == fingerprint(1, NOBODY)


def test_the_same_name_in_another_unicode_form_is_the_same() -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    assert fingerprint(1, Buyer("a", composed)) == fingerprint(1, Buyer("a", decomposed))
    assert IDENTITY.buyer_tag("1", composed) == IDENTITY.buyer_tag("1", decomposed)


def test_fields_can_not_be_shifted_into_one_another() -> None:
    assert fingerprint(1, Buyer('a","name":"b')) != fingerprint(1, Buyer("a", "b"))


@STEADY
@given(st.integers(1, 100), *[st.text(st.characters(exclude_categories=["Cs"]))] * 3)
def test_a_fingerprint_is_that_of_the_canonical_json(quantity: int, buyer_id: str, name: str, email: str) -> None:
    """It stands in the store and in journals: another spelling would call every repeated key another purchase."""
    said = {"quantity": quantity, "id": buyer_id, "name": name, "email": email}
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    hashed = hashlib.sha256(unicodedata.normalize("NFC", canonical).encode()).hexdigest()
    assert fingerprint(quantity, Buyer(buyer_id, name, email)) == hashed[:16]


def test_a_buyer_is_eight_bytes_in_one_event_and_others_in_the_next() -> None:
    tag = IDENTITY.buyer_tag("1", "ann@example.org")
    assert len(base64.urlsafe_b64decode(tag + "=")) == 8
    assert "|" not in tag
    assert tag == IDENTITY.buyer_tag("1", "ann@example.org")
    assert tag not in {IDENTITY.buyer_tag("2", "ann@example.org"), OTHER.buyer_tag("1", "ann@example.org")}
    assert IDENTITY.buyer_tag("1", "") == ""


def test_the_fingerprint_of_the_secret_tells_secrets_apart_and_nothing_of_them() -> None:
    assert IDENTITY.secret_fingerprint != OTHER.secret_fingerprint
    assert re.fullmatch(r"[0-9a-f]{16}", IDENTITY.secret_fingerprint)
