"""The default problem's own: which raw rows are sound, what follows from one, and from when that is known."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from problems.flights.contracts import FACTS, SOURCES, Flights, Request, Weather
from tandem.contracts import KEY, Contract, Fact, Row, marked
from tandem.problem import load_problem
from tasks.ingest import Mapper

Values = dict[str, Any]
Bounds = dict[str, tuple[Iterable[Any], Iterable[Any]]]

HOUR = datetime(2013, 6, 3, 16)  # noqa: DTZ001 - all instants are UTC
FLIGHT: Values = {
    "year": 2013,
    "month": 6,
    "day": 3,
    "dep_time": 1210,
    "sched_dep_time": 1200,
    "dep_delay": 10,
    "arr_time": 1455,
    "sched_arr_time": 1500,
    "arr_delay": -5,
    "carrier": "B6",
    "flight": 1,
    "tailnum": "N1",
    "origin": "JFK",
    "dest": "MIA",
    "air_time": 150,
    "distance": 1089,
    "hour": 12,
    "minute": 0,
    "time_hour": HOUR,
}
"""It left ten minutes late and landed five early."""
WEATHER: Values = {
    "origin": "JFK",
    "year": 2013,
    "month": 6,
    "day": 3,
    "hour": 12,
    "temp": 70.0,
    "dewp": 60.0,
    "humid": 50.0,
    "wind_dir": 180.0,
    "wind_speed": 10.0,
    "wind_gust": None,
    "precip": 0.0,
    "pressure": 1013.0,
    "visib": 10.0,
    "time_hour": HOUR,
}
AIRPORT: Values = {
    "faa": "MIA",
    "name": "Miami Intl",
    "lat": 25.8,
    "lon": -80.3,
    "alt": 8,
    "tz": -5.0,
    "dst": "A",
    "tzone": "America/New_York",
}
LEG: Values = {
    "event_at": HOUR,
    "known_at": HOUR,
    "carrier": "B6",
    "flight": 1,
    "origin": "JFK",
    "scheduled_at": HOUR,
    "arrives_at": HOUR + timedelta(hours=3),
    "dest": "MIA",
    "tailnum": "N1",
    "distance": 1089,
}
ASKED: Values = {name: LEG[name] for name in Request.columns()}


def bounds(low: float, high: float, step: float = 1) -> tuple[list[float | None], list[float]]:
    """Take the ends of a range and refuse what is just beyond."""
    return [low, high], [low - step, high + step]


def also_null(low: float, high: float, step: float = 1) -> tuple[list[float | None], list[float]]:
    """Take what is not known, too."""
    accepted, refused = bounds(low, high, step)
    return [*accepted, None], refused


CODES = (["JFK"], ["jfk", "JF", "JFKX", " JFK", None])
CARRIERS = (["B6", "9E"], ["b6", "B", "B6X", None])
TAILS = (["N1234567", None], ["N12345678"])
MONTHS, DAYS = bounds(1, 12), bounds(1, 31)

SOUND: dict[str, tuple[Contract, Values, Bounds]] = {
    "airports": (
        SOURCES["airports"],
        AIRPORT,
        {
            "faa": (["AAA"], [None]),
            "name": (["A"], [None]),
            "lat": (bounds(-90, 90)[0], [-90.1, 90.1, None]),
            "lon": (bounds(-180, 180)[0], [-180.1, 180.1, None]),
            "alt": ([-54, 9078], [None]),
            "tz": (bounds(-12, 14)[0], [-12.5, 14.5, None]),
            "dst": (["N"], [None]),
            "tzone": ([None], []),
        },
    ),
    "flights": (
        SOURCES["flights"],
        FLIGHT,
        {
            "year": bounds(1990, 2100),
            "month": MONTHS,
            "day": DAYS,
            "dep_time": bounds(0, 2400),
            "sched_dep_time": (bounds(0, 2400)[0], [-1, 2401, None]),
            "dep_delay": bounds(-120, 1440),
            "arr_time": also_null(0, 2400),
            "sched_arr_time": (bounds(0, 2400)[0], [-1, 2401, None]),
            "arr_delay": also_null(-240, 1440),
            "carrier": CARRIERS,
            "flight": ([10_001, 99_999], [0, None]),
            "tailnum": TAILS,
            "origin": CODES,
            "dest": CODES,
            "air_time": also_null(1, 1440),
            "distance": (bounds(1, 12_000)[0], [0, 12_001, None]),
            "hour": (bounds(0, 24)[0], [-1, 25, None]),
            "minute": (bounds(0, 59)[0], [-1, 60, None]),
            "time_hour": ([HOUR], [None]),
        },
    ),
    "weather": (
        SOURCES["weather"],
        WEATHER,
        {
            "origin": CODES,
            "year": ([1950], [None]),
            "month": (MONTHS[0], [0, 13, None]),
            "day": (DAYS[0], [0, 32, None]),
            "hour": (bounds(0, 23)[0], [-1, 24, None]),
            "temp": also_null(-60, 140, 0.1),
            "dewp": also_null(-80, 110, 0.1),
            "humid": also_null(0, 100, 0.1),
            "wind_dir": also_null(0, 360, 0.1),
            "wind_speed": also_null(0, 200, 0.1),
            "wind_gust": also_null(0, 250, 0.1),
            "precip": also_null(0, 20, 0.1),
            "pressure": also_null(850, 1100, 0.1),
            "visib": also_null(0, 100, 0.1),
        },
    ),
    "a fact of a flight": (
        FACTS["scheduled"],
        LEG,
        {
            "arrives_at": (
                [HOUR + timedelta(minutes=15), HOUR + timedelta(minutes=1200)],
                [HOUR + timedelta(minutes=14), HOUR + timedelta(minutes=1201), HOUR - timedelta(minutes=60), None],
            ),
            "tailnum": ([None], []),
            **{name: ([LEG[name]], [None]) for name in LEG if name not in ("arrives_at", "tailnum")},
        },
    ),
    "a departure": (FACTS["departed"], LEG | {"dep_delay": 1}, {"dep_delay": ([-30], [None])}),
    "an arrival": (
        FACTS["arrived"],
        LEG | {"dep_delay": 1, "arr_delay": 1},
        {"dep_delay": ([-30], [None]), "arr_delay": ([-30], [None])},
    ),
    "an observation": (
        FACTS["observed"],
        {name: WEATHER.get(name, HOUR) for name in FACTS["observed"].columns() if name not in Row.columns()},
        {name: ([None], []) for name in FACTS["observed"].columns() if name in WEATHER} | {"origin": (["JFK"], [None])},
    ),
    "a request": (
        Request,
        ASKED,
        {
            "carrier": CARRIERS,
            "flight": (bounds(1, 9999)[0], [0, 10_000, None]),
            "origin": CODES,
            "dest": CODES,
            "tailnum": TAILS,
            "scheduled_at": ([HOUR], [None]),
            "arrives_at": ([HOUR], [None]),
            "distance": (bounds(1, 12_000)[0], [0, 12_001, None]),
        },
    ),
}


def frame(contract: Contract, rows: list[Values]) -> pl.DataFrame:
    """Rows as a source gives them, each with where it came from."""
    origin = ({"landing": "0", "row": number} for number in count(1))
    whole = [
        dict(zip(Row.columns(), each.values(), strict=True)) | row for each, row in zip(origin, rows, strict=False)
    ]
    schema = contract.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in whole], schema=schema)


@pytest.mark.parametrize("name", SOUND)
def test_a_value_is_taken_up_to_its_bounds_and_refused_beyond(name: str) -> None:
    contract, right, values = SOUND[name]
    for column, (accepted, refused) in values.items():
        for value in accepted:
            found, failed = contract.filter(frame(contract, [right | {column: value}]))
            assert found.height == 1, f"{column} {value}: {failed.counts()}"
        for value in refused:
            found, _ = contract.filter(frame(contract, [right | {column: value}]))
            assert found.is_empty(), f"{column} {value}"


TWICE: dict[str, tuple[Values, Values]] = {
    "airports": (AIRPORT, {"faa": "JFK"}),
    "flights": (FLIGHT, {"year": 2014, "month": 7, "day": 4, "carrier": "AA", "flight": 2, "origin": "LGA"}),
    "weather": (WEATHER, {"origin": "LGA", "time_hour": HOUR + timedelta(hours=1)}),
}
"""A row of each source, and by what alone another row is another one."""


@pytest.mark.parametrize("name", TWICE)
def test_a_row_that_says_another_thing_of_the_same_is_refused(name: str) -> None:
    row, others = TWICE[name]
    contract = SOURCES[name]
    assert set(others) == set(contract.primary_key())
    told = {other: value for other, value in row.items() if other not in others and not isinstance(value, datetime)}
    changed = {other: value + 1 for other, value in told.items() if isinstance(value, int | float) and value < 60}
    assert contract.filter(frame(contract, [row, row | changed]))[0].is_empty()
    for other, value in others.items():
        assert contract.filter(frame(contract, [row, row | {other: value}]))[0].height == 2, other


@pytest.mark.parametrize(
    ("changes", "sound"),
    [
        ({"arr_delay": None, "arr_time": None, "air_time": None}, True),
        ({"arr_delay": None, "dep_delay": None, "dep_time": None}, True),
        ({"dep_delay": None, "dep_time": None}, False),
        ({"dep_delay": None, "arr_delay": None}, False),
        ({"dep_time": None, "arr_delay": None}, False),
        ({"dep_time": None}, False),
    ],
)
def test_what_never_left_has_no_delay_and_cannot_have_landed(changes: Values, *, sound: bool) -> None:
    assert Flights.filter(frame(Flights, [FLIGHT | changes]))[0].height == int(sound)


def test_what_a_flight_is_told_by() -> None:
    keys = {"carrier", "flight", "tailnum", "origin", "dest"}
    assert set(marked(Flights, KEY)) == keys
    assert set(marked(Request, KEY)) == keys | {"scheduled_at"} == set(marked(FACTS["arrived"], KEY))
    assert marked(Weather, KEY) == ("origin",) == marked(FACTS["observed"], KEY)
    assert marked(SOURCES["airports"], KEY) == ("faa",)
    assert all(issubclass(contract, Fact) for contract in FACTS.values())


SPEC = load_problem("flights")


def facts_of(source: str, rows: list[Values], folder: Path) -> dict[str, list[Values]]:
    """What the rows of a raw file say, by kind."""
    raw, target = folder / "raw.csv", folder / "facts"
    text = frame(SOURCES[source], rows).drop(Row.columns())
    text.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(raw, null_value="NA")
    target.mkdir()
    airports = [
        AIRPORT,
        AIRPORT | {"faa": "LAX", "tzone": "America/Los_Angeles"},
        AIRPORT | {"faa": "XXX", "tzone": None},
    ]
    beside = {"airports": frame(SOURCES["airports"], airports)} if source == "flights" else {}
    plain = replace(SPEC.source(source), format="csv")
    Mapper(plain, beside, SPEC).write_part(raw, "0" * 64, target)
    return {
        kind: pl.concat(map(pl.read_parquet, sorted((target / kind).iterdir()))).to_dicts()
        if any((target / kind).iterdir())
        else []
        for kind in plain.kinds
    }


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2013-{text}")


def test_a_flight_is_known_28_days_before_its_day_then_when_it_leaves_then_when_it_lands(tmp_path: Path) -> None:
    found = facts_of("flights", [FLIGHT | {"minute": 5}], tmp_path)
    (scheduled,), (departed,), (arrived,) = (found[kind] for kind in ("scheduled", "departed", "arrived"))
    assert found["cancelled"] == []
    assert (scheduled["event_at"], scheduled["known_at"]) == (at("06-03T16:05"), at("05-06T00:00"))
    assert (departed["event_at"], departed["known_at"]) == (at("06-03T16:15"), at("06-03T16:15"))
    assert (arrived["event_at"], arrived["known_at"]) == (at("06-03T18:55"), at("06-03T18:55"))
    assert {fact["scheduled_at"] for fact in (scheduled, departed, arrived)} == {at("06-03T16:05")}
    assert {fact["arrives_at"] for fact in (scheduled, departed, arrived)} == {at("06-03T19:00")}


def test_a_flight_that_never_left_is_known_a_day_after_its_time(tmp_path: Path) -> None:
    never = {"dep_time": None, "dep_delay": None, "arr_time": None, "arr_delay": None, "air_time": None}
    found = facts_of("flights", [FLIGHT | never], tmp_path)
    assert [len(found[kind]) for kind in ("scheduled", "departed", "arrived", "cancelled")] == [1, 0, 0, 1]
    assert (found["cancelled"][0]["event_at"], found["cancelled"][0]["known_at"]) == (HOUR, HOUR + timedelta(hours=24))


def test_a_flight_that_landed_elsewhere_has_left_and_not_arrived(tmp_path: Path) -> None:
    found = facts_of("flights", [FLIGHT | {"arr_delay": None, "air_time": None}], tmp_path)
    assert [len(found[kind]) for kind in ("scheduled", "departed", "arrived", "cancelled")] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("changes", "arrives_at", "arrived_at"),
    [
        ({"dest": "LAX", "sched_arr_time": 1459}, "06-03T21:59", "06-03T21:54"),
        ({"dest": "SJU", "sched_arr_time": 1530}, "06-03T19:30", "06-03T19:25"),  # in no list of airports
        ({"sched_arr_time": 15}, "06-04T04:15", "06-04T04:10"),  # after midnight
        ({"air_time": 200, "arr_delay": -30}, "06-03T19:00", "06-03T19:30"),  # no sooner than it can fly
    ],
)
def test_clocks_of_the_destination_become_instants(
    tmp_path: Path, changes: Values, arrives_at: str, arrived_at: str
) -> None:
    found = facts_of("flights", [FLIGHT | changes], tmp_path)
    assert [(fact["arrives_at"], fact["known_at"]) for fact in found["arrived"]] == [(at(arrives_at), at(arrived_at))]


def test_the_weather_of_an_hour_is_known_when_it_is_over(tmp_path: Path) -> None:
    (observed,) = facts_of("weather", [WEATHER], tmp_path)["observed"]
    assert (observed["event_at"], observed["known_at"]) == (HOUR, HOUR + timedelta(hours=1))
    assert (observed["temp"], observed["wind_gust"], observed["row"]) == (70.0, None, 1)
