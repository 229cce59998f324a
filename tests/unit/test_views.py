"""What a view's SQL must give, and how it is written: in order, whole numbers as BIGINT, one row a key and tick."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tandem.errors import ProblemError
from tandem.views import View
from tandem.warehouse import Warehouse
from tasks.views import read_view, run_view

AS_OF = datetime(2024, 1, 2)  # noqa: DTZ001
ROWS = "(values ('b', 1, 5), ('a', 2, 6), ('a', 1, 7)) as seen(who, hours, calls)"
SQL = f"""-- grain: one row per person and hour
select
    who,
    timestamp '2024-01-01' + to_hours(hours) as valid_from,
    calls::tinyint as calls  -- how often they called
from {ROWS}"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    (tmp_path / "facts").mkdir()
    (tmp_path / "made").mkdir()
    with Warehouse.open(tmp_path / "facts", AS_OF, timedelta(minutes=10), into=tmp_path / "made") as opened:
        yield opened


def test_rows_are_written_by_key_and_then_by_time_whatever_their_order(warehouse: Warehouse, tmp_path: Path) -> None:
    spec = run_view(View("person.calls", SQL), warehouse, tmp_path / "made")
    assert (spec.keys, spec.values) == (("who",), {"calls": "BIGINT"})
    assert spec.meanings == {"calls": "how often they called"}
    rows = read_view(tmp_path / "made", "person.calls")
    assert rows.schema["calls"] == pl.Int64
    assert rows.select("who", pl.col("valid_from").dt.hour(), "calls").rows() == [("a", 1, 7), ("a", 2, 6), ("b", 1, 5)]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["person.calls.parquet"]


@pytest.mark.parametrize("already", ["", " order by all"])
def test_two_rows_of_a_key_and_a_tick_are_an_error(warehouse: Warehouse, tmp_path: Path, already: str) -> None:
    view = View("person.calls", f"{SQL.replace('hours)', 'least(hours, 1))')}{already};")
    with pytest.raises(
        ProblemError, match=r"two rows for \(a, '2024-01-01 01:00:00'\); its grain is one row per person"
    ):
        run_view(view, warehouse, tmp_path / "made")


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("valid_from", "since", r"it must give its keys, then valid_from, then its values; it gives \['who', 'since'"),
        ("timestamp '2024-01-01' + to_hours(hours)", "date '2024-01-01'", "valid_from is DATE; `published"),
        ("  -- how often they called", "", "value calls has no meaning"),
        ("calls::tinyint", "calls::float", "calls is FLOAT; cast it to one of BIGINT, DOUBLE"),
        ("calls::tinyint", "1e30::hugeint", "out of range"),
        ("from (values", "frm (values", "Parser Error"),
        ("calls::tinyint", "cals::tinyint", "line 5: .*Binder Error"),
    ],
)
def test_what_is_no_view_is_told_by_its_file(
    warehouse: Warehouse, tmp_path: Path, one: str, other: str, told: str
) -> None:
    with pytest.raises(ProblemError, match=rf"\Aviews/person\.calls\.sql: (?s:.*){told}"):
        run_view(View("person.calls", SQL.replace(one, other)), warehouse, tmp_path / "made")
