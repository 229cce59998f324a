"""Raw files as facts, in plain Python; for the oracle, and for who erases in them. Imports nothing of the project."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

Raw = dict[str, str]
"""A row of a raw file: text by column."""
Value = float | str | datetime | None
Row = dict[str, Value]
Key = tuple[str | int | datetime, ...]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TICK = 10 * MINUTE
LAG = 5 * MINUTE
NEW_YORK = ZoneInfo("America/New_York")
PUERTO_RICO = ZoneInfo("America/Puerto_Rico")
NOT_IN_AIRPORTS = ("BQN", "PSE", "SJU", "STT")


def midnight(instant: datetime) -> datetime:
    return instant.replace(hour=0, minute=0)


def tick_of(instant: datetime) -> datetime:
    """The newest tick not after an instant."""
    return instant.replace(minute=instant.minute // 10 * 10)


def published(known_at: datetime) -> datetime:
    """The first tick after what was known at an instant: knowledge counts after that instant, not at it."""
    return tick_of(known_at) + TICK


def due(moment: datetime) -> datetime:
    """The tick that a request made at a moment may use."""
    return tick_of(moment - LAG)


def local(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)


def minutes(length: timedelta) -> int:
    return length // MINUTE


@dataclass(frozen=True, slots=True)
class Flight:
    """A row of flights.csv, all instants in UTC."""

    carrier: str
    flight: int
    origin: str
    dest: str
    tailnum: str | None
    distance: int
    scheduled_at: datetime
    arrives_at: datetime
    dep_delay: int | None
    arr_delay: int | None
    departed_at: datetime | None
    arrived_at: datetime | None

    @property
    def identity(self) -> Key:
        return (self.carrier, self.flight, self.origin, self.scheduled_at)

    @property
    def scheduled_known_at(self) -> datetime:
        return midnight(self.scheduled_at) - 28 * DAY

    @property
    def cancelled_known_at(self) -> datetime:
        return self.scheduled_at + DAY

    @property
    def slot(self) -> datetime:
        return self.scheduled_at.replace(minute=0)

    @property
    def local_hour(self) -> int:
        return local(self.scheduled_at, NEW_YORK).hour

    @property
    def moment(self) -> datetime:
        """When it would have been asked about."""
        return self.scheduled_at - 2 * HOUR


@dataclass(frozen=True, slots=True)
class Observation:
    """A row of weather.csv."""

    origin: str
    event_at: datetime
    values: Mapping[str, float | None]

    @property
    def known_at(self) -> datetime:
        return self.event_at + HOUR


def rows_of(path: Path) -> Iterator[Raw]:
    """Read a CSV file, or the one in a zip."""
    if not zipfile.is_zipfile(path):
        with path.open(newline="") as lines:
            yield from csv.DictReader(lines)
        return
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as table:
        yield from csv.DictReader(io.TextIOWrapper(table, newline=""))


def instant_of(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def whole(text: str) -> int | None:
    return None if text == "NA" else int(text)


def number(text: str) -> float | None:
    return None if text == "NA" else float(text)


def zones_of(airports: Iterable[Raw]) -> dict[str, ZoneInfo]:
    zones = {row["faa"]: ZoneInfo(row["tzone"]) for row in airports if row["tzone"] != "NA"}
    return zones | dict.fromkeys(NOT_IN_AIRPORTS, PUERTO_RICO)


def arrival_by_schedule(scheduled_at: datetime, clock: int, zone: ZoneInfo) -> datetime:
    """The first time after the departure that the destination's clock shows; 2400 is the end of the day.

    Of an hour that comes twice it is the later one: knowledge may come too late, never too early.
    """
    there = local(scheduled_at, zone)
    lands = midnight(there) + clock // 100 * HOUR + clock % 100 * MINUTE
    lands += DAY if lands <= there else timedelta()
    return lands.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(tzinfo=None)


def flight_of(row: Raw, zones: Mapping[str, ZoneInfo]) -> Flight:
    scheduled_at = instant_of(row["time_hour"]) + int(row["minute"]) * MINUTE
    arrives_at = arrival_by_schedule(scheduled_at, int(row["sched_arr_time"]), zones[row["dest"]])
    dep_delay, arr_delay, air_time = whole(row["dep_delay"]), whole(row["arr_delay"]), whole(row["air_time"])
    departed_at = None if dep_delay is None else scheduled_at + dep_delay * MINUTE
    arrived_at = None if arr_delay is None else arrives_at + arr_delay * MINUTE
    if arrived_at and departed_at and air_time:
        arrived_at = max(arrived_at, departed_at + air_time * MINUTE)
    return Flight(
        carrier=row["carrier"],
        flight=int(row["flight"]),
        origin=row["origin"],
        dest=row["dest"],
        tailnum=None if row["tailnum"] == "NA" else row["tailnum"],
        distance=int(row["distance"]),
        scheduled_at=scheduled_at,
        arrives_at=arrives_at,
        dep_delay=dep_delay,
        arr_delay=arr_delay,
        departed_at=departed_at,
        arrived_at=arrived_at,
    )


def observation_of(row: Raw) -> Observation:
    names = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    return Observation(row["origin"], instant_of(row["time_hour"]), {name: number(row[name]) for name in names})


def known(flight: Flight, as_of: datetime) -> Flight | None:
    """What of a flight was known before a moment."""
    if flight.scheduled_known_at >= as_of:
        return None
    if flight.departed_at and flight.departed_at >= as_of:
        return replace(flight, departed_at=None, dep_delay=None, arrived_at=None, arr_delay=None)
    if flight.arrived_at and flight.arrived_at >= as_of:
        return replace(flight, arrived_at=None, arr_delay=None)
    return flight
