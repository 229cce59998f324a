"""What a client is told of a body that does not read: a path, what was expected, and what came."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest

from tandem.serving.contract import fault_of
from tandem.serving.refused import Fault, Refused


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    town: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    at: datetime | None = None


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("null", Fault("$", "object", "null")),
        ("{}", Fault("$.town", "a value: the field is required", "nothing")),
        ('{"town": 1}', Fault("$.town", "string", "integer")),
        ('{"town": "abc"}', Fault("$.town", "string matching regex '^[A-Z]{3}$'")),
        ('{"town": "ABC", "at": []}', Fault("$.at", "string or null", "array")),
        ('{"town": "ABC", "at": "noon"}', Fault("$.at", "a moment, by RFC 3339")),
        ('{"town": "ABC", "é\\n": 1}', Fault("$.é\n", "no field of this name", "an unknown field")),
    ],
)
def test_the_first_fault_of_a_form_is_told_in_the_documents_words(body: str, fault: Fault) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=Row)
    assert Refused.by(caught.value).faults == [fault]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1.5, int, "integer"),
        (-1, Annotated[int, msgspec.Meta(ge=1)], "integer >= 1"),
        ("x", bool | None, "boolean or null"),
        ("xxx", Annotated[str, msgspec.Meta(max_length=2)], "string of length <= 2"),
        ("2013-11-06", datetime, "a moment, by RFC 3339"),
        ("noon", datetime | None, "a moment, by RFC 3339"),
        (1, int, ""),
    ],
)
def test_what_a_value_should_have_been_names_no_type_of_python(value: object, kind: Any, expected: str) -> None:  # noqa: ANN401
    assert fault_of(value, kind) == expected
