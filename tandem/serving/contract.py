"""A bundle's contract: what a client sends, read as the fields that the features are made of.

Each face of the server reads its own form; what it found is held against the contract here, and nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from tandem.bundle import Bundle
from tandem.serving.refused import Fault, Refused
from tandem.vectors import Values

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


def type_of(schema: dict[str, Any], longest: int) -> Any:  # noqa: ANN401 - a type is what it gives
    """Give the type that a field's schema describes."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    plain: Any = datetime if schema.get("format") == "date-time" else TYPES[kinds[0]]
    bounds = {ours: schema[theirs] for theirs, ours in BOUNDS.items() if theirs in schema}
    if "pattern" in bounds:
        bounds["pattern"] = bounds["pattern"].removesuffix("$") + r"\Z"  # Python's $ lets a newline follow
    if plain is str:
        bounds.setdefault("max_length", longest)
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
        self._limits, self._secret, self._encode = limits, secret, msgspec.json.Encoder().encode
        kinds = bundle.spec.fields
        self._instants = [place for place, name in enumerate(self.names) if kinds[name] == "TIMESTAMP"]
        self._fields = attrgetter(*self.names) if len(self.names) > 1 else lambda i: (getattr(i, self.names[0]),)

    def body_of(self, *extra: tuple[str, Any, Any]) -> Callable[[bytes], Any]:
        """Give what reads `{"instances": [...]}`, and more fields with their types and defaults."""
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [("instances", self._several), *extra]
        body = msgspec.defstruct("Body", fields, forbid_unknown_fields=True)
        return self._told(msgspec.json.Decoder(body).decode)

    def read(self, rows: Sequence[dict[str, Any]], path: str = "$.instances", *, strict: bool = True) -> list[Instance]:
        """Hold rows of another form against the contract; where text stands for all, numbers are read out of it.

        Raises:
            Refused: a field is not what the contract says.

        """
        try:
            found: list[Instance] = msgspec.convert(rows, self._several, strict=strict)
        except msgspec.ValidationError as exc:
            raise self._refused(exc, rows, path, strict=strict) from exc
        return found

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

    def pseudonym(self, value: object) -> str | None:
        """Give the name by which a personal value is told."""
        if value is None:
            return None
        return blake2b(msgspec.msgpack.encode(value), digest_size=16, key=self._secret).hexdigest()

    def _told(self, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def read(body: bytes) -> Any:  # noqa: ANN401 - a struct that was made above
            try:
                return decode(body)
            except msgspec.ValidationError as exc:
                raise self._refused(exc, _rows_in(body), "$.instances") from exc
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise Refused(400, f"the body is not JSON: {exc}") from exc

        return read

    def _refused(self, exc: msgspec.ValidationError, rows: object, path: str, *, strict: bool = True) -> Refused:
        """Name each bad field; the first fault alone where the whole has another form."""
        several = isinstance(rows, list) and 0 < len(rows) <= self._limits.rows
        faults = list(islice(self._faults(rows, path, strict=strict), FAULTS)) if several else []  # type: ignore[arg-type]
        if not faults:
            expected, _, where = str(exc).partition(" - at ")
            faults = [Fault(where.strip("`") or "$", expected)]
        return Refused.of(*faults)

    def _faults(self, rows: list[Any], path: str, *, strict: bool) -> Iterator[Fault]:
        for number, row in enumerate(rows):
            where = f"{path}[{number}]"
            if not isinstance(row, dict):
                yield Fault(where, "an object of the contract's fields", _shown(row))
                continue
            for name in sorted(self._required - row.keys()):
                yield Fault(f"{where}.{name}", "a value: the field is required", "nothing")
            for name, value in row.items():
                if name not in self.types:
                    yield Fault(f"{where}.{str(name)[:SHOWN]}", f"one of {', '.join(self.names)}", "an unknown field")
                elif fault := _fault_of(value, self.types[name], strict=strict):
                    yield Fault(f"{where}.{name}", fault, _shown(value))


def _fault_of(value: object, kind: Any, *, strict: bool) -> str:  # noqa: ANN401
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as exc:
        return str(exc)
    return ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _rows_in(body: bytes) -> object:
    try:
        return msgspec.json.decode(body).get("instances")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        return None
