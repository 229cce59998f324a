"""What is in a registry once a bundle was published."""

from typing import Any

from conftest import AS_OF

from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.registry import Registry
from tandem.settings import Settings


def opened(settings: Settings) -> Registry:
    return Registry("parcels", settings, Clock.stopped(AS_OF))


def runs(registry: Registry) -> list[Any]:
    return list(registry.client.search_runs([registry.experiment()]))


def whole(registry: Registry, bundle: Bundle) -> None:
    """One version, one run, a child for each trial, and one event."""
    (version,) = registry.versions()
    assert version.digest == bundle.digest
    trials = bundle.json("trials.json")
    parents = [run for run in runs(registry) if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs(registry) if run.data.tags.get("mlflow.parentRunId") == version.run]
    assert [run.info.run_id for run in parents] == [version.run]
    assert sorted(run.data.tags["tandem.trial"] for run in children) == sorted(str(t["number"]) for t in trials)
    assert {run.info.status for run in runs(registry)} == {"FINISHED"}
    assert parents[0].data.metrics["auc"] == bundle.json("reports/evaluation.json")["overall"]["auc"]
    assert parents[0].data.params["as_of"] == AS_OF.isoformat()
    assert [event["digest"] for event in registry.events() if event["event"] == "publish"] == [bundle.digest]
