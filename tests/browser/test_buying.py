"""A purchase in a browser: from the card to the PDF, once, whatever the buyer and the network do."""

import json
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PHONE, OpenPage, sold
from tests.service import Service

FILL_STORAGE = "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') } }"


def card(page: Page, event_id: str) -> Any:
    return page.locator(".card", has=page.get_by_role("heading", name=f"An evening of {event_id}"))


def choose(page: Page, event_id: str, quantity: int = 1) -> None:
    card(page, event_id).get_by_role("button", name="Get tickets").click()
    page.get_by_label("How many tickets?").fill(str(quantity))


def till(page: Page) -> Any:
    return page.get_by_role("dialog")


def buy(page: Page) -> None:
    till(page).get_by_role("button", name="Buy").click()


def expect_bought(page: Page, title: str = "1 ticket is yours") -> None:
    expect(till(page).get_by_role("heading", name=title)).to_be_visible()
    expect(till(page).get_by_role("status")).to_have_text("Your receipt is ready.")


def kept(page: Page) -> list[dict[str, Any]]:
    purchases: list[dict[str, Any]] = json.loads(page.evaluate("localStorage.getItem('ticketing.purchases')") or "[]")
    return purchases


def take(service: Service, event_id: str, quantity: int) -> None:
    assert service.request("POST", f"/buy/{event_id}", {"quantity": quantity}).status == 201


def test_a_person_buys_two_tickets_and_has_the_pdf(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    expect(card(page, "piano")).to_contain_text("500 of 500 left")
    choose(page, "piano")
    till(page).get_by_role("button", name="One ticket more").click()
    till(page).get_by_label("Name on the tickets").fill("Zoë Müller")
    expect(till(page).get_by_role("button", name="Buy 2 tickets")).to_have_text("Buy 2 tickets · £90.00")
    buy(page)
    expect_bought(page, "2 tickets are yours")
    numbers = till(page).get_by_role("list", name="Ticket numbers").get_by_role("listitem")
    expect(numbers).to_have_text(["Epiano-000001", "Epiano-000002"])
    frame = till(page).get_by_title("The receipt, a PDF")
    url = str(kept(page)[0]["bought"]["receipt"]["url"])
    assert str(frame.get_attribute("src")).startswith(f"{url}?here=1#")  # this page may show nothing of a bucket's host
    with page.expect_download() as download:
        till(page).get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "tickets-piano.pdf"
    assert download.value.path().read_bytes() == service.request("GET", url).body
    page.keyboard.press("Escape")
    expect(card(page, "piano")).to_contain_text("498 of 500 left")
    expect(page.get_by_role("region", name="Your tickets").get_by_role("button")).to_contain_text("Ready")
    assert sold(service, "piano") == 2


def test_a_purchase_needs_no_mouse(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    card(page, "keys").get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(till(page)).to_be_visible()
    page.get_by_label("How many tickets?").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect_bought(page, "2 tickets are yours")
    expect(till(page).get_by_role("heading", name="2 tickets are yours")).to_be_focused()
    page.keyboard.press("Tab")
    expect(till(page).get_by_role("link", name="Open the PDF")).to_be_focused()
    page.keyboard.press("Escape")
    expect(till(page)).to_be_hidden()
    expect(card(page, "keys").get_by_role("button")).to_be_focused()
    assert sold(service, "keys") == 2


def test_a_double_click_buys_once(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    choose(page, "twice")
    page.locator("#buy").dblclick()
    expect_bought(page)
    page.evaluate("for (let i = 0; i < 5; i++) document.getElementById('choose').requestSubmit()")
    page.reload()
    expect_bought(page)
    assert sent == [f"{service.url}/buy/twice"]
    assert len(kept(page)) == 1
    assert sold(service, "twice") == 1


def test_a_reload_in_the_middle_buys_once(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    keys: list[str] = []

    def swallow_the_first_answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            route.continue_()
            return
        assert route.fetch().status == 201  # it is bought, and the page never hears of it
        page.evaluate("document.title = 'swallowed'")

    page.route("**/buy/*", swallow_the_first_answer)
    choose(page, "reload")
    buy(page)
    expect(till(page).get_by_role("heading", name="Buying 1 ticket")).to_be_visible()
    expect(page).to_have_title("swallowed")
    page.reload()
    expect_bought(page)
    expect(till(page)).to_contain_text("Asked 2 times, bought once.")
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert sold(service, "reload") == 1


def test_a_purchase_that_never_left_is_sent_after_a_reload(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    page.route("**/buy/*", lambda route: route.abort())
    choose(page, "unsent")
    buy(page)
    expect(till(page)).to_contain_text("The connection was lost")
    assert sold(service, "unsent") == 0
    page.unroute_all(behavior="ignoreErrors")
    page.reload()
    expect_bought(page)
    assert sold(service, "unsent") == 1


def test_a_full_storage_that_can_still_be_read_is_no_reason_not_to_buy(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    page.evaluate(FILL_STORAGE)
    choose(page, "full")
    buy(page)
    expect_bought(page)
    expect(page.get_by_role("region", name="Your tickets").locator("button")).to_contain_text("Ready")
    assert kept(page) == []
    assert sold(service, "full") == 1


def test_back_forward_and_reload_show_and_buy_nothing_more(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    choose(page, "back")
    buy(page)
    expect_bought(page)
    page.go_back()
    expect(till(page)).to_be_hidden()
    page.go_forward()
    expect_bought(page)
    page.reload()
    expect_bought(page)
    till(page).get_by_role("button", name="Close").click()
    expect(till(page)).to_be_hidden()
    page.get_by_role("region", name="Your tickets").get_by_role("button").click()
    expect_bought(page)
    page.go_back()
    choose(page, "back")  # a form, not the purchase that was made
    page.go_back()
    expect(till(page)).to_be_hidden()
    assert sold(service, "back") == 1


def test_a_connection_that_is_lost_and_found_again_buys_once(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    choose(page, "offline", 2)
    page.context.set_offline(True)
    buy(page)
    expect(till(page)).to_contain_text("The connection was lost. We ask again with the same key, which buys once.")
    assert sold(service, "offline") == 0
    page.context.set_offline(False)
    expect_bought(page, "2 tickets are yours")
    assert sold(service, "offline") == 2


def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_key(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    keys: list[str] = []

    def lose_the_first_answers(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        assert route.fetch().status in {200, 201}
        if len(keys) < 3:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/buy/*", lose_the_first_answers)
    choose(page, "reply", 2)
    buy(page)
    expect_bought(page, "2 tickets are yours")
    expect(till(page)).to_contain_text("Asked 3 times, bought once.")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert sold(service, "reply") == 2


def test_a_busy_service_is_asked_again_as_it_says(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    refused: list[str] = []

    def refuse_twice(route: Route) -> None:
        if len(refused) == 2:
            route.continue_()
            return
        refused.append(route.request.headers["idempotency-key"])
        problem = {"type": "/problems/temporarily-unavailable", "title": "Busy", "status": 503, "detail": "Again."}
        headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
        route.fulfill(status=503, headers=headers, body=json.dumps(problem))

    page.route("**/buy/*", refuse_twice)
    choose(page, "busy")
    buy(page)
    expect(till(page)).to_contain_text("The ticket office is busy.")
    expect_bought(page)
    assert len(set(refused)) == 1
    assert sold(service, "busy") == 1


def test_not_enough_left_is_said_and_the_rest_offered(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    choose(page, "few", 3)
    take(service, "few", 1)
    buy(page)
    expect(till(page).get_by_role("heading", name="Only 2 tickets are left")).to_be_focused()
    expect(till(page)).to_contain_text("nothing was bought")
    assert kept(page) == []
    till(page).get_by_role("button", name="Choose 2 instead").click()
    buy(page)
    expect_bought(page, "2 tickets are yours")
    assert sold(service, "few") == 3


def test_sold_out_while_the_page_is_open_shows_by_itself(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    choose(page, "last")
    take(service, "last", 2)
    expect(till(page).get_by_role("alert")).to_contain_text("Every ticket is sold.")
    expect(till(page).get_by_role("button", name="Sold out")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(card(page, "last").get_by_role("button", name="Sold out")).to_be_disabled()
    expect(card(page, "last")).to_contain_text("0 of 2 left")


def test_sold_out_a_moment_before_is_said_in_words(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    choose(page, "gone")
    page.route("**/events?*", lambda route: route.abort())
    take(service, "gone", 1)
    buy(page)
    expect(till(page).get_by_role("heading", name="Sold out")).to_be_focused()
    expect(till(page)).to_contain_text("The last ticket went a moment before. Nothing was bought.")
    expect(page.locator("#notice")).to_contain_text("The connection is lost.")
    assert kept(page) == []


def test_a_paused_sale_says_so_and_goes_on_by_itself(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    choose(page, "pause")
    assert service.admin("POST", "/admin/events/pause/pause").status == 200
    expect(till(page).get_by_role("alert")).to_contain_text("The organiser has paused this sale.")
    assert service.admin("POST", "/admin/events/pause/resume").status == 200
    expect(till(page).get_by_role("alert")).to_be_hidden()
    buy(page)
    expect_bought(page)


def test_a_sale_that_opens_later_says_when(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    button = card(page, "later").get_by_role("button")
    expect(button).to_contain_text("Opens 1 Jan 2031")
    expect(button).to_be_disabled()


def test_a_limit_a_person_asks_for_an_address_and_is_explained(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    choose(page, "limit", 2)
    buy(page)
    expect(till(page).get_by_role("alert")).to_have_text("This event needs your e-mail address.")
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.get_by_label("E-mail").fill("zoe@example.com")
    buy(page)
    expect_bought(page, "2 tickets are yours")
    page.keyboard.press("Escape")
    choose(page, "limit")
    buy(page)
    expect(till(page).get_by_role("heading", name="That is more than one person may hold")).to_be_visible()
    expect(till(page)).to_contain_text("one person may hold 2 tickets; you hold 2. Nothing was bought.")


def test_what_an_old_visit_left_open_is_not_bought_by_itself(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url)
    page.route("**/buy/*", lambda route: route.abort())
    choose(page, "old")
    buy(page)
    expect(till(page)).to_contain_text("The connection was lost")
    page.evaluate("""() => {
      const [one] = JSON.parse(localStorage.getItem("ticketing.purchases"));
      localStorage.setItem("ticketing.purchases", JSON.stringify([{...one, made_at: Date.now() - 3600_000}]));
    }""")
    page.unroute_all(behavior="ignoreErrors")
    page.goto("about:blank")
    page.goto(service.url)
    own = page.get_by_role("region", name="Your tickets").get_by_role("button")
    expect(own).to_contain_text("Not confirmed")
    assert sold(service, "old") == 0
    own.click()
    till(page).get_by_role("button", name="Finish it").click()
    expect_bought(page)
    assert sold(service, "old") == 1


def test_a_phone_buys_and_has_no_sideways_scrolling(service: Service, open_page: OpenPage) -> None:
    page = open_page(service.url, **PHONE)
    choose(page, "phone")
    buy(page)
    expect_bought(page)
    expect(till(page).get_by_role("link", name="Open the PDF")).to_be_visible()
    page.keyboard.press("Escape")
    for width in (320, 390, 844):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
