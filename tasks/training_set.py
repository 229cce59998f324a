"""Requests as they would have been made, with what was known then, and the labels that are known by now."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars import selectors

from tandem.clock import Grid
from tandem.contracts import WRONG, Contract, sql_types
from tandem.errors import ProblemError, TooFewRowsError
from tandem.expressions import Expressions, Type
from tandem.features import NUMBERS, SLICE, Feature, FeatureSpec
from tandem.params import Params, SplitParams
from tandem.problem import Problem
from tandem.processor import THREADS
from tandem.run import step
from tandem.views import VALID_FROM, ViewSpec
from tandem.warehouse import Desk, Warehouse, identifier
from tasks.views import read_view

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all instants are UTC
DUE = "due"
"""The newest tick that a request may use."""


@step
def describe(problem: Problem, views: tuple[ViewSpec, ...], params: Params) -> FeatureSpec:
    """Say what the model is fed: all numbers that the views give, and those that request.sql computes.

    Raises:
        ProblemError: two features have one name, or what problem.py or a view's key names is nowhere.

    """
    fields = {**sql_types(problem.contracts.Request), "moment": "TIMESTAMP"}
    values = {name: kind for view in views for name, kind in view.values.items()}
    request = Expressions.parse(problem.sql("request"), {n: Type(t) for n, t in (fields | values).items()})
    _check_names([*fields, *(name for view in views for name in view.values), *request.names])
    for view in views:
        if unknown := set(view.keys) - set(fields) - set(request.names):
            msg = f"view {view.name}: key {', '.join(sorted(unknown))} is neither in the request nor in request.sql"
            raise ProblemError(msg)
    _check_declared(problem, {*fields, *values, *request.names}, {view.name for view in views})
    inputs = [
        Feature(name=name, type=kind, origin=view.name, meaning=view.meanings[name])
        for view in views
        for name, kind in view.values.items()
        if kind in NUMBERS
    ] + [
        Feature(name=e.name, type=str(e.type), origin="request", meaning=e.comment, reads=e.columns)
        for e in request.expressions
        if e.type in NUMBERS
    ]
    return FeatureSpec(
        problem=problem.name,
        question=problem.question,
        tick_minutes=params.features.tick_minutes,
        lag_minutes=params.features.lag_minutes,
        fields=fields,
        keys=problem.keys,
        rates=problem.rates,
        slices_sql=problem.sql("slices"),
        baselines=dict(problem.baselines),
        views=views,
        request_sql=problem.sql("request"),
        inputs=tuple(inputs),
    )


def _check_declared(problem: Problem, columns: set[str], views: set[str]) -> None:
    kept = {view for names in problem.baselines.values() for view in names}
    if not problem.rates:
        msg = f"problem.py: rates names no column; there are {', '.join(sorted(columns))}"
        raise ProblemError(msg)
    for what, named, known in (("rates", set(problem.rates), columns), ("baselines", kept, views)):
        if unknown := named - known:
            msg = f"problem.py: {what} names {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            raise ProblemError(msg)


def _check_names(names: list[str]) -> None:
    if repeated := {name for name in names if names.count(name) > 1}:
        msg = f"{', '.join(sorted(repeated))}: a name can stand for one thing only, over request, views and request.sql"
        raise ProblemError(msg)


def due_tick(moment: pl.Expr, params: Grid) -> pl.Expr:
    """Give the newest tick that is `lag` old at the moment of the request."""
    return (moment - params.lag).dt.truncate(f"{params.tick_minutes}m")


def newest_tick(moment: datetime, params: Grid) -> datetime:
    """Give the same for one moment."""
    return moment - params.lag - (moment - params.lag - EPOCH) % params.tick


@step
def requests_of(problem: Problem, warehouse: Warehouse, params: Grid) -> pl.DataFrame:
    """Give every request that would have been made by now, in the order of time, each with the tick it may use.

    Raises:
        ProblemError: one of them is not as the contract has it.

    """
    asked = warehouse.requests(problem.sql("requests"), "moment", *problem.keys)
    contract: Contract = problem.contracts.Request
    try:
        contract.validate(asked)
    except WRONG as exc:
        told = " ".join(str(exc).partition("\n\n")[0].split())
        msg = f"requests.sql: not all of it is as Request in contracts.py says: {told}"
        raise ProblemError(msg) from exc
    return asked.with_columns(due_tick(pl.col("moment"), params).alias(DUE))


@step
def with_views(requests: pl.DataFrame, spec: FeatureSpec, desk: Desk, folder: Path) -> pl.DataFrame:
    """Join to each request the views' rows that were true at its tick; what only the model reads is as it reads it.

    Raises:
        ProblemError: a view has a row that is not true from a tick on.

    """
    request = spec.request()
    read = {*spec.rates, *(name for expression in request.expressions for name in expression.columns)}
    keys = sorted({key for view in spec.views for key in view.keys} - set(spec.fields))
    asked = requests.with_columns(desk.query(request.sql_of(keys), request=requests)) if keys else requests

    def values_of(view: ViewSpec) -> list[pl.Series]:
        standing = _standing(asked, view, folder, spec.grid)
        return [_as_input(each) if each.name in spec.names and each.name not in read else each for each in standing]

    with ThreadPoolExecutor(THREADS) as pool:
        return requests.with_columns(column for columns in pool.map(values_of, spec.views) for column in columns)


def _standing(asked: pl.DataFrame, view: ViewSpec, folder: Path, grid: Grid) -> Iterator[pl.Series]:
    """Give each value of a view as it stood at the requests' ticks; no more than one is in memory as a whole."""
    rows = read_view(folder, view.name, *view.keys, VALID_FROM)
    _check_ticks(view, rows[VALID_FROM], grid)
    found = asked.select(DUE, *view.keys).join_asof(
        rows.with_row_index("at"),
        left_on=DUE,
        right_on=VALID_FROM,
        by=list(view.keys),
        strategy="backward",
        check_sortedness=False,  # both are sorted by time within a key, which is all that it takes
    )["at"]
    for name in view.values:
        yield read_view(folder, view.name, name)[name].rechunk().gather(found)


def _check_ticks(view: ViewSpec, since: pl.Series, grid: Grid) -> None:
    off = (since.to_physical() % (grid.tick // timedelta(microseconds=1))).ne_missing(0)
    if off.any():
        moment = since.filter(off)[0]
        msg = (
            f"views/{view.name}.sql: {VALID_FROM} {moment} is no tick: `published(...) as {VALID_FROM}` gives the next"
        )
        raise ProblemError(msg)


def _as_input(numbers: pl.Series) -> pl.Series:
    """Make numbers what the model is fed: by way of a double, as a large integer goes that comes by JSON."""
    return numbers.cast(pl.Float64).cast(pl.Float32)


@step
def with_features(joined: pl.DataFrame, spec: FeatureSpec, desk: Desk) -> pl.DataFrame:
    """Compute the request features, and keep what the model, its baselines and its judges need."""
    made = desk.query(spec.request_sql, request=joined.select(~selectors.by_dtype(pl.Float32)))
    known = pl.concat([joined, made], how="horizontal")
    slices = desk.query(spec.slices_sql, request=known.select(*spec.fields, *made.columns))
    if bad := [name for name, kind in slices.schema.items() if kind != pl.String()]:
        msg = f"slices.sql: {', '.join(bad)} must be text, for a slice is named by its value"
        raise ProblemError(msg)
    kept = list(dict.fromkeys(["moment", *spec.keys, *(name for name in spec.rates if name not in spec.names)]))
    inputs = known.select(spec.names)
    inputs = inputs.with_columns(_as_input(each) for each in inputs if each.dtype != pl.Float32)
    if endless := [each.name for each in inputs if each.is_infinite().any()]:
        msg = f"{', '.join(endless)}: infinite in some rows; where it is a quotient, divide by nullif(..., 0)"
        raise ProblemError(msg)
    return pl.concat([known.select(kept), inputs, slices.rename(lambda name: SLICE + name)], how="horizontal")


@step
def labels_of(requests: pl.DataFrame, problem: Problem, warehouse: Warehouse) -> pl.DataFrame:
    """Give the outcome of each request, where it is known by now.

    Raises:
        ProblemError: two requests, or two labels, have one key.

    """
    asked = requests.select(problem.keys)
    keys, known = ", ".join(map(identifier, problem.keys)), warehouse.known(f"({problem.sql('label')}\n)")
    joined = f"from request left join ({known}) using ({keys}) select * exclude (nr, {keys}) order by nr"
    labels = warehouse.query(joined, request=asked.with_row_index("nr"))
    if twice := [
        name for name, rows in (("requests", asked.n_unique()), ("label", labels.height)) if rows != asked.height
    ]:
        msg = f"{twice[0]}.sql gives two rows for one {keys}"
        raise ProblemError(msg)
    return labels.rename({"known_at": "label_known_at"})


@step
def with_split(features: pl.DataFrame, labels: pl.DataFrame, params: SplitParams, as_of: datetime) -> pl.DataFrame:
    """Say what each labelled row is for; a row between the parts, asked before and answered after, is for none.

    Raises:
        TooFewRowsError: a part is too small.

    """
    test = pl.lit(as_of).dt.offset_by(f"-{params.test_days}d")
    stop = test.dt.offset_by(f"-{params.stop_days}d")
    asked, known = pl.col("moment"), pl.col("label_known_at")
    split = (
        pl.when(pl.col("label").is_null())
        .then(None)
        .when(known < stop)
        .then(pl.lit("fit"))
        .when((asked >= stop) & (known < test))
        .then(pl.lit("stop"))
        .when(asked >= test)
        .then(pl.lit("test"))
    )
    parted = pl.concat([features, labels], how="horizontal").with_columns(split=split)
    for name in ("fit", "stop", "test"):
        if (got := parted.select("split").filter(pl.col("split") == name).height) < params.smallest:
            what = f"the {name} part of the training set"
            raise TooFewRowsError(what, got=got, need=params.smallest)
    return parted


@step
def summary(rows: pl.DataFrame, spec: FeatureSpec) -> dict[str, Any]:
    """Count requests by outcome and part, and say how much of each input is not known."""
    outcomes = rows.group_by("outcome").len().sort("outcome", nulls_last=True).rows()
    parts = rows.select("split", "label", "moment").drop_nulls("split").group_by("split")
    counted = parts.agg(pl.len(), pl.col("label").sum(), pl.col("moment").min().alias("from"), pl.col("moment").max())
    nulls = rows.select(pl.col(spec.names).is_null().sum()).row(0)
    return {
        "requests": rows.height,
        "outcomes": {name or "not known yet": count for name, count in outcomes},
        "parts": {
            name: {"rows": count, "positives": positives, "from": str(first), "until": str(last)}
            for name, count, positives, first, last in counted.sort("split").rows()
        },
        "nulls": {name: round(count / rows.height, 6) for name, count in zip(spec.names, nulls, strict=True)},
    }
