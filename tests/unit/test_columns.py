"""Views as arrays: the row that is true for a key at a tick, as an as-of join finds it."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tandem.columns import Sorted, Timeline

TICK = timedelta(minutes=10)
START = datetime(2024, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize("spread", [1, 3, 10**6, 10**12])
def test_numbers_are_counted_as_a_plain_search_counts_them(spread: int) -> None:
    drawn = np.random.default_rng(spread)
    numbers = np.unique(drawn.integers(0, 5000 * spread, 4000) // spread ** drawn.integers(0, 2) + 1)
    asked = np.concatenate([drawn.integers(0, 6000 * spread, 5000), numbers, numbers - 1])
    np.testing.assert_array_equal(Sorted(numbers).count(asked), np.searchsorted(numbers, asked, side="right"))


def test_no_numbers_are_counted() -> None:
    assert Sorted(np.array([], dtype=np.int64)).count(np.array([0, 5])).tolist() == [0, 0]


@pytest.mark.parametrize("mixed", [False, True])
def test_rows_are_those_of_an_as_of_join(*, mixed: bool) -> None:
    """Two views of the same keys, one of which lacks keys that the other has; some begin between two ticks."""
    drawn = np.random.default_rng(5)
    views = []
    for number, count in enumerate((300, 40)):
        frame = pl.DataFrame(
            {
                "a": [None, *drawn.integers(0, 6 + number, count - 1).tolist()],
                "b": drawn.choice(["x", "y", "z"], count).tolist(),
                "valid_from": [START + timedelta(minutes=int(m)) for m in drawn.integers(0, 3000, count)],
            }
        ).unique(["a", "b", "valid_from"])
        ordered = frame.sort("a", "b", "valid_from").with_row_index("value")
        views.append(ordered.sample(fraction=1, shuffle=True, seed=1) if mixed else ordered)
    timeline = Timeline(("a", "b"), TICK)
    frames = timeline.build(views)
    asked = pl.DataFrame(
        {
            "a": [None, *drawn.integers(0, 9, 999).tolist()],
            "b": drawn.choice(["x", "y", "z", "w"], 1000).tolist(),
            "at": [START + n * TICK for n in drawn.integers(-50, 400, 1000).tolist()],
        }
    )
    step = int(TICK.total_seconds() * 1_000_000)
    found = timeline.find(asked, asked["at"].dt.epoch("us").to_numpy() // step)
    for view, frame, rows in zip(views, frames, found, strict=True):
        known = view.drop_nulls("a").sort("valid_from")
        joined = (
            asked.with_row_index("n")
            .sort("at")
            .join_asof(known, left_on="at", right_on="valid_from", by=["a", "b"], check_sortedness=False)
        )
        got = frame["value"].extend_constant(None, 1).gather(rows)
        assert got.to_list() == joined.sort("n")["value"].to_list()
