"""GET /tickets where receipts are in a bucket, on a real S3 server: as from a folder, or by a redirect to it."""

import uuid
from typing import Any

import pytest

from tests.buckets import BUCKET, BucketServer
from tests.contract.conftest import PDF, Api, StartApi
from tests.contract.test_tickets import BROWSER, JSON
from ticketing.receipts import bucket as bucket_module
from ticketing.store import keys

REDIRECT_S = 60
pytestmark = pytest.mark.parametrize("store", ["fakeredis"], indirect=True)  # what differs lies elsewhere


@pytest.fixture
def in_bucket(start_api: StartApi, bucket_server: BucketServer) -> Any:
    """Starts a service whose receipts are in the bucket, with settings of one's own."""

    def start(**more: object) -> tuple[Api, dict[str, Any]]:
        given = bucket_server.settings(RECEIPTS_URL=f"s3://{BUCKET}/{uuid.uuid4().hex}", **more)
        api = start_api(**{name.lower(): value for name, value in given.items()})
        api.open_event()
        return api, api.bought()

    return start


def test_a_receipt_in_a_bucket_is_served_as_one_in_a_folder(in_bucket: Any) -> None:
    api, purchase = in_bucket()
    url = purchase["receipt"]["url"]
    assert api.get(url).status_code == 202
    api.render(purchase["purchase_id"])
    answer = api.get(url, headers=BROWSER)
    assert (answer.status_code, answer.data, answer.content_type) == (200, PDF, "application/pdf")
    assert answer.headers["Content-Disposition"] == 'inline; filename="tickets-1.pdf"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    again = api.get(url, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert api.get(url, headers=JSON).get_json()["receipt"]["status"] == "ready"
    head = api.call("HEAD", url)
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", str(len(PDF)))
    assert head.headers["ETag"] == answer.headers["ETag"]


def test_a_buyer_is_sent_to_the_bucket_for_a_while(in_bucket: Any, bucket_server: BucketServer) -> None:
    api, purchase = in_bucket(RECEIPTS_REDIRECT_S=REDIRECT_S)
    url = purchase["receipt"]["url"]
    assert api.get(url).status_code == 202  # nobody is sent to what is not there
    api.render(purchase["purchase_id"])
    answer = api.get(url, headers=BROWSER)
    assert (answer.status_code, answer.data) == (303, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Content-Type" not in answer.headers
    link = answer.headers["Location"]
    assert f"X-Amz-Expires={REDIRECT_S}&" in link
    assert purchase["purchase_id"].partition(".")[2][:8] not in link
    status, headers, body = bucket_server.ask("GET", link)
    assert (status, body, headers["content-type"]) == (200, PDF, "application/pdf")


def test_a_head_is_sent_to_where_a_head_is_answered(in_bucket: Any, bucket_server: BucketServer) -> None:
    api, purchase = in_bucket(RECEIPTS_REDIRECT_S=REDIRECT_S)
    api.render(purchase["purchase_id"])
    answer = api.call("HEAD", purchase["receipt"]["url"])
    assert answer.status_code == 303
    status, headers, body = bucket_server.ask("HEAD", answer.headers["Location"])
    assert (status, headers["content-length"], body) == (200, str(len(PDF)), b"")


def test_who_has_a_copy_and_the_page_that_shows_one_get_it_from_here(in_bucket: Any) -> None:
    """The page's policy lets it show nothing of another host; and a tag of ours means nothing to the bucket."""
    api, purchase = in_bucket(RECEIPTS_REDIRECT_S=REDIRECT_S)
    api.render(purchase["purchase_id"])
    url = purchase["receipt"]["url"]
    answer = api.get(f"{url}?here=1")
    assert (answer.status_code, answer.data) == (200, PDF)
    assert api.get(url, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert api.get(url, headers={"If-None-Match": '"another"'}).status_code == 200
    assert api.get(url, headers=JSON).status_code == 200
    assert api.get(f"{url}?here=no").status_code == 303


@pytest.mark.parametrize("redirect_s", [0, REDIRECT_S])
def test_nobody_learns_from_a_redirect_whether_a_made_up_id_exists(in_bucket: Any, redirect_s: int) -> None:
    api, purchase = in_bucket(RECEIPTS_REDIRECT_S=redirect_s)
    api.render(purchase["purchase_id"])
    assert api.get(purchase["receipt"]["url"][:-1] + "!").status_code == 404


@pytest.mark.parametrize("redirect_s", [0, REDIRECT_S])
def test_while_the_bucket_is_away_receipts_are_pending_and_nothing_of_it_is_told(
    in_bucket: Any, monkeypatch: pytest.MonkeyPatch, redirect_s: int
) -> None:
    monkeypatch.setattr(bucket_module, "PAUSE_S", 0)
    api, purchase = in_bucket(RECEIPTS_REDIRECT_S=redirect_s)
    purchase_id, url = purchase["purchase_id"], purchase["receipt"]["url"]
    api.render(purchase_id)
    bucket = api.service.files._bucket
    monkeypatch.setattr(bucket, "_place", bucket_module.Place(BUCKET, "http://127.0.0.1:1", "", "x", "x", "x"))
    for headers, status in ((BROWSER, 202), (JSON, 200)):
        answer = api.get(url, headers=headers)
        assert answer.status_code == status
        assert answer.headers["Retry-After"] == "1"
        assert answer.get_json()["receipt"] == {"status": "pending", "url": url}
        assert "127.0.0.1" not in str(answer.data) + str(answer.headers)
    assert api.buy().status_code == 201
    assert api.store.one("ZSCORE", keys.of_event("1").receipts, purchase_id) is None  # it is not drawn again
    assert api.admin("POST", "/admin/cleanup-tickets", json={"older_than_s": 0}).status_code == 503
    assert api.admin("GET", "/admin/pdf-stats").get_json()["storage"] is None


def test_a_receipt_that_was_cleaned_up_is_drawn_again_where_somebody_asks(in_bucket: Any) -> None:
    api, purchase = in_bucket()
    api.render(purchase["purchase_id"])
    assert api.admin("GET", "/admin/pdf-stats").get_json()["storage"] == {
        "files": 1, "bytes": len(PDF), "more": False,
    }  # fmt: skip
    told = api.admin("POST", "/admin/cleanup-tickets", json={"older_than_s": 0}).get_json()
    assert told == {"deleted": 1, "bytes_freed": len(PDF), "more": False}
    assert api.get(purchase["receipt"]["url"]).status_code == 202
    [due] = api.service.outbox.begin("1", [purchase["purchase_id"]])
    assert due.purchase.purchase_id == purchase["purchase_id"]
