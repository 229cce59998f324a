"""What is in a registry once a bundle was published."""

import shutil
from pathlib import Path
from typing import Any

from conftest import AS_OF

from tandem.bundle import Bundle, seal
from tandem.clock import Clock
from tandem.registry import Registry, Version
from tandem.settings import Settings


def opened(settings: Settings) -> Registry:
    return Registry("parcels", settings, Clock.stopped(AS_OF))


def another(bundle: Bundle, folder: Path, **annotations: str) -> Bundle:
    """A bundle that differs by what its manifest says of it."""
    shutil.copytree(bundle.folder, folder)
    seal(folder, bundle.annotations | annotations)
    return Bundle.open(folder)


def put_in(registry: Registry, bundle: Bundle) -> Version:
    """Give a bundle its version, without all that publishing makes beside it."""
    run = registry.client.create_run(registry.experiment()).info.run_id
    registry.client.log_artifacts(run, str(bundle.folder), "bundle")
    tags = {"tandem.digest": bundle.digest, "tandem.as_of": bundle.as_of.isoformat(), "tandem.dirty": "no"}
    return registry.create(run, tags)


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


def digest(number: int) -> str:
    return f"{number:x}" * 64


def four_versions(settings: Settings) -> Settings:
    """Register four bundles that are nowhere, for who only decides about them."""
    client = Registry("p", settings, Clock.stopped(AS_OF)).client
    client.create_registered_model("p")
    for number in range(1, 5):
        tags = {"tandem.digest": digest(number), "tandem.as_of": "2024-01-01", "tandem.dirty": "no"}
        client.create_model_version("p", f"file:///nowhere/{number}", tags=tags)
    return settings
