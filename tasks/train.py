"""Fit the model and those beside it, and let each score the rows that none has seen."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from tandem import boosting
from tandem.baselines import Logistic, Rates, Scores
from tandem.boosting import Booster, Prepared
from tandem.features import SLICE, FeatureSpec
from tandem.files import write_json
from tandem.params import TrainParams, TuneParams
from tandem.run import step
from tasks.splits import matrix, part, split_of

log = logging.getLogger(__name__)


@step
def prepare(rows: pl.DataFrame, names: tuple[str, ...]) -> Prepared:
    """Make what models with the same inputs share."""
    return boosting.prepare(split_of(rows, names))


@step
def fit_booster(data: Prepared, chosen: TrainParams, params: TuneParams) -> Booster:
    """Fit on the first part of the rows, stopped by the second."""
    booster = boosting.fit(data, chosen, params).booster
    log.info("a model of %d inputs: %d trees", len(data.names), booster.num_boosted_rounds())
    return booster


@step
def fit_simple(rows: pl.DataFrame, spec: FeatureSpec) -> dict[str, Rates | Logistic]:
    """Fit the models that can be read."""
    fit = part(rows, "fit")
    return {"rates": Rates.fit(fit, spec.rates), "logistic": Logistic.fit(fit, spec.names)}


@step
def scored(
    rows: pl.DataFrame, spec: FeatureSpec, boosters: Mapping[str, Booster], simple: Mapping[str, Rates | Logistic]
) -> pl.DataFrame:
    """Score rows by every model, beside their labels and the slices they are in."""
    slices = [name for name in rows.columns if name.startswith(SLICE)]
    columns: dict[str, Scores] = {
        name: boosting.predict(booster, matrix(rows, inputs_of(name, spec))).astype(np.float64)
        for name, booster in boosters.items()
    }
    columns |= {name: model.scores(rows) for name, model in simple.items()}
    return rows.select("moment", "label", *slices).with_columns(**{n: pl.Series(s) for n, s in columns.items()})


def inputs_of(model: str, spec: FeatureSpec) -> tuple[str, ...]:
    """Name the inputs of a model; only a baseline has fewer than all."""
    return spec.names_without(model) if model in spec.baselines else spec.names


@step
def importance(booster: Booster, spec: FeatureSpec) -> dict[str, float]:
    """Give each input's share of all that the trees gained."""
    gain = booster.get_score(importance_type="total_gain")
    total = sum(sorted(gain.values())) or 1.0  # no tree has split anything
    return {name: round(gain.get(name, 0.0) / total, 6) for name in spec.names}


@step
def write_models(boosters: Mapping[str, Booster], simple: Mapping[str, Rates | Logistic], folder: Path) -> None:
    """Write each model as JSON: ours by itself, those it is compared with beside it."""
    for name, booster in boosters.items():
        boosting.write_booster(booster, folder / ("" if name == "model" else "baselines") / f"{name}.json")
    for name, model in simple.items():
        write_json(folder / "baselines" / f"{name}.json", model.model_dump(mode="json"))
