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
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl

from tandem.contracts import Contract, required, sql_types
from tandem.errors import LONGEST, SourceError, brief
from tandem.problem import Source
from tandem.run import step
from tandem.warehouse import INTEGERS, Connection, connect, identifier, parquet, quoted

LINE = re.compile(r"\bLine: (\d+)")
PARQUET: dict[str, tuple[str, ...]] = {
    "VARCHAR": ("VARCHAR",),
    "BIGINT": INTEGERS,
    "DOUBLE": ("DOUBLE", "FLOAT", *INTEGERS),
    "BOOLEAN": ("BOOLEAN",),
    "TIMESTAMP": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE"),
}
"""What a Parquet column may be to be read as what the contract says."""
JSON = PARQUET | {"TIMESTAMP": ("VARCHAR",)}
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


def _is(text: str, kind: str) -> str:
    """Say in SQL that a text is of a type."""
    if kind == "TIMESTAMP":  # `infinity` is one of DuckDB's, and no instant
        return f"coalesce(isfinite(try_cast({text} as TIMESTAMPTZ)), false)"
    whole = f"regexp_full_match({text}, '[+-]?[0-9]+') and " if kind == "BIGINT" else ""
    return f"{whole}try_cast({text} as {kind}) is not null"


def _field(name: str) -> str:
    return f"json, {quoted(f'$.{identifier(name)}')}"


def _is_json(name: str, kind: str) -> str:
    """Say in SQL that a field is of a type, or not there."""
    kinds = ", ".join(map(quoted, ("NULL", *JSON[kind])))
    return f"coalesce(json_type({_field(name)}), 'NULL') in ({kinds})"


@dataclass(frozen=True)
class Table:
    """A file for DuckDB to read, and what the contract says each column is.

    A landing has no name but its digest, so what a file's own name says, as `.gz` of a compression, counts nothing.
    """

    con: Connection
    path: Path
    format: str
    null: str
    types: dict[str, str]

    def scan(self) -> str:
        """Say in SQL how its rows are got at; DuckDB would round the fractions of a CSV's integers: they stay text."""
        match self.format:
            case "csv":
                as_read = {"BIGINT": "VARCHAR", "TIMESTAMP": "TIMESTAMPTZ"}
                return self._lines({name: as_read.get(kind, kind) for name, kind in self.types.items()})
            case "jsonl":
                return self._objects("error('a line')")
            case _:
                return parquet(self.path)

    def _lines(self, types: dict[str, str]) -> str:
        options = "header=true, auto_detect=false, compression='none', strict_mode=true"
        options += ", delim=',', quote='\"', escape='\"'"
        columns = ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in types.items())
        return f"read_csv({quoted(str(self.path))}, {options}, nullstr={quoted(self.null)}, columns={{{columns}}})"

    def _objects(self, otherwise: str) -> str:
        options = "format='newline_delimited', compression='none', ignore_errors=true"
        lines = f"read_json_objects({quoted(str(self.path))}, {options})"
        return f"(select if(json_type(json) = 'OBJECT', json, {otherwise}) as json from {lines})"

    def typed(self) -> str:
        """Say in SQL how it is read."""
        columns = ", ".join(f"{self._value(name, kind)} as {identifier(name)}" for name, kind in self.types.items())
        return f"select {columns} from {self.scan()}"

    def _value(self, name: str, kind: str) -> str:
        value = identifier(name)
        if self.format == "jsonl":
            value = f"if({_is_json(name, kind)}, json_extract_string({_field(name)}), error({quoted(name)}))"
        if kind == "TIMESTAMP":  # no cast: DuckDB would move it into its reader of CSV, which looks at no offset
            instant = f"{value}::TIMESTAMPTZ"
            finite = f"{instant} is null or isfinite({instant})"
            return f"if({finite}, make_timestamp(epoch_us({instant})), error({quoted(name)}))"
        return value if self.format == "csv" else f"{value}::{kind}"

    def declared(self) -> list[tuple[str, str]]:
        """Columns as the file itself names them, and types them if it does; of JSON lines all that any line has."""
        if self.format == "parquet":
            described = self.con.execute(f"describe select * from {self.scan()}").fetchall()
            return [(row[0], row[1]) for row in described]
        if self.format == "jsonl":
            keys = f"select distinct unnest(json_keys(json)) as name from {self.scan()} order by name"
            return [(name, "") for (name,) in self.con.execute(keys).fetchall()]
        with self.path.open("rb") as lines:
            try:
                heading = next(csv.reader([lines.readline().decode("utf-8-sig")]), [])
            except (UnicodeDecodeError, csv.Error) as exc:
                msg = f"line 1: {exc}"
                raise SourceError(msg) from exc
        return [(name.strip(), "") for name in heading]

    def misfit(self) -> str | None:
        """Find the first value that is not of its column's type; a Parquet file has said its types before."""
        if self.format == "parquet":
            return None
        wrong = " union all ".join(self._misfits(name, kind) for name, kind in self.types.items())
        if self.format == "jsonl":
            wrong += " union all select row, null, null from rows where json is null"
        scan = self._lines(dict.fromkeys(self.types, "VARCHAR")) if self.format == "csv" else self._objects("null")
        rows = f"with rows as (select *, row_number() over () as row from {scan})"
        try:
            found = self.con.execute(f"{rows} select * from ({wrong}) order by row limit 1").fetchone()
        except duckdb.Error:
            return None  # not even text: the reader's own words say more
        if found is None:
            return None
        row, name, value = found
        try:
            where = f"line {next(islice(self._beginnings(), row - 1, None))}"
        except csv.Error:  # there are fields that are too long for who counts lines
            where = f"row {row}"
        if name is None:
            return f"{where}: it is not a JSON object in UTF-8"
        shown = json.loads(value) if self.format == "jsonl" and len(value) <= LONGEST else value
        return f"column {name!r}, {where}: {brief(shown)} is not {self.types[name]}"

    def mixed(self) -> str | None:
        """Find the first line of a CSV that ends otherwise than the first: DuckDB does not say which."""
        if self.format != "csv":
            return None
        with self.path.open("rb") as lines:
            windows = lines.readline().endswith(b"\r\n")
            odd = (
                number
                for number, line in enumerate(lines, 2)
                if line[-1:] == b"\n" and line.endswith(b"\r\n") != windows
            )
            return next((f"line {number}: it ends otherwise than line 1" for number in odd), None)

    def _misfits(self, name: str, kind: str) -> str:
        """Select what is not of a column's type."""
        value, text, fits = identifier(name), identifier(name), "true"
        if self.format == "jsonl":
            value, text = f"json_extract({_field(name)})::VARCHAR", f"json_extract_string({_field(name)})"
            fits = _is_json(name, kind)
        is_wrong = f"{text} is not null and not ({fits} and {_is(text, kind)})"
        return f"select row, {quoted(name)} as name, {value} as value from rows where {is_wrong}"

    def _beginnings(self) -> Iterator[int]:
        """Give the line on which each row begins: blank lines are no rows, and a row of a CSV may have many lines."""
        if self.format == "jsonl":
            with self.path.open("rb") as lines:
                yield from (number for number, line in enumerate(lines, 1) if line.strip())
            return
        with self.path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            next(reader)
            begins = reader.line_num + 1
            for fields in reader:
                if fields:
                    yield begins
                begins = reader.line_num + 1


def _check_columns(table: Table, contract: Contract) -> None:
    declared = table.declared()
    found = [name for name, _ in declared]
    # a field may be left out of a line; that none has one which must be there is another matter
    needed = [name for name in table.types if table.format != "jsonl" or name in required(contract)]
    parts = [f"column {name!r} is missing" for name in needed if name not in found]
    parts += [f"column {name!r} is not in the contract" for name in found if name not in table.types]
    parts += [f"column {name!r} comes twice" for name in table.types if found.count(name) > 1]
    if not parts and table.format == "csv" and found != list(table.types):
        parts = [f"columns are in another order than the contract's: {', '.join(found)}"]
    if not parts and table.format == "parquet":
        odd = [(name, kind) for name, kind in declared if kind not in (*PARQUET[table.types[name]], '"NULL"')]
        parts = [f"column {name!r} is {kind}, not {table.types[name]}" for name, kind in odd]
    if parts:
        raise SourceError("; ".join(parts))


def _words(exc: Exception) -> str:
    """Give an engine's own words, in a line."""
    words = [line.strip() for line in str(exc).splitlines() if line.strip()]
    line = LINE.search(str(exc))
    detail = next((w for w in words[1:] if not w.startswith(("Original Line", "Possible"))), words[0])
    return f"line {line.group(1)}: {detail}" if line else words[0]


def _rows(table: Table, contract: Contract) -> pl.DataFrame:
    if table.path.stat().st_size == 0:
        msg = "the file is empty"
        raise SourceError(msg)
    try:
        _check_columns(table, contract)
        frame: pl.DataFrame = table.con.sql(table.typed()).pl()
        integers = [name for name, kind in table.types.items() if kind == "BIGINT"]
        frame = frame.with_columns(pl.col(integers).cast(pl.Int64), row=pl.int_range(1, pl.len() + 1))
    except (duckdb.Error, pl.exceptions.PolarsError) as exc:
        words = _words(exc)
        named = words if words.startswith("line ") else None
        unread = f"it cannot be read as Parquet: {words}" if table.format == "parquet" else words
        raise SourceError(table.misfit() or named or table.mixed() or unread) from exc
    if frame.is_empty():
        msg = "the file has a heading and no rows" if table.format == "csv" else "there are no rows"
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
        with _unpacked(path, source) as file, connect(file.parent) as con:
            format_ = source.format.removesuffix(".zip")
            return _rows(Table(con, file, format_, source.null, sql_types(contract)), contract)
    except SourceError as exc:
        msg = f"{path} ({source.name}): {exc}"
        raise SourceError(msg) from exc
