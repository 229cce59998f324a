"""XGBoost, which nothing else talks to: the same rows and params give the same booster, to the byte."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tandem.files import atomic
from tandem.imports import without
from tandem.params import TrainParams, TuneParams
from tandem.processor import THREADS

with without("pandas", "scipy.special", "sklearn"):  # 3 s, for frames and estimators that are not used here
    import xgboost as xgb

Floats = NDArray[np.float32]
Booster = Any  # xgboost has no types of its own
Watch = Callable[[int, float], bool]
"""Told how many rounds are done and the log loss after them; ends the fit by saying True."""

VERSION: str = xgb.__version__
BINS = 256
FIXED = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
    "max_bin": BINS,
    "nthread": THREADS,
    "verbosity": 0,
}


@dataclass(frozen=True)
class Split:
    """Rows to fit on, and later rows that say when to stop; NaN where a value is not known."""

    names: tuple[str, ...]
    fit_x: Floats
    fit_y: Floats
    stop_x: Floats
    stop_y: Floats


@dataclass(frozen=True)
class Prepared:
    """A split sorted into bins, which any number of fits can share."""

    names: tuple[str, ...]
    fit: Any
    stop: Any


@dataclass(frozen=True)
class Fitted:
    """A booster cut at its best round, and the log loss on the stop rows after each round that was run."""

    booster: Booster
    losses: tuple[float, ...]

    @property
    def best_iteration(self) -> int:
        """The round, from 0, with the least loss; the first of equals."""
        return _best(self.losses)


def _best(losses: Sequence[float]) -> int:
    return losses.index(min(losses))


def prepare(split: Split) -> Prepared:
    """Sort both parts into the bins of the first."""
    how = {"missing": np.nan, "max_bin": BINS, "nthread": THREADS}
    with xgb.config_context(verbosity=0):
        fit = xgb.QuantileDMatrix(split.fit_x, label=split.fit_y, **how)
        return Prepared(split.names, fit, xgb.QuantileDMatrix(split.stop_x, label=split.stop_y, ref=fit, **how))


def settings(params: TrainParams, seed: int) -> dict[str, object]:
    """Params by XGBoost's own names."""
    return FIXED | {
        "max_depth": params.depth,
        "learning_rate": params.learning_rate,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample,
        "reg_lambda": params.l2,
        "seed": seed,
    }


def fit(data: Prepared, params: TrainParams, study: TuneParams, watch: Watch | None = None) -> Fitted:
    """Boost until the loss on the stop rows has not fallen for the study's patience, or the watch ends it."""
    booster = xgb.Booster(settings(params, study.seed), [data.fit, data.stop])
    losses: list[float] = []
    while len(losses) < study.rounds:
        booster.update(data.fit, len(losses))
        losses.append(float(booster.eval(data.stop).rpartition(":")[2]))
        if (watch and watch(len(losses), losses[-1])) or len(losses) - 1 - _best(losses) >= study.patience:
            break
    booster.feature_names = list(data.names)  # only now: with names every round compares them anew, for 3 ms
    return Fitted(booster[: _best(losses) + 1], tuple(losses))


def predict(booster: Booster, rows: Floats) -> Floats:
    """Give the probability of each row."""
    return cast("Floats", booster.inplace_predict(rows, missing=np.nan))


def explain(booster: Booster, rows: Floats) -> tuple[Floats, Floats]:
    """Give the margin of each row, and what each input adds to it, exactly; the last column is where all begin."""
    data = xgb.DMatrix(rows, missing=np.nan, feature_names=booster.feature_names, nthread=THREADS)
    return booster.predict(data, output_margin=True), booster.predict(data, pred_contribs=True)


def write_booster(booster: Booster, target: Path) -> Path:
    """Write `.json` or `.ubj` in one step; the same booster gives the same bytes."""
    with atomic(target) as temporary:
        temporary.write_bytes(booster.save_raw(raw_format=target.suffix[1:]))
    return target


def read_booster(source: Path, threads: int = THREADS) -> Booster:
    """Read what was written; XGBoost's parser crashes on hostile files, so the digest must be known to be right."""
    booster = xgb.Booster({"nthread": threads, "verbosity": 0})
    booster.load_model(bytearray(source.read_bytes()))
    return booster
