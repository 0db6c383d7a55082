"""Holds an answer against the contract: documented status, headers, content type and members, and nothing besides."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from ticketing.api.contract import document, operations, resolved

OPEN = "Problem"  # what every problem is made of, so it can't be closed by itself
OUTSIDE = ("/static/", "/admin/rq/")  # files, and pages of rq-dashboard
OF_OTHER_PATHS = {(404, "not-found"), (404, ""), (308, "")}


def check(method: str, path: str, answer: TestResponse) -> None:
    """The answer to this call is one that the contract names."""
    told = f"{method} {path[:80]} -> {answer.status_code} {dict(answer.headers)} {answer.data[:500]!r}"
    if "X-Request-ID" not in answer.headers:
        raise AssertionError(f"no X-Request-ID: {told}")
    template = _template(path)
    if template is None:
        if not path.startswith(OUTSIDE):
            assert (answer.status_code, _problem_type(answer)) in OF_OTHER_PATHS, told
        return
    calls = _calls()[template]
    if method not in calls:
        assert (answer.status_code, _problem_type(answer)) in {(405, "method-not-allowed"), (405, "")}, told
        return
    documented = calls[method]["responses"].get(str(answer.status_code))
    assert documented is not None, f"not in the contract: {told}"
    _check_answer(resolved(documented), answer, told, has_body=method != "HEAD")


def _check_answer(documented: dict[str, Any], answer: TestResponse, told: str, *, has_body: bool) -> None:
    for name, header in documented["headers"].items():
        known = resolved(header)
        assert not known.get("required") or name in answer.headers, f"without {name}: {told}"
        if name in answer.headers and known["schema"].get("type") != "integer":
            _validate(known["schema"], answer.headers[name], f"{name}: {told}")
    content = documented.get("content")
    if content is None:
        assert answer.data == b"", told
        return
    assert answer.mimetype in content, f"another content type than {list(content)}: {told}"
    if has_body and answer.mimetype.endswith("json"):
        _validate(content[answer.mimetype]["schema"], answer.get_json(force=True), told)


def _validate(schema: dict[str, Any], value: Any, told: str) -> None:
    errors = list(Draft202012Validator({**schema, "components": {"schemas": closed_schemas()}}).iter_errors(value))
    assert not errors, f"{[(error.json_path, error.message) for error in errors]}: {told}"


def _problem_type(answer: TestResponse) -> str:
    if answer.mimetype != "application/problem+json":
        return ""
    return str(answer.get_json(force=True)["type"]).rpartition("/")[2] if answer.data else ""  # to HEAD


@cache
def _calls() -> dict[str, dict[str, Any]]:
    """By path template and method; HEAD works where GET does."""
    calls: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations():
        calls.setdefault(path, {})[method] = operation
        if method == "GET":
            calls[path]["HEAD"] = operation
    return calls


def _template(path: str) -> str | None:
    path = path.partition("?")[0]
    if path in _calls():
        return path
    for template in _calls():
        before, brace, after = template.partition("{")
        after = after.partition("}")[2]
        if brace and path.startswith(before) and path.endswith(after) and len(path) >= len(before + after):
            return template
    return None


@cache
def closed_schemas() -> dict[str, Any]:
    """The schemas, with every member that they do not name forbidden: clients may ignore such, tests may not."""
    schemas = deepcopy(document()["components"]["schemas"])
    for name, schema in schemas.items():
        if name != OPEN:
            for part in _objects(schema):
                part.setdefault("unevaluatedProperties", False)
    return schemas


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and "additionalProperties" not in schema:
            yield schema
        for name, part in schema.items():
            if name != "allOf":
                yield from _objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _objects(part)
