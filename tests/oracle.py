"""What the problem flights promises, recomputed from raw files in plain Python. Imports nothing of the project.

It is slow and says the same as `problems/flights` in other words: where both agree, neither is likely to be wrong.
"""

import csv
import io
import struct
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
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
LONGEST_DELAY = 240
STRONGEST_WIND = 200
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


def mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None


Teller = Callable[[datetime], Row | None]
"""Says what is true at a tick; nothing where there was no fact yet."""


def delays(prefix: str, flights: Iterable[Flight]) -> Teller:
    """A fact is in a window from the tick that publishes it until as many hours later."""
    left = [(published(f.departed_at), f.dep_delay) for f in flights if f.departed_at and f.dep_delay is not None]
    landed = [(published(f.arrived_at), f.arr_delay) for f in flights if f.arrived_at and f.arr_delay is not None]
    first = min((at for at, _ in left + landed), default=None)

    def last(facts: list[tuple[datetime, int]], hours: int, tick: datetime) -> list[int]:
        begin = tick - hours * HOUR
        return [min(delay, LONGEST_DELAY) for at, delay in facts if begin < at <= tick]

    def told(tick: datetime) -> Row | None:
        if first is None or tick < first:
            return None
        row: Row = {f"{prefix}_departures_1h": float(len(last(left, 1, tick)))}
        for hours in (1, 3, 24):
            row[f"{prefix}_dep_{hours}h"] = mean(last(left, hours, tick))
            row[f"{prefix}_arr_{hours}h"] = mean(last(landed, hours, tick))
        row[f"{prefix}_late_3h"] = mean([delay >= 15 for delay in last(left, 3, tick)])
        return row

    return told


def overdue(prefix: str, flights: Iterable[Flight]) -> Teller:
    """A flight is waited for until it leaves, 4 hours at most; where none ever was, nothing is said."""
    late, very_late = ([wait for f in flights if (wait := _wait(f, after))] for after in (15, 60))
    first = min((since for since, _ in late + very_late), default=None)

    def told(tick: datetime) -> Row | None:
        if first is None or tick < first:
            return None
        return {
            f"{prefix}_overdue": float(sum(since <= tick < gone for since, gone in late)),
            f"{prefix}_overdue_1h": float(sum(since <= tick < gone for since, gone in very_late)),
        }

    return told


def _wait(flight: Flight, after: int) -> tuple[datetime, datetime] | None:
    """From when until when a flight is so many minutes late and has not left."""
    since, gone = published(flight.scheduled_at + after * MINUTE), published(flight.scheduled_at) + 4 * HOUR
    if flight.departed_at:
        gone = min(gone, published(flight.departed_at))
    return (since, gone) if since < gone else None


def history(prefix: str, flights: Iterable[Flight]) -> Teller:
    """What landed on a day counts from the midnight that ends it, for 28 days."""
    landed = [(midnight(f.arrived_at) + DAY, f.arr_delay) for f in flights if f.arrived_at and f.arr_delay is not None]

    def told(tick: datetime) -> Row | None:
        if not any(day <= tick for day, _ in landed):
            return None
        recent = [delay for day, delay in landed if day <= tick < day + 28 * DAY]
        return {
            f"{prefix}_flights_28d": float(len(recent)),
            f"{prefix}_late_28d": mean([delay >= 15 for delay in recent]),  # the question's own number
            f"{prefix}_delay_28d": mean([min(delay, LONGEST_DELAY) for delay in recent]),
        }

    return told


def last_landed(flights: Iterable[Flight]) -> Teller:
    """What landed last under this number."""
    landed = [(f.arrived_at, f.scheduled_at, f) for f in flights if f.arrived_at]

    def told(tick: datetime) -> Row | None:
        seen = [arrival for arrival in landed if published(arrival[0]) <= tick]
        if not seen:
            return None
        _, _, newest = max(seen, key=lambda arrival: arrival[:2])
        return {"last_dep_delay": newest.dep_delay, "last_arr_delay": newest.arr_delay}

    return told


def congestion(flights: Iterable[Flight]) -> Teller:
    """All flights of one hour of the schedule; a day later nobody asks."""
    listed = [(published(f.scheduled_known_at), f.slot) for f in flights]

    def told(tick: datetime) -> Row | None:
        slots = [slot for at, slot in listed if at <= tick]
        if not slots:
            return None
        return {"slot_departures": None if tick >= published(slots[0] + DAY) else float(len(slots))}

    return told


def _events(flight: Flight) -> Iterator[tuple[datetime, int, Flight]]:
    if not flight.departed_at or published(flight.departed_at) > published(flight.scheduled_at):
        yield flight.scheduled_at, 0, flight
    if flight.departed_at:
        yield flight.departed_at, 1, flight
    if flight.arrived_at:
        yield flight.arrived_at, 2, flight


def _due_at(stage: int, leg: Flight) -> datetime:
    """When it lands, by what is known."""
    return (leg.arrived_at if stage == 2 else None) or leg.arrives_at + (leg.dep_delay or 0) * MINUTE * stage


def last_leg(flights: Iterable[Flight]) -> Teller:
    """The newest of what is known: a leg was due and had not left, left, or landed.

    Two flights of one moment under one tail number do occur: the first by destination counts, then the last to land.
    """
    events = [event for flight in flights for event in _events(flight)]
    events.sort(key=lambda e: _due_at(*e[1:]), reverse=True)
    events.sort(key=lambda e: e[2].dest)

    def told(tick: datetime) -> Row | None:
        seen = [event for event in events if published(event[0]) <= tick]
        if not seen:
            return None
        _, stage, leg = max(seen, key=lambda e: (e[0], e[1], e[2].scheduled_at))
        return {
            "leg_stage": stage,
            "leg_delay": (None, leg.dep_delay, leg.arr_delay)[stage],
            "leg_block": minutes(leg.arrives_at - leg.scheduled_at),
            "leg_scheduled_at": leg.scheduled_at,
            "leg_due_at": _due_at(stage, leg),
            "leg_dest": leg.dest,
        }

    return told


def weather(observations: Iterable[Observation]) -> Teller:
    """The newest observation, until it is 6 hours old."""
    made = [(published(o.known_at), o) for o in observations]

    def told(tick: datetime) -> Row | None:
        seen = [(at, o) for at, o in made if at <= tick]
        if not seen:
            return None
        at, newest = max(seen, key=lambda pair: pair[1].event_at)
        values = newest.values if tick < at + 6 * HOUR else dict.fromkeys(newest.values)
        kept = {name: value for name, value in values.items() if name != "dewp"}
        return {**kept, "dew_spread": _less(values["temp"], values["dewp"])}

    return told


@dataclass(frozen=True)
class View:
    """Which flights a row is about, and what it says of them."""

    key: Callable[[Flight], Key | None]
    told: Callable[[list[Flight]], Teller]


def _tailnum(flight: Flight) -> Key | None:
    return (flight.tailnum,) if flight.tailnum else None


WEATHER = "origin.weather"
VIEWS = {
    "aircraft.last_leg": View(_tailnum, last_leg),
    "carrier.delays": View(lambda f: (f.carrier,), partial(delays, "carrier")),
    "carrier_origin.delays": View(lambda f: (f.carrier, f.origin), partial(delays, "here")),
    "carrier_origin.overdue": View(lambda f: (f.carrier, f.origin), partial(overdue, "here")),
    "carrier_origin_hour.history": View(lambda f: (f.carrier, f.origin, f.local_hour), partial(history, "hour")),
    "city.overdue": View(lambda _: ("New York",), partial(overdue, "city")),
    "dest.delays": View(lambda f: (f.dest,), partial(delays, "dest")),
    "dest.overdue": View(lambda f: (f.dest,), partial(overdue, "dest")),
    "flight.last": View(lambda f: (f.carrier, f.flight), last_landed),
    "flight.history": View(lambda f: (f.carrier, f.flight), partial(history, "flight")),
    "origin.delays": View(lambda f: (f.origin,), partial(delays, "origin")),
    "origin.overdue": View(lambda f: (f.origin,), partial(overdue, "origin")),
    "origin_slot.congestion": View(lambda f: (f.origin, f.slot), congestion),
}


class Oracle:
    """Raw files as they were known at a moment, and what every view and feature must be."""

    views = (*VIEWS, WEATHER)

    def __init__(self, airports: Path, flights: Path, weather_: Path, as_of: datetime) -> None:
        zones = zones_of(rows_of(airports))
        everything = [flight_of(row, zones) for row in rows_of(flights)]
        self.flights = [cut for flight in everything if (cut := known(flight, as_of))]
        observations = [observation_of(row) for row in rows_of(weather_)]
        self.observations = [o for o in observations if o.known_at < as_of and not _is_refused(o)]
        self._told = {name: self._tellers(view) for name, view in VIEWS.items()}
        by_origin: dict[Key, list[Observation]] = defaultdict(list)
        for observation in self.observations:
            by_origin[observation.origin,].append(observation)
        self._told[WEATHER] = {key: weather(rows) for key, rows in by_origin.items()}

    def _tellers(self, view: View) -> dict[Key, Teller]:
        groups: dict[Key, list[Flight]] = defaultdict(list)
        for flight in self.flights:
            if key := view.key(flight):
                groups[key].append(flight)
        return {key: view.told(flights) for key, flights in groups.items()}

    def keys(self, view: str) -> set[Key]:
        """All keys that anything is known about."""
        return set(self._told[view])

    def row(self, view: str, key: Key | None, tick: datetime) -> Row | None:
        """What a view must say of a key at a tick; None where it was never seen."""
        told = self._told[view].get(key) if key else None
        return told(tick) if told else None

    def features(self, request: Flight) -> Row:
        """All that is known for a request, and what is computed from it."""
        tick = due(request.moment)
        found = self.row(WEATHER, (request.origin,), tick) or {}
        for name, view in VIEWS.items():
            found |= self.row(name, view.key(request), tick) or {}
        return found | _requested(request, found)


def _is_refused(observation: Observation) -> bool:
    return (observation.values["wind_speed"] or 0) > STRONGEST_WIND


def _less(one: Value, other: Value) -> float | None:
    return one - other if isinstance(one, (int, float)) and isinstance(other, (int, float)) else None


def _requested(request: Flight, found: Row) -> Row:
    overdue_now, slot = found.get("origin_overdue"), found.get("slot_departures")
    row: Row = {
        "local_hour": request.local_hour,
        "local_minute": request.local_hour * 60 + request.scheduled_at.minute,
        "weekday": local(request.scheduled_at, NEW_YORK).isoweekday(),
        "block": minutes(request.arrives_at - request.scheduled_at),
        "miles": request.distance,
        "here_dep_trend": _less(found.get("here_dep_3h"), found.get("carrier_dep_24h")),
        "origin_dep_trend": _less(found.get("origin_dep_1h"), found.get("origin_dep_3h")),
        "overdue_share": overdue_now / slot if isinstance(overdue_now, float) and isinstance(slot, float) else None,
    }
    due_at, leg_at, block = found.get("leg_due_at"), found.get("leg_scheduled_at"), found.get("leg_block")
    if isinstance(due_at, datetime) and isinstance(leg_at, datetime) and isinstance(block, int):
        slack = minutes(request.scheduled_at - due_at)
        row["leg_slack"] = slack
        row["turn_slack"] = slack - block
        row["leg_gap"] = minutes(request.scheduled_at - leg_at)
        row["leg_waiting"] = minutes(request.moment - leg_at) if found["leg_stage"] == 0 else None
        row["leg_same_dest"] = int(found["leg_dest"] == request.dest)
    return row


def as_float32(value: Value) -> float | None:
    """What a model is fed."""
    if value is None:
        return None
    assert isinstance(value, (int, float))
    narrow: float = struct.unpack("f", struct.pack("f", value))[0]
    return narrow
