"""Alerts and dashboards: they are sound, and speak of metrics that the services really have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from core.telemetry.metrics import ModelMetrics, UpstreamMetrics
from segmenter_service.volumes.metrics import WorkerMetrics

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "observability"
BOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
TESTS = sorted(FOLDER.glob("*.test.yml"))
# Of the balancer and of Prometheus itself.
FOREIGN = {"haproxy_backend_active_servers", "up"}
METRIC = re.compile(r"\b(?:falx|haproxy|process)_[a-z_]+\b|\bup\b(?=\{)")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(board: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(board.read_text())["panels"]
    return found


def expressions() -> list[str]:
    shown = [target["expr"] for board in BOARDS for panel in panels(board) for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + shown


def series_of(registry: CollectorRegistry) -> set[str]:
    """Names as they are scraped, of metrics that have not been used yet as well."""
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {metric.name + end for metric in registry.collect() for end in ends.get(metric.type, ())}


def promtool(*arguments: str) -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    ended = subprocess.run([found, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_alerts_and_dashboards_speak_of_metrics_that_there_are() -> None:
    known = set().union(*(series_of(kind().registry) for kind in (ModelMetrics, UpstreamMetrics, WorkerMetrics)))
    named = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert len(named) > 20
    assert sorted(named - known - FOREIGN) == []


def test_each_alert_has_a_page_that_says_what_to_do() -> None:
    headings = re.findall(r"^#+ (Falx\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_each_alert_is_made_fire_by_a_test() -> None:
    tests = [test for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules()}


def test_prometheus_takes_configuration_and_rules_and_they_fire_when_they_should() -> None:
    assert "13 rules found" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", *(file.name for file in TESTS))


def test_prometheus_can_read_what_dashboards_ask(tmp_path: Path) -> None:
    recorded = [{"record": f"shown:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    file = tmp_path / "shown.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in promtool("check", "rules", str(file))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_panels_lie_beside_each_other_and_say_what_they_show(board: Path) -> None:
    found = panels(board)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in found}) == len(found)
    assert all(panel["title"] and panel["targets"] for panel in found)
    assert all(panel["datasource"] == {"type": "prometheus", "uid": "${source}"} for panel in found)
