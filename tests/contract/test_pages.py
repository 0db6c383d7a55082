"""The pages for people over HTTP: who gets which, what a browser is forbidden, what it may keep."""

import gzip
import re
from typing import Any

import pytest

from tests.contract.conftest import Api, problem_of
from ticketing.api import pages

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"}
FILES = sorted(path.name for path in pages.FOLDER.iterdir() if path.suffix in {".css", ".js"})
LARGER = [name for name in FILES if (pages.FOLDER / name).stat().st_size > pages.ZIPPED_FROM_BYTES]
BYTES_MAX = 60_000


@pytest.fixture
def store() -> Any:
    """One store is enough here: nothing is bought."""
    from tests.servers import fake_store

    return fake_store()


def test_people_get_a_page_and_programs_the_index(api: Api) -> None:
    for accept in ("*/*", "application/json", "", "application/json, text/html;q=0.5"):
        assert api.get("/", headers={"Accept": accept} if accept else {}).get_json()["name"] == "Ticketing"
    page = api.get("/", headers=BROWSER)
    assert page.content_type == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert api.get("/", headers={"Accept": "text/html"}).data == page.data
    assert {"Accept", "Accept-Encoding"} == set(page.headers["Vary"].split(", "))


def test_a_page_may_load_nothing_from_elsewhere_and_run_nothing_that_stands_in_it(api: Api) -> None:
    answer = api.get("/", headers=BROWSER)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert not [value for value in policy.values() if "unsafe" in value or "http" in value or "*" in value]


@pytest.mark.parametrize("name", sorted(path.name for path in pages.FOLDER.glob("*.html")))
def test_no_page_holds_script_or_style_or_names_another_host(name: str) -> None:
    text = (pages.FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://", text)
    assert not "".join(re.findall(r"<script[^>]*>([^<]*)</script>", text)).strip()


def test_all_pages_together_are_small() -> None:
    assert len(FILES) >= 3
    assert sum(path.stat().st_size for path in pages.FOLDER.iterdir() if path.suffix != ".md") < BYTES_MAX


def test_what_a_page_names_is_there_and_kept_for_ever_since_a_change_gives_it_another_name(api: Api) -> None:
    named = re.findall(r'"(/pages/[^"]+)"', api.get("/", headers=BROWSER).text)
    assert len(named) >= 3
    for address in named:
        answer = api.get(address)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        etag = answer.headers["ETag"]
        assert etag.strip('"').startswith(address.partition("?v=")[2])


def test_without_its_present_version_a_file_is_asked_for_again(api: Api) -> None:
    for address in ("/pages/shop.js", "/pages/shop.js?v=", "/pages/shop.js?v=000000000000"):
        answer = api.get(address)
        assert answer.headers["Cache-Control"] == "no-cache"
        again = api.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
    page = api.get("/", headers=BROWSER)
    again = api.get("/", headers=BROWSER | {"If-None-Match": page.headers["ETag"]})
    assert (page.headers["Cache-Control"], again.status_code) == ("no-cache", 304)


@pytest.mark.parametrize("name", LARGER)
def test_a_file_comes_zipped_for_whoever_reads_that(api: Api, name: str) -> None:
    plain, zipped = api.get(f"/pages/{name}"), api.get(f"/pages/{name}", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.data) == plain.data == (pages.FOLDER / name).read_bytes()
    assert zipped.headers["ETag"] != plain.headers["ETag"]


def test_no_other_file_is_served(api: Api) -> None:
    for name in ("", "nope.js", "shop.html", "README.md", "../app.py", "%2e%2e/app.py", "a/b.css", "shop.js/"):
        assert problem_of(api.get(f"/pages/{name}")) == (404, "not-found"), name
