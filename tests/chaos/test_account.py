"""The account of the chaos finds what it is there to find: each kind of untruth, told to one buyer, is one problem."""

import dataclasses

import pytest

from tests.chaos.account import IDENTITY, Books, Held, judge
from tests.chaos.history import Told, Try, Wish

UNKEYED = Wish("1", "rock", 2, "buyer 1", None)
KEYED = Wish("2", "rock", 2, "buyer 2", "key 2 of a chaotic sale")
KEY_ID = IDENTITY.purchase_id_of_key("rock", str(KEYED.key))
OTHER_ID = IDENTITY.new_purchase_id("rock")
TICKETS = ("Erock-000001", "Erock-000002")


def a_try(wish: Wish, told: Told, purchase_id: str = "", at_s: float = 1.0, **more: object) -> Try:
    body: dict[str, object] = {"purchase_id": purchase_id, "quantity": wish.quantity}
    if told in {Told.SOLD, Told.REPLAYED}:
        body["tickets"] = list(TICKETS)
    return Try(wish, 0, at_s, at_s + 0.5, told, 0, body | more)


def books_of(*held: tuple[Wish, str]) -> Books:
    found = Books()
    for wish, purchase_id in held:
        found.purchases[purchase_id] = Held(purchase_id, TICKETS, IDENTITY.buyer_tag("rock", wish.buyer_id))
    return found


def problems(books: Books, *tried: Try) -> list[str]:
    tries: dict[Wish, list[Try]] = {}
    for one in tried:
        tries.setdefault(one.wish, []).append(one)
    return [problem.what for problem in judge(tries, books)]


def test_what_was_told_and_is_so_is_no_problem() -> None:
    books = books_of((UNKEYED, OTHER_ID), (KEYED, KEY_ID))
    tried = [
        a_try(UNKEYED, Told.PROVISIONAL, OTHER_ID),
        a_try(KEYED, Told.BROKEN),
        a_try(KEYED, Told.UNAVAILABLE, at_s=2),
        a_try(KEYED, Told.PROVISIONAL, KEY_ID, at_s=3),
        a_try(KEYED, Told.REPLAYED, KEY_ID, at_s=4),
    ]
    assert problems(books, *tried) == []
    assert problems(Books(), a_try(UNKEYED, Told.UNAVAILABLE), a_try(KEYED, Told.REFUSED)) == []


@pytest.mark.parametrize("told", [Told.SOLD, Told.PROVISIONAL])
def test_a_purchase_that_was_told_and_is_not_there_is_found(told: Told) -> None:
    assert problems(Books(), a_try(UNKEYED, told, OTHER_ID)) == [f"was told {told}, and the store has no such purchase"]


def test_other_tickets_than_those_told_are_found() -> None:
    tried = a_try(UNKEYED, Told.SOLD, OTHER_ID, tickets=["Erock-000001", "Erock-000003"])
    assert len(problems(books_of((UNKEYED, OTHER_ID)), tried)) == 1


def test_another_quantity_than_that_wanted_is_found() -> None:
    wish = dataclasses.replace(UNKEYED, quantity=3)
    assert len(problems(books_of((wish, OTHER_ID)), a_try(wish, Told.PROVISIONAL, OTHER_ID))) == 1


@pytest.mark.parametrize("told", [Told.UNAVAILABLE, Told.REFUSED, Told.UNSENT])
def test_tickets_of_somebody_who_was_told_of_none_are_found(told: Told) -> None:
    assert len(problems(books_of((UNKEYED, OTHER_ID)), a_try(UNKEYED, told))) == 1


def test_a_broken_connection_may_have_bought_once_and_not_twice() -> None:
    tried = a_try(UNKEYED, Told.BROKEN)
    assert problems(books_of((UNKEYED, OTHER_ID)), tried) == []
    assert len(problems(books_of((UNKEYED, OTHER_ID), (UNKEYED, "rock.another")), tried)) == 1


def test_a_key_that_was_refused_in_the_end_and_holds_tickets_is_found() -> None:
    tried = [a_try(KEYED, Told.BROKEN), a_try(KEYED, Told.REFUSED, at_s=2)]
    assert problems(books_of((KEYED, KEY_ID)), *tried) == ["was refused, and holds tickets under its key"]


def test_a_key_with_two_purchases_is_found() -> None:
    tried = [a_try(KEYED, Told.SOLD, KEY_ID), a_try(KEYED, Told.SOLD, OTHER_ID, at_s=2)]
    found = problems(books_of((KEYED, KEY_ID), (KEYED, OTHER_ID)), *tried)
    assert {"has two purchases", "was sold anew twice"} < set(found)


def test_a_refusal_after_a_purchase_is_found() -> None:
    tried = [a_try(KEYED, Told.SOLD, KEY_ID), a_try(KEYED, Told.REFUSED, at_s=2)]
    assert problems(books_of((KEYED, KEY_ID)), *tried) == ["was refused after it had bought"]


def test_a_purchase_of_nobody_is_found() -> None:
    assert len(problems(books_of((UNKEYED, OTHER_ID)))) == 1


@pytest.mark.parametrize("told", [Told.UNEXPECTED, Told.LATE, Told.KEY_REUSED])
def test_an_answer_that_nobody_expects_is_found(told: Told) -> None:
    assert len(problems(Books(), a_try(KEYED, told))) == 1


def test_other_content_under_a_key_may_be_refused_and_never_sold() -> None:
    books = books_of((KEYED, KEY_ID))
    bought = a_try(KEYED, Told.SOLD, KEY_ID)
    for told in (Told.KEY_REUSED, Told.UNAVAILABLE, Told.PROVISIONAL):
        other = dataclasses.replace(a_try(KEYED, told, KEY_ID, at_s=2), other_content=True)
        assert problems(books, bought, other) == []
    other = dataclasses.replace(a_try(KEYED, Told.SOLD, KEY_ID, at_s=2), other_content=True)
    assert len(problems(books, bought, other)) == 1
