"""The operator's page in a browser: signing in, what it shows and does, and that no other site can do it."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PHONE, OpenPage, signal_store
from tests.browser.test_accessibility import INJECTED, LOOKS, findings
from tests.servers import HOST
from tests.service import ADMIN_TOKEN, Service


def live(service: Service) -> str:
    return f"{service.url}/admin/live"


def sign_in(page: Page, token: str = ADMIN_TOKEN) -> None:
    page.get_by_label("Admin token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def row(page: Page, event_id: str) -> Any:
    return page.get_by_role("row", name=f"An evening of {event_id} ")


def tile(page: Page, name: str) -> Any:
    return page.locator("#tiles > div", has=page.get_by_text(name, exact=True))


def confirm(page: Page, name: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=name).click()


def test_a_wrong_token_is_told_and_the_right_one_opens_the_page(service: Service, open_page: OpenPage) -> None:
    page = open_page(live(service))
    sign_in(page, "not the token")
    expect(page.get_by_role("alert")).to_have_text("This is not the admin token.")
    sign_in(page)
    expect(page.get_by_role("status").first).to_have_text("All is well")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/admin")
    assert ADMIN_TOKEN not in json.dumps(cookie)
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Admin token")).to_be_visible()
    assert page.context.cookies() == []


def test_the_operator_pauses_resumes_adds_audits(service: Service, open_page: OpenPage) -> None:
    page = open_page(live(service))
    sign_in(page)
    said = page.locator("#said")
    row(page, "operated").get_by_role("button", name="Pause").click()
    confirm(page, "Cancel")
    row(page, "operated").get_by_role("button", name="Pause").click()
    confirm(page, "Pause")
    expect(said).to_have_text("An evening of operated: the sale is paused now.")
    expect(row(page, "operated").get_by_role("button", name="Resume")).to_be_visible()
    assert service.request("POST", "/buy/operated").status == 409
    row(page, "operated").get_by_role("button", name="Resume").click()
    confirm(page, "Resume")
    expect(said).to_have_text("An evening of operated: the sale is open now.")
    row(page, "operated").get_by_role("button", name="Add").click()
    page.get_by_label("How many?").fill("25")
    confirm(page, "Add them")
    expect(said).to_have_text("An evening of operated: 25 added, 75 issued now.")
    expect(row(page, "operated")).to_contain_text("75")
    page.get_by_role("button", name="Retry failed receipts").click()
    expect(said).to_have_text("0 failed receipts are due again.")
    page.get_by_role("button", name="Audit now").click()
    expect(said).to_contain_text("All is well:")
    page.get_by_role("link", name="Queue").click()
    expect(page).to_have_url(f"{service.url}/admin/rq/")


def test_a_sale_shows_within_seconds(service: Service, open_page: OpenPage) -> None:
    page = open_page(live(service), **PHONE)
    sign_in(page)
    for _ in range(12):
        assert service.request("POST", "/buy/watched", {"quantity": 2}).status == 201
    expect(row(page, "watched").get_by_role("cell").nth(1)).to_have_text("24")
    expect(row(page, "watched").get_by_role("cell").nth(4)).not_to_have_text("0")
    expect(tile(page, "Purchases a second").locator("span")).not_to_have_text("0")
    page.get_by_label("Find").fill("watched")
    expect(page.locator("#rows tr")).to_have_count(1)
    plot = page.get_by_role("img", name="Purchases a second over the last ten minutes")
    expect(plot.locator("path").last).to_have_attribute("d", re.compile("^M.+L.+"))
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]


def test_a_slow_sale_shows_how_slow(service: Service, open_page: OpenPage) -> None:
    def slow_down(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told["sale"] |= {"tickets_per_s": 0.02, "sold_out_in_s": 1_500_000}
        route.fulfill(response=answer, json=told)

    page = open_page(live(service))
    page.route("**/admin/live/data", slow_down)
    sign_in(page)
    expect(tile(page, "Sold out in")).to_contain_text("17 days")
    expect(tile(page, "Sold out in")).to_contain_text("at 0.02 tickets a second")


def test_an_outage_shows_and_ends(frail: Service, open_page: OpenPage) -> None:
    page = open_page(live(frail))
    sign_in(page)
    status = page.get_by_role("status").first
    expect(status).to_have_text("All is well")
    signal_store(frail, signal.SIGSTOP)
    assert frail.request("POST", "/buy/lost").json()["status"] == "provisional"
    expect(status).to_have_text("Outage: selling from the reserve")
    expect(tile(page, "Reserve")).to_contain_text("1 to settle")
    expect(page.locator("#faults")).to_contain_text("outage")
    row(page, "lost").get_by_role("button", name="Pause").click()
    confirm(page, "Pause")
    expect(page.locator("#said")).to_contain_text("Temporarily unavailable")
    signal_store(frail, signal.SIGCONT)
    expect(status).to_have_text("All is well")
    expect(row(page, "lost").get_by_role("cell").nth(1)).to_have_text("1")


class _Evil(BaseHTTPRequestHandler):
    """A site that makes whoever looks at it ask for something elsewhere."""

    target = ""

    def do_GET(self) -> None:
        page = f'<form method="post" action="{self.target}"></form><script>document.forms[0].submit()</script>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def evil() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer((HOST, 0), _Evil)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_another_site_cannot_act_with_the_operators_session(
    service: Service, open_page: OpenPage, evil: ThreadingHTTPServer
) -> None:
    page = open_page(live(service))
    sign_in(page)
    expect(page.get_by_role("status").first).to_have_text("All is well")
    # The name, not the number: the same machine under another name is another site.
    address = f"http://localhost:{evil.server_port}/"
    other = page.context.new_page()
    for path in ("/admin/events/operated/pause", "/admin/logout", "/admin/rq/queue/receipts/queued/empty"):
        _Evil.target = service.url + path
        with other.expect_navigation(url=service.url + path) as answer:
            other.goto(address)
        assert answer.value.status in {401, 403}
    assert len(page.context.cookies()) == 1
    assert service.request("GET", "/events/operated").json()["sales"]["state"] == "open"
    page.evaluate(
        "fetch('/admin/events/operated/pause', {method: 'POST'}).then((answer) => document.title = answer.status)"
    )
    expect(page).to_have_title("403")  # from the page itself, but without its token


@pytest.mark.parametrize("look", LOOKS)
def test_the_operators_page_has_no_findings(service: Service, open_page: OpenPage, look: str) -> None:
    page = open_page(live(service), **INJECTED, **LOOKS[look])
    assert findings(page) == []
    sign_in(page, "not the token")
    expect(page.get_by_role("alert")).to_be_visible()
    assert findings(page) == []
    sign_in(page)
    expect(row(page, "operated")).to_be_visible()
    assert findings(page) == []
    row(page, "operated").get_by_role("button", name="Add").click()
    assert findings(page, "#ask") == []
