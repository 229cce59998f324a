"""No feature knows the future: erase in the source files what a moment could not know, build again, find no bit changed."""

import os
import random
import secrets
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from rebuild import LEAKS, PROBLEM, Leak, Sources, erased, rebuilt

DAYS = 33
"""More than the longest window: what entered it first has left it again."""
MOMENTS = 5
STRETCHES = ("spring forward", "fall back", "any", "another")
"""Each with its own moments: 20 in all."""
LATEST = datetime(2014, 3, 1)  # noqa: DTZ001 - UTC, as all instants
"""Nothing is cut at `as_of`: what is not known was erased."""


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("TANDEM_SEED") or secrets.randbits(32))


def first_day(stretch: str, draw: random.Random) -> date:
    """Put the day on which clocks change among the last four, where the moments are."""
    last_four = DAYS - 1 - draw.randrange(4)
    if stretch == "spring forward":
        return date(2013, 3, 10) - timedelta(days=last_four)
    if stretch == "fall back":
        return date(2013, 11, 3) - timedelta(days=last_four)
    return date(2013, 1, 1) + timedelta(days=draw.randrange(365 - DAYS))


def moments(first: date, draw: random.Random) -> list[datetime]:
    """Draw minutes of the last four days."""
    begin = datetime(first.year, first.month, first.day) + timedelta(days=DAYS - 4)  # noqa: DTZ001
    return [begin + timedelta(minutes=draw.randrange(4 * 24 * 60)) for _ in range(MOMENTS)]


def bits(features: pl.DataFrame, *due: pl.Expr) -> pl.DataFrame:
    """Show floats as they are stored, so that equal means the same."""
    return features.filter(*due).with_columns(pl.col(pl.Float32).reinterpret(dtype=pl.UInt32))


def check(sources: Sources, whole: pl.DataFrame, moment: datetime, folder: Path, problem: str = PROBLEM) -> None:
    """Fail if a request made before the moment has other features when the rest is erased."""
    again = rebuilt(erased(sources, moment), folder, LATEST, problem).features()
    before = pl.col("moment") < moment
    expected, found = bits(whole, before), bits(again, before)
    assert expected.height == found.height, f"{moment}: {expected.height} requests became {found.height}"
    changed = {name: (~expected[name].eq_missing(found[name])).sum() for name in expected.columns}
    leaking = {name: count for name, count in changed.items() if count}
    assert not leaking, f"{moment}: of {found.height} requests made before it, so many knew the future: {leaking}"
    after = pl.col("moment").is_between(moment, moment + timedelta(hours=24))
    assert not bits(whole, after).equals(bits(again, after)), f"{moment}: nothing was erased"


@pytest.mark.parametrize("stretch", STRETCHES)
def test_features_do_not_change_when_the_future_is_erased(stretch: str, seed: int, tmp_path: Path) -> None:
    draw = random.Random(f"{seed} {stretch}")  # noqa: S311
    first = first_day(stretch, draw)
    drawn = moments(first, draw)
    print(f"TANDEM_SEED={seed}: {stretch}, {DAYS} days from {first}:", *drawn, sep="\n  ")  # noqa: T201
    sources = Sources.landed(first, DAYS)
    whole = rebuilt(sources, tmp_path / "whole", LATEST).features()
    for number, moment in enumerate(drawn):
        check(sources, whole, moment, tmp_path / str(number))


def busy_moment(seed: int) -> datetime:
    """A minute of an afternoon, when flights are in the air."""
    draw = random.Random(seed)  # noqa: S311
    minutes = draw.randrange(340) * 1440 + draw.randrange(17 * 60, 24 * 60)
    moment = datetime(2013, 1, 10) + timedelta(minutes=minutes)  # noqa: DTZ001
    print(f"TANDEM_SEED={seed}: {moment}")  # noqa: T201
    return moment


def around(moment: datetime) -> Sources:
    return Sources.landed(moment.date() - timedelta(days=2), days=4)


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_a_planted_leak_is_found(leak: Leak, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = leak.plant(tmp_path, monkeypatch)

    def check_days() -> None:
        """On some days nobody asks about an aircraft that is still in the air: not on five of them."""
        for day in range(5):
            moment, folder = busy_moment(seed + day), tmp_path / str(day)
            sources = around(moment)
            whole = rebuilt(sources, folder / "whole", LATEST, problem).features()
            for hours in range(24):
                check(sources, whole, moment - timedelta(hours=hours), folder / str(hours), problem)

    with pytest.raises(AssertionError, match="knew the future"):
        check_days()


def test_as_of_cuts_as_erasing_does(seed: int, tmp_path: Path) -> None:
    moment = busy_moment(seed).replace(minute=30)
    sources = around(moment)
    cut = rebuilt(sources, tmp_path / "cut", moment).features()
    without = rebuilt(erased(sources, moment), tmp_path / "erased", moment).features()
    assert cut.height > 1000
    assert bits(cut).equals(bits(without))
