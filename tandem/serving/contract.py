"""A bundle's contract: what a client sends, read as the fields that the features are made of.

Each face of the server reads its own form; what it found is held against the contract here, and nowhere else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice
from operator import attrgetter
from sys import float_info
from typing import Annotated, Any

import msgspec

from tandem.bundle import Bundle
from tandem.serving.refused import NOT_JSON, REQUIRED, Fault, Refused, parted
from tandem.vectors import Values

PARSED: dict[str, type] = {"BIGINT": int, "DOUBLE": float, "BOOLEAN": bool}
TYPES: dict[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
BOUNDS = {"minimum": "ge", "maximum": "le", "pattern": "pattern", "maxLength": "max_length"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FAULTS = 100
"""No more are told of one body."""
SHOWN = 60
"""Characters of a bad value that are told."""

Instance = Any
"""A struct of the contract's fields, made when the contract is read."""
Extra = tuple[str, Any, Any]
"""A field of a body beside its instances: name, type and default."""
AT: Extra = ("at", datetime | None, None)
"""The moment of a request, where it may name one."""
Place = Callable[[int, str], str]
"""Gives the path of a row's field, as the client wrote it; without a field, of the row."""


class Limits(msgspec.Struct, frozen=True):
    """How much one request may hold."""

    rows: int = 10_000
    text: int = 256
    """Characters of a text of whose length the contract says nothing."""
    body: int = 16 * 1024 * 1024
    seconds: float = 10.0
    """For a body to come."""


def instant(value: datetime) -> int:
    """Give microseconds of UTC; a time without a zone is UTC."""
    return ((value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


def listed(path: str) -> Place:
    """Give the places of objects in a list."""
    return lambda number, name: f"{path}[{number}].{name}" if name else f"{path}[{number}]"


INSTANCES = listed("$.instances")


def type_of(schema: dict[str, Any], longest: int) -> Any:  # noqa: ANN401 - a type is what it gives
    """Give the type that a field's schema describes."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    plain: Any = datetime if schema.get("format") == "date-time" else TYPES[kinds[0]]
    bounds = {ours: schema[theirs] for theirs, ours in BOUNDS.items() if theirs in schema}
    if "pattern" in bounds:
        bounds["pattern"] = bounds["pattern"].removesuffix("$") + r"\Z"  # Python's $ lets a newline follow
    if plain is str:
        bounds.setdefault("max_length", longest)
    if plain is float:  # a number that is none, or has no end, is neither
        bounds = {"ge": -float_info.max, "le": float_info.max} | bounds
    bounded = Annotated[plain, msgspec.Meta(**bounds)] if bounds else plain
    return bounded | None if "null" in kinds else bounded


class Contract:
    """Reads instances of one contract."""

    def __init__(self, bundle: Bundle, limits: Limits = Limits(), secret: bytes = b"") -> None:  # noqa: B008 - frozen
        """Build the types once; the secret is behind the names of what is personal."""
        self.schema: dict[str, Any] = bundle.json("contract.json")
        self.digest = bundle.files["contract.json"].removeprefix("sha256:")
        properties, required = self.schema["properties"], self.schema["required"]
        self.names = [name for name in bundle.spec.fields if name in properties]
        self.personal = [name for name in self.names if properties[name].get("personal")]
        self.types = {name: type_of(properties[name], limits.text) for name in self.names}
        fields = [(n, self.types[n]) if n in required else (n, self.types[n], None) for n in self.names]
        self._required = set(required)
        self._instance = msgspec.defstruct("Instance", fields, kw_only=True, forbid_unknown_fields=True)
        self._several = Annotated[list[self._instance], msgspec.Meta(min_length=1, max_length=limits.rows)]  # type: ignore[name-defined]
        self._bodies: dict[tuple[Extra, ...], tuple[Any, Callable[[bytes], Any]]] = {}
        self._limits, self._secret, self._encode = limits, secret, msgspec.json.Encoder().encode
        kinds = bundle.spec.fields
        self._numbers = [name for name in self.names if kinds[name] in ("BIGINT", "DOUBLE")]
        self._parsed = {name: PARSED[kinds[name]] for name in self.names if kinds[name] in PARSED}
        self._whole = {name for name in self.names if kinds[name] == "BIGINT"}
        self._instants = [place for place, name in enumerate(self.names) if kinds[name] == "TIMESTAMP"]
        self._fields = attrgetter(*self.names) if len(self.names) > 1 else lambda i: (getattr(i, self.names[0]),)

    def body(self, data: bytes, *extra: Extra) -> Any:  # noqa: ANN401 - a struct of these fields
        """Read `{"instances": [...]}`, with more fields, their types and defaults.

        Raises:
            Refused: it is not JSON, or not what the contract says.

        """
        body, decode = self._bodies.get(extra) or self._body_of(extra)
        try:
            return decode(data)
        except msgspec.ValidationError as exc:
            return self._again(data, body, exc)
        except NOT_JSON as exc:
            raise Refused(400, f"the body is not JSON: {exc}") from exc

    def _body_of(self, extra: tuple[Extra, ...]) -> tuple[Any, Callable[[bytes], Any]]:
        body = msgspec.defstruct("Body", [("instances", self._several), *extra], forbid_unknown_fields=True)
        self._bodies[extra] = body, msgspec.json.Decoder(body).decode
        return self._bodies[extra]

    def read(self, rows: Sequence[dict[str, Any]], place: Place = INSTANCES) -> list[Instance]:
        """Hold rows of another form against the contract.

        Raises:
            Refused: a field is not what the contract says.

        """
        self.settle(rows)
        try:
            found: list[Instance] = msgspec.convert(rows, self._several)
        except msgspec.ValidationError as exc:
            raise self._refused(exc, rows, place) from exc
        return found

    def settle(self, rows: Sequence[dict[str, Any]]) -> None:
        """Frames and tensors write integers as floats, and a missing number as one that is none."""
        for row in rows:
            for name in self._numbers:
                value = row.get(name)
                if isinstance(value, float):
                    if value != value:  # noqa: PLR0124 - only NaN is not itself
                        row[name] = None
                    elif name in self._whole and value.is_integer():
                        row[name] = int(value)

    def parse(self, rows: Sequence[dict[str, Any]]) -> None:
        """Read numbers and booleans out of text, where text stands for all; what is none stays text, and is told."""
        for row in rows:
            for name, kind in self._parsed.items():
                if isinstance(value := row.get(name), str):
                    with suppress(msgspec.ValidationError):
                        row[name] = msgspec.convert(value, kind, strict=False)

    def values(self, instance: Instance, moment: int) -> Values:
        """Give the features' fields in the spec's order; the moment is the last."""
        values = list(self._fields(instance))
        for place in self._instants:
            if (value := values[place]) is not None:
                values[place] = instant(value)
        return (*values, moment)

    def recorded(self, instance: Instance) -> msgspec.Raw:
        """Write an instance for the ledger; what is personal in it is told by a name that only we can give."""
        if not self.personal:
            return msgspec.Raw(self._encode(instance))
        hidden = {name: self.pseudonym(getattr(instance, name)) for name in self.personal}
        return msgspec.Raw(self._encode(msgspec.structs.replace(instance, **hidden)))

    def told(self, name: str, value: object) -> object:
        """Give the value of a field that was told alone, as the ledger holds it."""
        read = msgspec.convert(value, self.types[name])
        return self.pseudonym(read) if name in self.personal else read

    def pseudonym(self, value: object) -> str | None:
        """Give the name by which a personal value is told."""
        if value is None:
            return None
        return blake2b(msgspec.msgpack.encode(value), digest_size=16, key=self._secret).hexdigest()

    def _again(self, data: bytes, body: type, exc: msgspec.ValidationError) -> Any:  # noqa: ANN401
        """Read a body once more that did not read: 1.0 is an integer too, by JSON Schema."""
        try:
            whole = msgspec.json.decode(data)
        except NOT_JSON:
            raise Refused.by(exc) from exc
        rows = whole.get("instances") if isinstance(whole, dict) else None
        if isinstance(rows, list):
            self.settle([row for row in rows if isinstance(row, dict)])
        try:
            return msgspec.convert(whole, body)
        except msgspec.ValidationError as again:
            raise self._refused(again, rows, INSTANCES) from again

    def _refused(self, exc: msgspec.ValidationError, rows: object, place: Place) -> Refused:
        """Name each bad field; the first fault alone where the whole has another form."""
        several = isinstance(rows, list) and 0 < len(rows) <= self._limits.rows
        faults = list(islice(self._faults(rows, place), FAULTS)) if several else []  # type: ignore[arg-type]
        return Refused.of(*faults) if faults else Refused.by(exc)

    def _faults(self, rows: list[Any], place: Place) -> Iterator[Fault]:
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                yield Fault(place(number, ""), "an object of the contract's fields", shown(row))
                continue
            for name in sorted(self._required - row.keys()):
                yield Fault(place(number, name), REQUIRED, "nothing")
            for name, value in row.items():
                if name not in self.types:
                    yield self.unknown(place(number, name[:SHOWN]))
                elif fault := fault_of(value, self.types[name]):
                    yield Fault(place(number, name), fault, shown(value))

    def unknown(self, where: str) -> Fault:
        """Tell of a field that the contract has not."""
        return Fault(where, f"one of {', '.join(self.names)}", "an unknown field")

    def missing(self, names: Iterable[str], path: str) -> list[Fault]:
        """Tell of the required fields of which there is no column."""
        return [
            Fault(path, f"a column {name}: the field is required", "nothing")
            for name in sorted(self._required - {*names})
        ]


def fault_of(value: object, kind: Any) -> str:  # noqa: ANN401
    """Say what a value should have been; nothing if it is that."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        return parted(str(exc))[0]
    return ""


def shown(value: object) -> str:
    """Show a value, however long it is."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
