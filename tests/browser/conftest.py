"""A real browser, and a service with events to buy: what every test of the pages starts from.

What must stay true: a page that is watched broke no rule of its Content-Security-Policy, threw nothing, wrote no
warning, and asked no other host for anything.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.servers import run_module, wait_until
from tests.service import Service, event_of

WAIT_MS = 20_000
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
# A refused purchase and a lost connection are answers to a page, not faults of it.
HARMLESS = ("Failed to load resource",)
LISTEN = """
addEventListener("securitypolicyviolation", (violation) =>
  console.error(`CSP: ${violation.violatedDirective} ${violation.blockedURI}`))
"""

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ends with this folder's tests: Playwright's event loop would be in the way of others."""
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        # Root can't use the sandbox, as in a container.
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address in a browser of its own, watched: `open_page(url, **options of the context)`."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def watch(page: Page, url: str) -> None:
        host = "/".join(url.split("/")[:3])
        page.add_init_script(LISTEN)
        page.on("pageerror", lambda error: faults.append(f"thrown: {error}"))
        page.on("console", lambda said: _note(faults, said.type, said.text))
        page.on("request", lambda request: _check_host(faults, request.url, host))

    def start(url: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        watch(page, url)
        page.goto(url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert faults == []


def _note(faults: list[str], kind: str, text: str) -> None:
    if kind in {"error", "warning"} and not text.startswith(HARMLESS):
        faults.append(f"{kind}: {text}")


def _check_host(faults: list[str], url: str, host: str) -> None:
    if not url.startswith((host, "chrome-extension:", "chrome:", "blob:", "data:")):  # the browser's own PDF viewer
        faults.append(f"asked another host: {url}")


def serve(folder: Path, events: list[dict[str, Any]], **settings: object) -> Service:
    """A running service with these events; the caller stops it."""
    service = Service(folder, **settings)
    service.start()
    path = folder / "events.json"
    path.write_text(json.dumps(events))
    done = run_module("seeds", "--file", str(path), data_dir=service.data_dir, **service.settings)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(service.events()) == len(events), 10, "the events are known")
    return service


def event(event_id: str, tickets: int, **more: Any) -> dict[str, Any]:
    """An event named by its id."""
    return event_of(event_id, tickets, **({"name": f"An evening of {event_id}", "accent": "#8c2f39"} | more))


ACCENTS = {
    "one": "#232d78",
    "two": "#ffe14a",
    "three": "#767676",
    "four": "#ffffff",
    "five": "#000000",
    "six": "#0b6e4f",
}
EVENTS = [
    event("piano", 500),
    event("keys", 100),
    event("twice", 100),
    event("reload", 100),
    event("unsent", 100),
    event("full", 100),
    event("back", 100),
    event("offline", 100),
    event("reply", 100),
    event("busy", 100),
    event("few", 3),
    event("last", 2),
    event("gone", 1),
    event("pause", 50),
    event("limit", 50, limits={"per_purchase": 4, "per_buyer": 2}),
    event("later", 50, sales={"opens_at": "2031-01-01T10:00:00Z"}),
    event("old", 50),
    event("phone", 50),
    event("operated", 50),
    event("watched", 100),
    event("outage", 1000),
    event("lost", 1000),
    *(event(name, 50, accent=accent) for name, accent in ACCENTS.items()),
]


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests, with an event for each: no test depends on what another bought."""
    service = serve(tmp_path_factory.mktemp("service"), EVENTS)
    yield service
    service.audit()
    service.stop()


@pytest.fixture
def frail(service: Service) -> Iterator[Service]:
    """The service, whose store a test may stop; it goes on afterwards, and every web process is well again."""
    yield service
    signal_store(service, signal.SIGCONT)
    wait_until(lambda: all(_is_well(service) for _ in range(20)), 30, "the outage is over")


def _is_well(service: Service) -> bool:
    return bool(service.request("GET", "/health").json()["status"] == "ok")


def signal_store(service: Service, how: signal.Signals) -> None:
    for process in service.find("valkey-server"):
        process.send_signal(how)


def sold(service: Service, event_id: str) -> int:
    """Tickets sold of it, as the store has it now."""
    (found,) = [
        shown for shown in service.admin("GET", "/admin/audit").json()["events"] if shown["event_id"] == event_id
    ]
    return int(found["sold"])
