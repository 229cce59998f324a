"""A bundle into the registry: its run in MLflow, its version, and what is to be said of it beside the champion."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from tandem.bundle import Bundle
from tandem.errors import BundleError
from tandem.features import FeatureSpec
from tandem.files import sha256_of
from tandem.leaves import texts
from tandem.metrics import figures
from tandem.origin import Origin
from tandem.registry import AS_OF, COMMIT, DIGEST, DIRTY, FIGURES, FOLDER, Registry, Version
from tandem.run import step_outside
from tasks.onnx import onnx_scores
from tasks.splits import matrix

log = logging.getLogger(__name__)

SHOWN = ("rows", "auc", "average_precision", "log_loss", "brier", "ece")
NEEDED = (
    *("model.onnx", "features.json", "params.json", "inputs.json", "trials.json", "reports/evaluation.json"),
    *("source.tar", "card.md", "golden.json"),
)
"""What a bundle cannot be served, judged or built again without."""
TRIAL, PARENT = "tandem.trial", "mlflow.parentRunId"


@step_outside
def register(registry: Registry, bundle: Bundle, origin: Origin) -> Version:
    """Give a bundle its run and its version; both are found again by its digest, and completed if they are not whole.

    All of it is under the registry's lock, so that of many who publish the same bundle one does.

    Raises:
        BundleError: the bundle is whole, but lacks what every bundle holds; or the registry's cannot be made whole.

    """
    if lacking := [name for name in NEEDED if name not in bundle.files]:
        msg = f"bundle {bundle.digest[:12]} holds no {', '.join(lacking)}: it is not published"
        raise BundleError(msg)
    with registry.lock():
        run = _run(registry, bundle, origin)
        there = [version for version in registry.versions() if version.digest == bundle.digest]
        version = _whole(registry, bundle, there[0]) if there else _version(registry, bundle, origin, run)
        if not any(event["event"] == "publish" and event["digest"] == bundle.digest for event in registry.events()):
            registry.record("publish", digest=bundle.digest, version=version.version, commit=origin.commit)
        if version.dirty and origin.commit and not origin.dirty:
            version = registry.committed(version, origin.commit)
    return version


def _whole(registry: Registry, bundle: Bundle, version: Version) -> Version:
    """Write a version's bundle again where what the registry holds is no longer that."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        try:
            registry.fetch(version, Path(folder) / "bundle")
        except BundleError as exc:
            registry.client.log_artifacts(version.run, str(bundle.folder), FOLDER)
            registry.fetch(version, Path(folder) / "bundle")
            log.warning("%s, which is done", exc)
    return version


def _version(registry: Registry, bundle: Bundle, origin: Origin, run: str) -> Version:
    overall = bundle.json("reports/evaluation.json")["overall"]
    tags = {
        DIGEST: bundle.digest,
        AS_OF: bundle.as_of.isoformat(),
        COMMIT: origin.commit or "unknown",
        DIRTY: ", ".join(origin.differ)[:1000] or "no",
        FIGURES: json.dumps({name: overall[name] for name in SHOWN}),
    }
    return registry.create(run, tags)


def _run(registry: Registry, bundle: Bundle, origin: Origin) -> str:
    """Find the bundle's run or make it, and write what is not there yet; what is written twice is the same."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - 3 s

    client, experiment = registry.client, registry.experiment()
    found = client.search_runs([experiment], f"tags.`{DIGEST}` = '{bundle.digest}'")
    run = (
        found[0]
        if found
        else client.create_run(
            experiment,
            tags={DIGEST: bundle.digest, COMMIT: origin.commit or "unknown", DIRTY: str(origin.dirty).lower()},
            run_name=f"bundle {bundle.digest[:12]}",
        )
    )
    parent = str(run.info.run_id)
    if run.info.status == "FINISHED":
        return parent
    stamp = int(bundle.as_of.timestamp() * 1000)  # the same at each try, so that nothing is there twice
    params = [Param(name, value) for name, value in texts(bundle.json("params.json")).items()]
    metrics = [Metric(name, value, stamp, 0) for name, value in _figures(bundle)]
    client.log_batch(parent, metrics=metrics, params=params)
    client.log_artifacts(parent, str(bundle.folder), FOLDER)
    _trials(registry, experiment, parent, bundle.json("trials.json"), stamp)
    client.set_terminated(parent, "FINISHED")
    return parent


def _trials(registry: Registry, experiment: str, parent: str, trials: list[dict[str, Any]], stamp: int) -> None:
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    client = registry.client
    below = client.search_runs([experiment], f"tags.`{PARENT}` = '{parent}'", max_results=10_000)
    there = {run.data.tags[TRIAL]: run for run in below}
    for trial in trials:
        number = str(trial["number"])
        run = there.get(number) or client.create_run(
            experiment, tags={TRIAL: number, PARENT: parent}, run_name=f"trial {number}"
        )
        if run.info.status == "FINISHED":
            continue
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, float(value), stamp, 0) for name, value in texts(trial).items() if _is_number(value)],
            params=[Param(name, value) for name, value in texts(trial).items() if not _is_number(value)],
        )
        client.set_terminated(run.info.run_id, "FINISHED")


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _figures(bundle: Bundle) -> Iterator[tuple[str, float]]:
    """Name the figures of the model and of those beside it."""
    evaluation = bundle.json("reports/evaluation.json")
    models = {"": evaluation["overall"]} | {f"{name}.": of for name, of in evaluation["baselines"].items()}
    for prefix, of in models.items():
        yield from ((f"{prefix}{name}", float(of[name])) for name in SHOWN if of[name] is not None)
    for month, of in evaluation["months"].items():
        yield from ((f"{month}.{name}", float(of[name])) for name in SHOWN if of[name] is not None)


@step_outside
def compare(registry: Registry, bundle: Bundle, champion: Version, rows: Path) -> dict[str, Any]:
    """Judge both on the rows that the bundle was tested on, and say whether it should challenge."""
    wanted = bundle.json("inputs.json")["stages"]["training_set/rows.parquet"]
    if not rows.is_file() or sha256_of(rows) != wanted:
        return {"as": None, "reason": "not compared: the rows it was tested on are not here"}
    tested = pl.read_parquet(rows).filter(pl.col("split") == "test")
    with TemporaryDirectory(prefix="tandem-") as folder:
        other = registry.fetch(champion, Path(folder) / "bundle")
        if missing := sorted(set(other.spec.names) - set(tested.columns)):
            return {"as": None, "reason": f"not compared: the champion reads {', '.join(missing[:3])}, now unknown"}
        tested = tested.filter(pl.col("moment") >= _learned_until(other))
        if tested.is_empty():
            return {"as": None, "reason": "not compared: the champion has learned from the rows it was tested on"}
        ours, theirs = (_judged(each.folder, each.spec, tested) for each in (bundle, other))
    better = ours["log_loss"] < theirs["log_loss"]
    figure = ", ".join(f"{name} {ours[name]} against {theirs[name]}" for name in ("log_loss", "auc", "ece"))
    reason = f"{'better' if better else 'no better'} than the champion on the same {tested.height} rows: {figure}"
    return {"as": "challenger" if better else None, "reason": reason, "figures": ours, "champion": theirs}


def _learned_until(bundle: Bundle) -> datetime:
    """Tell before which moment a model has seen the requests that it learned from: later rows it was tested on."""
    return bundle.as_of - timedelta(days=bundle.json("params.json")["split"]["test_days"])


def _judged(folder: Path, spec: FeatureSpec, rows: pl.DataFrame) -> dict[str, Any]:
    scores = onnx_scores(folder / "model.onnx", matrix(rows, spec.names)).astype("float64")
    return asdict(figures(rows["label"].to_numpy(), scores))
