"""What is wrong in params.yaml is told: where, why, and what stands there."""

from pathlib import Path

import pytest
from conftest import PARCELS

from tandem.errors import ParamsError
from tandem.params import Params

TEXT = (PARCELS / "params.yaml").read_text()

WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", r"all of it: .* \(got None\)"),
    "no text": (b"\xff\xfe", "cannot be read: 'utf-8' codec"),
    "no YAML": (b"a: [", "cannot be read: while parsing"),
    "a moment off the grid": (
        TEXT.replace('"2024-04-15"', '"2024-04-15T00:03:00"').encode(),
        r"all of it: as_of 2024-04-15 00:03:00 is not a tick.*\(got \{'problem': 'parcels'.{,50}\.\.\.\)$",
    ),
    "a date without quotes": (TEXT.replace('"2024-04-15"', "2024-04-15").encode(), "as_of: a date stands in quotes"),
    "a moment without quotes": (
        TEXT.replace('"2024-04-15"', "2024-04-15T00:00:00").encode(),
        "as_of: a date stands in",
    ),
    "a number as moment": (TEXT.replace('"2024-04-15"', "20240415").encode(), "as_of: it is a number: write a date"),
    "a cost without end": (TEXT.replace("miss: ", "miss: .inf  # ").encode(), "costs.miss: .*finite number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(tmp_path: Path, case: str) -> None:
    data, told = WRONG[case]
    assert data != TEXT.encode()
    path = tmp_path / "params.yaml"
    path.write_bytes(data)
    with pytest.raises(ParamsError, match=told):
        Params.load(path)
