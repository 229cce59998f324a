"""Run each feature view over the facts that are known."""

import json
import logging
from pathlib import Path

import polars as pl
from polars import selectors

from tandem.errors import MissingError
from tandem.files import write_json
from tandem.problem import Problem
from tandem.run import step
from tandem.views import VALID_FROM, View, ViewSpec, spec_of
from tandem.warehouse import Warehouse

log = logging.getLogger(__name__)


@step
def run_view(view: View, warehouse: Warehouse) -> tuple[ViewSpec, pl.DataFrame]:
    """Run a view's SQL and check that its result is a view's; rows are in the order of its keys, then of time.

    Raises:
        ProblemError: the SQL does not run, or its result is no view's.

    """
    columns = warehouse.columns(view.sql)
    on = columns[: columns.index(VALID_FROM) + 1] if VALID_FROM in columns else columns
    frame = warehouse.query(f"{view.sql}\norder by {', '.join(on)}").with_columns(selectors.integer().cast(pl.Int64))
    log.info("%s: %d rows", view.name, frame.height)
    return spec_of(view, frame), frame


@step
def write_views(problem: Problem, warehouse: Warehouse, folder: Path) -> None:
    """Write each view's rows, and what the views are; one view at a time is in memory."""
    if (problem.folder / "macros.sql").is_file():
        warehouse.execute(problem.sql("macros"))
    specs = []
    for view in View.load_all(problem.folder / "views"):
        spec, frame = run_view(view, warehouse)
        frame.write_parquet(folder / f"{view.name}.parquet")
        specs.append(spec)
    write_json(folder / "views.json", [spec.model_dump(mode="json") for spec in specs])


def read_specs(folder: Path) -> tuple[ViewSpec, ...]:
    """Read what the views are.

    Raises:
        MissingError: they have not been run.

    """
    path = folder / "views.json"
    if not path.is_file():
        msg = f"{path} does not exist: `dvc repro views` makes it"
        raise MissingError(msg)
    return tuple(ViewSpec.model_validate(spec) for spec in json.loads(path.read_text()))


def read_view(folder: Path, name: str) -> pl.DataFrame:
    """Read a view's rows."""
    return pl.read_parquet(folder / f"{name}.parquet")
