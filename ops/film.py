"""Films a real run for the README: `python -m ops.film` writes ops/film.webp, ops/page.png and ops/live.png.

A buyer's page and the operator's, side by side: two tickets are bought, the receipt comes, the store is killed and kept
dead, a ticket is sold from the reserve, the store is let live, and the purchase is settled.

What must stay true: nothing is staged but the pauses; each frame is a screenshot of a service that runs.
"""

import contextlib
import io
import os
import random
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import weblate_fonts
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser, Page, sync_playwright

from tests.service import ADMIN_TOKEN, Service

OPS = Path(__file__).parent
FONTS = OPS.parent / "workers" / "fonts"
SHOP, LIVE, STRIP = (800, 720), (480, 720), 60
INK, PAPER = "#f1f1f6", "#191921"
BEFORE_S = 45.0  # of sale, so that the plots have something to draw
WAIT_MS = 30_000
FILM_BYTES_MAX = 2_000_000


@dataclass
class Film:
    """Frames, each shown for so many ms."""

    shop: Page
    live: Page
    frames: list[Image.Image] = field(default_factory=list)
    durations_ms: list[int] = field(default_factory=list)
    caption: str = ""

    def shoot(self, shown_ms: int) -> None:
        """One more frame; the one before is shown longer where nothing has changed."""
        frame = Image.new("RGB", (SHOP[0] + LIVE[0], SHOP[1] + STRIP), PAPER)
        frame.paste(_screenshot(self.shop), (0, 0))
        frame.paste(_screenshot(self.live), (SHOP[0], 0))
        font = ImageFont.truetype(str(FONTS / "NotoSans-Bold.ttf"), 24)
        ImageDraw.Draw(frame).text((28, SHOP[1] + STRIP // 2), self.caption, INK, font, anchor="lm")
        self.frames.append(frame)
        self.durations_ms.append(shown_ms)

    def until(self, text: str, most_s: float = 30) -> None:
        """Films until the buyer's page says this."""
        until_s = time.monotonic() + most_s
        while not self.shop.get_by_text(text).first.is_visible():
            assert time.monotonic() < until_s, f"the page never said: {text}"
            self.shoot(150)

    def save(self, path: Path) -> None:
        """As an animation that begins again."""
        first, *others = self.frames
        first.save(path, save_all=True, append_images=others, duration=self.durations_ms, loop=0, quality=70, method=6)


class Killer:
    """Kills the store whenever the supervisor has started it again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            for process in psutil.Process(self._service.launcher.pid).children(recursive=True):
                try:
                    if "valkey-server" in " ".join(process.cmdline()):
                        process.kill()
                except psutil.NoSuchProcess:
                    pass


class Crowd:
    """Others who buy meanwhile."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        chance = random.Random(7)  # noqa: S311 - nothing secret hangs on it
        while not self._ended.wait(chance.expovariate(12)):
            event_id, quantity = chance.choice("1112345"), chance.choice((1, 1, 2))
            with contextlib.suppress(OSError):
                self._service.request("POST", f"/buy/{event_id}", {"quantity": quantity})


def main() -> None:
    """Everything, in about two minutes."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "no chromium here: apt-get install chromium"
    with tempfile.TemporaryDirectory(prefix="film") as folder:
        service = Service(Path(folder), SEED_EVENTS=5, RESERVE_TICKETS=200, RESERVE_PER_MILLE=50)
        service.start()
        try:
            with sync_playwright() as playwright, Crowd(service):
                arguments = ["--no-sandbox"] if os.getuid() == 0 else []
                fonts = {**os.environ, "FONTCONFIG_FILE": str(_fonts(Path(folder)))}
                browser = playwright.chromium.launch(executable_path=chromium, args=arguments, env=fonts)
                time.sleep(BEFORE_S)
                _stills(browser, service)
                _film(browser, service)
                browser.close()
            service.audit()
        finally:
            service.stop()


def _stills(browser: Browser, service: Service) -> None:
    shop = browser.new_page(viewport={"width": 1280, "height": 860})
    shop.goto(service.url)
    shop.locator(".card").first.wait_for()
    _keep(shop, "page.png")
    live = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="dark")
    _sign_in(live, service)
    _keep(live, "live.png")


def _film(browser: Browser, service: Service) -> None:
    shop = browser.new_page(viewport={"width": SHOP[0], "height": SHOP[1]})
    live = browser.new_page(viewport={"width": LIVE[0], "height": LIVE[1]}, color_scheme="dark")
    shop.set_default_timeout(WAIT_MS)
    shop.goto(service.url)
    shop.locator(".card").first.wait_for()
    _sign_in(live, service)
    film = Film(shop, live)
    film.caption = "make run, and a browser: the page of the buyers, and the operator's"
    film.shoot(2200)
    _choose(film, 0, 2, "Zoë Müller")
    film.caption = "Two tickets, sold by the store in a few milliseconds; the receipt follows"
    shop.locator("#buy").click()
    film.until("Your receipt is ready.")
    shop.wait_for_timeout(1200)  # the browser's PDF viewer starts
    film.shoot(2600)
    shop.locator("#close").click()
    with Killer(service):
        film.caption = "kill -9 of the store, and again whenever it comes back"
        live.get_by_text("Outage: selling from the reserve").wait_for()
        film.shoot(2200)
        _choose(film, 1, 1, "Jonas Weiß")
        shop.locator("#buy").click()
        film.caption = "It sells on, from a reserve: on disk before the buyer is answered"
        film.until("Provisional: bought")
        film.shoot(3000)
    film.caption = "The store may live again: settled, with its number and its receipt"
    film.until("Your receipt is ready.")
    shop.wait_for_timeout(1200)
    live.get_by_text("All is well").wait_for()
    film.shoot(3500)
    path = OPS / "film.webp"
    film.save(path)
    size = path.stat().st_size
    print(f"{path}: {len(film.frames)} frames, {size / 1000:.0f} kB")
    assert size < FILM_BYTES_MAX


def _choose(film: Film, card: int, quantity: int, holder: str) -> None:
    film.shop.locator(".card .go").nth(card).click()
    film.shop.wait_for_timeout(300)
    film.shoot(900)
    for _ in range(quantity - 1):
        film.shop.locator("#further").click()
        film.shoot(500)
    film.shop.locator("#holder").fill(holder)
    film.shoot(900)


def _sign_in(page: Page, service: Service) -> None:
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{service.url}/admin/live")
    page.locator("#token").fill(ADMIN_TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("All is well").wait_for()


def _screenshot(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _keep(page: Page, name: str) -> None:
    page.wait_for_timeout(500)
    _screenshot(page).quantize(256).save(OPS / name, optimize=True)


def _fonts(folder: Path) -> Path:
    """The fonts of the receipts, so that names in any script look here as they do there."""
    others = Path(weblate_fonts.__file__).parent / "static" / "weblate_fonts"
    path = folder / "fonts.conf"
    path.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        '<include ignore_missing="yes">/etc/fonts/fonts.conf</include>'
        f"<dir>{FONTS}</dir><dir>{others}</dir></fontconfig>"
    )
    return path


if __name__ == "__main__":
    main()
