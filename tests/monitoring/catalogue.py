"""The table of metrics in ops/metrics.md, the alerts and the dashboards, as they stand in their files."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.servers import ROOT

ALERTS = ROOT / "ops" / "prometheus" / "alerts.yml"
ALERTS_TEST = ROOT / "ops" / "prometheus" / "alerts_test.yml"
DASHBOARDS = sorted((ROOT / "ops" / "grafana" / "dashboards").glob("*.json"))
ROW = re.compile(r"\| `(?P<name>[a-z_]+)` \| (?P<kind>\w+) \| (?P<labels>[a-z_, ]*) ?\| (?P<jobs>[a-z, ]+) \| .+ \|")
NAME = re.compile(r"\b(?:ticketing|flask)_[a-z_]+")
SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


@dataclass(frozen=True)
class Row:
    """One metric of the table."""

    name: str
    kind: str
    labels: frozenset[str]
    jobs: frozenset[str]


def table() -> dict[str, Row]:
    """Every metric that is documented, by its name."""
    lines = (ROOT / "ops" / "metrics.md").read_text().splitlines()
    found = [match for line in lines if (match := ROW.fullmatch(line))]
    rows = [Row(row["name"], row["kind"], _words(row["labels"]), _words(row["jobs"])) for row in found]
    assert len({row.name for row in rows}) == len(rows) == sum(line.startswith("| `") for line in lines)
    return {row.name: row for row in rows}


def _words(text: str) -> frozenset[str]:
    return frozenset(filter(None, (word.strip() for word in text.split(","))))


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert's rule, by its name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    named = {rule["alert"]: rule for rule in rules}
    assert len(named) == len(rules)
    return named


def names_in(query: str) -> set[str]:
    """The metrics that a query asks for."""
    return {SUFFIX.sub("", name) for name in NAME.findall(query)}


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    dashboard: str
    panel: dict[str, Any]
    expr: str
    legend: str

    @property
    def name(self) -> str:
        return f"{self.dashboard}: {self.panel['title']}: {self.expr}"


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard, by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}


def queries() -> Iterator[Query]:
    """Every query of every panel."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield Query(name, panel, target["expr"], target.get("legendFormat", ""))


def as_asked(expr: str, rate_interval: str = "15s") -> str:
    """A query as Grafana sends it, with every event chosen."""
    asked = expr.replace("$__rate_interval", rate_interval).replace("$event", ".*")
    assert "$" not in asked, expr
    return asked
