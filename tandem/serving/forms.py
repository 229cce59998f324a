"""Bodies of faces that have a form of their own: read whole, and turned into rows."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tandem.serving.refused import NOT_JSON, Fault, Refused

T = TypeVar("T")
Row = dict[str, Any]


def read_json(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Read a body's form; what it holds is the contract's to judge.

    Raises:
        Refused: it is no JSON, or has another form.

    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise Refused.by(exc) from exc
    except NOT_JSON as exc:
        raise Refused(400, f"the body is not JSON: {exc}") from exc


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Turn columns of one length into rows."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def once(names: Sequence[str], path: str) -> None:
    """Check that no name comes twice.

    Raises:
        Refused: one does.

    """
    if len(set(names)) < len(names):
        place = next(place for place, name in enumerate(names) if name in names[:place])
        raise Refused.of(Fault(path.format(place), "names that differ", names[place][:60]))
