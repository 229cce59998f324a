"""A bundle's contract as a decoder: bytes to fields in the spec's order, or a message that names the bad field."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from tandem.bundle import Bundle
from tandem.vectors import Values

TYPES: dict[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MOST = 10_000


def _type(schema: dict[str, Any]) -> object:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    plain: Any = datetime if schema.get("format") == "date-time" else TYPES[kinds[0]]
    names = {"minimum": "ge", "maximum": "le", "pattern": "pattern", "maxLength": "max_length"}
    bounds = {ours: schema[theirs] for theirs, ours in names.items() if theirs in schema}
    bounded = Annotated[plain, msgspec.Meta(**bounds)] if bounds else plain
    return bounded | None if "null" in kinds else bounded


def instant(value: datetime) -> int:
    """Give microseconds of UTC; a time without a zone is UTC."""
    return ((value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


class Decoder:
    """Reads `{"instances": [{field: value}]}` of one contract."""

    def __init__(self, bundle: Bundle) -> None:
        """Build the types once."""
        schema = bundle.json("contract.json")
        self._names = [name for name in bundle.spec.fields if name in schema["properties"]]
        fields = [self._field(name, schema) for name in self._names]
        instance = msgspec.defstruct("Instance", fields, kw_only=True, forbid_unknown_fields=True)
        several = Annotated[list[instance], msgspec.Meta(min_length=1, max_length=MOST)]  # type: ignore[valid-type]
        body = msgspec.defstruct("Body", [("instances", several)], forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(body)
        self._instants = {name for name, kind in bundle.spec.fields.items() if kind == "TIMESTAMP"}

    @staticmethod
    def _field(name: str, schema: dict[str, Any]) -> tuple[str, Any] | tuple[str, Any, None]:
        kind = _type(schema["properties"][name])
        return (name, kind) if name in schema["required"] else (name, kind, None)

    def __call__(self, body: bytes) -> list[Values]:
        """Read the instances' fields.

        Raises:
            msgspec.ValidationError: a field is not what the contract says.
            msgspec.DecodeError: it is no JSON.

        """
        decoded: Any = self._decoder.decode(body)
        return [self._values(instance) for instance in decoded.instances]

    def _values(self, instance: object) -> Values:
        values = ((name, getattr(instance, name)) for name in self._names)
        return tuple(instant(v) if name in self._instants and v is not None else v for name, v in values)
