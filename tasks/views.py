"""Run each feature view over the facts that are known."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import msgspec
import polars as pl
from polars import selectors

from tandem.errors import ProblemError
from tandem.files import made, write_json
from tandem.problem import Problem
from tandem.run import step
from tandem.views import VALID_FROM, View, ViewSpec
from tandem.warehouse import ROW_GROUP, Warehouse

log = logging.getLogger(__name__)


TYPES: dict[pl.DataType, str] = {
    pl.Int64(): "BIGINT",
    pl.Float64(): "DOUBLE",
    pl.Boolean(): "BOOLEAN",
    pl.String(): "VARCHAR",
    pl.Datetime("us"): "TIMESTAMP",
}


@step
def run_view(view: View, warehouse: Warehouse) -> tuple[ViewSpec, pl.DataFrame]:
    """Run a view's SQL and check that its result is a view's; rows are in the order of its keys, then of time.

    Raises:
        ProblemError: the SQL does not run, or its result is no view's.

    """
    try:
        frame = warehouse.query(view.sql).with_columns(selectors.integer().cast(pl.Int64))
    except ProblemError as exc:
        msg = f"views/{view.name}.sql: {exc}"
        raise ProblemError(msg) from exc
    spec = spec_of(view, frame)
    on = [*spec.keys, VALID_FROM]
    if not _rises(frame, on):
        frame = frame.sort(on)
        _check_unique(view, frame, on)
    log.info("%s: %d rows", view.name, frame.height)
    return spec, frame


def spec_of(view: View, frame: pl.DataFrame) -> ViewSpec:
    """Describe a view's result: keys, then `valid_from`, then values.

    Raises:
        ProblemError: the result is no view's.

    """
    columns = frame.columns
    if VALID_FROM not in columns or columns.index(VALID_FROM) in (0, len(columns) - 1):
        msg = f"views/{view.name}.sql must give its keys, then {VALID_FROM}, then its values; it gives {columns}"
        raise ProblemError(msg)
    at = columns.index(VALID_FROM)
    for name in columns[at + 1 :]:
        if name not in view.meanings:
            msg = f"views/{view.name}.sql: value {name} has no meaning: write `as {name},  -- ...` beside it"
            raise ProblemError(msg)
        if frame.schema[name] not in TYPES:
            msg = (
                f"views/{view.name}.sql: {name} is {frame.schema[name]}; cast it to one of {', '.join(TYPES.values())}"
            )
            raise ProblemError(msg)
    return ViewSpec(
        name=view.name,
        grain=view.grain,
        keys=tuple(columns[:at]),
        values={name: TYPES[frame.schema[name]] for name in columns[at + 1 :]},
        meanings=view.meanings,
    )


def _rises(frame: pl.DataFrame, on: Sequence[str]) -> bool:
    """Tell whether every row comes after the one before it, as those of a running sum do, and need no sorting."""
    rises = pl.lit(value=False)
    for name in reversed(on):
        here, before = pl.col(name), pl.col(name).shift()
        rises = (here > before) | ((here == before) & rises)
    return bool(frame.select(rises.slice(1).fill_null(value=False).all()).item())


def _check_unique(view: View, frame: pl.DataFrame, on: Sequence[str]) -> None:
    """Rows are sorted by their keys, so a repeated one stands beside the first."""
    same = frame.select(pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in on)).to_series()
    if frame.height > 1 and same.any():
        first = frame.filter(same).select(on).row(0)
        msg = f"views/{view.name}.sql gives two rows for {first}; its grain is {view.grain}"
        raise ProblemError(msg)


def share_macros(problem: Problem, warehouse: Warehouse) -> None:
    """Make what the problem's views share."""
    if (problem.folder / "macros.sql").is_file():
        warehouse.execute(problem.sql("macros"))


@step
def write_views(problem: Problem, warehouse: Warehouse, folder: Path) -> None:
    """Write each view's rows, and what the views are; while one is written the next is run."""
    share_macros(problem, warehouse)
    specs, written = [], list[Future[object]]()
    with ThreadPoolExecutor(1) as writer:
        for view in View.load_all(problem.folder / "views"):
            spec, frame = run_view(view, warehouse)
            target = folder / f"{view.name}.parquet"
            wait(written)  # so that no more than two are in memory
            written.append(writer.submit(frame.write_parquet, target, row_group_size=ROW_GROUP))
            specs.append(spec)
    for each in written:
        each.result()
    write_json(folder / "views.json", msgspec.to_builtins(specs))


def read_specs(folder: Path) -> tuple[ViewSpec, ...]:
    """Read what the views are.

    Raises:
        MissingError: they have not been run.

    """
    specs = json.loads(made(folder / "views.json", "views").read_text())
    return msgspec.convert(specs, tuple[ViewSpec, ...])


def read_view(folder: Path, name: str) -> pl.DataFrame:
    """Read a view's rows."""
    return pl.read_parquet(folder / f"{name}.parquet")
