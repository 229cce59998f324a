"""What the ledger answers, as text: each form line by line, so that no answer is too long."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import msgspec

from tandem import tables
from tandem.history import Answer

SHOWN = 1000
"""Rows that a table shows; JSON and CSV have them all."""
WIDEST = 60


def as_json(answer: Answer) -> Iterator[str]:
    """Write one array, an object a row; columns that are JSON stay it."""
    encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode
    nested = [kind == "JSON" for kind in answer.types]
    before = "["
    for row in answer.rows:
        values = [_nested(value) if inner else value for value, inner in zip(row, nested, strict=True)]
        yield before + encode(dict(zip(answer.names, values, strict=True))).decode()
        before = ",\n"
    yield "]\n" if before != "[" else "[]\n"


def _nested(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    return None if value is None else msgspec.Raw(value.encode())


def as_csv(answer: Answer) -> Iterator[str]:
    """Write a line of names, and one a row."""
    for row in chain([answer.names], answer.rows):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([_flat(value) for value in row])
        yield line.getvalue()


def _flat(value: Any) -> Any:  # noqa: ANN401
    """Give a value that is several as JSON."""
    if isinstance(value, list | dict | tuple):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return "" if value is None else value


def as_table(answer: Answer) -> Iterator[str]:
    """Write columns that line up, of the first rows; what is wide is cut."""
    rows: Sequence[Sequence[object]] = [[_short(value) for value in row] for row in islice(answer.rows, SHOWN)]
    yield f"{tables.plain(answer.names, rows)}\n"
    if next(answer.rows, None) is not None:
        yield f"... the first {SHOWN} rows; --format json gives all\n"


def _short(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bool | None) or not isinstance(value, int | float):
        text = str(_flat(value))
        return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
    return value


FORMS = {"json": as_json, "csv": as_csv, "table": as_table}
