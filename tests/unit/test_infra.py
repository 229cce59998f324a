"""Dashboards and alerts: files that nothing runs here, held against what is counted and what is written of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from tandem.serving.counts import METRICS
from tasks import told

BOARDS = sorted((ROOT / "infra/grafana/boards").glob("*.json"))
RULES = yaml.safe_load((ROOT / "infra/docker/watch/rules.yml").read_text())["groups"][0]["rules"]
OTHERS = re.compile(r"(node|process|prometheus|mlflow)_\w+|up|ALERTS")
"""What other servers tell."""
BESIDE = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|on|without) \([^)]*\)|\b\w+(?= ?(?:(?:by|without) )?\()|@\w+@|\b(?:or|and|on)\b'
)
"""What is no metric in a query: strings, labels, ranges, functions, words."""


def known() -> set[str]:
    own = set(told.HELP)
    for metric in METRICS.values():
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        own |= {f"tandem_{metric.name}{end}" for end in ends}
    return own


def asked(query: str) -> set[str]:
    return set(re.findall(r"\b[a-zA-Z_]\w*", BESIDE.sub(" ", query)))


def queries(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_what_a_query_asks_for_is_found() -> None:
    query = 'sum by (le) (rate(a_bucket{b="c"}[5m])) / on () (d or vector(0)) > 60 * @E@'
    assert asked(query) == {"a_bucket", "d"}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_what_is_counted(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"tandem-{path.stem}"
    names = {name for query in queries(board) for name in asked(query)}
    assert {name for name in names if not OTHERS.fullmatch(name)} <= known()


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_the_source_that_is_set_up(path: Path) -> None:
    sources = yaml.safe_load((ROOT / "infra/grafana/datasources/prometheus.yaml").read_text())["datasources"]
    panels = json.loads(path.read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"] for source in sources}
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)


def test_there_is_one_for_each_thing_that_is_looked_at() -> None:
    assert {path.stem for path in BOARDS} == {"serving", "pipeline", "model", "machine"}


def test_all_that_serving_counts_is_on_a_dashboard_or_in_an_alert() -> None:
    every = [query for path in BOARDS for query in queries(json.loads(path.read_text()))]
    every += [rule["expr"] for rule in RULES]
    shown = {name for query in every for name in asked(query)}
    counted = {name.removesuffix("_sum").removesuffix("_count").removesuffix("_bucket") for name in shown}
    assert {f"tandem_{name}" for name in METRICS} <= counted


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_its_page_in_the_runbook(rule: dict[str, Any]) -> None:
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert (anchor, rule["alert"]) == (rule["alert"].lower(), next(each for each in headings if each.lower() == anchor))
    assert {name for name in asked(rule["expr"]) if not OTHERS.fullmatch(name)} <= known()


def test_nothing_of_ours_imports_what_the_image_leaves_out() -> None:
    said = re.search(r'LEFT_OUT="([^"]+)"', (ROOT / "infra/docker/Dockerfile").read_text())
    assert said
    imported = re.compile(rf"^\s*(?:import|from) (?:{'|'.join(said[1].split())})\b", re.MULTILINE)
    code = [path for layer in ("flows", "tasks", "tandem", "problems") for path in (ROOT / layer).rglob("*.py")]
    assert [path for path in code if imported.search(path.read_text())] == []
