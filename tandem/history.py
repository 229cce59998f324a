"""The ledger as tables: what segments and Parquet hold, and the audit, for DuckDB to ask.

    predictions  a row for each answer
    labels       for each prediction of which it was told what came true: the latest that was said
    labels_all   all that was told, as it came
    shadows      what a shadow would have answered
    audit        who changed what takes traffic, and why

Each row is there once, whether its segment is being written, was left by a killed writer, or was compacted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import msgspec
import numpy as np
import polars as pl

from tandem import ledger
from tandem.compacted import PARQUET, Receipt
from tandem.errors import LedgerError, QueryError, TandemError
from tandem.serving.records import KINDS, Label, Prediction, Shadow, segments
from tandem.warehouse import Connection, connect, quoted

Kind = type[msgspec.Struct]
Frames = dict[str, pl.DataFrame]

TYPES: dict[type, Any] = {
    msgspec.inspect.DateTimeType: pl.Datetime("us"),
    msgspec.inspect.StrType: pl.String,
    msgspec.inspect.RawType: pl.String,
    msgspec.inspect.DictType: pl.String,
    msgspec.inspect.BytesType: pl.List(pl.Float32),
    msgspec.inspect.FloatType: pl.Float64,
    msgspec.inspect.IntType: pl.Int64,
    msgspec.inspect.BoolType: pl.Boolean,
    msgspec.inspect.VarTupleType: pl.List(pl.String),
}
JSON = ("request", "keys", "said")
"""Columns whose text is JSON."""
SAYS: dict[str, Any] = {
    "number": pl.Int64,
    "event": pl.String,
    "problem": pl.String,
    "world": pl.Datetime("us"),
    "wall": pl.Datetime("us"),
    "who": pl.String,
    "reason": pl.String,
    "digest": pl.String,
    "said": pl.String,
}
AUDIT = pl.Schema(SAYS)
LABELS = Path(__file__).with_name("history.sql")
DECODER = msgspec.json.Decoder(Prediction | Label | Shadow)
FETCHED = 10_000
"""Rows that are fetched at a time."""
SAID = """
create macro said(given, name) as coalesce(try_cast(given ->> name as timestamptz)::varchar, given ->> name, 'null')
"""


def schema_of(kind: Kind) -> pl.Schema:
    """Give the columns of what a segment holds; the id is the first."""
    fields = {field.encode_name: _type_of(field.type) for field in msgspec.inspect.type_info(kind).fields}  # type: ignore[attr-defined]
    return pl.Schema({"id": pl.String, **fields})


def _type_of(said: Any) -> Any:  # noqa: ANN401 - a type is what it gives
    some = [each for each in getattr(said, "types", (said,)) if not isinstance(each, msgspec.inspect.NoneType)]
    return TYPES[type(some[0])]


def _plain(value: object) -> object:
    """Give a value as a column holds it: instants are UTC, inputs 32-bit floats."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, bytes):
        return np.frombuffer(value, dtype=np.float32)
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else value


def frames_of(path: Path, lines: Sequence[tuple[int, ledger.Line]]) -> Frames:
    """Make tables of a segment's lines: the rows of each kind that it holds.

    Raises:
        LedgerError: a row is none that is known.

    """
    found: dict[Kind, list[tuple[str, msgspec.Struct]]] = {kind: [] for kind in KINDS.values()}
    for place, line in lines:
        if not line.erased:
            try:
                row = DECODER.decode(line.row)
            except msgspec.DecodeError as exc:
                msg = f"{path}: the row at {place} is none that is known: {exc}"
                raise LedgerError(msg) from exc
            found[type(row)].append((f"{path.parent.name}-{path.name}-{place:08x}", row))
    return {name: _frame(kind, found[kind]) for name, kind in KINDS.items() if found[kind]}


def _frame(kind: Kind, rows: Sequence[tuple[str, msgspec.Struct]]) -> pl.DataFrame:
    columns: dict[str, Any] = {"id": [name for name, _ in rows]}
    for field in kind.__struct_fields__:
        columns[field] = [_plain(getattr(row, field)) for _, row in rows]
    return pl.DataFrame(columns, schema=schema_of(kind))


def audit_of(folder: Path) -> pl.DataFrame:
    """Read the audit."""
    rows = [row for path in sorted((folder / "audit").glob("[0-9]*")) for row in ledger.rows(path)]
    events = [
        {
            **row,
            "world": datetime.fromisoformat(row["world"]),
            "wall": datetime.fromisoformat(row["wall"]),
            "who": row["by"],
            "said": msgspec.json.encode(row).decode(),
        }
        for row in rows
    ]
    return pl.DataFrame([[event.get(name) for name in AUDIT] for event in events], schema=AUDIT, orient="row")


def _without_end(sql: str) -> str:
    """Leave out the semicolons of a statement, which comments may follow."""
    said = bytearray(sql, "utf-8")
    for place, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator and said[place : place + 1] == b";":
            said[place] = ord(" ")
    return said.decode()


@dataclass(frozen=True)
class Answer:
    """What a query gives."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


class History:
    """A ledger, opened to be asked and not to be changed."""

    def __init__(self, con: Connection, folder: Path, *, surely: bool = False) -> None:
        """Make the tables; what is damaged is named, and left out: of Parquet only where its segment is gone."""
        self._con, self._folder, self._surely = con, folder, surely
        self.damaged: list[str] = []
        receipts = {each.segment: each for each in self._receipts(folder)}  # first: a segment is kept after it
        live: dict[str, list[pl.DataFrame]] = {name: [pl.DataFrame(schema=schema_of(k))] for name, k in KINDS.items()}
        for path in segments(folder):
            if f"{path.parent.name}/{path.name}" not in receipts:
                for name, frame in self._frames(path).items():
                    live[name].append(frame)
        for name, frames in live.items():
            files = [file for each in receipts.values() for file in each.files if file.startswith(f"{name}/")]
            self._make(name, pl.concat(frames), [folder / PARQUET / file for file in files])
        self._make("audit", self._audit(folder), [])
        con.execute(SAID)
        con.execute(LABELS.read_text())

    def _receipts(self, folder: Path) -> Iterator[Receipt]:
        for receipt in Receipt.all(folder, self.damaged):
            if lost := receipt.lost(folder, surely=self._surely):
                self.damaged.append(lost)
            else:
                yield receipt

    def _frames(self, path: Path) -> Frames:
        try:
            return frames_of(path, ledger.lines(path))
        except LedgerError as exc:
            self.damaged.append(str(exc))
            return {}

    def _audit(self, folder: Path) -> pl.DataFrame:
        try:
            return audit_of(folder)
        except LedgerError as exc:
            self.damaged.append(str(exc))
            return pl.DataFrame(schema=AUDIT)

    def _make(self, name: str, live: pl.DataFrame, files: Sequence[Path]) -> None:
        """Make a table of what is in segments and what is in Parquet."""
        self._con.register(f"segments_{name}", live)
        listed = ", ".join(quoted(str(file.resolve())) for file in files)
        parts = f" union all by name from read_parquet([{listed}], union_by_name = true)" if files else ""
        typed = ", ".join(f"{column}::json as {column}" for column in live.columns if column in JSON)
        columns = f"* replace ({typed})" if typed else "*"
        table = "labels_all" if name == "labels" else name
        self._con.execute(f"create or replace view {table} as select {columns} from (from segments_{name}{parts})")

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """Open a ledger; one in which nothing was ever written has the same tables, empty."""
        with connect(folder / PARQUET) as con:
            try:
                found = cls(con, folder)
            except duckdb.Error:  # the foot of a file is not what was made, though it ends as it did
                found = cls(con, folder, surely=True)
            yield found

    def ask(self, sql: str, **values: object) -> Answer:
        """Ask one question.

        Raises:
            QueryError: it is none, it would change something, or it cannot be answered.

        """
        try:
            sql.encode()  # what came from a command line may be none
            asked = self._con.extract_statements(sql)
            if [each.type for each in asked] != [duckdb.StatementType.SELECT]:
                msg = f"one SELECT is answered, and nothing is changed: {sql.strip()[:200]}"
                raise QueryError(msg)
            # inside of another one: on the outside it may begin WITH an INSERT or a COPY that writes
            cursor = self._con.execute(f"from (\n{_without_end(sql)}\n)", values)
        except UnicodeEncodeError as exc:
            msg = f"a question is text in UTF-8: {exc}"
            raise QueryError(msg) from exc
        except duckdb.Error as exc:
            raise self._unanswered(exc) from exc
        columns = cursor.description or []
        return Answer(tuple(c[0] for c in columns), tuple(str(c[1]) for c in columns), self._fetched(cursor))

    def _fetched(self, cursor: Connection) -> Iterator[tuple[Any, ...]]:
        try:
            while rows := cursor.fetchmany(FETCHED):
                yield from rows
        except duckdb.Error as exc:
            raise self._unanswered(exc) from exc

    def _unanswered(self, exc: duckdb.Error) -> TandemError:
        """Say why: where it is no fault of the question's, which file is damaged though it ends as it did."""
        if not isinstance(exc, (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)):
            lost = [receipt.lost(self._folder, surely=True) for receipt in Receipt.all(self._folder, [])]
            if damaged := [each for each in lost if each]:
                return LedgerError("\n".join([str(exc), *damaged]))
        return QueryError(str(exc))
