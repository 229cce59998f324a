"""Score a bundle on what became known after its day."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from tandem import boosting
from tandem.baselines import Logistic, Rates, Scores
from tandem.bundle import Bundle
from tandem.errors import TooFewRowsError
from tandem.features import FeatureSpec
from tandem.metrics import by_month, figures
from tandem.params import EvaluateParams
from tandem.problem import Problem
from tandem.run import step
from tandem.warehouse import Warehouse
from tasks.onnx import onnx_scores
from tasks.splits import matrix
from tasks.training_set import labels_of, requests_of, with_features, with_views
from tasks.views import write_views


@step
def future_rows(problem: Problem, bundle: Bundle, facts: Path, until: datetime) -> pl.DataFrame:
    """Make the rows of all requests from the bundle's day on whose label is known before `until`."""
    spec = bundle.spec
    with (
        TemporaryDirectory(prefix="tandem-") as temporary,
        Warehouse.open(facts, until, spec.grid.tick, into=(folder := Path(temporary))) as warehouse,
    ):
        write_views(problem, warehouse, folder)
        asked = requests_of(problem, warehouse, spec.grid).filter(pl.col("moment") >= bundle.as_of)
        features = with_features(with_views(asked, spec, warehouse, folder), spec, warehouse)
        labels = labels_of(asked, problem, warehouse)
        rows = pl.concat([features, labels], how="horizontal").filter(pl.col("label").is_not_null())
    if rows.is_empty():
        what = f"labels known from {bundle.as_of} until {until}"
        raise TooFewRowsError(what, got=0, need=1)
    return rows


@step
def scores_of(bundle: Bundle, rows: pl.DataFrame) -> dict[str, Scores]:
    """Score rows by the model, as serving would, and by the baselines that the bundle carries."""
    spec, folder = bundle.spec, bundle.folder / "baselines"
    scores: dict[str, Scores] = {
        "model": onnx_scores(bundle.folder / "model.onnx", matrix(rows, spec.names)).astype(np.float64),
        "rates": Rates.model_validate(bundle.json("baselines/rates.json")).scores(rows),
        "logistic": Logistic.model_validate(bundle.json("baselines/logistic.json")).scores(rows),
    }
    return scores | {name: _boosted(folder / f"{name}.json", name, spec, rows) for name in spec.baselines}


def _boosted(path: Path, name: str, spec: FeatureSpec, rows: pl.DataFrame) -> Scores:
    return boosting.predict(boosting.read_booster(path), matrix(rows, spec.names_without(name))).astype(np.float64)


@step
def judged(rows: pl.DataFrame, scores: Mapping[str, Scores], params: EvaluateParams) -> dict[str, Any]:
    """Give the figures overall and by month, which is the staleness curve, and those of the baselines."""
    labels = rows["label"].to_numpy()
    overall = {name: asdict(figures(labels, each, params.bins)) for name, each in scores.items()}
    model = overall.pop("model")
    months = by_month(rows["moment"].to_numpy(), labels, scores["model"], params.bins)
    return {"overall": model, "months": {m: asdict(f) for m, f in months.items()}, "baselines": overall}
