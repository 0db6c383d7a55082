"""The contract as a document: openapi.yaml names the routes that there are, and can be fetched and read."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from markupsafe import escape

from tests.contract.conftest import Api
from tests.contract.contract import closed_schemas
from ticketing.api import problems
from ticketing.api.contract import document, operations, resolved


@pytest.fixture
def store() -> Any:
    """One store is enough here: nothing is bought."""
    from tests.servers import fake_store

    return fake_store()


@pytest.mark.asked("direct")
def test_the_document_and_the_routes_name_the_same_operations(api: Api) -> None:
    routed = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in api.app.url_map.iter_rules()
        for method in rule.methods
        if rule.endpoint != "static" and not _is_inside_dashboard(rule)
    }
    documented = {(path, method) for path, method, _ in operations()}
    documented |= {(path, "HEAD") for path, method in documented if method == "GET"}
    assert documented == routed


def _is_inside_dashboard(rule: Any) -> bool:
    return rule.endpoint.startswith("rq_dashboard.") and rule.rule != "/admin/rq/"


def test_every_problem_of_the_service_is_in_the_document() -> None:
    schemas = document()["components"]["schemas"].values()
    documented = {
        (schema["properties"]["type"]["const"].removeprefix("/problems/"), schema["properties"]["status"]["const"])
        for schema in schemas
        if "allOf" in schema
    }
    made = {(kind, status) for status, (kind, _, _) in problems.BY_STATUS.items()}
    for_all_paths = {("not-found", 404), ("method-not-allowed", 405), ("internal-error", 500)}
    of_the_server = {("uri-too-long", 414), ("expectation-failed", 417), ("headers-too-large", 431)}
    of_the_server |= {("not-implemented", 501)}
    assert made - documented == for_all_paths | of_the_server
    assert all(kind in document()["info"]["description"] for kind, _ in for_all_paths | of_the_server)
    for kind, _ in for_all_paths:
        assert f"/problems/{kind}" in document()["info"]["description"]


def test_every_reference_of_the_document_leads_somewhere() -> None:
    for part in _parts(document()):
        if "$ref" in part:
            assert isinstance(resolved(part), dict)


def _parts(part: Any) -> Any:
    if isinstance(part, dict):
        yield part
        for inner in part.values():
            yield from _parts(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _parts(inner)


def test_every_schema_is_one_and_every_example_fits_its_schema() -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    checked = 0
    for part in _parts(document()["paths"]):
        for example in part.get("examples", {}).values() if "schema" in part else ():
            schema = {**part["schema"], "components": {"schemas": closed_schemas()}}
            Draft202012Validator(schema).validate(example["value"])
            checked += 1
    assert checked == 10


def test_every_answer_of_the_document_has_a_request_id_and_every_operation_a_name() -> None:
    names = []
    for path, method, operation in operations():
        names.append(operation["operationId"])
        assert operation["summary"], (path, method)
        assert operation["responses"], (path, method)
        for status, answer in operation["responses"].items():
            assert "X-Request-ID" in resolved(answer)["headers"], (path, method, status)
        if path.startswith("/admin"):
            assert operation["security"], (path, method)
            assert {"401", "403"} <= operation["responses"].keys()
    assert len(set(names)) == len(names)


def test_the_document_is_served_as_json(api: Api) -> None:
    answer = api.get("/openapi.json")
    assert answer.get_json() == document()
    assert answer.get_json()["openapi"] == "3.1.0"
    again = api.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_index_names_every_path(api: Api) -> None:
    assert set(api.get("/").get_json()["calls"].values()) == set(document()["paths"])


class Page(HTMLParser):
    """The tags, links and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


def test_the_page_lists_every_operation_and_schema(api: Api) -> None:
    answer = api.get("/docs")
    assert answer.content_type == "text/html; charset=utf-8"
    ids = Page(answer.text).all("id")
    assert len(set(ids)) == len(ids)
    assert {operation["operationId"] for _, _, operation in operations()} <= set(ids)
    assert document()["components"]["schemas"].keys() <= set(ids)
    for path, method, operation in operations():
        assert f"<code><b>{method}</b> {path}</code>" in answer.text
        assert escape(operation["summary"]) in answer.text


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing(api: Api) -> None:
    answer = api.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "script-src" not in policy
    assert not [value for value in policy.values() if "unsafe" in value or "http" in value or "*" in value]
    page = Page(answer.text)
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    targets = page.all("href") + page.all("src")
    assert not [target for target in targets if not target.startswith(("/", "#")) or target.startswith("//")]
    anchors = {target[1:] for target in targets if target.startswith("#")}
    assert anchors <= set(page.all("id"))
    for target in {target for target in targets if target.startswith("/")}:
        found = api.get(target)
        assert found.status_code == 200, target
        found.close()
