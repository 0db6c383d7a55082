"""The pages for people, out of the folder ticketing/pages, and `/`, which is one of them or the index.

What must stay true: a browser loads nothing from another host and runs nothing that stands in a page; a file that has
changed has another address, so that no browser runs an old script on a new page.
"""

import gzip
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

FOLDER = Path(__file__).parent.parent / "pages"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
PREFIX = "/pages/"
REFERENCE = re.compile(rb'"/pages/([a-z.]+)"')
# Nothing of another host, nothing inline, in no frame; frame-src is the receipt, which a page shows.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
CHECKED = "no-cache"  # kept, and asked for at each use whether it has changed
FOR_EVER = "public, max-age=31536000, immutable"
ZIPPED_FROM_BYTES = 500


@dataclass(frozen=True, slots=True)
class File:
    """One file, ready to be sent."""

    body: bytes
    zipped: bytes
    etag: str
    content_type: str

    def answer(self, cache: str, headers: dict[str, str]) -> Response:
        """The file, shorter for whoever reads gzip; 304 for whoever has it."""
        zips = len(self.body) > ZIPPED_FROM_BYTES and request.accept_encodings["gzip"] > 0
        answer = Response(self.zipped if zips else self.body, headers=headers, content_type=self.content_type)
        if zips:
            answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Cache-Control"] = cache
        answer.vary.add("Accept-Encoding")
        answer.set_etag(f"{self.etag}-gzip" if zips else self.etag)
        answer.make_conditional(request)
        return answer


class Pages:
    """Every file of the folder, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._parts = {path.name: _file(path.read_bytes(), path.suffix) for path in folder.iterdir() if _is_part(path)}
        self._pages = {path.name: _file(self._dated(path.read_bytes()), ".html") for path in folder.glob("*.html")}

    def page(self, name: str) -> File:
        """A page, each reference of which names the present version."""
        return self._pages[name]

    def part(self, name: str) -> File:
        """What pages are made of. Raises NotFound."""
        if name not in self._parts:
            raise NotFound
        return self._parts[name]

    def _dated(self, page: bytes) -> bytes:
        def with_version(found: re.Match[bytes]) -> bytes:
            name = found[1].decode()
            return f'"{PREFIX}{name}?v={self._parts[name].etag[:12]}"'.encode()

        return REFERENCE.sub(with_version, page)


def blueprint(pages: Pages, index: Callable[[], bytes]) -> Blueprint:
    """The routes; `index` is what programs get at `/`, as JSON."""
    routes = Blueprint("pages", __name__)

    @routes.get("/")
    def home() -> Response:
        if wants_page():
            answer = pages.page("shop.html").answer(CHECKED, PAGE_HEADERS)
        else:
            answer = Response(index(), content_type="application/json")
        answer.vary.add("Accept")
        return answer

    @routes.get("/pages/<text:name>")
    def part(name: str) -> Response:
        file = pages.part(name)
        return file.answer(FOR_EVER if request.args.get("v") == file.etag[:12] else CHECKED, {})

    return routes


def wants_page() -> bool:
    """Whether a person's browser asks: it names HTML, where programs take anything."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def _file(body: bytes, suffix: str) -> File:
    return File(body, gzip.compress(body, mtime=0), hashlib.sha256(body).hexdigest()[:32], TYPES[suffix])


def _is_part(path: Path) -> bool:
    return path.suffix in TYPES and path.suffix != ".html"
