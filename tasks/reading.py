"""Read one raw file into a typed frame, or say what is wrong with it: file, column and first bad line.

Nothing is bent to fit: no fraction becomes an integer, no number a text, and an instant's offset from UTC counts.
"""

import csv
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl

from tandem.contracts import Contract, required, sql_types
from tandem.errors import SourceError
from tandem.problem import Source
from tandem.run import step
from tandem.warehouse import Connection, connect, identifier, quoted

Types = dict[str, str]
"""DuckDB's type of each column."""

LINE = re.compile(r"\bLine: (\d+)")
WHOLE = r"[+-]?[0-9]+"
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
PARQUET: dict[str, tuple[str, ...]] = {
    "VARCHAR": ("VARCHAR",),
    "BIGINT": INTEGERS,
    "DOUBLE": ("DOUBLE", "FLOAT", *INTEGERS),
    "BOOLEAN": ("BOOLEAN",),
    "TIMESTAMP": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE"),
}
"""What a Parquet column may be to be read as what the contract says."""
JSON: dict[str, tuple[str, ...]] = {
    "VARCHAR": ("VARCHAR",),
    "BIGINT": ("BIGINT", "UBIGINT"),
    "DOUBLE": ("DOUBLE", "BIGINT", "UBIGINT"),
    "BOOLEAN": ("BOOLEAN",),
    "TIMESTAMP": ("VARCHAR",),
}
"""The same of a JSON value."""


@contextmanager
def _unpacked(path: Path, source: Source) -> Iterator[Path]:
    """Give the path of the table itself: DuckDB reads no zip."""
    if source.format != "csv.zip":
        yield path
        return
    with TemporaryDirectory(prefix="tandem-") as folder:
        yield _extracted(path, Path(folder))


def _extracted(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [name for name in archive.namelist() if name.endswith(".csv")]
            if len(tables) == 1:
                return Path(archive.extract(tables[0], folder))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as exc:
        msg = f"it is not a whole zip file: {exc}"
        raise SourceError(msg) from exc
    msg = f"expected one .csv in the zip, found {len(tables)}"
    raise SourceError(msg)


def _file(path: Path) -> str:
    return quoted(str(path))


def _read_csv(path: Path, source: Source, types: Types) -> str:
    options = "header=true, auto_detect=false, delim=',', quote='\"', escape='\"', strict_mode=true"
    struct = ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in types.items())
    return f"read_csv({_file(path)}, {options}, nullstr={quoted(source.null)}, columns={{{struct}}})"


def _read_json(path: Path) -> str:
    lines = f"read_json_objects({_file(path)}, format='newline_delimited')"
    return f"(select if(json_type(json) = 'OBJECT', json, error('a line is not an object')) as json from {lines})"


def _typed(path: Path, source: Source, types: Types) -> str:
    """Say in SQL how the file is read; DuckDB would round the fractions of integers, so those of a CSV stay text."""
    if source.format == "parquet":
        columns = [f"{identifier(name)}::{kind}" for name, kind in types.items()]
        scan = f"read_parquet({_file(path)})"
    elif source.format == "jsonl":
        columns = [_json_value(name, kind) for name, kind in types.items()]
        scan = _read_json(path)
    else:
        as_read = {"BIGINT": "VARCHAR", "TIMESTAMP": "TIMESTAMPTZ"}
        read = {name: as_read.get(kind, kind) for name, kind in types.items()}
        # DuckDB would move a cast into the reader, where an offset is not looked at
        utc = {"TIMESTAMP": "make_timestamp(epoch_us({}))"}
        columns = [utc.get(kind, "{}").format(identifier(name)) for name, kind in types.items()]
        scan = _read_csv(path, source, read)
    named = [f"{column} as {identifier(name)}" for column, name in zip(columns, types, strict=True)]
    return f"select {', '.join(named)} from {scan}"


def _json_value(name: str, kind: str) -> str:
    at = f"json, {quoted(f'$.{identifier(name)}')}"
    kinds = ", ".join(map(quoted, JSON[kind]))
    cast = "::TIMESTAMPTZ::TIMESTAMP" if kind == "TIMESTAMP" else f"::{kind}"
    value = f"json_extract_string({at}){cast}"
    known = f"coalesce(json_type({at}), 'NULL')"
    return f"case when {known} = 'NULL' then null when {known} in ({kinds}) then {value} else error({quoted(name)}) end"


def _columns(con: Connection, path: Path, source: Source) -> list[str]:
    """Names that the file itself gives its columns; for JSON lines all that any line has."""
    if source.format == "jsonl":
        keys = f"select distinct unnest(json_keys(json)) from {_read_json(path)}"
        return sorted(name for (name,) in con.execute(keys).fetchall())
    if source.format == "parquet":
        return list(_parquet_types(con, path))
    with path.open("rb") as lines:
        try:
            heading = lines.readline().decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            msg = f"line 1: {exc}"
            raise SourceError(msg) from exc
    return [name.strip() for name in next(csv.reader([heading]), [])]


def _parquet_types(con: Connection, path: Path) -> Types:
    described = con.execute(f"describe select * from read_parquet({_file(path)})").fetchall()
    return {row[0]: row[1] for row in described}


def _check_columns(con: Connection, path: Path, source: Source, contract: Contract) -> None:
    types = sql_types(contract)
    found = _columns(con, path, source)
    # a field may be left out of a line; that none has one which must be there is another matter
    needed = [name for name in required(contract) if name in types] if source.format == "jsonl" else list(types)
    parts = [f"column {name!r} is missing" for name in needed if name not in found]
    parts += [f"column {name!r} is not in the contract" for name in found if name not in types]
    parts += [f"column {name!r} comes twice" for name in types if found.count(name) > 1]
    if parts:
        raise SourceError("; ".join(parts))
    if source.format.startswith("csv") and found != list(types):
        msg = f"columns are in another order than the contract's: {', '.join(found)}"
        raise SourceError(msg)
    if source.format == "parquet":
        _check_parquet_types(_parquet_types(con, path), types)


def _check_parquet_types(found: Types, types: Types) -> None:
    for name, kind in types.items():
        if found[name] not in (*PARQUET[kind], '"NULL"'):
            msg = f"column {name!r} is {found[name]}, not {kind}"
            raise SourceError(msg)


def _misfit_of_csv(con: Connection, path: Path, source: Source, types: Types) -> str | None:
    """Find the first value that is not of its column's type."""
    fits = {
        name: f"try_cast({identifier(name)} as {'TIMESTAMPTZ' if kind == 'TIMESTAMP' else kind}) is not null"
        + (f" and regexp_full_match({identifier(name)}, '{WHOLE}')" if kind == "BIGINT" else "")
        for name, kind in types.items()
    }
    worst = " union all ".join(
        f"select row, {quoted(name)}, {identifier(name)} from rows where {identifier(name)} is not null and not ({fit})"
        for name, fit in fits.items()
    )
    scan = f"select *, row_number() over () as row from {_read_csv(path, source, dict.fromkeys(types, 'VARCHAR'))}"
    try:
        found = con.execute(f"with rows as ({scan}) select * from ({worst}) order by row limit 1").fetchone()
    except duckdb.Error:
        return None  # not even text: the reader's own words say more
    if found is None:
        return None
    row, name, value = found
    return f"column {name!r}, line {_line_of(path, row)}: {value!r} is not {types[name]}"


def _line_of(path: Path, row: int) -> int:
    """Give the line on which a row begins: blank lines are no rows, and a row may have many lines."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        begins = 1
        while row >= 0:  # the heading is row 0
            begins = reader.line_num + 1
            row -= bool(next(reader))
    return begins


def _misfit_of_json(con: Connection, path: Path, types: Types) -> str | None:
    """Find the first line that is no object, or whose value is not of its column's type."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line.decode())
        except ValueError as exc:
            return f"line {number}: {exc}"
        if not isinstance(fields, dict):
            return f"line {number}: it is not an object"
        for name, value in fields.items():
            if name in types and not _is_json(con, value, types[name]):
                return f"column {name!r}, line {number}: {value!r} is not {types[name]}"
    return None


def _is_json(con: Connection, value: object, kind: str) -> bool:
    cast = "TIMESTAMPTZ" if kind == "TIMESTAMP" else kind
    try_cast = f"select json_type($1) = 'NULL' or json_type($1) in $2 and try_cast($1->>'$' as {cast}) is not null"
    found = con.execute(try_cast, [json.dumps(value), list(JSON[kind])]).fetchone()
    return bool(found and found[0])


def _explained(con: Connection, path: Path, source: Source, types: Types, exc: Exception) -> str:
    misfit = None
    if source.format == "jsonl":
        misfit = _misfit_of_json(con, path, types)
    elif source.format != "parquet":
        misfit = _misfit_of_csv(con, path, source, types)
    if misfit:
        return misfit
    words = [line.strip() for line in str(exc).splitlines() if line.strip()]
    line = LINE.search(str(exc))
    detail = next((w for w in words[1:] if not w.startswith(("Original Line", "Possible"))), words[0])
    return f"line {line.group(1)}: {detail}" if line else words[0]


def _table(path: Path, source: Source, contract: Contract) -> pl.DataFrame:
    types = sql_types(contract)
    integers = [name for name, kind in types.items() if kind == "BIGINT"]
    with _unpacked(path, source) as table, connect(table.parent) as con:
        if table.stat().st_size == 0:
            msg = "the file is empty"
            raise SourceError(msg)
        try:
            _check_columns(con, table, source, contract)
            frame: pl.DataFrame = con.sql(_typed(table, source, types)).pl()
            frame = frame.with_columns(pl.col(integers).cast(pl.Int64))
        except (duckdb.Error, pl.exceptions.PolarsError) as exc:
            raise SourceError(_explained(con, table, source, types, exc)) from exc
    if frame.is_empty():
        msg = "the file has a heading and no rows" if source.format.startswith("csv") else "there are no rows"
        raise SourceError(msg)
    return frame


@step
def read_raw(path: Path, source: Source, contract: Contract) -> pl.DataFrame:
    """Read all rows of a raw file, typed as the contract says, each with its number from 1.

    Raises:
        SourceError: the file is missing, damaged, empty, or its columns, types or encoding are not the contract's.

    """
    try:
        if not path.is_file():
            msg = "no such file"
            raise SourceError(msg)  # noqa: TRY301 - named with the file below, as all that is wrong with it
        rows = _table(path, source, contract)
    except SourceError as exc:
        msg = f"{path} ({source.name}): {exc}"
        raise SourceError(msg) from exc
    return rows.with_columns(row=pl.int_range(1, pl.len() + 1))  # DuckDB gives them in the order of the file
