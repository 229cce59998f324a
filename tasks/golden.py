"""Golden requests: made up from the contract, with the inputs and scores that any server of the bundle must give."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl

from tandem import boosting
from tandem.boosting import Booster
from tandem.contracts import PERSONAL, marked
from tandem.errors import BundleError
from tandem.features import FeatureSpec
from tandem.params import Params
from tandem.problem import Problem
from tandem.run import step
from tandem.vectors import Compiled
from tasks.onnx import onnx_scores
from tasks.views import read_view

GOLDEN = 256
TOLERANCE = 1e-6
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all instants are UTC


def _requests(contract: type[dy.Schema], as_of: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """Make requests up from the contract: no person and no thing in them exists, and later columns happen later."""
    clocks = [name for name, column in contract.columns().items() if isinstance(column, dy.Datetime)]
    minutes = np.sort(rng.integers(0, 7 * 1440, (len(clocks), GOLDEN)), axis=0)
    stamps = (np.datetime64(as_of, "us") + minutes.astype("timedelta64[m]")).tolist()
    given = dict(zip(clocks, stamps, strict=True))
    seed = int(rng.integers(2**31))
    return contract.sample(GOLDEN, overrides=given or None, generator=dy.random.Generator(seed)).with_columns(
        moment=pl.lit(as_of)
    )


def _view_rows(spec: FeatureSpec, views: Path, hidden: Sequence[str], rng: np.random.Generator) -> pl.DataFrame:
    """Draw each value from its own column of the views, so that no row of them is shown."""
    columns: list[pl.Series] = []
    for view in spec.views:
        frame = read_view(views, view.name)
        for name in view.values:
            shown = frame[name].clear() if name in hidden else frame[name]
            drawn = shown.extend_constant(None, 1)  # one more, that is not known
            columns.append(drawn.gather(rng.integers(0, drawn.len(), GOLDEN)))
    return pl.DataFrame(columns)


def _plain(value: object) -> object:
    """Give a value as online code has it: an instant is whole microseconds."""
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


@step
def golden(problem: Problem, spec: FeatureSpec, views: Path, booster: Booster, params: Params) -> list[dict[str, Any]]:
    """Make requests with their inputs and scores, which whoever answers for this bundle must give too."""
    rng = np.random.default_rng(params.tune.seed)
    contract = problem.contracts.Request
    hidden = [n for c in (*problem.contracts.FACTS.values(), contract) for n in marked(c, PERSONAL)]
    requests = _requests(contract, params.as_of, rng).select(list(spec.fields))
    values = _view_rows(spec, views, hidden, rng)
    compiled = Compiled(spec)
    cases: list[dict[str, Any]] = []
    for request, row in zip(requests.iter_rows(), values.iter_rows(named=True), strict=True):
        fields = tuple(map(_plain, request))
        known = [tuple(_plain(row[name]) for name in view.values) for view in spec.views]
        inputs = np.frombuffer(compiled.made(fields, known).data, dtype=np.float32)
        cases.append({"fields": fields, "views": known, "inputs": inputs})
    scores = boosting.predict(booster, np.stack([case["inputs"] for case in cases]))
    for case, score in zip(cases, scores.tolist(), strict=True):
        case["inputs"] = [None if np.isnan(value) else value for value in case["inputs"].tolist()]
        case["score"] = score
    return cases


@step
def rehearse(cases: list[dict[str, Any]], model: Path) -> float:
    """Let the ONNX model answer the golden requests, and return the largest difference.

    Raises:
        BundleError: it differs from XGBoost by more than the tolerance.

    """
    rows = np.array([case["inputs"] for case in cases], dtype=np.float32)
    worst = float(np.abs(onnx_scores(model, rows) - np.array([case["score"] for case in cases])).max())
    if worst > TOLERANCE:
        msg = f"the ONNX model differs from XGBoost by {worst:.1e} on the golden requests; {TOLERANCE:.0e} is allowed"
        raise BundleError(msg)
    return worst
