"""What the problem flights promises, recomputed from raw files in plain Python. Imports nothing of the project.

It is slow and says the same as `problems/flights` in other words: where both agree, neither is likely to be wrong.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from raw_facts import (
    DAY,
    HOUR,
    MINUTE,
    NEW_YORK,
    Flight,
    Key,
    Observation,
    Row,
    Value,
    due,
    flight_of,
    known,
    local,
    midnight,
    minutes,
    observation_of,
    published,
    rows_of,
    zones_of,
)

LONGEST_DELAY = 240
STRONGEST_WIND = 200


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
