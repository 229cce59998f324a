"""Requests in a file, or out of a query: read in slices, each row held against the contract of a bundle."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from tandem.bundle import Bundle
from tandem.clock import Grid, floor
from tandem.errors import RowError, SourceError
from tandem.serving.contract import Limits
from tandem.warehouse import Desk, identifier, quoted

SLICE = 1 << 16
MOMENT = "moment"
QUERY = re.compile(r"\A\s*(select|with|from)\s", re.IGNORECASE)
TYPES: Mapping[str, pl.DataType] = {
    "VARCHAR": pl.String(),
    "BIGINT": pl.Int64(),
    "DOUBLE": pl.Float64(),
    "BOOLEAN": pl.Boolean(),
    "TIMESTAMP": pl.Datetime("us"),
}
SAID = {"VARCHAR": "text", "BIGINT": "a whole number", "DOUBLE": "a number", "BOOLEAN": "true or false"}
WORDS = {"true": True, "1": True, "false": False, "0": False}
ERA = (datetime.min, datetime.max)  # noqa: DTZ901 - all instants are UTC
FIRST = datetime(2, 1, 1)  # noqa: DTZ001 - before it there is no tick
INSTANT = r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)?"
"""RFC 3339, as the server reads it; DuckDB would take more."""
QUARANTINE = {"row": pl.Int64, "rules": pl.String, "values": pl.String}


@contextmanager
def opened(source: str, beside: Path) -> Iterator[pl.LazyFrame]:
    """Open a Parquet file, a CSV file, a query or a file with one; what a query gives is laid beside for a while.

    Raises:
        SourceError: it is nothing of these, or not what it is called.

    """
    path = Path(source)
    if QUERY.match(source):
        sql = source
    elif not path.is_file():
        msg = f"{source}: there is no such file, and it is no query"
        raise SourceError(msg)
    elif path.suffix == ".csv":
        yield _table(source, pl.scan_csv(path, infer_schema=False))
        return
    elif path.suffix == ".parquet":
        yield _table(source, pl.scan_parquet(path))
        return
    elif path.suffix == ".sql":
        sql = path.read_text()
    else:
        msg = f"{source}: requests come in a .parquet, .csv or .sql file, or by a query"
        raise SourceError(msg)
    beside.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".tandem-", dir=beside) as folder, Desk.at(Path("/")) as desk:
        found = Path(folder) / "rows.parquet"
        desk.execute(f"copy ({sql.strip().rstrip(';')}\n) to {quoted(str(found))} (format parquet)")
        yield pl.scan_parquet(found)


def _table(source: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    try:
        rows.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as exc:
        msg = f"{source}: {exc}"
        raise SourceError(msg) from exc
    return rows


def slices(source: str, rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Read slice by slice, in order.

    Raises:
        SourceError: a row cannot be read.

    """
    try:
        yield from rows.collect_batches(chunk_size=SLICE, maintain_order=True)
    except (pl.exceptions.PolarsError, OSError) as exc:
        msg = f"{source}: {exc}"
        raise SourceError(msg) from exc


@dataclass(frozen=True)
class Rule:
    """What a field must be: its name, how a row that breaks it is found, and what is wanted instead."""

    field: str
    name: str
    broken: pl.Expr
    wanted: str

    @property
    def said(self) -> str:
        """The name by which quarantine tells it."""
        return f"{self.field}|{self.name}"


class Gate:
    """Holds slices against the contract of a bundle, as the server does its requests."""

    def __init__(self, source: str, bundle: Bundle, columns: Mapping[str, pl.DataType]) -> None:
        """Read the contract once.

        Raises:
            SourceError: a column is not there.

        """
        schema, fields = bundle.json("contract.json"), bundle.spec.fields
        self._source = source
        self.timed = MOMENT in columns
        self.types = {name: fields[name] for name in fields if name in schema["properties"]}
        self._required = set(schema["required"])
        if self.timed:
            self.types[MOMENT] = fields[MOMENT]
            self._required.add(MOMENT)
        if missing := sorted(self._required - set(columns)):
            msg = f"{source} has no column {', '.join(missing)}: a request needs {', '.join(sorted(self._required))}"
            raise SourceError(msg)
        self._rules = [rule for name in self.types for rule in self._rules_of(name, schema["properties"].get(name, {}))]

    def _rules_of(self, name: str, schema: Mapping[str, Any]) -> Iterator[Rule]:
        kind, column = self.types[name], pl.col(name)
        if name in self._required:
            yield Rule(name, "required", column.is_null(), "a value")
        if (least := schema.get("minimum")) is not None:
            yield Rule(name, "minimum", column < least, f"at least {least}")
        if (most := schema.get("maximum")) is not None:
            yield Rule(name, "maximum", column > most, f"at most {most}")
        if pattern := schema.get("pattern"):
            yield Rule(name, "pattern", ~column.str.contains(pattern), f"like {pattern}")
        if kind == "VARCHAR":
            longest = schema.get("maxLength", Limits().text)
            yield Rule(name, "maxLength", column.str.len_chars() > longest, f"no longer than {longest} characters")
        if kind == "DOUBLE":
            yield Rule(name, "type", ~column.is_finite(), SAID[kind])
        if kind == "TIMESTAMP":
            yield Rule(name, "type", ~column.is_between(*ERA), "a time of this era")
        if name == MOMENT:
            yield Rule(name, "minimum", column < FIRST, "a moment after the year 1")

    def admit(self, frame: pl.DataFrame, before: int, desk: Desk, *, skip: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Give the rows of a slice that are requests, typed; and those that are none, an error unless they are skipped.

        Raises:
            RowError: a row is none.

        """
        typed = frame.with_columns(self._typed(frame, name, kind, desk) for name, kind in self.types.items())
        broken = self._broken(frame, typed)
        if not broken:
            return typed, pl.DataFrame(schema=QUARANTINE)
        if not skip:
            self._refuse(frame, broken, before)
        bad = pl.Series([False]).new_from_index(0, frame.height)
        for _, mask in broken:
            bad |= mask
        rules = [pl.when(mask).then(pl.lit(rule.said)) for rule, mask in broken]
        told = frame.select(
            pl.int_range(before + 1, before + 1 + pl.len(), dtype=pl.Int64).alias("row"),
            pl.concat_str(rules, separator=",", ignore_nulls=True).alias("rules"),
            pl.struct(pl.all()).struct.json_encode().alias("values"),
        )
        return typed.filter(~bad), told.filter(bad)

    def _broken(self, frame: pl.DataFrame, typed: pl.DataFrame) -> list[tuple[Rule, pl.Series]]:
        """Find the rules that some row breaks, and which rows do; what is of no type is not missing besides."""
        lost = {
            name: typed[name].is_null() & frame[name].is_not_null()
            for name in self.types
            if name in frame.columns and frame.schema[name] != typed.schema[name]
        }
        found = [(self._type_of(name), mask) for name, mask in lost.items() if mask.any()]
        flags = typed.select(rule.broken.any().alias(str(place)) for place, rule in enumerate(self._rules)).row(0)
        for rule, flag in zip(self._rules, flags, strict=True):
            if flag:
                mask = typed.select(rule.broken.fill_null(value=False)).to_series()
                own = mask & ~lost[rule.field] if rule.field in lost else mask
                found += [(rule, own)] if own.any() else []
        return found

    def _type_of(self, name: str) -> Rule:
        return Rule(name, "type", pl.lit(value=False), SAID.get(self.types[name], "a time"))

    def _refuse(self, frame: pl.DataFrame, broken: list[tuple[Rule, pl.Series]], before: int) -> None:
        first, _, rule = min((int(mask.arg_true()[0]), place, rule) for place, (rule, mask) in enumerate(broken))
        came = frame[rule.field][first] if rule.field in frame.columns else None
        raise RowError(self._source, before + first + 1, rule.field, came, rule.wanted)

    def _typed(self, frame: pl.DataFrame, name: str, kind: str, desk: Desk) -> pl.Series:
        if name not in frame.columns:
            return pl.Series(name, [None], dtype=TYPES[kind]).new_from_index(0, frame.height)
        column = frame[name]
        return column if column.dtype == TYPES[kind] else as_type(column, kind, desk)


def as_type(column: pl.Series, kind: str, desk: Desk) -> pl.Series:
    """Read values as of a type; what is not is null. Nothing is bent: no fraction becomes an integer."""
    wanted, found = TYPES[kind], column.dtype
    if found == pl.String() and kind == "TIMESTAMP":
        name = identifier(column.name)
        return desk.query(
            f"select case when regexp_full_match({name}, '{INSTANT}') "  # noqa: S608 - quoted
            f"then try_cast(upper({name}) as timestamptz) at time zone 'UTC' end as {name} from request",
            request=column.to_frame(),
        ).to_series()
    if found == pl.String() and kind == "BOOLEAN":
        return column.str.to_lowercase().replace_strict(WORDS, default=None, return_dtype=wanted)
    if kind == "TIMESTAMP":
        instants = (
            column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if getattr(found, "time_zone", "") else column
        )
        return instants.cast(wanted, strict=False) if found.is_temporal() else _none(column, wanted)
    if kind == "BIGINT" and (found.is_float() or found.is_decimal()):
        return _whole(column)
    numbers = kind in ("BIGINT", "DOUBLE") and (found.is_numeric() or found == pl.String())
    words = (kind == "VARCHAR" and found in (pl.Categorical, pl.Enum)) or found == pl.Null()
    read = column.cast(wanted, strict=False) if numbers or words else _none(column, wanted)
    if kind == "BIGINT" and found == pl.String():  # as 3.0, too, which is how a column with gaps is often written
        return read.zip_with(read.is_not_null(), _whole(column))
    return read


def _whole(column: pl.Series) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    return numbers.set(numbers != numbers.floor(), None).cast(pl.Int64, strict=False)


def _none(column: pl.Series, wanted: pl.DataType) -> pl.Series:
    return pl.Series(column.name, [None], dtype=wanted).new_from_index(0, len(column))


def latest_tick(source: str, rows: pl.LazyFrame, grid: Grid) -> datetime:
    """Find the newest tick that any row may use; times that cannot be read are told later."""
    latest = datetime.min  # noqa: DTZ901 - all instants are UTC
    with Desk.at() as desk:
        for frame in slices(source, rows.select(MOMENT)):
            newest = as_type(frame[MOMENT], "TIMESTAMP", desk).max()
            if isinstance(newest, datetime):
                latest = max(latest, newest)
    return floor(latest - grid.lag, grid.tick) if latest > datetime.min else latest  # noqa: DTZ901
