"""Worlds made of a stretch of the raw files: cut, changed or erased row by row, and built by the project's own stages."""

import csv
import io
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import polars as pl
import pytest
from raw_facts import DAY, Flight, Raw, flight_of, observation_of, rows_of, zones_of

from flows.ingest import ingest
from flows.views import views
from tandem.landing import Pins
from tandem.params import Params
from tandem.problem import load_problem
from tandem.settings import Settings
from tandem.warehouse import Warehouse
from tasks.landing import land_file, landed_files, pin_of
from tasks.training_set import describe, requests_of, with_features, with_views
from tasks.views import read_specs, read_view

ROOT = Path(__file__).parents[1]
PARAMS = Params.load(ROOT / "params.yaml")
PROBLEM = "flights"


@dataclass(frozen=True)
class Sources:
    """Rows of the raw files."""

    airports: list[Raw]
    flights: list[Raw]
    weather: list[Raw]

    @classmethod
    def landed(cls, first: date, days: int) -> "Sources":
        """Read, of what data/sources.lock pins, what was scheduled or observed on so many days."""
        pins = Pins.load(ROOT / "data" / "sources.lock")
        files = landed_files(pins, load_problem(PROBLEM), ROOT / "var" / "landing")
        wanted = {str(first + timedelta(days=n)) for n in range(days)}
        return cls(
            airports=list(rows_of(files["airports"][0])),
            flights=[row for row in rows_of(files["flights"][0]) if _day(row) in wanted],
            weather=[row for row in rows_of(files["weather"][0]) if _day(row) in wanted],
        )

    @cached_property
    def understood(self) -> list[tuple[Raw, Flight]]:
        """Each row of flights, and what the oracle reads in it."""
        zones = zones_of(self.airports)
        return [(row, flight_of(row, zones)) for row in self.flights]


def _day(row: Raw) -> str:
    return f"{row['year']}-{row['month']:0>2}-{row['day']:0>2}"


def erased(sources: Sources, moment: datetime) -> Sources:
    """Take out of the raw rows all that was not known before a moment: it has not happened yet."""
    return replace(
        sources,
        flights=[left for row, flight in sources.understood if (left := _erased(row, flight, moment))],
        weather=[row for row in sources.weather if observation_of(row).known_at < moment],
    )


ARRIVAL = {"arr_time": "NA", "arr_delay": "NA", "air_time": "NA"}
DEPARTURE = {"dep_time": "NA", "dep_delay": "NA"}


def _erased(row: Raw, flight: Flight, moment: datetime) -> Raw | None:
    if flight.scheduled_known_at >= moment:
        return None
    if flight.departed_at is None or flight.departed_at >= moment:
        return row | DEPARTURE | ARRIVAL
    landed_at = flight.arrived_at or flight.departed_at + DAY  # a diverted flight landed elsewhere, nobody says when
    return row | ARRIVAL if landed_at >= moment else row


def _table(rows: list[Raw]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@dataclass(frozen=True)
class World:
    """Sources that landed in a folder of their own, and what the stages make of them."""

    folder: Path
    params: Params

    @property
    def settings(self) -> Settings:
        return Settings(data=self.folder / "data", var=self.folder / "var")

    @property
    def data(self) -> Path:
        return self.settings.of(self.params.problem)

    def raw(self, name: str) -> Path:
        return self.folder / (f"{name}.csv.zip" if name == "flights" else f"{name}.csv")

    def land(self, sources: Sources) -> None:
        """Write the raw files, and pin them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pins = []
        for name in ("airports", "flights", "weather"):
            path, rows = self.raw(name), getattr(sources, name)
            if path.suffix == ".zip":
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr(f"{name}.csv", _table(rows))
            else:
                path.write_text(_table(rows))
            pin = pin_of(path, f"{self.params.problem}/{name}")
            land_file(path, self.settings.landing, pin)
            pins.append(pin)
        Pins(pins=tuple(pins)).save(self.settings.data / "sources.lock")

    def build(self) -> None:
        """Run the stages that make facts and views."""
        ingest(self.params, self.settings)
        views(self.params, self.settings)

    def facts(self, kind: str) -> pl.DataFrame:
        return pl.read_parquet(self.data / "facts" / kind / "*.parquet")

    def view(self, name: str) -> pl.DataFrame:
        return read_view(self.data / "views", name)

    def keys(self) -> dict[str, tuple[str, ...]]:
        """The key columns of each view."""
        return {spec.name: spec.keys for spec in read_specs(self.data / "views")}

    def features(self) -> pl.DataFrame:
        """The features of every request, labelled or not, as stage training_set makes them."""
        problem = load_problem(self.params.problem)
        folder = self.data / "views"
        spec = describe(problem, read_specs(folder), self.params)
        with Warehouse.open(self.data / "facts", self.params.as_of, self.params.features.tick) as warehouse:
            joined = with_views(requests_of(problem, warehouse, self.params.features), spec, warehouse, folder)
            made = with_features(joined, spec, warehouse)
        return made.select("moment", *problem.keys, *spec.names)


def rebuilt(sources: Sources, folder: Path, as_of: datetime, problem: str = PROBLEM) -> World:
    """Build a world from rows."""
    world = World(folder, PARAMS.model_copy(update={"as_of": as_of, "problem": problem}))
    world.land(sources)
    world.build()
    return world


@dataclass(frozen=True)
class Leak:
    """A mistake in one of the problem's SQL files, for a proof to find."""

    name: str
    file: str
    right: str
    wrong: str

    def plant(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """Make a problem of its own with the mistake in it, and give its name."""
        name = f"flights_{self.name}"
        copy = folder / "problems" / name
        for path in (ROOT / "problems" / PROBLEM).rglob("*"):
            if path.suffix in (".py", ".sql", ".json"):
                target = copy / path.relative_to(ROOT / "problems" / PROBLEM)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        _change(copy / "problem.py", f'name="{PROBLEM}"', f'name="{name}"')
        _change(copy / self.file, self.right, self.wrong)
        monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
        return name


def _change(path: Path, right: str, wrong: str) -> None:
    text = path.read_text()
    assert text.count(right) == 1, f"{path.name} no longer says {right!r}: plant the leak elsewhere"
    path.write_text(text.replace(right, wrong))


LEAKS: Iterable[Leak] = (
    Leak(
        "final_delay",  # of a leg that has left and not landed
        "views/aircraft.last_leg.sql",
        right="from legs\n    where departed_at is not null",
        wrong="from (select legs.* replace (coalesce(arrived.arr_delay, legs.dep_delay) as dep_delay) from legs\n"
        "    left join arrived using (tailnum, origin, scheduled_at))\n    where departed_at is not null",
    ),
    Leak(
        "by_schedule",  # a flight's delay enters its windows when it should have landed
        "macros.sql",
        right="select carrier, origin, dest, published(known_at), 0, packed(least(arr_delay, 240))",
        wrong="select carrier, origin, dest, published(scheduled_at), 0, packed(least(arr_delay, 240))",
    ),
)
