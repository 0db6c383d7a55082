"""What axe finds on the pages: nothing, on a desk in light colours and on a phone in dark ones, in each state."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import EVENTS, PHONE, OpenPage
from tests.browser.test_buying import buy, choose, expect_bought, till
from tests.service import Service

# axe is injected by the test, which the policy of the page would forbid; and it can't look into a PDF.
INJECTED: dict[str, Any] = {"bypass_csp": True}
LOOKS: dict[str, dict[str, Any]] = {
    "desk-light": {"color_scheme": "light"},
    "phone-dark": {"color_scheme": "dark", **PHONE},
}
RULES = {
    "iframes": False,
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}


def findings(page: Page, part: str | None = None) -> list[tuple[str, str]]:
    page.wait_for_function(
        "document.getAnimations().every((one) => one.playState !== 'running' || one.effect.getTiming().iterations > 1)"
    )
    found = Axe().run(page, context=part, options=RULES).response
    assert len(found["passes"]) > 10
    return [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_for_buyers_has_no_findings(service: Service, open_page: OpenPage, look: str) -> None:
    page = open_page(service.url, **INJECTED, **LOOKS[look])
    expect(page.locator(".card")).to_have_count(len(EVENTS))
    assert findings(page) == []
    choose(page, "two", 2)
    assert findings(page, "#till") == []
    buy(page)
    expect_bought(page, "2 tickets are yours")
    assert findings(page, "#till") == []
    page.keyboard.press("Escape")
    assert findings(page) == []
    page.route("**/buy/*", lambda route: route.abort())
    choose(page, "three")
    buy(page)
    expect(till(page)).to_contain_text("The connection was lost")
    assert findings(page, "#till") == []
