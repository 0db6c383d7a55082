"""POST /buy: what it sells, and what it refuses, each time exactly."""

import gc
import unicodedata
from dataclasses import replace
from typing import Any

import gevent
import orjson
import pytest

from tests.contract.conftest import Api, StartApi, contents, new_key, problem_of
from tests.servers import wait_until
from ticketing.errors import OutcomeUnknown
from ticketing.store import keys
from ticketing.store.connection import Store
from ticketing.telemetry.logs import LINES_A_SECOND, short

HOUR_MS = 3_600_000


def test_a_purchase_without_a_body_is_one_ticket(api: Api) -> None:
    api.open_event(tickets=10)
    answer = api.buy()
    told = answer.get_json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/tickets/{told['purchase_id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Idempotency-Replayed" not in answer.headers
    assert told["event_id"] == "1"
    assert told["status"] == "sold"
    assert told["quantity"] == 1
    assert told["tickets"] == ["E1-000001"]
    assert told["receipt"] == {"status": "pending", "url": f"/tickets/{told['purchase_id']}"}
    assert (api.state().sold, api.state().pool, api.state().remaining) == (1, 9, 9)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_an_empty_body_needs_no_content_type(api: Api, content_type: str | None) -> None:
    api.open_event()
    answer = api.post("/buy/1", data=b"", content_type=content_type)
    assert answer.status_code == 201


@pytest.mark.parametrize("body", [{}, {"quantity": 1}, {"buyer": {}}, {"quantity": 1, "buyer": {"name": "Ada"}}])
def test_every_member_of_the_body_may_be_left_out(api: Api, body: Any) -> None:
    api.open_event()
    assert api.bought(body=body)["quantity"] == 1


def test_the_content_type_may_carry_a_charset(api: Api) -> None:
    api.open_event()
    answer = api.post("/buy/1", data=b'{"quantity": 2}', content_type="Application/JSON; charset=utf-8")
    assert answer.status_code == 201
    assert answer.get_json()["quantity"] == 2


def test_no_two_purchases_get_the_same_ticket_or_id(api: Api) -> None:
    api.open_event(tickets=10)
    purchases = [api.bought(body={"quantity": quantity}) for quantity in (3, 1, 2, 4)]
    tickets = [ticket for purchase in purchases for ticket in purchase["tickets"]]
    assert sorted(tickets) == [f"E1-{number:06d}" for number in range(1, 11)]
    assert len({purchase["purchase_id"] for purchase in purchases}) == 4
    assert api.state().pool == 0


def test_a_retried_purchase_returns_the_same_tickets(api: Api) -> None:
    api.open_event()
    key = new_key()
    first = api.bought(body={"quantity": 2}, key=key)
    again = api.buy(body={"quantity": 2}, key=key)
    assert again.status_code == 200
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == f"/tickets/{first['purchase_id']}"
    assert again.get_json() == first
    assert api.state().sold == 2


def test_a_retry_next_week_by_another_process_shows_the_purchase_as_it_stands_then(
    api: Api, start_api: StartApi
) -> None:
    seed = api.open_event(tickets=1)
    key = new_key()
    first = api.bought(key=key)
    api.render(first["purchase_id"])
    api.events.set_paused("1", seed, True)
    again = start_api().buy(key=key)
    assert again.status_code == 200
    ready = {"status": "ready", "url": first["receipt"]["url"]}
    assert again.get_json() == first | {"receipt": ready}


@pytest.mark.parametrize(
    "other",
    [
        {"quantity": 1, "buyer": {"id": "a", "name": "Ada", "email": "ada@example.org"}},
        {"quantity": 2, "buyer": {"id": "b", "name": "Ada", "email": "ada@example.org"}},
        {"quantity": 2, "buyer": {"id": "a", "name": "Bob", "email": "ada@example.org"}},
        {"quantity": 2, "buyer": {"id": "a", "name": "Ada", "email": "bob@example.org"}},
        {"quantity": 2, "buyer": {"id": "a", "name": "Ada"}},
        {"quantity": 2},
    ],
)
def test_a_key_with_another_quantity_or_buyer_is_refused(api: Api, other: Any) -> None:
    api.open_event()
    key = new_key()
    api.bought(body={"quantity": 2, "buyer": {"id": "a", "name": "Ada", "email": "ada@example.org"}}, key=key)
    before = contents(api.store)
    assert problem_of(api.buy(body=other, key=key)) == (422, "idempotency-key-reused")
    assert contents(api.store) == before


def test_names_that_look_the_same_are_the_same_content(api: Api) -> None:
    api.open_event()
    key, name = new_key(), "Zoë Ångström"
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != decomposed
    first = api.bought(body={"buyer": {"name": composed}}, key=key)
    again = api.buy(body={"buyer": {"name": decomposed}}, key=key)
    assert again.status_code == 200
    assert again.get_json()["tickets"] == first["tickets"]


def test_an_empty_buyer_is_no_buyer(api: Api) -> None:
    api.open_event()
    key = new_key()
    first = api.bought(key=key)
    assert api.buy(body={"quantity": 1, "buyer": {}}, key=key).get_json() == first


def test_the_same_key_in_another_event_is_another_purchase(api: Api) -> None:
    api.open_event("1")
    api.open_event("2")
    key = new_key()
    first, second = api.bought("1", key=key), api.bought("2", key=key)
    assert (first["tickets"], second["tickets"]) == (["E1-000001"], ["E2-000001"])
    assert first["purchase_id"] != second["purchase_id"]


def test_two_keys_that_differ_in_case_are_two_purchases(api: Api) -> None:
    api.open_event()
    lower, upper = api.bought(key="k" * 16), api.bought(key="K" * 16)
    assert lower["tickets"] != upper["tickets"]


@pytest.mark.parametrize("key", ["k" * 16, "k" * 255, "  a key ~!@#$%^&*()  "])
def test_a_key_is_16_to_255_printable_characters(api: Api, key: str) -> None:
    api.open_event()
    first = api.bought(key=key)
    assert api.buy(key=key).get_json() == first


def test_a_purchase_is_all_or_nothing(api: Api) -> None:
    api.open_event(tickets=3)
    answer = api.buy(body={"quantity": 4})
    assert problem_of(answer) == (409, "not-enough-tickets")
    assert (answer.get_json()["remaining"], answer.get_json()["requested"]) == (3, 4)
    assert api.state().sold == 0
    assert api.bought(body={"quantity": 3})["quantity"] == 3


@pytest.mark.parametrize("keyed", [False, True])
def test_the_last_ticket_is_sold_and_the_next_buyer_is_told_sold_out(api: Api, keyed: bool) -> None:
    api.open_event(tickets=1)
    api.bought()
    answer = api.buy(body={"quantity": 2}, key=new_key() if keyed else None)
    assert problem_of(answer) == (409, "sold-out")
    assert (answer.get_json()["remaining"], answer.get_json()["requested"]) == (0, 2)
    assert api.state().sold == 1


def test_a_refusal_is_not_kept_so_the_same_key_may_buy_later(api: Api) -> None:
    api.open_event(tickets=1)
    api.bought()
    key = new_key()
    assert problem_of(api.buy(key=key)) == (409, "sold-out")
    api.admin("POST", "/admin/events/1/tickets", json={"add": 1})
    assert api.bought(key=key)["tickets"] == ["E1-000002"]


def test_an_event_may_allow_fewer_tickets_a_purchase_than_ten(api: Api) -> None:
    api.open_event(quantity_max=3)
    answer = api.buy(body={"quantity": 4})
    assert problem_of(answer) == (400, "invalid-quantity")
    assert answer.get_json()["limit"] == 3
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == ["/quantity"]
    assert api.bought(body={"quantity": 3})["quantity"] == 3


def test_an_event_may_allow_a_hundred_tickets_a_purchase(api: Api) -> None:
    api.open_event(tickets=200, quantity_max=100)
    assert api.bought(body={"quantity": 100})["quantity"] == 100
    assert problem_of(api.buy(body={"quantity": 101})) == (400, "invalid-quantity")


@pytest.mark.parametrize("quantity", [0, 11, 100, 101, 10**9, "2"])
def test_whatever_is_wrong_with_a_quantity_the_event_s_limit_is_told(api: Api, quantity: Any) -> None:
    api.open_event(tickets=200)
    answer = api.buy(body={"quantity": quantity})
    assert problem_of(answer) == (400, "invalid-quantity")
    assert answer.get_json()["limit"] == 10


def test_one_buyer_gets_exactly_what_one_buyer_may_have(api: Api) -> None:
    api.open_event(buyer_max=3)
    ada, bob = {"id": "ada"}, {"id": "bob"}
    api.bought(body={"quantity": 2, "buyer": ada})
    over = api.buy(body={"quantity": 2, "buyer": ada})
    assert problem_of(over) == (409, "buyer-limit")
    assert (over.get_json()["limit"], over.get_json()["held"]) == (3, 2)
    api.bought(body={"quantity": 1, "buyer": ada})
    full = api.buy(body={"quantity": 1, "buyer": ada})
    assert problem_of(full) == (409, "buyer-limit")
    assert full.get_json()["held"] == 3
    assert api.bought(body={"quantity": 3, "buyer": bob})["quantity"] == 3
    assert api.state().sold == 6


def test_a_buyer_is_the_same_however_the_id_is_composed(api: Api) -> None:
    api.open_event(buyer_max=1)
    composed, decomposed = (unicodedata.normalize(form, "zoë") for form in ("NFC", "NFD"))
    api.bought(body={"buyer": {"id": composed}})
    assert problem_of(api.buy(body={"buyer": {"id": decomposed}})) == (409, "buyer-limit")


@pytest.mark.parametrize("body", [None, {"buyer": {"name": "Ada"}}])
def test_an_event_with_a_limit_a_buyer_needs_the_buyer_s_id(api: Api, body: Any) -> None:
    api.open_event(buyer_max=3)
    answer = api.buy(body=body)
    assert problem_of(answer) == (400, "invalid-buyer")
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == ["/buyer/id"]
    assert api.state().sold == 0


def test_before_its_opening_nothing_is_sold_and_the_time_is_told(api: Api) -> None:
    opens_ms = api.store.clock_ms() + HOUR_MS
    api.open_event(opens_ms=opens_ms)
    answer = api.buy()
    assert problem_of(answer) == (409, "not-on-sale")
    assert answer.get_json()["state"] == "upcoming"
    assert answer.get_json()["opens_at"] == api.get("/events/1").get_json()["sales"]["opens_at"] is not None
    assert api.state().sold == 0


def test_a_sale_opens_at_its_time_by_itself(api: Api) -> None:
    api.open_event(opens_ms=api.store.clock_ms() + 500)
    assert problem_of(api.buy()) == (409, "not-on-sale")
    wait_until(lambda: api.buy().status_code == 201, 5, "the opening")
    assert api.store.clock_ms() >= api.state().event.opens_ms


def test_a_sale_closes_at_its_time(api: Api) -> None:
    now_ms = api.store.clock_ms()
    api.open_event(opens_ms=now_ms - 2 * HOUR_MS, closes_ms=now_ms - HOUR_MS)
    answer = api.buy()
    assert problem_of(answer) == (409, "not-on-sale")
    assert (answer.get_json()["state"], answer.get_json()["opens_at"]) == ("closed", None)
    assert api.state().sold == 0


def test_a_paused_sale_sells_nothing_until_it_is_taken_up(api: Api) -> None:
    api.open_event()
    api.admin("POST", "/admin/events/1/pause")
    answer = api.buy()
    assert problem_of(answer) == (409, "not-on-sale")
    assert (answer.get_json()["state"], answer.get_json()["opens_at"]) == ("paused", None)
    api.admin("POST", "/admin/events/1/resume")
    assert api.bought()["quantity"] == 1


def test_an_event_that_is_not_fully_seeded_is_upcoming(api: Api) -> None:
    seed = api.open_event(tickets=4, planned=10)
    answer = api.buy()
    assert problem_of(answer) == (409, "not-on-sale")
    assert answer.get_json()["state"] == "upcoming"
    api.events.add_more("1", seed, 4, 6)
    assert api.bought()["tickets"] == ["E1-000001"]


def test_an_unknown_event_is_not_found_until_there_is_one(api: Api) -> None:
    assert problem_of(api.buy("7")) == (404, "unknown-event")
    api.open_event("7")
    assert api.bought("7")["tickets"] == ["E7-000001"]


def test_four_hundred_buyers_at_once_get_exactly_a_hundred_tickets(start_api: StartApi) -> None:
    api = start_api(batch_pace_ms=2)
    api.open_event(tickets=100)
    buyers = [gevent.spawn(api.buy, key=new_key() if i % 2 else None) for i in range(400)]
    gevent.joinall(buyers, raise_error=True)
    answers = [buyer.value for buyer in buyers]
    sold = [answer.get_json() for answer in answers if answer.status_code == 201]
    refused = [problem_of(answer) for answer in answers if answer.status_code != 201]
    assert sorted(ticket for purchase in sold for ticket in purchase["tickets"]) == [
        f"E1-{number:06d}" for number in range(1, 101)
    ]
    assert len({purchase["purchase_id"] for purchase in sold}) == 100
    assert refused == [(409, "sold-out")] * 300
    assert (api.state().sold, api.state().pool, api.state().purchases) == (100, 0, 100)


def test_the_same_key_from_forty_callers_at_once_buys_once(api: Api) -> None:
    api.open_event()
    key = new_key()
    callers = [gevent.spawn(api.buy, key=key) for _ in range(40)]
    gevent.joinall(callers, raise_error=True)
    assert sorted(caller.value.status_code for caller in callers) == [200] * 39 + [201]
    assert {tuple(caller.value.get_json()["tickets"]) for caller in callers} == {("E1-000001",)}
    assert api.state().sold == 1


class CountingSales:
    """Stands before the store and counts the purchases that reach it."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._purchase = api.service.sales.purchase
        monkeypatch.setattr(api.service.sales, "purchase", self)

    def __call__(self, batches: Any) -> Any:
        self.asked += sum(len(batch.requests) for batch in batches)
        return self._purchase(batches)


def test_after_sold_out_a_buyer_without_a_key_is_answered_without_the_store(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = start_api(sold_out_memory_ms=60_000)
    api.open_event(tickets=1)
    key = new_key()
    first = api.bought(key=key)
    sales = CountingSales(api, monkeypatch)
    assert [problem_of(api.buy()) for _ in range(5)] == [(409, "sold-out")] * 5
    assert sales.asked == 1
    assert problem_of(api.buy(key=new_key())) == (409, "sold-out")
    assert api.buy(key=key).get_json() == first
    assert sales.asked == 3


def test_what_is_left_is_still_sold_to_whoever_wants_no_more(start_api: StartApi) -> None:
    api = start_api(sold_out_memory_ms=60_000)
    api.open_event(tickets=2)
    assert [problem_of(api.buy(body={"quantity": 3})) for _ in range(2)] == [(409, "not-enough-tickets")] * 2
    assert api.bought(body={"quantity": 2})["quantity"] == 2


def test_the_sold_out_memory_is_short(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = start_api(sold_out_memory_ms=20)
    api.open_event(tickets=1)
    api.bought()
    sales = CountingSales(api, monkeypatch)

    def asked_again() -> bool:
        assert problem_of(api.buy()) == (409, "sold-out")
        return sales.asked >= 2

    wait_until(asked_again, 5, "the store is asked again")


def test_a_new_epoch_ends_the_sold_out_memory_at_once(start_api: StartApi) -> None:
    api = start_api(sold_out_memory_ms=60_000)
    api.open_event(tickets=1)
    api.bought()
    assert problem_of(api.buy()) == (409, "sold-out")
    api.admin("POST", "/admin/events/1/tickets", json={"add": 2})
    assert api.bought(key=new_key())["tickets"] == ["E1-000002"]
    assert api.bought()["tickets"] == ["E1-000003"]


def test_more_tickets_lift_a_sold_out_within_a_second(api: Api) -> None:
    api.open_event(tickets=1)
    api.bought()
    assert problem_of(api.buy()) == (409, "sold-out")
    api.admin("POST", "/admin/events/1/tickets", json={"add": 1})
    wait_until(lambda: api.buy().status_code == 201, 1, "a sale without a key")


@pytest.mark.parametrize("why", ["sold out", "not enough", "paused", "over the limit a purchase"])
def test_a_keyed_purchase_is_not_refused_while_another_process_may_have_sold_it(api: Api, why: str) -> None:
    """Hole H6 of the design: 409 told to a key that a journal holds."""
    seed = api.open_event(tickets=3)
    api.lease("E1-000001")
    api.bought()
    key, body, problem = new_key(), None, (409, "sold-out")
    if why == "sold out":
        api.bought()
    elif why == "not enough":
        body, problem = {"quantity": 2}, (409, "not-enough-tickets")
    elif why == "paused":
        api.events.set_paused("1", seed, True)
        problem = (409, "not-on-sale")
    else:
        api.events.describe(replace(api.state().event, quantity_max=5), seed)  # it was 10
        body, problem = {"quantity": 6}, (400, "invalid-quantity")
    doubtful = api.buy(body=body, key=key)
    assert problem_of(doubtful) == (503, "temporarily-unavailable")
    assert doubtful.headers["Retry-After"] == "1"
    assert problem_of(api.buy(body=body)) == problem  # nobody can ask for it again
    api.lease()
    assert problem_of(api.buy(body=body, key=key)) == problem


def test_a_key_for_more_than_anybody_could_ever_buy_is_told_so_whatever_is_leased(api: Api) -> None:
    api.open_event(tickets=3)
    api.lease("E1-000001")
    assert problem_of(api.buy(body={"quantity": 11}, key=new_key())) == (400, "invalid-quantity")


def test_a_keyed_buyer_over_the_limit_a_buyer_is_not_refused_while_tickets_are_leased(api: Api) -> None:
    api.open_event(tickets=3, buyer_max=1)
    api.lease("E1-000001")
    body = {"buyer": {"id": "ada"}}
    api.bought(body=body)
    key = new_key()
    assert problem_of(api.buy(body=body, key=key)) == (503, "temporarily-unavailable")
    api.lease()
    assert problem_of(api.buy(body=body, key=key)) == (409, "buyer-limit")


def test_while_tickets_are_leased_a_known_key_is_answered_as_always(api: Api) -> None:
    api.open_event(tickets=2)
    api.lease("E1-000001")
    key = new_key()
    first = api.bought(key=key)
    assert api.buy(key=key).get_json() == first
    assert problem_of(api.buy(body={"quantity": 2}, key=key)) == (422, "idempotency-key-reused")


def test_a_process_with_another_id_secret_sells_nothing_and_says_so(
    api: Api, start_api: StartApi, log: list[Any]
) -> None:
    api.open_event()
    key = new_key()
    api.bought(key=key)
    before = contents(api.store)
    stranger = start_api(id_secret="another id secret than the first host's")
    assert any("another ID_SECRET" in record["message"] for record in log)
    for given in (None, key):
        answer = stranger.buy(key=given)
        assert problem_of(answer) == (503, "temporarily-unavailable")
        assert answer.headers["Retry-After"] == "1"
    assert contents(api.store) == before
    assert problem_of(stranger.get("/health/ready")) == (503, "temporarily-unavailable")
    assert api.get("/health/ready").status_code == 200
    assert api.bought()["tickets"] == ["E1-000002"]


def lose_the_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on purchases run in the store, and their answers are lost. Everything else works."""
    exchange = api.store.exchange

    def lossy(commands: Any) -> Any:
        replies = exchange(commands)
        if any(K.purchases in command and K.leases in command for command in commands):
            raise OutcomeUnknown("Redis did not answer: 10.1.2.3:6379")
        return replies

    monkeypatch.setattr(api.store, "exchange", lossy)


K = keys.of_event("1")


def test_a_purchase_of_unknown_outcome_without_a_key_holds_no_ticket_in_the_end(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = start_api(store_timeout_s=0.5)
    api.open_event(tickets=5)
    api.bought()
    with monkeypatch.context() as patch:
        lose_the_answer(api, patch)
        answer = api.buy(body={"quantity": 2})
        assert problem_of(answer) == (503, "temporarily-unavailable")
        assert answer.headers["Retry-After"] == "1"

    def voided() -> bool:
        gevent.sleep(0)  # the greenlet that voids
        return api.state().pool == 4

    wait_until(voided, 5, "the void")
    assert (api.state().sold, api.state().purchases) == (1, 1)
    assert api.admin("GET", "/admin/audit").get_json()["ok"] is True


def test_a_purchase_of_unknown_outcome_with_a_key_is_told_by_asking_again(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = start_api(store_timeout_s=0.5)
    api.open_event(tickets=5)
    api.bought()
    key = new_key()
    with monkeypatch.context() as patch:
        lose_the_answer(api, patch)
        assert problem_of(api.buy(key=key)) == (503, "temporarily-unavailable")
    again = api.buy(key=key)
    assert again.status_code == 200
    assert again.get_json()["tickets"] == ["E1-000002"]
    assert api.state().sold == 2


def test_each_purchase_is_a_line_for_who_looks_closely(start_api: StartApi, log: list[Any]) -> None:
    api = start_api(log_level="DEBUG")
    api.open_event(tickets=1)
    log.clear()
    sent = {"X-Request-ID": "of-a-buyer"}
    purchase_id = api.post("/buy/1", headers=sent).get_json()["purchase_id"]
    for path, body in (("/buy/1", None), ("/buy/nope%2Fx", None), ("/buy/1", {"ada@example.org": 1})):
        api.post(path, headers=sent, json=body)
    lines = [record for record in log if "outcome" in record["extra"]]
    assert [(line["extra"]["event_id"], line["extra"]["outcome"]) for line in lines] == [
        ("1", "sold"),
        ("1", "sold_out"),
        ("?", "invalid"),
        ("1", "invalid"),
    ]
    assert {line["level"].name for line in lines} == {"DEBUG"}
    assert {line["extra"]["request_id"] for line in lines} == {"of-a-buyer"}
    assert short(purchase_id) in lines[0]["message"]
    assert not [line for line in log if purchase_id in str(line) or "ada@" in str(line)]


def test_a_batch_is_a_line_with_what_became_of_it(api: Api, log: list[Any]) -> None:
    api.open_event(tickets=10)
    log.clear()
    api.bought(body={"quantity": 3})
    (line,) = [record for record in log if "outcomes" in record["extra"]]
    assert line["level"].name == "INFO"
    assert line["message"].startswith("event 1: 3 tickets, 1 sold in ")
    assert (line["extra"]["tickets"], line["extra"]["outcomes"]) == (3, {"sold": 1})


def test_a_refusal_that_is_a_fault_of_ours_is_a_warning_and_a_thousand_are_a_few(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    api.open_event()
    with monkeypatch.context() as patch:
        away(store, patch)
        for _ in range(200):
            assert api.buy().status_code == 503
    lines = [record for record in log if record["extra"].get("outcome") == "unavailable"]
    loud = [record["message"] for record in lines if record["level"].name == "WARNING"]
    assert len(lines) == 200
    assert LINES_A_SECOND <= len(loud) < 200
    assert loud[0].startswith("event 1: unavailable - in ")


def test_a_store_that_refuses_is_503_and_sells_nothing(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    api.open_event()
    api.bought()
    before = contents(store)
    with monkeypatch.context() as patch:
        away(store, patch)
        for key in (None, new_key()):
            answer = api.buy(key=key)
            assert problem_of(answer) == (503, "temporarily-unavailable")
            assert answer.headers["Retry-After"] == "1"
    assert contents(store) == before
    wait_until(lambda: api.buy().status_code == 201, 5, "the store is greeted again")


def away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store can't be reached."""
    from ticketing.errors import StoreRefused

    def refuse(commands: Any) -> Any:
        raise StoreRefused("can't connect to Redis: Error 111 connecting to 10.1.2.3:6379. Connection refused.")

    monkeypatch.setattr(store, "exchange", refuse)


@pytest.mark.asked("direct")
def test_an_answer_leaves_no_cycle_for_the_collector(api: Api) -> None:
    """A crowd that is refused would have the collector stop everybody for a tenth of a second, again and again."""
    if not api.store.shebang:
        pytest.skip("fakeredis leaves cycles of its own")
    api.open_event(tickets=3)
    answers = [(None, None), (None, {"quantity": 2}), (new_key(), {"quantity": 0}), (new_key(), None), (None, {"a": 1})]

    def ask_all() -> None:
        for key, body in answers:
            sent = b"" if body is None else orjson.dumps(body)
            api.service.purchases.answer("1", "application/json", key, sent)

    ask_all()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            ask_all()
        found = gc.collect()
    finally:
        gc.enable()
    assert found < 50
