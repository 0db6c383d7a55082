"""GET /tickets: the receipt, or how its purchase stands. The id is the buyer's secret."""

from typing import Any

import gevent
import pytest

from tests.contract.conftest import PDF, Api, contents, new_key, problem_of
from tests.contract.test_purchases import away
from tests.sales import a_request
from tests.servers import wait_until
from ticketing.store import keys

JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def purchase(api: Api) -> dict[str, Any]:
    """One sold purchase of two tickets."""
    api.open_event()
    return api.bought(body={"quantity": 2, "buyer": {"name": "Ada"}})


def test_a_receipt_that_is_not_rendered_yet_is_202(api: Api, purchase: dict[str, Any]) -> None:
    answer = api.get(purchase["receipt"]["url"])
    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Cache-Control"] == "no-store"
    told = {"purchase_id": purchase["purchase_id"], "status": "sold", "receipt": purchase["receipt"]}
    assert answer.get_json() == told


@pytest.mark.parametrize("headers", [{}, {"Accept": "application/pdf"}, {"Accept": "*/*"}, BROWSER])
def test_a_stored_receipt_is_served_as_pdf(api: Api, purchase: dict[str, Any], headers: dict[str, str]) -> None:
    api.render(purchase["purchase_id"])
    answer = api.get(purchase["receipt"]["url"], headers=headers)
    assert answer.status_code == 200
    assert answer.content_type == "application/pdf"
    assert answer.data == PDF
    assert answer.headers["Content-Disposition"] == 'inline; filename="tickets-1.pdf"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"  # the page for buyers shows it in a frame
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    assert purchase["purchase_id"] not in str(answer.headers)


def test_whoever_has_the_receipt_gets_304(api: Api, purchase: dict[str, Any]) -> None:
    api.render(purchase["purchase_id"])
    etag = api.get(purchase["receipt"]["url"]).headers["ETag"]
    for known in (etag, f'"another", {etag}', "*"):
        answer = api.get(purchase["receipt"]["url"], headers={"If-None-Match": known})
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == etag
        assert answer.headers["Cache-Control"] == "private, no-cache"
    answer = api.get(purchase["receipt"]["url"], headers={"If-None-Match": '"another"'})
    assert (answer.status_code, answer.data) == (200, PDF)


def test_another_pdf_has_another_entity_tag(api: Api, purchase: dict[str, Any]) -> None:
    api.render(purchase["purchase_id"])
    first = api.get(purchase["receipt"]["url"]).headers["ETag"]
    api.render(purchase["purchase_id"], b"%PDF-1.7\nanother\n%%EOF\n")
    assert api.get(purchase["receipt"]["url"]).headers["ETag"] != first


def test_head_has_the_headers_of_the_receipt_and_no_body(api: Api, purchase: dict[str, Any]) -> None:
    api.render(purchase["purchase_id"])
    answer = api.call("HEAD", purchase["receipt"]["url"])
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(PDF))
    assert answer.headers["ETag"] == api.get(purchase["receipt"]["url"]).headers["ETag"]


@pytest.mark.parametrize("status", ["pending", "ready", "failed"])
def test_json_tells_the_purchase_and_its_receipt(api: Api, purchase: dict[str, Any], status: str) -> None:
    if status == "ready":
        api.render(purchase["purchase_id"])
    elif status == "failed":
        api.give_up(purchase["purchase_id"])
    answer = api.get(purchase["receipt"]["url"], headers=JSON)
    assert answer.status_code == 200
    assert answer.get_json() == purchase | {"receipt": {"status": status, "url": purchase["receipt"]["url"]}}
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers.get("Retry-After") == ("1" if status == "pending" else None)


def test_a_receipt_that_was_given_up_is_503_until_it_is_retried(api: Api, purchase: dict[str, Any]) -> None:
    api.give_up(purchase["purchase_id"])
    answer = api.get(purchase["receipt"]["url"])
    assert problem_of(answer) == (503, "receipt-failed")
    assert answer.headers["Retry-After"] == "60"
    assert api.admin("POST", "/admin/receipts/retry").get_json() == {"retried": 1}
    assert api.get(purchase["receipt"]["url"]).status_code == 202


def test_half_a_file_counts_as_pending(api: Api, purchase: dict[str, Any]) -> None:
    api.render(purchase["purchase_id"], PDF[:12])
    assert api.get(purchase["receipt"]["url"]).status_code == 202


def test_asking_for_a_pending_receipt_again_and_again_changes_nothing(api: Api, purchase: dict[str, Any]) -> None:
    before = contents(api.store)
    for _ in range(5):
        assert api.get(purchase["receipt"]["url"]).status_code == 202
    assert contents(api.store) == before


@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_genuine_id_that_the_store_does_not_have_is_provisional(api: Api, headers: dict[str, str]) -> None:
    api.open_event()
    purchase_id = api.service.identity.purchase_id_of_key("1", new_key())
    answer = api.get(f"/tickets/{purchase_id}", headers=headers)
    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    pending = {"status": "pending", "url": f"/tickets/{purchase_id}"}
    assert answer.get_json() == {"purchase_id": purchase_id, "status": "provisional", "receipt": pending}
    assert api.state().sold == 0


@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_voided_id_is_not_found(api: Api, purchase: dict[str, Any], headers: dict[str, str]) -> None:
    assert api.service.sales.void("1", api.state().seed, [purchase["purchase_id"]]) == ["voided"]
    assert problem_of(api.get(purchase["receipt"]["url"], headers=headers)) == (404, "unknown-purchase")


def test_an_id_with_any_one_character_changed_is_not_found(api: Api, purchase: dict[str, Any]) -> None:
    api.render(purchase["purchase_id"])
    purchase_id = purchase["purchase_id"]
    for at in range(len(purchase_id)):
        other = "-" if purchase_id[at] != "-" else "_"
        tampered = purchase_id[:at] + other + purchase_id[at + 1 :]
        assert problem_of(api.get(f"/tickets/{tampered}")) == (404, "unknown-purchase")


def test_the_id_of_one_event_does_not_serve_for_another(api: Api, purchase: dict[str, Any]) -> None:
    api.open_event("2")
    moved = "2" + purchase["purchase_id"][1:]
    assert problem_of(api.get(f"/tickets/{moved}")) == (404, "unknown-purchase")


def test_in_an_outage_stored_receipts_are_served_and_others_are_202(
    api: Api, purchase: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.render(purchase["purchase_id"])
    other = api.bought()
    away(api.store, monkeypatch)
    assert api.get(purchase["receipt"]["url"]).data == PDF
    answer = api.get(other["receipt"]["url"])
    assert answer.status_code == 202
    assert answer.get_json()["status"] == "provisional"
    assert problem_of(api.get(f"/tickets/{other['purchase_id'][:-1]}")) == (404, "unknown-purchase")


def test_a_receipt_that_was_cleaned_up_is_rendered_again_when_it_is_asked_for(
    api: Api, purchase: dict[str, Any]
) -> None:
    api.service.dispatcher.stop()  # what is to be enqueued is enqueued now, not in a moment
    api.render(purchase["purchase_id"])
    assert api.state().receipts_pending == 0
    cleaned = api.admin("POST", "/admin/cleanup-tickets", json={"older_than_s": 0})
    assert cleaned.get_json() == {"deleted": 1, "bytes_freed": len(PDF), "more": False}
    for _ in range(3):
        assert api.get(purchase["receipt"]["url"]).status_code == 202
    assert api.state().receipts_pending == 1
    api.service.again.stop()
    jobs = [job.args for job in api.service.queue._queue.jobs]
    assert jobs == [["1", [purchase["purchase_id"]]]] * 2  # the sale's job, which no worker took, and one more
    assert api.store.one("HEXISTS", keys.of_event("1").purchases, purchase["purchase_id"]) == 1
    api.render(purchase["purchase_id"])
    assert api.get(purchase["receipt"]["url"]).data == PDF


def test_a_purchase_that_is_voided_after_its_receipt_was_stored_has_none_any_more(
    api: Api, purchase: dict[str, Any]
) -> None:
    """Its answer was lost on its way, and nobody can ask for it again; its tickets are sold to somebody else."""
    purchase_id = purchase["purchase_id"]
    api.render(purchase_id)
    api.service.keeper.void_unkeyed("seed of 1", a_request(purchase_id=purchase_id))
    wait_until(lambda: gevent.sleep(0) or api.service.keeper.tally().voids == 0, 5, "the void")
    assert not api.service.files.has(purchase_id)
    assert api.get(purchase["receipt"]["url"], headers=JSON).status_code == 404
