"""Feature views: one SQL file each, addressed `entity.view`, true from `valid_from` until the key's next row."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import polars as pl

from tandem.errors import ProblemError
from tandem.params import Frozen

VALID_FROM = "valid_from"
COLUMN = re.compile(r"\bas (\w+),?\s*-- (.+)$", re.MULTILINE)
GRAIN = re.compile(r"\A-- grain: (.+)$", re.MULTILINE)
FACT = re.compile(r"\b(?:from|join)\s+\(?(?:select [^()]*? from )?(\w+)", re.IGNORECASE)

TYPES: dict[pl.DataType, str] = {
    pl.Int64(): "BIGINT",
    pl.Float64(): "DOUBLE",
    pl.Boolean(): "BOOLEAN",
    pl.String(): "VARCHAR",
    pl.Datetime("us"): "TIMESTAMP",
}


class View(Frozen):
    """What a view's file says of itself."""

    name: str
    sql: str

    @classmethod
    def load_all(cls, folder: Path) -> tuple["View", ...]:
        """Read all views of a problem, by name.

        Raises:
            ProblemError: a file lacks its grain.

        """
        views = tuple(cls(name=path.stem, sql=path.read_text()) for path in sorted(folder.glob("*.sql")))
        for view in views:
            if not GRAIN.search(view.sql):
                msg = f"views/{view.name}.sql: the first line must state the grain: -- grain: one row per ..."
                raise ProblemError(msg)
        return views

    @cached_property
    def grain(self) -> str:
        """What one row is."""
        found = GRAIN.search(self.sql)
        return found.group(1) if found else ""

    @cached_property
    def meanings(self) -> dict[str, str]:
        """What each value means, from the comment beside it."""
        return {name: text.strip() for name, text in COLUMN.findall(self.sql)}


class ViewSpec(Frozen):
    """What a view turned out to be once it was run."""

    name: str
    grain: str
    keys: tuple[str, ...]
    values: dict[str, str]
    """DuckDB's type of each value."""
    meanings: dict[str, str]


def spec_of(view: View, frame: pl.DataFrame) -> ViewSpec:
    """Check a view's result and describe it: keys, then `valid_from`, then values.

    Raises:
        ProblemError: the result is no view's.

    """
    columns = frame.columns
    if VALID_FROM not in columns or columns.index(VALID_FROM) in (0, len(columns) - 1):
        msg = f"views/{view.name}.sql must give its keys, then {VALID_FROM}, then its values; it gives {columns}"
        raise ProblemError(msg)
    at = columns.index(VALID_FROM)
    keys, values = columns[:at], columns[at + 1 :]
    for name in values:
        if name not in view.meanings:
            msg = f"views/{view.name}.sql: value {name} has no meaning: write `as {name},  -- ...` beside it"
            raise ProblemError(msg)
        if frame.schema[name] not in TYPES:
            msg = (
                f"views/{view.name}.sql: {name} is {frame.schema[name]}; cast it to one of {', '.join(TYPES.values())}"
            )
            raise ProblemError(msg)
    _check_unique(view, frame, [*keys, VALID_FROM])
    types = {name: TYPES[frame.schema[name]] for name in values}
    return ViewSpec(name=view.name, grain=view.grain, keys=tuple(keys), values=types, meanings=view.meanings)


def _check_unique(view: View, frame: pl.DataFrame, on: Sequence[str]) -> None:
    """Rows are sorted by their keys, so a repeated one stands beside the first."""
    same = frame.select(pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in on)).to_series()
    if frame.height > 1 and same.any():
        first = frame.filter(same).select(on).row(0)
        msg = f"views/{view.name}.sql gives two rows for {first}; its grain is {view.grain}"
        raise ProblemError(msg)
