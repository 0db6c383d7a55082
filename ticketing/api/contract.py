"""The contract: openapi.yaml beside this file, served as JSON and as a page to read.

What must stay true: nothing is loaded from elsewhere and no script runs, so the page works, and stays harmless, without
the network; what it shows is the document and nothing besides. The document is read when it is first asked for: few
processes ever are, and reading it leaves 4 MB behind.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, render_template, request
from markupsafe import Markup, escape

DOCUMENT = Path(__file__).parent / "openapi.yaml"
METHODS = ("get", "post", "put", "patch", "delete")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CACHED = "public, max-age=60"
CODE = Markup("<code>{}</code>")
BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "default", "pattern")


@cache
def document() -> dict[str, Any]:
    """The contract as OpenAPI 3.1 has it."""
    import yaml  # noqa: PLC0415 - for this alone

    # Both are safe; in Python it would take a tenth of a second, in which nothing is sold.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Any] = yaml.load(DOCUMENT.read_text(encoding="utf-8"), loader)  # noqa: S506
    return loaded


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method in capitals, and what the document says of it, in its order."""
    for path, item in document()["paths"].items():
        yield from ((path, method.upper(), item[method]) for method in METHODS if method in item)


def resolved(part: Any) -> Any:
    """The part that a reference stands for, or the part itself."""
    if not isinstance(part, dict) or "$ref" not in part:
        return part
    found: Any = document()
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found | {name: value for name, value in part.items() if name != "$ref"}


def blueprint() -> Blueprint:
    """The routes."""
    routes = Blueprint("contract", __name__, template_folder="templates")

    @routes.get("/openapi.json")
    def openapi() -> Response:
        answer = Response(_as_json(), headers={"Cache-Control": CACHED}, content_type="application/json")
        answer.set_etag(hashlib.sha256(_as_json()).hexdigest()[:32])
        answer.make_conditional(request)
        return answer

    @routes.get("/docs")
    def docs() -> Response:
        answer = Response(_page(), headers={"Cache-Control": CACHED}, content_type="text/html; charset=utf-8")
        answer.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return answer

    return routes


@cache
def index() -> bytes:
    """Where things are, as JSON: each call's path by its name."""
    calls = {operation["operationId"]: path for path, _, operation in operations()}
    return orjson.dumps({"name": document()["info"]["title"], "calls": calls})


@cache
def _as_json() -> bytes:
    return orjson.dumps(document())


@cache
def _page() -> str:
    tags = document()["tags"]
    listed = [(tag, [call for call in operations() if call[2]["tags"] == [tag["name"]]]) for tag in tags]
    return render_template(
        "contract.html",
        document=document(),
        tags=listed,
        resolved=resolved,
        prose=prose,
        schema=schema_text,
        json=_indented,
    )


def prose(text: str) -> Markup:
    """A description as HTML: paragraphs, and code between backticks."""
    made = Markup()
    for paragraph in text.strip().split("\n\n"):
        parts = [CODE.format(part) if i % 2 else escape(part) for i, part in enumerate(paragraph.split("`"))]
        made += Markup("<p>{}</p>").format(Markup().join(parts))
    return made


def schema_text(schema: dict[str, Any]) -> str:
    """A schema in a few words: its name, or its type and bounds."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "oneOf" in schema:
        return " or ".join(schema_text(one) for one in schema["oneOf"])
    if "const" in schema:
        return _inline(schema["const"])
    if "enum" in schema:
        return " | ".join(_inline(value) for value in schema["enum"])
    kind = schema.get("type", "anything")
    named = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if kind == "array":
        named += f" of {schema_text(schema['items'])}"
    bounds = [f"{name} {schema[name]}" for name in BOUNDS if name in schema]
    return ", ".join([named, *bounds])


def _inline(value: Any) -> str:
    return orjson.dumps(value).decode()


def _indented(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
