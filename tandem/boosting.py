"""XGBoost, which nothing else talks to: the same rows and params give the same booster, to the byte."""

from collections.abc import Callable
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
        return self.losses.index(min(self.losses))


class _Watched(xgb.callback.TrainingCallback):  # type: ignore[misc] # xgboost has no types
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def after_iteration(self, model: Booster, epoch: int, evals_log: Any) -> bool:  # noqa: ANN401, ARG002 - xgboost's
        return self._watch(epoch + 1, evals_log["stop"]["logloss"][-1])


def prepare(split: Split) -> Prepared:
    """Sort both parts into the bins of the first."""
    how = {"feature_names": list(split.names), "missing": np.nan, "max_bin": BINS, "nthread": THREADS}
    with xgb.config_context(verbosity=0):
        fit = xgb.QuantileDMatrix(split.fit_x, label=split.fit_y, **how)
        return Prepared(fit, xgb.QuantileDMatrix(split.stop_x, label=split.stop_y, ref=fit, **how))


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
    """Boost until the loss on the stop rows has not fallen for the study's patience."""
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgb.train(
        settings(params, study.seed),
        data.fit,
        num_boost_round=study.rounds,
        evals=[(data.stop, "stop")],
        evals_result=history,
        early_stopping_rounds=study.patience,
        verbose_eval=False,
        callbacks=[_Watched(watch)] if watch else None,
    )
    losses = tuple(history["stop"]["logloss"])
    return Fitted(booster[: losses.index(min(losses)) + 1], losses)


def predict(booster: Booster, rows: Floats) -> Floats:
    """Give the probability of each row."""
    return cast("Floats", booster.inplace_predict(rows, missing=np.nan))


def write_booster(booster: Booster, target: Path) -> Path:
    """Write `.json` or `.ubj` in one step; the same booster gives the same bytes."""
    with atomic(target) as temporary:
        temporary.write_bytes(booster.save_raw(raw_format=target.suffix[1:]))
    return target


def read_booster(source: Path) -> Booster:
    """Read what was written; XGBoost's parser crashes on hostile files, so the digest must be known to be right."""
    booster = xgb.Booster({"nthread": THREADS, "verbosity": 0})
    booster.load_model(bytearray(source.read_bytes()))
    return booster
