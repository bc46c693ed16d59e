"""Dashboard, alerts and runbook name what there is: metrics of the runner, paragraphs of the runbook. promtool's own
tests of the rules run in ``make rules``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.metrics import names

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/projection-runner.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
RULE_TESTS = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
KNOWN = {metric.name: metric for metric in names.METRICS}
OWN_LABELS = {"job", "instance"}
"""Labels that the scraper adds."""


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\brunner_\w+", expression))


def labels_in(expression: str) -> set[str]:
    grouped = re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", expression)
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    return {label.strip() for group in grouped for label in group.split(",")} | set(matched)


EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in ALERTS]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_exist(expression: str) -> None:
    found = metrics_in(expression)
    assert found <= KNOWN.keys()
    labels = {label for name in found for label in KNOWN[name].labels}
    assert labels_in(expression) <= labels | OWN_LABELS
    for name in found:
        counted = bool(re.search(rf"(rate|increase)\({name}\b", expression))
        if KNOWN[name].kind == "gauge":
            assert not counted, f"{name} is a gauge"


def test_the_checks_of_expressions_bite() -> None:
    assert metrics_in('sum by (sauce) (rate(runner_no_such_total{tenant="a"}[5m]))') - KNOWN.keys()
    assert labels_in('sum by (sauce) (rate(runner_jobs_total{tenant="a"}[5m]))') == {"sauce", "tenant"}


def test_what_is_to_be_watched_is_on_the_dashboard() -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in metrics_in(target["expr"])}
    left_out = {
        names.BATCHES_READ,  # say little beside the events
        names.BATCHES_SCANNED,
        names.PARTITIONS_FOLDED,
        names.EVENTS_PASSED_OVER,
        names.SOURCE_BYTES_READ,  # of one run: its progress shows it
        names.LAST_FAILURE,  # the alert has it
    }
    assert KNOWN.keys() - shown == {metric.name for metric in left_out}


def test_panels_have_a_description_a_unit_and_a_place_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_each_alert_links_its_paragraph_and_the_runbook_has_no_other() -> None:
    headings = re.findall(r"^### (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == f"RUNBOOK.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "warn", "info")


def test_each_alert_is_seen_firing_and_silent_in_the_rules_tests() -> None:
    cases = [case for test in RULE_TESTS for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fires == silent == {rule["alert"] for rule in ALERTS}


def test_metrics_in_documents_exist() -> None:
    for document in ("RUNBOOK.md", "README.md"):
        assert metrics_in((DEPLOY / document).read_text()) <= KNOWN.keys()
