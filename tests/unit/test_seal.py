"""The signed codes: only what was sealed passes, whatever is changed."""

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.receipts import SEALER
from ticketing.model import ticket_id
from ticketing.receipts.seal import BadCode, BadPublicKey, Checker, Sealed, Sealer

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
CHECKER = Checker([SEALER.public_key])
CODE = SEALER.seal("1", "E1-004217")

event_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
numbers = st.integers(min_value=0, max_value=2**63)


def another_sealer() -> Sealer:
    return Sealer(base64.b64encode(secrets.token_bytes(32)).decode())


@given(event_ids, numbers)
def test_a_sealed_code_says_which_ticket_it_is(event_id: str, number: int) -> None:
    ticket = ticket_id(event_id, number)
    sealed = CHECKER.check(SEALER.seal(event_id, ticket))
    assert (sealed.event_id, sealed.ticket_id) == (event_id, ticket)


@given(event_ids, numbers)
def test_every_code_fits_the_compact_mode_of_qr_codes_and_ends_in_no_space(event_id: str, number: int) -> None:
    code = SEALER.seal(event_id, ticket_id(event_id, number))
    assert set(code) <= set(ALPHABET)
    assert code == code.strip()


def test_the_same_ticket_has_the_same_code_and_others_have_others() -> None:
    assert SEALER.seal("1", "E1-004217") == CODE
    assert len({SEALER.seal("1", ticket_id("1", number)) for number in range(100)}) == 100


def test_a_usual_code_is_short() -> None:
    assert len(CODE) == 113


def test_a_code_names_its_key() -> None:
    sealed = CHECKER.check(CODE)
    assert sealed == Sealed("1", "E1-004217", sealed.key_id)
    assert len(bytes.fromhex(sealed.key_id)) == 4


@given(st.data())
def test_no_code_passes_with_one_character_changed(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(CODE) - 1))
    other = data.draw(st.sampled_from(ALPHABET + "abcxyzé\n_").filter(lambda character: character != CODE[place]))
    with pytest.raises(BadCode):
        CHECKER.check(CODE[:place] + other + CODE[place + 1 :])


def test_no_code_passes_with_any_single_character_changed_to_any_other_of_the_alphabet() -> None:
    passed = []
    for place in range(len(CODE)):
        for other in ALPHABET.replace(CODE[place], ""):
            try:
                passed.append(CHECKER.check(CODE[:place] + other + CODE[place + 1 :]))
            except BadCode:
                continue
    assert passed == []


@given(st.text(ALPHABET, max_size=130) | st.text(max_size=40))
def test_no_made_up_text_passes(text: str) -> None:
    for code in (text, "TK1" + text):
        if code != CODE:
            with pytest.raises(BadCode):
                CHECKER.check(code)


@given(st.integers(0, len(CODE)), st.integers(0, len(CODE)), st.text(ALPHABET, max_size=6))
def test_no_code_passes_that_is_cut_or_added_to(start: int, end: int, added: str) -> None:
    changed = CODE[:start] + added + CODE[end:]
    if changed != CODE:
        with pytest.raises(BadCode):
            CHECKER.check(changed)


@pytest.mark.parametrize(
    "changed", [CODE.lower(), CODE + "\n", CODE + " ", " " + CODE, CODE + "0", CODE + "00", "", "TK1"]
)
def test_no_other_spelling_of_a_genuine_code_passes(changed: str) -> None:
    with pytest.raises(BadCode):
        CHECKER.check(changed)


@given(st.integers(0, 74), st.integers(1, 255))
def test_no_code_passes_with_one_byte_changed(place: int, flip: int) -> None:
    import base45

    raw = bytearray(base45.b45decode(CODE.removeprefix("TK1")))
    raw[place % len(raw)] ^= flip
    with pytest.raises(BadCode):
        CHECKER.check("TK1" + base45.b45encode(bytes(raw)).decode())


def test_parts_of_two_genuine_codes_make_no_third() -> None:
    other = SEALER.seal("1", "E1-004218")
    for cut in range(4, len(CODE)):
        if (mixed := CODE[:cut] + other[cut:]) not in (CODE, other):
            with pytest.raises(BadCode):
                CHECKER.check(mixed)


def test_a_code_of_another_key_does_not_pass() -> None:
    with pytest.raises(BadCode, match="not known here"):
        CHECKER.check(another_sealer().seal("1", "E1-004217"))


def test_a_code_of_another_key_does_not_pass_under_the_id_of_a_known_one() -> None:
    import base45

    raw = base45.b45decode(another_sealer().seal("1", "E1-004217").removeprefix("TK1"))
    genuine = base45.b45decode(CODE.removeprefix("TK1"))
    with pytest.raises(BadCode, match="not genuine"):
        CHECKER.check("TK1" + base45.b45encode(genuine[:5] + raw[5:]).decode())


def test_old_keys_stay_valid_beside_new_ones() -> None:
    new = another_sealer()
    checker = Checker([new.public_key, SEALER.public_key])
    assert checker.check(CODE).ticket_id == "E1-004217"
    assert checker.check(new.seal("1", "E1-000001")).ticket_id == "E1-000001"


def test_a_gate_without_keys_lets_nobody_in() -> None:
    with pytest.raises(BadCode):
        Checker([]).check(CODE)


@pytest.mark.parametrize(
    ("event_id", "ticket"),
    [
        ("1", "E2-000001"),
        ("1", "E1-1"),
        ("1", "E1-0000001"),
        ("1", "E1-00000\u0661"),
        ("a b", "Ea b-000001"),
        ("1", "E1-x"),
    ],
)
def test_only_tickets_that_the_event_can_have_are_sealed(event_id: str, ticket: str) -> None:
    with pytest.raises(ValueError, match=r"not a ticket id|invalid literal"):
        SEALER.seal(event_id, ticket)


@pytest.mark.parametrize("key", ["", "not base64!", base64.b64encode(b"short").decode()])
def test_a_wrong_public_key_is_named(key: str) -> None:
    with pytest.raises(BadPublicKey):
        Checker([key])
