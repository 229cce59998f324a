"""Each alert fires when it should and not before, by Prometheus' own test of rules."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from tandem.workspace import LOCKED
from tasks.containers import engine

RULES = ROOT / "infra/docker/watch/rules.yml"
SETTINGS = {"@REPLICAS@": "2", "@LATE_MINUTES@": "5"}
FAILING = {'tandem_requests_total{status="200"}': "0+90x40", 'tandem_requests_total{status="503"}': "0x8 0+10x32"}
SLOW = {
    f'tandem_request_seconds_bucket{{endpoint="predict",le="{le}"}}': values
    for le, values in (("0.25", "0+90x80"), ("1", "0+100x80"), ("+Inf", "0+100x80"))
}
HELD = {'node_filesystem_size_bytes{mountpoint="/srv/tandem/var"}': "100x80", "node_memory_MemTotal_bytes": "100x80"}
SERVED = {'tandem_bundle_figure{variant="champion",figure="auc"}': "0.7x80"}
CASES = [
    ("ServerDown", {'up{job="mlflow"}': "1x8 0x40"}, "3m", "4m"),
    ("ServerDown", SERVED | {'up{job="serving"}': "1x8 0x40"}, "3m", "4m"),
    ("ServerDown", {'up{job="serving"}': "0x80"}, "10m", None),
    ("ReplicaMissing", SERVED | {"tandem_workers": "2x8 1x40"}, "2m", "3m"),
    ("ReplicaMissing", SERVED | {"tandem_workers": "2x8 stale"}, "2m", "3m"),
    ("ReplicaMissing", {"up": "1x80"}, "10m", None),
    ("NoRun", {'tandem_flow_ended_seconds{flow="train"}': "60x80"}, "6m", "7m"),
    (
        "NoRun",
        {"tandem_flow_ended_seconds": "0x80", 'process_start_time_seconds{job="prometheus"}': "60x80"},
        "6m",
        "7m",
    ),
    ("SyncStands", {"tandem_sync_age_seconds": "0+15x40"}, "3m", "4m"),
    ("BundleRefused", {"tandem_sync_refused_total": "0x8 1x40"}, "2m", "3m"),
    ("AnswersFail", FAILING, "2m", "6m"),
    ("AnswersSlow", SLOW, "4m", "7m"),
    ("AnswersStale", {"tandem_lateness_seconds": "1000x8 2000x40"}, "6m", "9m"),
    ("DiskFull", HELD | {'node_filesystem_avail_bytes{mountpoint="/srv/tandem/var"}': "11x8 9x40"}, "6m", "9m"),
    ("MemoryShort", HELD | {"node_memory_MemAvailable_bytes": "11x8 9x40"}, "6m", "9m"),
]
"""An alert, what is counted each quarter of a minute, when it is still quiet, and when it fires, if it ever does."""


def test_an_alert_fires_when_it_should(var: Path, tmp_path: Path) -> None:
    text = RULES.read_text()
    for name, value in SETTINGS.items():
        text = text.replace(name, value)
    (tmp_path / "rules.yml").write_text(text)
    cases = [
        {
            "interval": "15s",
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "promql_expr_test": [
                {"expr": firing(alert), "eval_time": moment, "exp_samples": [{"labels": "{}", "value": value}]}
                for value, moment in enumerate((quiet, fires))
                if moment
            ],
        }
        for alert, given, quiet, fires in CASES
    ]
    told = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": cases}
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(told))
    image = json.loads((var / "workspaces" / LOCKED).read_text())["images"]["watch"]
    tmp_path.chmod(0o755)
    volumes = {str(tmp_path): {"bind": "/cases", "mode": "ro"}}
    engine().containers.run(image, ["promtool", "test", "rules", "/cases/cases.yml"], volumes=volumes, remove=True)


def firing(alert: str) -> str:
    return f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'


@pytest.mark.parametrize(
    "rule", yaml.safe_load(RULES.read_text())["groups"][0]["rules"], ids=lambda rule: rule["alert"]
)
def test_no_alert_is_left_out(rule: dict[str, str]) -> None:
    assert rule["alert"] in {alert for alert, *_ in CASES}
