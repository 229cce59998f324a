"""MLflow's scoring protocol: `/ping`, `/version`, `/invocations`."""

import csv
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import version
from io import StringIO
from typing import Any

import msgspec

from tandem.serving.contract import Instance, Place, listed
from tandem.serving.forms import Row, once, read_json, rows_of
from tandem.serving.http import FORM, JSON_KIND, TEXT, Call, Reply, Route, encode
from tandem.serving.refused import Fault, Refused
from tandem.serving.service import Service

CSV = "text/csv"


class Split(msgspec.Struct, forbid_unknown_fields=True):
    """A frame: the names of its columns once, and then its rows."""

    columns: list[str]
    data: list[list[Any]]
    index: list[Any] | None = None
    """Of no use here, but pandas writes it."""


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked for beside the rows."""

    at: datetime | None = None


class Scoring(msgspec.Struct, forbid_unknown_fields=True):
    """A request: one of four forms."""

    dataframe_split: Split | None = None
    dataframe_records: list[Row] | None = None
    instances: list[Row] | None = None
    inputs: dict[str, list[Any]] | list[Row] | None = None
    params: Params | None = None


READ = msgspec.json.Decoder(Scoring)
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Invocations:
    """Predictions as MLflow's servers give them."""

    def __init__(self, service: Service) -> None:
        """Answer by a service."""
        self._service = service

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [
            Route("GET", "/ping", self.ping, "ping", "health"),
            Route("GET", "/version", self.version, "version", "health"),
            Route("POST", "/invocations", self.invocations, "invocations", "predict", costly=True, plain=True),
        ]

    async def ping(self, _: Call) -> Reply:
        """It answers predictions, and is not about to leave."""
        self._service.ready()
        return Reply(b"\n", TEXT)

    async def version(self, _: Call) -> Reply:
        """Name the server's version."""
        return Reply(version("tandem").encode(), TEXT)

    async def invocations(self, call: Call) -> Reply:
        """Score rows of a frame."""
        kind = call.must_be(JSON_KIND, CSV, FORM)
        body = await self._service.body(call)
        instances, at = self._table(body) if kind == CSV else self._frame(body)
        answers = await self._service.core.answer(instances, self._service.moment(at), call.request_id)
        return Reply(b'{"predictions":%b}' % encode(answers))

    def _table(self, body: bytes) -> tuple[list[Instance], None]:
        rows = _rows_of_csv(body, self._service.limits.rows)
        self._service.contract.parse(rows)
        return self._service.contract.read(rows, listed("$")), None

    def _frame(self, body: bytes) -> tuple[list[Instance], datetime | None]:
        asked = read_json(READ, _without_nan(body))
        given = [name for name in FORMS if getattr(asked, name) is not None]
        if len(given) != 1:
            raise Refused.of(Fault("$", f"one of {', '.join(FORMS)}", " and ".join(given) or "none"))
        rows, place = _rows_of(given[0], getattr(asked, given[0]))
        return self._service.contract.read(rows, place), asked.params.at if asked.params else None


def _without_nan(body: bytes) -> bytes:
    """Write null where MLflow's own client writes NaN, which is no JSON, for a value that is missing."""
    if b"NaN" not in body:
        return body
    try:
        return encode(json.loads(body, parse_constant={"NaN": None}.__getitem__))
    except (LookupError, ValueError, OverflowError, RecursionError):  # told by who reads it next
        return body


def _rows_of(form: str, given: Split | dict[str, list[Any]] | list[Row]) -> tuple[list[Row], Place]:
    """Give the rows of a form, and where each of their fields stands in it."""
    path = f"$.{form}"
    if isinstance(given, Split):
        return _rows_of_split(given, path)
    if isinstance(given, dict):
        return _rows_of_columns(given, path)
    return given, listed(path)


def _rows_of_split(split: Split, path: str) -> tuple[list[Row], Place]:
    names = split.columns
    once(names, f"{path}.columns[{{}}]")
    places = {name: n for n, name in enumerate(names)}
    _same_lengths(split.data, len(names), lambda n: f"{path}.data[{n}]")

    def place(number: int, name: str) -> str:
        return f"{path}.data[{number}][{places[name]}]" if name in places else listed(f"{path}.data")(number, name)

    return [dict(zip(names, values, strict=True)) for values in split.data], place


def _rows_of_columns(columns: dict[str, list[Any]], path: str) -> tuple[list[Row], Place]:
    names = list(columns)
    count = len(columns[names[0]]) if names else 0
    _same_lengths(list(columns.values()), count, lambda n: f"{path}.{names[n][:60]}")
    return rows_of(columns), lambda number, name: f"{path}.{name}[{number}]"


def _same_lengths(lists: Sequence[Sequence[Any]], count: int, place: Callable[[int], str]) -> None:
    for n, values in enumerate(lists):
        if len(values) != count:
            raise Refused.of(Fault(place(n), f"{count} values, as elsewhere", str(len(values))))


def _rows_of_csv(body: bytes, most: int) -> list[Row]:
    """Read a table whose first line names the fields; an empty cell is a value that is missing.

    Raises:
        Refused: it is no such table, or too long.

    """
    try:
        lines = csv.reader(StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = next(lines, [])
        once(names, "$[0][{}]")
        rows = list[Row]()
        for cells in lines:
            if len(cells) not in (0, len(names)):
                raise Refused.of(
                    Fault(f"$[{len(rows)}]", f"{len(names)} cells, as the first line has", str(len(cells)))
                )
            if len(rows) == most:
                raise Refused.of(Fault("$", f"at most {most} lines", "more"))
            if cells:
                rows.append({name: cell or None for name, cell in zip(names, cells, strict=True)})
    except (csv.Error, UnicodeDecodeError) as exc:
        raise Refused(400, f"the body is not CSV: {exc}") from exc
    return rows
