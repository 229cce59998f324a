"""Views and features are what an oracle makes of the raw files, which knows nothing of the code that made them."""

import os
import random
import secrets
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from oracle import VIEWS, WEATHER, Oracle, as_float32
from raw_facts import DAY, NEW_YORK, TICK, Flight, Key, Raw, Row, local, rows_of
from rebuild import LEAKS, PROBLEM, Leak, Sources, World, rebuilt

SAMPLES = 120
"""Rows of each view."""
REQUESTS = 250
UNKNOWN: Row = {}


@pytest.fixture(scope="module")
def draw() -> random.Random:
    seed = os.environ.get("TANDEM_SEED") or str(secrets.randbits(32))
    print(f"TANDEM_SEED={seed}")  # noqa: T201
    return random.Random(int(seed))  # noqa: S311


@dataclass(frozen=True)
class Judged:
    """A world, and the oracle that read the same files."""

    world: World
    oracle: Oracle

    @classmethod
    def build(cls, sources: Sources, folder: Path, as_of: datetime, problem: str = PROBLEM) -> "Judged":
        world = rebuilt(sources, folder, as_of, problem)
        return cls(world, oracle_of(world, as_of))

    @cached_property
    def later(self) -> Oracle:
        """The same files when all of it was known."""
        return oracle_of(self.world, instant("2014-03-01"))


def oracle_of(world: World, as_of: datetime) -> Oracle:
    return Oracle(world.raw("airports"), world.raw("flights"), world.raw("weather"), as_of)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def bent(row: Raw) -> Raw:
    """Make a flight of 2 November land in the hour that comes twice, and another land sooner than it can fly."""
    name = row["month"], row["day"], row["carrier"], row["flight"]
    if name == ("11", "2", "B6", "1183"):
        return row | {"sched_arr_time": "130", "arr_time": "122"}
    if name == ("11", "2", "B6", "527"):
        return row | {"arr_delay": "-48", "arr_time": "2322"}
    return row


@pytest.fixture(scope="module")
def march(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Clocks are put forward on 10 March; a wind of 1048 miles an hour is refused on 12 February."""
    sources = Sources.landed(date(2013, 2, 5), days=50)
    return Judged.build(sources, tmp_path_factory.mktemp("march"), instant("2013-03-15"))


@pytest.fixture(scope="module")
def november(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Clocks are put back on 3 November."""
    sources = Sources.landed(date(2013, 10, 2), days=50)
    bending = replace(sources, flights=[bent(row) for row in sources.flights])
    return Judged.build(bending, tmp_path_factory.mktemp("november"), instant("2013-11-08T07:30"))


@pytest.fixture(params=["march", "november"])
def judged(request: pytest.FixtureRequest) -> Judged:
    found: Judged = request.getfixturevalue(request.param)
    return found


class Timeline:
    """A view's rows by key, in the order of time."""

    def __init__(self, frame: pl.DataFrame, keys: tuple[str, ...]) -> None:
        self._rows: dict[Key, list[dict[str, Any]]] = defaultdict(list)
        for row in frame.iter_rows(named=True):
            self._rows[tuple(row.pop(key) for key in keys)].append(row)
        self._ticks: dict[Key, list[datetime]] = {
            key: [row.pop("valid_from") for row in rows] for key, rows in self._rows.items()
        }

    def keys(self) -> set[Key]:
        return set(self._rows)

    def ticks(self, key: Key) -> list[datetime]:
        return self._ticks.get(key, [])

    def at(self, key: Key, tick: datetime) -> Row | None:
        """Give what is true of a key at a tick."""
        newest = bisect_right(self.ticks(key), tick)
        return self._rows[key][newest - 1] if newest else None


def sampled(timeline: Timeline, keys: list[Key], draw: random.Random, horizon: datetime) -> tuple[Key, datetime]:
    """Draw a key, and a tick at which a row begins, or just before, or any; often the first or the last row."""
    key = draw.choice(keys)
    ticks = timeline.ticks(key) or [horizon]
    tick: datetime = draw.choice([draw.choice(ticks), draw.choice(ticks), ticks[0], ticks[-1]])
    length = (max(ticks[-1], horizon) - ticks[0]) // TICK
    anywhere = ticks[0] + draw.randrange(length + 1) * TICK
    return key, draw.choice([tick, tick, tick - TICK, anywhere])


def check_view(judged: Judged, name: str, draw: random.Random) -> Counter[str]:
    """Fail if a row of a view is not what the oracle says; give how many rows were seen, by what they say."""
    timeline = Timeline(judged.world.view(name), judged.world.keys()[name])
    keys = sorted(timeline.keys() | judged.oracle.keys(name), key=str)
    seen: Counter[str] = Counter()
    for _ in range(SAMPLES):
        key, tick = sampled(timeline, keys, draw, judged.world.params.as_of)
        expected, found = judged.oracle.row(name, key, tick), timeline.at(key, tick)
        assert found == expected, f"{name} of {key} at {tick}: {found}, and not {expected}"
        seen["unknown" if found is None else "empty" if None in found.values() else "full"] += 1
    return seen


def test_the_oracle_knows_every_view(judged: Judged) -> None:
    assert set(judged.world.keys()) == {*VIEWS, WEATHER}


@pytest.mark.parametrize("name", [*VIEWS, WEATHER])
def test_a_view_is_what_the_oracle_says(judged: Judged, name: str, draw: random.Random) -> None:
    seen = check_view(judged, name, draw)
    assert seen["unknown"], "no tick before a key's first row was drawn"
    assert seen["full"] + seen["empty"] > SAMPLES / 2


def test_rows_begin_at_ticks_and_facts_count_after_the_tick_they_fall_on(judged: Judged) -> None:
    for name in Oracle.views:
        starts = judged.world.view(name)["valid_from"]
        assert (starts.dt.truncate("10m") == starts).all(), name
    on_a_tick = [f for f in judged.oracle.flights if f.departed_at and f.departed_at.minute % 10 == 0]
    flight = next(f for f in on_a_tick if f.departed_at and f.tailnum and f.departed_at > f.scheduled_at)
    assert flight.departed_at
    legs = Timeline(judged.world.view("aircraft.last_leg"), judged.world.keys()["aircraft.last_leg"])
    before, after = (legs.at((str(flight.tailnum),), tick) for tick in (flight.departed_at, flight.departed_at + TICK))
    assert before
    assert after
    assert (before["leg_stage"], after["leg_stage"]) == (0, 1)


def test_features_are_what_the_oracle_says(judged: Judged, draw: random.Random) -> None:
    check_features(judged, draw)


def check_features(judged: Judged, draw: random.Random) -> None:
    """Fail if a request's features are not what the oracle says; some of the requests are made around midnight or DST."""
    frame = judged.world.features()
    asked: dict[Key, dict[str, Any]] = {
        (r["carrier"], r["flight"], r["origin"], r["scheduled_at"]): r for r in frame.iter_rows(named=True)
    }
    requests = [f for f in judged.oracle.flights if f.moment < judged.world.params.as_of]
    assert len(requests) == frame.height
    special = [f for f in requests if f.moment.hour in (23, 0) or is_near_a_change(f.moment)]
    names = [name for name, kind in frame.schema.items() if kind == pl.Float32]
    assert len(names) > 50
    for request in draw.sample(requests, REQUESTS) + draw.sample(special, REQUESTS // 2):
        known = judged.oracle.features(request)
        expected = {name: as_float32(known.get(name)) for name in names}
        found = {name: asked[request.identity][name] for name in names}
        wrong = {name: (found[name], expected[name]) for name in names if found[name] != expected[name]}
        assert not wrong, f"{request}: found and expected are {wrong}"


def is_near_a_change(moment: datetime) -> bool:
    return any(abs(moment - instant(change)) < DAY for change in ("2013-03-10T07:00", "2013-11-03T06:00"))


def told(kind: str, flight: Flight, happened_at: datetime, **values: int | None) -> Row:
    """What a fact of a flight says."""
    return {
        "carrier": flight.carrier,
        "flight": flight.flight,
        "origin": flight.origin,
        "dest": flight.dest,
        "tailnum": flight.tailnum,
        "distance": flight.distance,
        "scheduled_at": flight.scheduled_at,
        "arrives_at": flight.arrives_at,
        "event_at": flight.scheduled_at if kind in ("scheduled", "cancelled") else happened_at,
        "known_at": happened_at,
        **values,
    }


def facts_of(kind: str, flights: list[Flight]) -> dict[Key, Row]:
    """All facts of one kind."""
    found: dict[Key, Row] = {}
    for f in flights:
        if kind == "scheduled":
            found[f.identity] = told(kind, f, f.scheduled_known_at)
        elif kind == "departed" and f.departed_at:
            found[f.identity] = told(kind, f, f.departed_at, dep_delay=f.dep_delay)
        elif kind == "arrived" and f.arrived_at:
            found[f.identity] = told(kind, f, f.arrived_at, dep_delay=f.dep_delay, arr_delay=f.arr_delay)
        elif kind == "cancelled" and f.departed_at is None:
            found[f.identity] = told(kind, f, f.cancelled_known_at)
    return found


@pytest.mark.parametrize("kind", ["scheduled", "departed", "arrived", "cancelled"])
def test_every_fact_of_a_flight_is_what_the_oracle_says(judged: Judged, kind: str) -> None:
    made = judged.world.facts(kind).drop("landing", "row")
    found = {(r["carrier"], r["flight"], r["origin"], r["scheduled_at"]): r for r in made.iter_rows(named=True)}
    assert len(found) == made.height
    assert found == facts_of(kind, judged.later.flights)


def test_every_observation_is_a_fact_but_for_the_hurricane(march: Judged) -> None:
    found = march.world.facts("observed")
    assert found.height == len(march.later.observations) == len(list(rows_of(march.world.raw("weather")))) - 1
    assert (found["known_at"] - found["event_at"] == timedelta(hours=1)).all()


def test_every_fact_points_to_its_row(march: Judged) -> None:
    raw = list(rows_of(march.world.raw("flights")))
    for fact in march.world.facts("arrived").sample(200, seed=1).iter_rows(named=True):
        row = raw[fact["row"] - 1]
        assert (row["carrier"], row["flight"], row["arr_delay"]) == (
            fact["carrier"],
            str(fact["flight"]),
            str(fact["arr_delay"]),
        )


def arrival(judged: Judged, carrier: str, flight: int, scheduled_at: str) -> Row:
    its = (pl.col("carrier") == carrier, pl.col("flight") == flight, pl.col("scheduled_at") == instant(scheduled_at))
    return judged.world.facts("arrived").filter(*its).row(0, named=True)


# carrier, flight, its scheduled departure and arrival, and when it was known to have landed
NIGHTS = (
    # left at 23:06 and landed, by its delay, at 2:03 of a night that has no 2:03: it is 3:03 there
    ("B6", 35, "2013-03-10T02:45", "2013-03-10T05:34", "2013-03-10T07:03"),
    # left before midnight in New York, landed at 3:50 in San Juan, which keeps its clocks all year
    ("B6", 1503, "2013-11-03T03:59", "2013-11-03T07:40", "2013-11-03T07:50"),
    ("B6", 839, "2013-11-03T03:59", "2013-11-03T07:37", "2013-11-03T07:38"),  # Aguadilla
    ("B6", 745, "2013-11-03T03:59", "2013-11-03T07:45", "2013-11-03T07:53"),  # Ponce
    # scheduled for 23:59 in Los Angeles, landed at 0:10 of the next day, before clocks were put back there
    ("B6", 523, "2013-11-03T00:40", "2013-11-03T06:59", "2013-11-03T07:10"),
    # 299 minutes late, over midnight
    ("VX", 413, "2013-11-02T20:55", "2013-11-03T03:15", "2013-11-03T08:14"),
    # bent: scheduled for 1:30, which came twice; the later is meant
    ("B6", 1183, "2013-11-03T01:50", "2013-11-03T06:30", "2013-11-03T06:22"),
    # bent: by its delay it landed before it could have: left at 1:44, in the air for 134 minutes
    ("B6", 527, "2013-11-03T01:29", "2013-11-03T04:10", "2013-11-03T03:58"),
)


@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: f"{night[0]} {night[1]}")
def test_clocks_of_nights_when_they_change(
    march: Judged, november: Judged, night: tuple[str, int, str, str, str]
) -> None:
    carrier, flight, scheduled_at, arrives_at, known_at = night
    fact = arrival(march if scheduled_at < "2013-06" else november, carrier, flight, scheduled_at)
    assert (fact["arrives_at"], fact["known_at"]) == (instant(arrives_at), instant(known_at))


def test_known_moments_agree_with_the_clocks_of_the_raw_rows(judged: Judged) -> None:
    """The clock fields say the same, 2400 being midnight, but for arrivals in a night when clocks changed."""
    raw = list(rows_of(judged.world.raw("flights")))
    departed = judged.world.facts("departed")
    wrong, ends_of_days = [], 0
    for row, known_at in departed.select("row", "known_at").iter_rows():
        clock = raw[row - 1]["dep_time"]
        ends_of_days += clock == "2400"
        wrong += [row] if f"{local(known_at, NEW_YORK):%H%M}" != f"{int(clock) % 2400:04}" else []
    assert not wrong
    assert ends_of_days


def test_islands_that_airports_csv_lacks_are_four_hours_behind_utc_all_year(judged: Judged) -> None:
    raw = list(rows_of(judged.world.raw("flights")))
    zones = {row["faa"] for row in rows_of(judged.world.raw("airports"))}
    arrived = judged.world.facts("arrived").filter(~pl.col("dest").is_in(zones))
    assert set(arrived["dest"]) == {"BQN", "PSE", "SJU", "STT"}
    clocks = [f"{int(raw[row - 1]['arr_time']) % 2400:04}" for row in arrived["row"]]
    assert (arrived["known_at"] - timedelta(hours=4)).dt.strftime("%H%M").to_list() == clocks


def test_next_day_arrivals(judged: Judged) -> None:
    days = (pl.col("scheduled_at", "arrives_at").dt.convert_time_zone("America/New_York").dt.date()).name.suffix("_day")
    scheduled = judged.world.facts("scheduled").with_columns(days, block=pl.col("arrives_at") - pl.col("scheduled_at"))
    assert scheduled["block"].is_between(timedelta(minutes=50), timedelta(hours=12)).all()
    over_midnight = scheduled.filter(pl.col("scheduled_at_day") < pl.col("arrives_at_day"))
    assert over_midnight.height > scheduled.height / 100


def test_a_missing_tailnum_does_not_tell_the_label(judged: Judged) -> None:
    scheduled = judged.world.facts("scheduled")
    nameless = scheduled.filter(pl.col("tailnum").is_null())
    assert nameless.height > 50
    identity = ["carrier", "flight", "origin", "scheduled_at"]
    assert nameless.join(judged.world.facts("departed"), on=identity).is_empty()
    features = judged.world.features()
    legs = [name for name in features.columns if name.startswith(("leg_", "turn_"))]
    unseen = features.filter(pl.all_horizontal(pl.col(legs).is_null()))
    hidden = unseen.join(nameless, on=identity, how="semi")
    assert hidden.height == nameless.filter(pl.col("scheduled_at") < judged.world.params.as_of).height
    labelled = unseen.join(judged.world.facts("arrived"), on=identity)
    late = labelled.filter(pl.col("arr_delay") >= 15).height
    assert 0 < late < labelled.height, "what looks the same as a missing tailnum has both labels"


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_a_planted_leak_is_found(
    leak: Leak, draw: random.Random, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Sources.landed(date(2013, 6, 3), days=5)
    judged = Judged.build(sources, tmp_path, instant("2013-06-07"), leak.plant(tmp_path, monkeypatch))
    leaking = {"final_delay": "aircraft.last_leg", "by_schedule": "origin.delays"}[leak.name]
    with pytest.raises(AssertionError, match=f"^{leaking} of .*, and not "):
        check_view(judged, leaking, draw)
    with pytest.raises(AssertionError, match="found and expected are"):
        check_features(judged, draw)
    check_view(judged, "flight.history", draw)
