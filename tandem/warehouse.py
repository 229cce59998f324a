"""The only module that opens DuckDB. The one place where `as_of` cuts what is known."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, Self

import duckdb

from tandem.errors import ProblemError
from tandem.files import made
from tandem.processor import THREADS

if TYPE_CHECKING:
    import polars as pl

LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)
Connection = duckdb.DuckDBPyConnection

ROW_GROUP = 2**17
"""Rows of a group in Parquet: where it is not said, it depends on the pieces in which an engine gives its result."""
COMPRESSION: Literal["lz4"] = "lz4"
"""Of what a later stage reads: its files are half as large again as those of zstd, for two thirds of the work."""
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": THREADS,
    "produce_arrow_string_view": True,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}


@contextmanager
def connect(*folders: Path, threads: int = THREADS) -> Iterator[Connection]:
    """Open an in-memory DuckDB that reads and writes these folders and nothing else."""
    with duckdb.connect(config=SETTINGS | {"threads": threads}) as con:
        con.execute("set global TimeZone = 'UTC'")
        con.execute("set allowed_directories = $folders", {"folders": [f"{f.resolve()}/" for f in folders]})
        con.execute("set enable_external_access = false")
        con.execute("set lock_configuration = true")
        yield con


def quoted(name: str) -> str:
    """Return text as SQL's; names come from contracts and file names, never from data."""
    return "'" + name.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a column's name as SQL's, whatever else the word may mean there."""
    return '"' + name.replace('"', '""') + '"'


def bare(sql: str) -> str:
    """Return a query as it can stand in another one."""
    return sql.strip().rstrip(";")


def parquet(path: Path) -> str:
    """Say in SQL how the rows of a Parquet file, or of all that a pattern finds, are got at."""
    return f"read_parquet({quoted(str(path.resolve()))})"


class Desk:
    """Runs queries over frames; whatever else a connection can read, they can too."""

    def __init__(self, con: Connection) -> None:
        """Work by a connection."""
        self._con = con

    @classmethod
    @contextmanager
    def at(cls, *folders: Path) -> Iterator["Desk"]:
        """Open one that can read these folders."""
        with connect(*folders) as con:
            yield Desk(con)

    @contextmanager
    def beside(self) -> Iterator["Desk"]:
        """Open another one with the same tables, which can run a query at the same time."""
        with self._con.cursor() as con:
            yield Desk(con)

    def execute(self, sql: str) -> None:
        """Run what has no result: macros and tables that queries share, or a copy of a query's rows.

        Raises:
            ProblemError: the SQL does not run.

        """
        with _explained(sql):
            self._con.execute(sql)

    def types(self, sql: str) -> dict[str, str]:
        """Give DuckDB's type of each column of a query's result, without running it.

        Raises:
            ProblemError: the SQL does not run.

        """
        with _explained(sql):
            found = self._con.execute(f"describe from ({bare(sql)}\n)").fetchall()
        return {name: kind for name, kind, *_ in found}

    def write(self, sql: str, target: Path, columns: str = "*") -> int:
        """Write what a query gives as Parquet, and count its rows; none passes through Python.

        Raises:
            ProblemError: the SQL does not run.

        """
        options = f"format parquet, compression {COMPRESSION}, row_group_size {ROW_GROUP}"
        copy = f"copy (select {columns} from ({bare(sql)}\n)) to {quoted(str(target.resolve()))} ({options})"
        with _explained(sql):
            return int(self._con.execute(copy).fetchall()[0][0])

    def first(self, sql: str) -> tuple[Any, ...] | None:
        """Give the first row of a query, if there is one.

        Raises:
            ProblemError: the SQL does not run.

        """
        with _explained(sql):
            row: tuple[Any, ...] | None = self._con.execute(sql).fetchone()
            return row

    def query(self, sql: str, **frames: "pl.DataFrame") -> "pl.DataFrame":
        """Run one query over frames by name.

        Raises:
            ProblemError: the SQL does not run.

        """
        for name, frame in frames.items():
            self._con.register(name, frame)
        try:
            with _explained(sql):
                return _frame(self._con.sql(sql))
        finally:
            for name in frames:
                self._con.unregister(name)


class Warehouse(Desk):
    """A problem's facts as they were known at a moment; queries run over them and over frames."""

    def __init__(
        self, con: Connection, facts: Path, as_of: datetime, tick: timedelta, since: datetime | None = None
    ) -> None:
        """Make each kind of fact a view, cut at `as_of`, and give SQL the grid of ticks.

        Facts that both happened and became known before `since` are left out, if it is given.
        """
        super().__init__(con)
        self._as_of = as_of
        minutes = int(tick.total_seconds() // 60)
        con.execute(
            # what is known from a moment on is published at the next tick: a fact counts after known_at, not at it
            f"create macro published(known_at) as time_bucket(interval {minutes} minute, known_at) "
            f"+ interval {minutes} minute"
        )
        lately = f" and greatest(event_at, known_at) >= timestamp {quoted(str(since))}" if since else ""
        self._kinds = [folder.name for folder in sorted(facts.iterdir())]
        for folder in sorted(facts.iterdir()):
            con.execute(f"create view {folder.name} as {self.known(parquet(folder / '*.parquet'))}{lately}")

    @classmethod
    @contextmanager
    def open(
        cls, facts: Path, as_of: datetime, tick: timedelta, since: datetime | None = None, into: Path | None = None
    ) -> Iterator[Self]:
        """Open the facts below a folder; each kind has a folder of Parquet files.

        It writes `into` a folder if one is given, and each query has one thread then: several go side by side.

        Raises:
            MissingError: there are no facts.

        """
        there = connect(made(facts, "ingest"), into, threads=1) if into else connect(made(facts, "ingest"))
        with there as con:
            yield cls(con, facts, as_of, tick, since)

    def known(self, relation: str) -> str:
        """Select what was known before `as_of`: the one predicate."""
        return f"select * from {relation} where known_at < timestamp {quoted(str(self._as_of))}"

    def requests(self, sql: str, *order: str) -> "pl.DataFrame":
        """Run a query whose rows are requests, and give those made before `as_of` in an order."""
        by = f" order by {', '.join(map(identifier, order))}" if order else ""
        return self.query(f"select * from ({sql}\n) where moment < timestamp {quoted(str(self._as_of))}{by}")

    def published(self) -> "pl.DataFrame":
        """Give the digest of the facts that are published at each tick; a fact is told by the raw line it is of."""
        kinds = (
            f"select published(known_at) as tick, hash({quoted(kind)}, landing, row) as fact from {kind}"
            for kind in self._kinds
        )
        facts = " union all ".join(kinds)
        # a sum and not the exclusive or, in which two facts of one line would be none
        digest = f"(sum(fact) % {2**64})::ubigint"
        return self.query(f"select tick, {digest} as facts from ({facts}) group by tick order by tick")


def _frame(rows: duckdb.DuckDBPyRelation) -> "pl.DataFrame":
    """Fetch all rows; `.pl()` does it by way of pyarrow, whose import takes 0.2 s and 40 MiB."""
    import polars as pl  # noqa: PLC0415 - 0.2 s and 40 MiB more, which who only writes files does without

    # Polars keeps the classes that it met for good, and DuckDB grumbles at exit if its own are among them
    return pl.DataFrame(SimpleNamespace(__arrow_c_stream__=rows.__arrow_c_stream__))


@contextmanager
def _explained(sql: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as exc:
        place = LINE.search(str(exc))
        where = f"line {place[1]}: " if place else ""
        msg = f"{where}{exc}\n{sql.strip().splitlines()[0]}"
        raise ProblemError(msg) from exc
