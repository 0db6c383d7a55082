"""Alerts and the scraping of prometheus.yml, checked with Prometheus' own tool where it is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.catalogue import ALERTS, ALERTS_TEST, alerts, names_in, table
from tests.servers import ROOT

RUNBOOK = ROOT / "ops" / "runbook.md"
NEVER, ALWAYS = "vector(1) > 2", "vector(1)"


def promtool(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing; Debian's package `prometheus` has it: apt-get install prometheus")
    return subprocess.run(["promtool", *words], check=False, cwd=folder, capture_output=True, text=True, timeout=60)


def anchors(text: str) -> set[str]:
    """Of each heading, as the pages that show Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    for words in (("check", "config", "prometheus.yml"), ("check", "rules", str(ALERTS))):
        checked = promtool(*words)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert f"{len(alerts())} rules found" in checked.stdout


def test_alerts_fire_where_they_must_and_nowhere_else() -> None:
    tested = promtool("test", "rules", str(ALERTS_TEST))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", sorted(alerts()))
@pytest.mark.parametrize("instead", [NEVER, ALWAYS], ids=["never", "always"])
def test_an_alert_that_fires_never_or_always_fails_its_tests(alert: str, instead: str, tmp_path: Path) -> None:
    rules = yaml.safe_load(ALERTS.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if rule["alert"] == alert):
        rule["expr"] = instead
    (tmp_path / ALERTS.name).write_text(yaml.safe_dump(rules))
    shutil.copy(ALERTS_TEST, tmp_path)
    tested = promtool("test", "rules", ALERTS_TEST.name, folder=tmp_path)
    assert tested.returncode == 1, f"{alert} has no test of this"
    assert alert in tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_an_alert_says_what_to_do_and_where_to_read_on(alert: str) -> None:
    rule = alerts()[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].count(".") >= 1
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert file == str(RUNBOOK.relative_to(ROOT))
    assert anchor == alert.lower()
    assert anchor in anchors(RUNBOOK.read_text())


def test_alerts_ask_for_metrics_that_are_in_the_table() -> None:
    asked = {name for rule in alerts().values() for name in names_in(rule["expr"])}
    assert len(asked) > 10
    assert asked <= set(table())
