"""Read one raw file into a typed frame, or say what is wrong with it: file, column and first bad line."""

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import dataframely as dy
import duckdb
import polars as pl

from tandem.contracts import sql_types
from tandem.errors import SourceError
from tandem.problem import Source
from tandem.run import step
from tandem.warehouse import Connection, connect, quoted

LINE = re.compile(r"line:? (\d+)", re.IGNORECASE)


@contextmanager
def _unpacked(path: Path, source: Source) -> Iterator[Path]:
    """Give the path of the table itself: DuckDB reads no zip."""
    if source.format != "csv.zip":
        yield path
        return
    with TemporaryDirectory(prefix="tandem-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                tables = [name for name in archive.namelist() if name.endswith(".csv")]
                if len(tables) != 1:
                    msg = f"{path} ({source.name}): expected one .csv in the zip, found {len(tables)}"
                    raise SourceError(msg)
                yield Path(archive.extract(tables[0], folder))
        except (zipfile.BadZipFile, EOFError, OSError) as exc:
            msg = f"{path} ({source.name}) is not a whole zip file: {exc}"
            raise SourceError(msg) from exc


def _struct(types: dict[str, str]) -> str:
    return "{" + ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in types.items()) + "}"


def _scan(path: Path, source: Source, types: dict[str, str]) -> str:
    """Say in SQL how the file is read, with these columns and types, all rows in their order."""
    file = quoted(str(path))
    if source.format == "parquet":
        return f"read_parquet({file})"
    if source.format == "jsonl":
        return f"read_json({file}, format='newline_delimited', columns={_struct(types)})"
    options = "header=true, auto_detect=false, delim=',', quote='\"', escape='\"', strict_mode=true"
    return f"read_csv({file}, {options}, nullstr={quoted(source.null)}, columns={_struct(types)})"


def _columns(con: Connection, path: Path, source: Source) -> list[str]:
    """Names that the file itself gives its columns; for JSON lines all that any line has."""
    file = quoted(str(path))
    if source.format == "jsonl":
        keys = f"select distinct unnest(json_keys(json)) from read_json_objects({file}, format='newline_delimited')"
        return sorted(name for (name,) in con.execute(keys).fetchall())
    if source.format == "parquet":
        return [row[0] for row in con.execute(f"describe select * from read_parquet({file})").fetchall()]
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        return [name.strip().strip('"') for name in lines.readline().lstrip("\ufeff").strip().split(",")]


def _check_columns(con: Connection, path: Path, source: Source, types: dict[str, str]) -> None:
    found = _columns(con, path, source)
    missing = [name for name in types if name not in found]
    unknown = [name for name in found if name not in types]
    if source.format == "jsonl" and found:
        missing = []  # a field may be left out of a line; the contract says whether it may be null
    if missing or unknown:
        parts = [f"column {name!r} is missing" for name in missing]
        parts += [f"column {name!r} is not in the contract" for name in unknown]
        raise SourceError("; ".join(parts))
    if source.format.startswith("csv") and found != list(types):
        msg = f"columns are in another order than the contract's: {', '.join(found)}"
        raise SourceError(msg)


def _first_misfit(con: Connection, path: Path, source: Source, types: dict[str, str]) -> str | None:
    """Find the first value that is not of its column's type."""
    text = dict.fromkeys(types, "VARCHAR")
    heading = 1 if source.format.startswith("csv") else 0
    worst = " union all ".join(
        f"select row, {quoted(name)}, {name}::varchar from rows where {name} is not null "
        f"and try_cast({name} as {kind}) is null"
        for name, kind in types.items()
    )
    scan = f"select *, row_number() over () as row from {_scan(path, source, text)}"
    try:
        found = con.execute(f"with rows as ({scan}) select * from ({worst}) order by row limit 1").fetchone()
    except duckdb.Error:
        return None  # not even text: the reader's own words say more
    if found is None:
        return None
    row, name, value = found
    return f"column {name!r}, line {row + heading}: {value!r} is not {types[name]}"


def _explained(con: Connection, path: Path, source: Source, types: dict[str, str], exc: duckdb.Error) -> str:
    if misfit := _first_misfit(con, path, source, types):
        return misfit
    words = [line.strip() for line in str(exc).splitlines() if line.strip()]
    line = LINE.search(str(exc))
    detail = next((w for w in words[1:] if not w.startswith(("Original Line", "Possible"))), words[0])
    return f"line {line.group(1)}: {detail}" if line else words[0]


def _cast(con: Connection, path: Path, source: Source, types: dict[str, str]) -> pl.DataFrame:
    columns = ", ".join(f"{name}::{kind} as {name}" for name, kind in types.items())
    frame: pl.DataFrame = con.sql(
        f"select {columns}, row_number() over () as row from {_scan(path, source, types)}"
    ).pl()
    return frame


@step
def read_raw(path: Path, source: Source, contract: type[dy.Schema]) -> pl.DataFrame:
    """Read all rows of a landed file, typed as the contract says, each with its number from 1 and its landing.

    Raises:
        SourceError: the file is missing, damaged, empty, or its columns, types or encoding are not the contract's.

    """
    if not path.is_file():
        msg = f"{path} ({source.name}): no such file"
        raise SourceError(msg)
    types = sql_types(contract)
    with _unpacked(path, source) as table, connect(table.parent) as con:
        try:
            if table.stat().st_size == 0:
                msg = "the file is empty"
                raise SourceError(msg)
            _check_columns(con, table, source, types)
            frame = _cast(con, table, source, types)
            if frame.is_empty():
                msg = "the file has a heading and no rows" if source.format.startswith("csv") else "there are no rows"
                raise SourceError(msg)
        except SourceError as exc:
            msg = f"{path} ({source.name}): {exc}"
            raise SourceError(msg) from exc
        except duckdb.Error as exc:
            msg = f"{path} ({source.name}): {_explained(con, table, source, types, exc)}"
            raise SourceError(msg) from exc
    return frame.with_columns(landing=pl.lit(path.name))
