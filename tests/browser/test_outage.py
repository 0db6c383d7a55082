"""A browser through an outage: the store stops, the page still sells and says how that stands, and all is settled."""

import signal

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, signal_store, sold
from tests.browser.test_buying import buy, choose, expect_bought, till
from tests.service import Service

PROVISIONAL = "Provisional: bought, waiting for its ticket numbers."


def expect_provisional(page: Page) -> None:
    expect(till(page).get_by_role("status")).to_have_text(PROVISIONAL)
    expect(till(page)).to_contain_text("Your purchase is safely written down")


def test_an_outage_is_told_in_words_and_settled_on_the_open_page(frail: Service, open_page: OpenPage) -> None:
    page = open_page(frail.url)
    choose(page, "outage", 2)
    signal_store(frail, signal.SIGSTOP)
    buy(page)
    expect_provisional(page)
    expect(page.locator("#notice")).to_contain_text("main system is away")
    page.reload()
    expect_provisional(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Your tickets").get_by_role("button")).to_contain_text("Numbers follow")
    page.get_by_role("region", name="Your tickets").get_by_role("button").click()
    signal_store(frail, signal.SIGCONT)
    expect_bought(page, "2 tickets are yours")
    expect(till(page).get_by_role("list", name="Ticket numbers").get_by_role("listitem")).to_have_count(2)
    expect(page.locator("#notice")).to_be_hidden()
    assert sold(frail, "outage") == 2
    frail.audit()
