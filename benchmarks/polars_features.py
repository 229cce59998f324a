"""The training set alone by hand: the fastest Polars we could write from the same facts to the same rows.

It makes no views, so nothing can be served from it: values are found for the requests alone. A window is the difference
of two running sums, each found by binary search among sorted integers, of which each holds a key's codes and a tick.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

AS_OF = datetime(2014, 1, 1)  # noqa: DTZ001 - all instants are UTC
TEXTS = ("carrier", "origin", "dest", "tailnum")
KEY = ("carrier", "flight", "origin", "scheduled_at")
HOUR, DAY = 6, 144
"""In ticks."""
BITS = {"flight": 14, "tailnum": 14, "local_hour": 5, "slot": 20}
"""What a part of a key takes; 8 if it is not said, 26 for the time, 63 for all."""

DELAYS = {
    "carrier": ("carrier",),
    "dest": ("dest",),
    "here": ("carrier", "origin"),
    "origin": ("origin",),
}
"""What the names of a view's values begin with, and what they are by."""
OVERDUE = {"city": (), "dest": ("dest",), "here": ("carrier", "origin"), "origin": ("origin",)}
HISTORY = {"flight": ("carrier", "flight"), "hour": ("carrier", "origin", "local_hour")}
OBSERVED = ("temp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def tick(instant: pl.Expr) -> pl.Expr:
    """Count the ticks until an instant."""
    return instant.dt.epoch("us") // (10 * 60 * 1_000_000)


def published(known_at: pl.Expr) -> pl.Expr:
    """Give the tick that publishes what became known."""
    return tick(known_at) + 1


def minutes(until: str, since: str) -> pl.Expr:
    """Count the minutes between two instants."""
    return (pl.col(until) - pl.col(since)).dt.total_minutes()


def packed(keys: Sequence[str], at: pl.Expr) -> pl.Expr:
    """Put a key and a time into one integer, which sorts by key and then by time."""
    whole = pl.lit(0, pl.Int64)
    for name in keys:
        whole = whole * (1 << BITS.get(name, 8)) + pl.col(name).to_physical()
    return whole * (1 << 26) + at


def local(at: str) -> pl.Expr:
    """Give an instant on New York's clocks."""
    return pl.col(at).dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")


def coded_as(name: str) -> pl.Categorical:
    """Give each column codes of its own, which are small."""
    return pl.Categorical(pl.Categories(name))


def read(facts: Path, kind: str, *columns: str) -> pl.DataFrame:
    """Read the facts of one kind that are known."""
    rows = pl.scan_parquet(facts / kind / "*.parquet").filter(pl.col("known_at") < AS_OF).select("known_at", *columns)
    coded = [pl.col(name).cast(coded_as(name)) for name in TEXTS if name in columns]
    leg = packed(KEY[:3], pl.col("scheduled_at").dt.epoch("s") // 60)  # four columns take ten times as long to join
    return rows.with_columns(coded).with_columns(leg=leg if set(KEY) <= set(columns) else None).collect()


class Running:
    """Events in the order of key and tick, with the sums of their values until each."""

    def __init__(self, events: pl.DataFrame, keys: Sequence[str], at: pl.Expr, *values: str) -> None:
        """Add up over all keys: what the keys before have is in both ends of a window."""
        rows = events.select(packed(keys, at).alias("at"), *values).sort("at")
        zero = pl.DataFrame(dict.fromkeys(values, 0.0))
        self.sums = pl.concat([zero, rows.select(pl.col(values).cum_sum().cast(pl.Float64))], rechunk=True)
        self.at, self.keys = rows["at"], keys

    def until(self, requests: pl.DataFrame, *ago: int) -> list[pl.Series]:
        """Count the events until so many ticks before that of each request, those of all keys before among them."""
        ends = {f"{ticks}": packed(self.keys, pl.col("due") - ticks) for ticks in ago}
        found = {name: pl.lit(self.at).search_sorted(end, side="right") for name, end in ends.items()}
        return requests.select(**found).get_columns()

    def windows(self, requests: pl.DataFrame, *lengths: int) -> tuple[pl.Series, list[pl.DataFrame]]:
        """Say which keys had any event by now, and sum each value over the last so many ticks."""
        now, *then = self.until(requests, 0, *lengths)
        sums = self.sums[now]
        return now > self.before(requests), [sums - self.sums[found] for found in then]

    def before(self, requests: pl.DataFrame) -> pl.Series:
        """Count the events of all keys before that of each request."""
        return requests.select(pl.lit(self.at).search_sorted(packed(self.keys, pl.lit(0)))).to_series()


def delays(requests: pl.DataFrame, events: pl.DataFrame, name: str, keys: Sequence[str]) -> pl.DataFrame:
    """Give mean delays of the last 1, 3 and 24 hours."""
    running = Running(events, keys, pl.col("tick"), "n", "dep", "late", "m", "arr")
    started, windows = running.windows(requests, HOUR, 3 * HOUR, DAY)
    values = [windows[0].select(pl.when(started).then("n").alias(f"{name}_departures_1h"))]
    for hours, sums in zip((1, 3, 24), windows, strict=True):
        means = [(f"{name}_dep_{hours}h", "dep", "n"), (f"{name}_arr_{hours}h", "arr", "m")]
        means += [(f"{name}_late_3h", "late", "n")] if hours == 3 else []
        values += [sums.select(pl.when(pl.col(by) > 0).then(pl.col(of) / pl.col(by)).alias(n) for n, of, by in means)]
    return pl.concat(values, how="horizontal")


def overdue(requests: pl.DataFrame, legs: pl.DataFrame, name: str, keys: Sequence[str]) -> pl.DataFrame:
    """Count departures that should have left 15 minutes or an hour ago, and have not."""
    counts = {}
    for suffix, late in (("", 15), ("_1h", 60)):
        since = published(pl.col("scheduled_at") + pl.duration(minutes=late))
        waited = legs.filter(since < pl.col("gone"))
        entered, left = Running(waited, keys, since), Running(waited, keys, pl.col("gone"))
        now, before = entered.until(requests, 0)[0], left.until(requests, 0)[0]
        if late == 15:
            started = now > entered.before(requests)
        counts[f"{name}_overdue{suffix}"] = now.cast(pl.Float64) - before.cast(pl.Float64)
    return pl.DataFrame(counts).select(pl.when(started).then(pl.col(count)) for count in counts)


def history(requests: pl.DataFrame, arrived: pl.DataFrame, name: str, keys: Sequence[str]) -> pl.DataFrame:
    """Give what the last 28 days of arrivals came to, as of midnight."""
    running = Running(arrived, keys, (tick(pl.col("known_at")) // DAY + 1) * DAY, "m", "late", "arr")
    started, (sums,) = running.windows(requests, 28 * DAY)
    some = pl.when(pl.col("m") > 0)
    return sums.select(
        pl.when(started).then("m").alias(f"{name}_flights_28d"),
        some.then(pl.col("late") / pl.col("m")).alias(f"{name}_late_28d"),
        some.then(pl.col("arr") / pl.col("m")).alias(f"{name}_delay_28d"),
    )


def leg_stages(legs: pl.DataFrame, arrived: pl.DataFrame) -> list[tuple[pl.DataFrame, str, pl.Expr, pl.Expr]]:
    """Give the legs that are due, have left and have landed: when, the delay by then, when it is to land."""
    both = legs.filter(pl.col("tailnum").is_not_null())
    waiting = pl.col("departed_at").is_null() | (published(pl.col("departed_at")) > published(pl.col("scheduled_at")))
    left = pl.col("arrives_at") + pl.duration(minutes="dep_delay")
    return [
        (both.filter(waiting), "scheduled_at", pl.lit(None, pl.Int64), pl.col("arrives_at")),
        (both.filter(pl.col("departed_at").is_not_null()), "departed_at", pl.col("dep_delay"), left),
        (arrived.filter(pl.col("tailnum").is_not_null()), "known_at", pl.col("arr_delay"), pl.col("known_at")),
    ]


def last_leg(requests: pl.DataFrame, legs: pl.DataFrame, arrived: pl.DataFrame) -> pl.DataFrame:
    """Give what was last known of the aircraft: its leg is due, has left or has landed."""
    events = pl.concat(
        rows.select(
            packed(["tailnum"], published(pl.col(at))).alias("at"),
            pl.col(at).alias("known_at"),
            leg_stage=stage,
            leg_delay=delay,
            leg_block=minutes("arrives_at", "scheduled_at"),
            leg_scheduled_at="scheduled_at",
            leg_due_at=due,
            leg_dest="dest",
        )
        for stage, (rows, at, delay, due) in enumerate(leg_stages(legs, arrived))
    ).sort("at", "known_at", "leg_stage", "leg_scheduled_at", "leg_due_at")
    return newest(requests, events.drop("known_at"), ["tailnum"])


def newest(requests: pl.DataFrame, events: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Give each request the last of the sorted events of its key that is not after its tick."""
    due = packed(keys, pl.col("due"))
    last = pl.max_horizontal(pl.lit(events["at"]).search_sorted(due, side="right").cast(pl.Int64) - 1, 0)
    own = pl.lit(events["at"]).gather(last).is_between(packed(keys, pl.lit(0)), due)
    found = requests.select(pl.when(own).then(last)).to_series()
    return events.select(pl.exclude("at").gather(found))


def last_arrival(requests: pl.DataFrame, arrived: pl.DataFrame) -> pl.DataFrame:
    """Give the delays of the last flight of the number that landed."""
    keys = ("carrier", "flight")
    at = packed(keys, published(pl.col("known_at"))).alias("at")
    events = arrived.select(at, "known_at", "scheduled_at", last_dep_delay="dep_delay", last_arr_delay="arr_delay")
    found = newest(requests, events.sort("at", "known_at", "scheduled_at"), keys)
    return found.select("last_dep_delay", "last_arr_delay")


def weather(requests: pl.DataFrame, facts: Path) -> pl.DataFrame:
    """Give the last observation at the origin, if it is not 6 hours old."""
    observed = read(facts, "observed", "origin", "event_at", "dewp", *OBSERVED)
    events = observed.with_columns(packed(["origin"], published(pl.col("known_at"))).alias("at")).sort("at", "event_at")
    fresh = pl.lit(requests["due"]) < published(pl.col("known_at")) + 6 * HOUR
    values = [pl.col(name) for name in OBSERVED] + [(pl.col("temp") - pl.col("dewp")).alias("dew_spread")]
    return newest(requests, events, ["origin"]).select(pl.when(fresh).then(value) for value in values)


def congestion(requests: pl.DataFrame, scheduled: pl.DataFrame) -> pl.DataFrame:
    """Count what was scheduled for the hour; none is asked for when it is long gone."""
    running = Running(scheduled, ("origin", "slot"), published(pl.col("known_at")))
    now = running.until(requests, 0)[0] - running.before(requests)
    return pl.DataFrame({"slot_departures": now.cast(pl.Float64)})


def computed() -> list[pl.Expr]:
    """Compute the request features."""
    slack, same = minutes("scheduled_at", "leg_due_at"), pl.col("leg_dest") == pl.col("dest")
    return [
        (local("scheduled_at").dt.hour().cast(pl.Int64) * 60 + pl.col("scheduled_at").dt.minute()).alias(
            "local_minute"
        ),
        local("scheduled_at").dt.weekday().alias("weekday"),
        minutes("arrives_at", "scheduled_at").alias("block"),
        pl.col("distance").alias("miles"),
        slack.alias("leg_slack"),
        (slack - pl.col("leg_block")).alias("turn_slack"),
        minutes("scheduled_at", "leg_scheduled_at").alias("leg_gap"),
        pl.when(pl.col("leg_stage") == 0).then(minutes("moment", "leg_scheduled_at")).alias("leg_waiting"),
        same.cast(pl.Int8).alias("leg_same_dest"),
        (pl.col("here_dep_3h") - pl.col("carrier_dep_24h")).alias("here_dep_trend"),
        (pl.col("origin_dep_1h") - pl.col("origin_dep_3h")).alias("origin_dep_trend"),
        pl.when(pl.col("slot_departures") > 0)
        .then(pl.col("origin_overdue") / pl.col("slot_departures"))
        .alias("overdue_share"),
    ]


def slices() -> list[pl.Expr]:
    """Name the groups for which the model is judged apart."""
    short, middle = pl.col("distance") < 500, pl.col("distance") < 1500
    haul = pl.when(short).then(pl.lit("under 500 miles")).when(middle).then(pl.lit("500 to 1500 miles"))
    part = pl.when(pl.col("local_hour") < 10).then(pl.lit("morning")).when(pl.col("local_hour") < 16)
    return [
        pl.col("origin").cast(pl.String).alias("slice_origin"),
        pl.col("carrier").cast(pl.String).alias("slice_carrier"),
        haul.otherwise(pl.lit("over 1500 miles")).alias("slice_haul"),
        part.then(pl.lit("midday")).otherwise(pl.lit("evening")).alias("slice_part_of_day"),
    ]


def outcomes(facts: Path, departed: pl.DataFrame, arrived: pl.DataFrame) -> pl.DataFrame:
    """Give what is known to have become of each flight."""
    diverted = departed.join(arrived, on="leg", how="anti").with_columns(pl.col("known_at") + pl.duration(days=1))
    ends = [
        (arrived.with_columns(label=pl.col("arr_delay") >= 15), "arrived"),
        (read(facts, "cancelled", *KEY).with_columns(label=None), "cancelled"),
        (diverted.filter(pl.col("known_at") < AS_OF).with_columns(label=None), "diverted"),
    ]
    return pl.concat(
        rows.select("leg", pl.col("label").cast(pl.Boolean), outcome=pl.lit(name), label_known_at="known_at")
        for rows, name in ends
    )


def split() -> pl.Expr:
    """Say what each labelled row is for."""
    test, stop = AS_OF - timedelta(days=31), AS_OF - timedelta(days=61)
    labelled, asked, known = pl.col("label").is_not_null(), pl.col("moment"), pl.col("label_known_at")
    fitted = pl.when(labelled & (known < stop)).then(pl.lit("fit"))
    stopped = fitted.when(labelled & (asked >= stop) & (known < test)).then(pl.lit("stop"))
    return stopped.when(labelled & (asked >= test)).then(pl.lit("test")).alias("split")


@dataclass(frozen=True)
class Known:
    """The facts as both scripts want them, and the requests in the order of time."""

    scheduled: pl.DataFrame
    departed: pl.DataFrame
    landed: pl.DataFrame
    legs: pl.DataFrame
    """Each scheduled flight, with the tick from which it is not waited for."""
    requests: pl.DataFrame

    @classmethod
    def of(cls, facts: Path) -> "Known":
        """Read what is known."""
        hour, moment = local("scheduled_at").dt.hour(), pl.col("scheduled_at") - pl.duration(hours=2)
        scheduled = read(facts, "scheduled", *KEY, "arrives_at", "dest", "tailnum", "distance").with_columns(
            slot=pl.col("scheduled_at").dt.epoch("s") // 3600, local_hour=hour, moment=moment
        )
        departed = read(facts, "departed", *KEY, "dest", "dep_delay")
        arrived = read(facts, "arrived", *KEY, "arrives_at", "dest", "tailnum", "dep_delay", "arr_delay")
        late, capped = pl.col("arr_delay") >= 15, pl.col("arr_delay").clip(upper_bound=240)
        left = departed.select("leg", "dep_delay", departed_at="known_at")
        gone = pl.min_horizontal(published(pl.col("departed_at")), published(pl.col("scheduled_at")) + 4 * HOUR)
        due = tick(pl.col("moment") - pl.duration(minutes=5))
        return cls(
            scheduled,
            departed,
            arrived.with_columns(local_hour=hour, tick=published(pl.col("known_at")), m=1, arr=capped, late=late),
            scheduled.join(left, on="leg", how="left").with_columns(gone=gone),
            scheduled.filter(pl.col("moment") < AS_OF).sort("moment", *KEY).with_columns(due=due),
        )

    def events(self) -> pl.DataFrame:
        """Give departures and arrivals as what they add to a window."""
        late = {"dep": pl.col("dep_delay").clip(upper_bound=240), "late": pl.col("dep_delay") >= 15}
        place, at = ("carrier", "origin", "dest"), published(pl.col("known_at"))
        starts = self.departed.select(*place, tick=at, n=1, **late, m=0, arr=0)
        ends = self.landed.with_columns(n=0, dep=0, late=False).select(starts.columns)
        return pl.concat([starts, ends], how="vertical_relaxed")


def rows_of(facts: Path, known: Known, found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put together the requests, what was found for them, request features, slices, labels and split."""
    joined = pl.concat([known.requests, *found], how="horizontal").with_columns(computed())
    given = [
        name for frame in found for name in frame.columns if name not in {"leg_scheduled_at", "leg_due_at", "leg_dest"}
    ]
    inputs = [*given, "local_hour", *(expression.meta.output_name() for expression in computed())]
    rows = joined.select("leg", "moment", pl.col(KEY), pl.col(inputs).cast(pl.Float32), *slices())
    rows = rows.join(outcomes(facts, known.departed, known.landed), on="leg", how="left", maintain_order="left")
    return rows.with_columns(split(), pl.col("carrier", "origin").cast(pl.String)).drop("leg")


def training_set(facts: Path) -> pl.DataFrame:
    """Find all values for the requests."""
    known = Known.of(facts)
    requests, landed, events = known.requests, known.landed, known.events()
    found = [
        last_leg(requests, known.legs, landed),
        *(delays(requests, events, name, keys) for name, keys in DELAYS.items()),
        *(overdue(requests, known.legs, name, keys) for name, keys in OVERDUE.items()),
        *(history(requests, landed, name, keys) for name, keys in HISTORY.items()),
        last_arrival(requests, landed),
        weather(requests, facts),
        congestion(requests, known.scheduled),
    ]
    return rows_of(facts, known, found)


if __name__ == "__main__":
    start = time.perf_counter()
    training_set(Path(sys.argv[1])).write_parquet(sys.argv[2])
    print(f"work {time.perf_counter() - start}")
