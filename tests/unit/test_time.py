"""Ticks and lag: what was known at an instant is published at the next tick, and may be used a lag later."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.clock import Grid
from tandem.warehouse import Warehouse
from tasks.training_set import due_tick, newest_tick

TEN = Grid(tick_minutes=10, lag_minutes=5)
DAY_PARTS = (1, 5, 10, 15, 60, 90, 720, 1440)
INSTANTS = st.datetimes(min_value=datetime(1975, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001 - UTC
GRIDS = st.builds(Grid, tick_minutes=st.integers(1, 1440), lag_minutes=st.integers(0, 1440))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def due(moment: datetime, params: Grid) -> datetime:
    found: datetime = pl.DataFrame({"moment": [moment]}).select(due_tick(pl.col("moment"), params)).item()
    return found


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """One fact, known at half past twelve."""
    folder = tmp_path / "facts" / "seen"
    folder.mkdir(parents=True)
    pl.DataFrame({"known_at": [at("2013-03-10T12:30")]}).write_parquet(folder / "2013-03.parquet")
    return folder.parent


@pytest.fixture(params=DAY_PARTS)
def grid(request: pytest.FixtureRequest) -> Grid:
    return Grid(tick_minutes=request.param, lag_minutes=5)


@pytest.fixture
def warehouse(facts: Path, grid: Grid) -> Iterator[Warehouse]:
    with Warehouse.open(facts, at("2014-01-01"), grid.tick) as opened:
        yield opened


def published(warehouse: Warehouse, instants: list[datetime]) -> list[datetime]:
    frame = pl.DataFrame({"n": range(len(instants)), "known_at": instants})
    return warehouse.query("select published(known_at) as tick from known order by n", known=frame)["tick"].to_list()


@pytest.mark.parametrize(
    ("moment", "tick"),
    [
        ("2013-03-10T07:05", "2013-03-10T07:00"),  # the lag is just over
        ("2013-03-10T07:04:59", "2013-03-10T06:50"),
        ("2013-03-10T07:14:59.999999", "2013-03-10T07:00"),
        ("2013-03-10T00:04", "2013-03-09T23:50"),  # over midnight
        ("2013-01-01T00:00", "2012-12-31T23:50"),
        ("1969-12-31T23:59", "1969-12-31T23:50"),  # ticks go back beyond the epoch
    ],
)
def test_a_request_uses_the_newest_tick_that_is_a_lag_old(moment: str, tick: str) -> None:
    assert due(at(moment), TEN) == newest_tick(at(moment), TEN) == at(tick)


def test_without_lag_a_tick_is_used_at_once() -> None:
    assert newest_tick(at("2013-03-10T07:00"), Grid(tick_minutes=10, lag_minutes=0)) == at("2013-03-10T07:00")


@given(moment=INSTANTS, params=GRIDS)
def test_one_moment_and_a_column_of_them_have_the_same_tick(moment: datetime, params: Grid) -> None:
    tick = newest_tick(moment, params)
    assert due(moment, params) == tick
    assert params.lag <= moment - tick < params.lag + params.tick


@pytest.mark.parametrize("grid", [TEN])
def test_what_is_known_is_published_at_the_first_tick_after_it(warehouse: Warehouse) -> None:
    known = ["2013-03-10T06:59:59.999999", "2013-03-10T07:00", "2013-03-10T07:09:59", "2013-12-31T23:50"]
    ticks = ["2013-03-10T07:00", "2013-03-10T07:10", "2013-03-10T07:10", "2014-01-01T00:00"]
    assert published(warehouse, [at(text) for text in known]) == [at(text) for text in ticks]


def test_facts_and_requests_have_one_grid(warehouse: Warehouse, grid: Grid) -> None:
    known = [at("2013-03-09T23:00") + timedelta(minutes=n) for n in range(1600)]
    for known_at, tick in zip(known, published(warehouse, known), strict=True):
        assert known_at < tick <= known_at + grid.tick
        assert newest_tick(tick + grid.lag, grid) == tick, "a fact can be used from when it is published and a lag old"


def test_no_request_uses_what_was_not_known_before_it(warehouse: Warehouse, grid: Grid) -> None:
    known = [at("2013-11-03T04:00") + timedelta(minutes=n) for n in range(300)]
    moments = [at("2013-11-03T04:00") + timedelta(minutes=n) for n in range(0, 2000, 7)]
    ticks = published(warehouse, known)
    for moment in moments:
        used = [known_at for known_at, tick in zip(known, ticks, strict=True) if tick <= newest_tick(moment, grid)]
        assert all(known_at < moment - grid.lag for known_at in used)


@pytest.mark.parametrize("grid", [TEN])
@pytest.mark.parametrize(("as_of", "seen"), [("2013-03-10T12:30", 0), ("2013-03-10T12:40", 1)])
def test_as_of_cuts_what_is_known_at_it(facts: Path, grid: Grid, as_of: str, seen: int) -> None:
    with Warehouse.open(facts, at(as_of), grid.tick) as opened:
        assert opened.query("select * from seen").height == seen
        asked = "select timestamp '2013-03-10 12:30' as moment"
        assert opened.requests(asked).height == seen
        assert opened.query(opened.known("(select known_at from seen)")).height == seen
