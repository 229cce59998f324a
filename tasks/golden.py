"""Golden requests: made up from the contract, with the inputs and scores that any server of the bundle must give."""

from collections.abc import Sequence
from copy import copy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem import boosting
from tandem.boosting import Booster
from tandem.contracts import PERSONAL, Contract, marked
from tandem.errors import BundleError
from tandem.features import NUMBERS, FeatureSpec
from tandem.params import Params
from tandem.problem import Problem
from tandem.run import step
from tandem.vectors import Compiled, Values
from tasks.onnx import onnx_scores
from tasks.views import read_view

GOLDEN = 256
TOLERANCE = 1e-6
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all instants are UTC
SPAN = 1_000_000
"""How far from its one bound, or from 0, a number is drawn that the contract does not bound on both sides."""
MEND = "bounds (min, max) on Request's numbers in contracts.py keep golden requests in reach"


def _in_reach(contract: Contract) -> Contract:
    """Give numbers the bounds that they lack: the whole range of a type is more than features can be computed of."""
    numbers = {name: c for name, c in contract.columns().items() if isinstance(c, dy.Int64 | dy.Float64)}
    free = {name: near for name, column in numbers.items() if (near := _near(column)) is not None}
    return type(contract.__name__, (contract,), free) if free else contract


def _near(column: Any) -> Any:  # noqa: ANN401 - of a whole number or another
    """Give a column with bounds on both sides, or nothing if its own contract says which numbers there are."""
    low = column.min_exclusive if column.min is None else column.min
    high = column.max_exclusive if column.max is None else column.max
    if None not in (low, high) or getattr(column, "is_in", None) is not None:
        return None
    near = copy(column)
    if low is None:
        near.min = max((high or 0) - SPAN, column.min_value)
    if high is None:
        near.max = min((low or 0) + SPAN, column.max_value)
    return near


def _requests(contract: Contract, as_of: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """Make requests up from the contract: no person and no thing in them exists, and later columns happen later.

    Raises:
        BundleError: none that is drawn meets it.

    """
    clocks = [name for name, column in contract.columns().items() if isinstance(column, dy.Datetime)]
    minutes = np.sort(rng.integers(0, 7 * 1440, (len(clocks), GOLDEN)), axis=0)
    stamps = (np.datetime64(as_of, "us") + minutes.astype("timedelta64[m]")).tolist()
    given = dict(zip(clocks, stamps, strict=True))
    generator = dy.random.Generator(int(rng.integers(2**31)))
    try:
        drawn = _in_reach(contract).sample(GOLDEN, overrides=given or None, generator=generator)
    except ValueError as exc:
        msg = f"contracts.py: no golden requests can be drawn that meet Request: {' '.join(str(exc).split())}"
        raise BundleError(msg) from exc
    return drawn.with_columns(moment=pl.lit(as_of))


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


def _inputs(compiled: Compiled, spec: FeatureSpec, fields: Values, known: Sequence[Values]) -> NDArray[np.float32]:
    """Make the inputs of a golden request.

    Raises:
        BundleError: one of them cannot be computed, or is infinite.

    """
    try:
        with np.errstate(over="ignore"):  # it is told below
            inputs = np.frombuffer(compiled.made(fields, known).data, dtype=np.float32)
    except ArithmeticError as exc:
        asked = {name: value for name, value in zip(spec.fields, fields, strict=True) if spec.fields[name] in NUMBERS}
        msg = f"request.sql: {exc}, in a golden request with {asked}; {MEND}"
        raise BundleError(msg) from exc
    if infinite := [name for name, value in zip(spec.names, inputs, strict=True) if np.isinf(value)]:
        msg = f"{', '.join(infinite)}: infinite as 32-bit floats in a golden request; {MEND}"
        raise BundleError(msg)
    return inputs


@step
def golden(problem: Problem, spec: FeatureSpec, views: Path, booster: Booster, params: Params) -> list[dict[str, Any]]:
    """Make requests with their inputs and scores, which whoever answers for this bundle must give too.

    Raises:
        BundleError: the contract gives no such requests, or they are out of the features' reach.

    """
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
        cases.append({"fields": fields, "views": known, "inputs": _inputs(compiled, spec, fields, known)})
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
