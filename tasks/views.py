"""Run each feature view over the facts that are known."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem.errors import ProblemError
from tandem.files import made, write_json
from tandem.problem import Problem
from tandem.processor import THREADS
from tandem.run import step
from tandem.views import VALID_FROM, View, ViewSpec
from tandem.warehouse import INTEGERS, Desk, Warehouse, identifier, parquet

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

WHOLE = (*INTEGERS, "HUGEINT")
"""What sums and counts of integers may be; all are written as BIGINT."""
TYPES = ("BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR", "TIMESTAMP")


@step
def run_view(view: View, desk: Desk, folder: Path) -> ViewSpec:
    """Write a view's rows, in the order of its keys, then of time, and check that they are a view's.

    Raises:
        ProblemError: the SQL does not run, or its result is no view's.

    """
    target = folder / f"{view.name}.parquet"
    with _named(view):
        given = desk.types(view.sql)
        spec = spec_of(view, {name: "BIGINT" if kind in WHOLE else kind for name, kind in given.items()})
        whole = [identifier(name) for name, kind in given.items() if kind in WHOLE]
        replaced = ", ".join(f"{name}::BIGINT as {name}" for name in whole)
        rows = desk.write(view.sql, target, f"* replace ({replaced})" if whole else "*")
    on = ", ".join(map(identifier, [*spec.keys, VALID_FROM]))
    if _out_of_order(desk, target, on):
        ordered = target.with_suffix(".ordered")
        desk.write(f"from {parquet(target)} order by {on}", ordered)
        ordered.replace(target)
        if repeated := _out_of_order(desk, target, on):
            msg = f"views/{view.name}.sql gives two rows for {repeated}; its grain is {view.grain}"
            raise ProblemError(msg)
    log.info("%s: %d rows", view.name, rows)
    return spec


@contextmanager
def _named(view: View) -> Iterator[None]:
    try:
        yield
    except ProblemError as exc:
        msg = f"views/{view.name}.sql: {exc}"
        raise ProblemError(msg) from exc


def _out_of_order(desk: Desk, path: Path, on: str) -> str | None:
    """Find the first row that does not come after the one before it; those of a running sum all do."""
    before = f"lag(({on})) over ()"
    found = desk.first(f"from {parquet(path)} select ({on})::VARCHAR qualify ({on}) <= {before} limit 1")
    return str(found[0]) if found else None


def spec_of(view: View, types: dict[str, str]) -> ViewSpec:
    """Describe a view's result: keys, then `valid_from`, then values.

    Raises:
        ProblemError: the result is no view's.

    """
    columns = list(types)
    if VALID_FROM not in columns or columns.index(VALID_FROM) in (0, len(columns) - 1):
        msg = f"it must give its keys, then {VALID_FROM}, then its values; it gives {columns}"
        raise ProblemError(msg)
    if types[VALID_FROM] != "TIMESTAMP":
        msg = f"{VALID_FROM} is {types[VALID_FROM]}; `published(...)` gives the TIMESTAMP that it must be"
        raise ProblemError(msg)
    at = columns.index(VALID_FROM)
    values = {name: types[name] for name in columns[at + 1 :]}
    for name, kind in values.items():
        if name not in view.meanings:
            msg = f"value {name} has no meaning: write `as {name},  -- ...` beside it"
            raise ProblemError(msg)
        if kind not in TYPES:
            msg = f"{name} is {kind}; cast it to one of {', '.join(TYPES)}"
            raise ProblemError(msg)
    keys = tuple(columns[:at])
    return ViewSpec(name=view.name, grain=view.grain, keys=keys, values=values, meanings=view.meanings)


@step
def write_views(problem: Problem, warehouse: Warehouse, folder: Path) -> list[ViewSpec]:
    """Write each view's rows, and what the views are; two are run at a time."""
    if (problem.folder / "macros.sql").is_file():
        warehouse.execute(problem.sql("macros"))

    def run(view: View) -> ViewSpec:
        with warehouse.beside() as desk:
            return run_view(view, desk, folder)

    views = View.load_all(problem.folder / "views")
    contexts = [copy_context() for _ in views]  # in which a view shows as a task of the run
    with ThreadPoolExecutor(THREADS) as pool:
        specs = list(pool.map(lambda context, view: context.run(run, view), contexts, views))
    write_json(folder / "views.json", msgspec.to_builtins(specs))
    return specs


def read_specs(folder: Path) -> tuple[ViewSpec, ...]:
    """Read what the views are.

    Raises:
        MissingError: they have not been run.

    """
    specs = json.loads(made(folder / "views.json", "views").read_text())
    return msgspec.convert(specs, tuple[ViewSpec, ...])


def read_view(folder: Path, name: str, *columns: str) -> "pl.DataFrame":
    """Read a view's rows, of all columns or of some."""
    import polars as pl  # noqa: PLC0415 - 0.2 s and 40 MiB, which who runs views does without

    return pl.read_parquet(folder / f"{name}.parquet", columns=list(columns) or None)
