"""What each source, kind of fact and request promises."""

import dataframely as dy
import polars as pl

from tandem.contracts import KEY, Fact, Row

CODE = r"^[A-Z0-9]{2}$"
AIRPORT = r"^[A-Z]{3}$"


class Airports(Row):
    """Airports of North America and their time zones."""

    faa = dy.String(primary_key=True, metadata=KEY)
    name = dy.String(nullable=False)
    lat = dy.Float64(nullable=False, min=-90, max=90)
    lon = dy.Float64(nullable=False, min=-180, max=180)
    alt = dy.Int64(nullable=False)
    tz = dy.Float64(nullable=False, min=-12, max=14)
    dst = dy.String(nullable=False)
    tzone = dy.String(nullable=True)


class Flights(Row):
    """One scheduled departure: clocks are local, `time_hour` is the scheduled hour in UTC."""

    year = dy.Int64(primary_key=True, min=1990, max=2100)
    month = dy.Int64(primary_key=True, min=1, max=12)
    day = dy.Int64(primary_key=True, min=1, max=31)
    dep_time = dy.Int64(nullable=True, min=0, max=2400)
    sched_dep_time = dy.Int64(nullable=False, min=0, max=2400)
    dep_delay = dy.Int64(nullable=True, min=-120, max=1440)
    arr_time = dy.Int64(nullable=True, min=0, max=2400)
    sched_arr_time = dy.Int64(nullable=False, min=0, max=2400)
    arr_delay = dy.Int64(nullable=True, min=-240, max=1440)
    carrier = dy.String(primary_key=True, regex=CODE, metadata=KEY)
    flight = dy.Int64(primary_key=True, min=1, metadata=KEY)
    tailnum = dy.String(nullable=True, max_length=8, metadata=KEY)
    origin = dy.String(primary_key=True, regex=AIRPORT, metadata=KEY)
    dest = dy.String(nullable=False, regex=AIRPORT, metadata=KEY)
    air_time = dy.Int64(nullable=True, min=1, max=1440)
    distance = dy.Int64(nullable=False, min=1, max=12000)
    hour = dy.Int64(nullable=False, min=0, max=24)
    minute = dy.Int64(nullable=False, min=0, max=59)
    time_hour = dy.Datetime(nullable=False)

    @dy.rule()
    def arrival_needs_departure(cls) -> pl.Expr:  # noqa: N805
        """What never left cannot have landed."""
        return pl.col("arr_delay").is_null() | pl.col("dep_delay").is_not_null()

    @dy.rule()
    def delay_needs_departure_time(cls) -> pl.Expr:  # noqa: N805
        """A delay is the difference of two clocks."""
        return pl.col("dep_delay").is_null() == pl.col("dep_time").is_null()


class Weather(Row):
    """One hour's observation at an airport."""

    origin = dy.String(primary_key=True, regex=AIRPORT, metadata=KEY)
    year = dy.Int64(nullable=False)
    month = dy.Int64(nullable=False, min=1, max=12)
    day = dy.Int64(nullable=False, min=1, max=31)
    hour = dy.Int64(nullable=False, min=0, max=23)
    temp = dy.Float64(nullable=True, min=-60, max=140)
    dewp = dy.Float64(nullable=True, min=-80, max=110)
    humid = dy.Float64(nullable=True, min=0, max=100)
    wind_dir = dy.Float64(nullable=True, min=0, max=360)
    wind_speed = dy.Float64(nullable=True, min=0, max=200)
    wind_gust = dy.Float64(nullable=True, min=0, max=250)
    precip = dy.Float64(nullable=True, min=0, max=20)
    pressure = dy.Float64(nullable=True, min=850, max=1100)
    visib = dy.Float64(nullable=True, min=0, max=100)
    time_hour = dy.Datetime(primary_key=True)


class Leg(Fact):
    """What all facts about a flight say."""

    carrier = dy.String(nullable=False, metadata=KEY)
    flight = dy.Int64(nullable=False, metadata=KEY)
    origin = dy.String(nullable=False, metadata=KEY)
    scheduled_at = dy.Datetime(nullable=False, metadata=KEY)
    arrives_at = dy.Datetime(nullable=False, description="by schedule")
    dest = dy.String(nullable=False, metadata=KEY)
    tailnum = dy.String(nullable=True, metadata=KEY)
    distance = dy.Int64(nullable=False, description="miles")

    @dy.rule()
    def block_time_is_sound(cls) -> pl.Expr:  # noqa: N805
        """No scheduled flight takes under a quarter of an hour or over 20 hours."""
        return (pl.col("arrives_at") - pl.col("scheduled_at")).dt.total_minutes().is_between(15, 1200)


class Scheduled(Leg):
    """A flight was put on the schedule."""


class Departed(Leg):
    """A flight left."""

    dep_delay = dy.Int64(nullable=False, description="minutes")


class Arrived(Leg):
    """A flight landed where it was bound for."""

    dep_delay = dy.Int64(nullable=False, description="minutes")
    arr_delay = dy.Int64(nullable=False, description="minutes")


class Cancelled(Leg):
    """A flight did not leave within a day of its time."""


class Observed(Fact):
    """The weather of an hour at an airport."""

    origin = dy.String(nullable=False, metadata=KEY)
    temp = dy.Float64(nullable=True, description="degrees Fahrenheit")
    dewp = dy.Float64(nullable=True, description="degrees Fahrenheit")
    humid = dy.Float64(nullable=True, description="relative, %")
    wind_dir = dy.Float64(nullable=True, description="degrees")
    wind_speed = dy.Float64(nullable=True, description="miles an hour")
    wind_gust = dy.Float64(nullable=True, description="miles an hour")
    precip = dy.Float64(nullable=True, description="inches in the hour")
    pressure = dy.Float64(nullable=True, description="millibars")
    visib = dy.Float64(nullable=True, description="miles")


class Request(dy.Schema):
    """A flight on the schedule, as a client asks about it."""

    carrier = dy.String(nullable=False, regex=CODE, metadata=KEY, description="two-letter code of the airline")
    flight = dy.Int64(nullable=False, min=1, max=9999, metadata=KEY, description="flight number")
    origin = dy.String(nullable=False, regex=AIRPORT, metadata=KEY, description="airport it leaves from")
    dest = dy.String(nullable=False, regex=AIRPORT, metadata=KEY, description="airport it is bound for")
    tailnum = dy.String(nullable=True, max_length=8, metadata=KEY, description="aircraft, where it is known")
    scheduled_at = dy.Datetime(nullable=False, metadata=KEY, description="scheduled departure, UTC")
    arrives_at = dy.Datetime(nullable=False, description="scheduled arrival, UTC")
    distance = dy.Int64(nullable=False, min=1, max=12000, description="miles")


SOURCES = {"airports": Airports, "flights": Flights, "weather": Weather}
FACTS = {
    "scheduled": Scheduled,
    "departed": Departed,
    "arrived": Arrived,
    "cancelled": Cancelled,
    "observed": Observed,
}
