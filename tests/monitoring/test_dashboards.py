"""The dashboards that Grafana is given: tidy files, and no panel that stays empty while tickets are sold."""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.catalogue import DASHBOARDS, Query, as_asked, dashboards, names_in, queries, table
from tests.monitoring.conftest import SEEN_S
from tests.monitoring.prometheus import Prometheus
from tests.servers import ROOT, wait_until
from tests.service import Service

WIDTH = 24
QUERIES = list(queries())
PROVISIONING = ROOT / "ops" / "grafana" / "provisioning"


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, dashboard in dashboards().items():
        yield from ((name, panel) for panel in dashboard["panels"])


def finds_something(seen: Prometheus, expr: str) -> bool:
    return any(math.isfinite(value) for _, value in seen.query(as_asked(expr)))


def test_there_is_one_for_the_sale_for_receipts_and_for_the_system() -> None:
    assert set(dashboards()) == {"sale", "receipts", "system"}
    assert {board["uid"] for board in dashboards().values()} == {f"ticketing-{name}" for name in dashboards()}
    assert len(QUERIES) > 40


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_file_is_tidy(path: Path) -> None:
    board = json.loads(path.read_text())
    assert path.read_text() == json.dumps(board, indent=2, ensure_ascii=False) + "\n"
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))


@pytest.mark.parametrize("name", dashboards())
def test_panels_lie_beside_one_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboards()[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells
    rows = sorted({y for _, y in taken})
    assert all(below - above == 1 for above, below in pairwise(rows)), "a gap"


def test_every_panel_asks_something_of_the_provisioned_datasource() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "datasources.yml").read_text())["datasources"]
    [uid] = [source["uid"] for source in sources if source["type"] == "prometheus"]
    for name, panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["targets"], f"{name}: {panel['title']}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} | {panel["datasource"]["uid"]} == {uid}
    titles = [(name, panel["title"], panel["gridPos"]["y"]) for name, panel in panels()]
    assert len(set(titles)) == len(titles)


def test_grafana_finds_them_where_compose_mounts_them() -> None:
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "dashboards.yml").read_text())["providers"]
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./ops/grafana/dashboards:{provider['options']['path']}:ro" in mounts
    assert "./ops/grafana/provisioning:/etc/grafana/provisioning:ro" in mounts


def test_queries_ask_for_metrics_that_are_in_the_table_and_for_most_of_them() -> None:
    asked = {name for query in QUERIES for name in names_in(query.expr)}
    assert asked <= set(table())
    told_by_alerts = {"ticketing_event_halted", "ticketing_host_id_copied", "ticketing_store_failover"}
    assert set(table()) - asked == told_by_alerts | {"ticketing_queue_up", "flask_exporter_info"}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_a_panel_shows_something_while_tickets_are_sold(query: Query, service: Service, seen: Prometheus) -> None:
    def shows() -> bool:
        assert service.request("POST", "/buy/rock").status in {201, 409}
        return finds_something(seen, query.expr)

    wait_until(shows, SEEN_S, query.name)


def test_a_name_that_nobody_tells_would_be_noticed(seen: Prometheus) -> None:
    assert finds_something(seen, "ticketing_tickets_sold")
    assert not finds_something(seen, "ticketing_tickets_sould")
    assert not finds_something(seen, "rate(ticketing_purchase_total[$__rate_interval])")
