"""All that our two stages write, by hand: the 14 view tables and the training set joined from them, in Polars.

A window is again the difference of two running sums. Which two, a single sort tells: a row's key and tick are one
integer with, in its last bits, whether something enters there or leaves, and counting each kind gives both ends.
"""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import polars as pl
from polars_features import (
    BITS,
    DAY,
    DELAYS,
    HISTORY,
    HOUR,
    OBSERVED,
    OVERDUE,
    TEXTS,
    Known,
    coded_as,
    leg_stages,
    minutes,
    newest,
    packed,
    published,
    read,
    rows_of,
    tick,
)

TICK = 600_000_000
"""In microseconds."""
ROW_GROUP = 2**17
TAKEN = ("n", "dep", "late", "m", "arr")
Texts = dict[str, pl.Series]
"""What the codes of a column stand for."""


@dataclass(frozen=True)
class View:
    """What a view is by, and how its rows are made: in order, with key and tick packed as `at`."""

    name: str
    keys: Sequence[str]
    make: Callable[[], pl.DataFrame]

    def table(self, rows: pl.DataFrame, texts: Texts) -> pl.DataFrame:
        """Unpack keys and ticks."""
        codes, keys = pl.col("at") // (1 << 26), []
        for name in reversed(self.keys):
            size = 1 << BITS.get(name, 8)
            keys.append(shown(name, codes % size, texts))
            codes = codes // size
        since = instant(pl.col("at") % (1 << 26) * TICK).alias("valid_from")
        values = [shown(name, pl.col(name), texts) for name in rows.columns if name != "at"]
        return rows.select(*(reversed(keys) if keys else [pl.lit("New York").alias("city")]), since, *values)


def instant(microseconds: pl.Expr) -> pl.Expr:
    """Give an instant."""
    return microseconds.cast(pl.Datetime("us"))


def shown(name: str, codes: pl.Expr, texts: Texts) -> pl.Expr:
    """Give a column as the table has it."""
    text = name.removeprefix("leg_")
    if text in texts:
        return pl.lit(texts[text]).gather(codes.to_physical()).alias(name)
    return (instant(codes * 6 * TICK) if name == "slot" else codes).alias(name)


def texts_of(facts: Path) -> Texts:
    """Code each text in its order, before any is read, so that rows sorted by codes are sorted by texts."""
    rows = pl.scan_parquet(facts / "scheduled" / "*.parquet")
    found = pl.collect_all([rows.select(pl.col(name).unique().sort().drop_nulls()) for name in TEXTS])
    return {name: frame.to_series() for name, frame in zip(TEXTS, found, strict=True)}


def last_of(at: pl.Expr) -> pl.Expr:
    """Mark the last row of each key and tick, among those in order."""
    return at.ne_missing(at.shift(-1))


def merged(ends: Sequence[pl.Series]) -> pl.DataFrame:
    """Count, at every key and tick of any of the ends, how many of each there were by then, over all keys."""
    code, kinds = pl.col("code"), len(ends)
    sorts = [(end * kinds + kind).sort().to_frame("code") for kind, end in enumerate(ends)]
    rows = reduce(lambda one, other: one.merge_sorted(other, "code"), sorts).lazy()
    counts = {f"end{kind}": (code % kinds == kind).cum_sum() for kind in range(kinds)}
    found = rows.select((code // kinds).alias("at"), **counts)
    return found.filter(last_of(pl.col("at"))).collect().rechunk()  # a gather goes to every chunk


def windows(
    events: pl.DataFrame, keys: Sequence[str], at: pl.Expr, lengths: Sequence[int], *values: str
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Give every key and tick at which a sum of the last so many ticks changes, and the sums of each length."""
    rows = events.select(packed(keys, at).alias("at"), pl.col(values).cast(pl.Int32)).sort("at")
    ticks = rows.lazy().select("at", pl.col(values).cum_sum()).filter(last_of(pl.col("at"))).collect()
    sums = pl.concat([pl.DataFrame(dict.fromkeys(values, 0), ticks.drop("at").schema), ticks.drop("at")], rechunk=True)
    found = merged([ticks["at"], *(ticks["at"] + length for length in lengths)])
    now, *then = (sums[found[f"end{kind}"]] for kind in range(len(lengths) + 1))
    return found.select("at"), [now - before for before in then]


def mean(total: str, count: str) -> pl.Expr:
    """Divide, where there is something to divide by."""
    return pl.when(pl.col(count) != 0).then(pl.col(total) / pl.col(count))


def delays(events: pl.DataFrame, name: str, keys: Sequence[str]) -> pl.DataFrame:
    """Give mean delays of the last 1, 3 and 24 hours."""
    at, sums = windows(events, keys, pl.col("tick"), (HOUR, 3 * HOUR, DAY), *TAKEN)
    columns = [at, sums[0].select(pl.col("n").cast(pl.Float64).alias(f"{name}_departures_1h"))]
    for hours, each in zip((1, 3, 24), sums, strict=True):
        means = {f"{name}_dep_{hours}h": mean("dep", "n")}
        means |= {f"{name}_late_3h": mean("late", "n")} if hours == 3 else {}
        columns.append(each.select(**means, **{f"{name}_arr_{hours}h": mean("arr", "m")}))
    return pl.concat(columns, how="horizontal")


def overdue(legs: pl.DataFrame, name: str, keys: Sequence[str]) -> pl.DataFrame:
    """Count departures that should have left 15 minutes or an hour ago, and have not."""
    ends = []
    for late in (15, 60):
        since = published(pl.col("scheduled_at") + pl.duration(minutes=late))
        waited = legs.filter(since < pl.col("gone"))
        ends += waited.select(entered=packed(keys, since), left=packed(keys, pl.col("gone"))).get_columns()
    count = {f"{name}_overdue": ("end0", "end1"), f"{name}_overdue_1h": ("end2", "end3")}
    counts = {
        n: pl.col(entered).cast(pl.Float64) - pl.col(left).cast(pl.Float64) for n, (entered, left) in count.items()
    }
    return merged(ends).select("at", **counts)


def history(landed: pl.DataFrame, name: str, keys: Sequence[str]) -> pl.DataFrame:
    """Give what the last 28 days of arrivals came to, as of midnight."""
    midnight = (tick(pl.col("known_at")) // DAY + 1) * DAY
    at, (sums,) = windows(landed, keys, midnight, (28 * DAY,), "m", "late", "arr")
    values = sums.select(
        pl.col("m").cast(pl.Float64).alias(f"{name}_flights_28d"),
        mean("late", "m").alias(f"{name}_late_28d"),
        mean("arr", "m").alias(f"{name}_delay_28d"),
    )
    return pl.concat([at, values], how="horizontal")


def last(events: pl.DataFrame, *then: str) -> pl.DataFrame:
    """Keep the last row of each key and tick."""
    return events.sort("at", *then).filter(last_of(pl.col("at"))).drop(then)


def last_leg(legs: pl.DataFrame, landed: pl.DataFrame) -> pl.DataFrame:
    """Give each aircraft's last known leg, when it is due, leaves or lands."""
    since, flown = pl.col("scheduled_at").dt.epoch("s") // 60, pl.col("leg_due_at") - pl.col("leg_scheduled_at")
    events = pl.concat(
        rows.select(
            packed(["tailnum"], published(pl.col(at))).alias("at"),
            (pl.col(at).dt.minute().cast(pl.Int64) % 10 * (1 << 28) + stage * (1 << 26) + since).alias("order"),
            pl.lit(stage, pl.Int64).alias("leg_stage"),
            delay.alias("leg_delay"),
            minutes("arrives_at", "scheduled_at").alias("leg_block"),
            pl.col("scheduled_at").alias("leg_scheduled_at"),
            due.alias("leg_due_at"),
            pl.col("dest").alias("leg_dest"),
        )
        for stage, (rows, at, delay, due) in enumerate(leg_stages(legs, landed))
    )
    tie = (255 - pl.col("leg_dest").to_physical().cast(pl.Int64)) * (1 << 16) + flown.dt.total_minutes()
    return last(events.with_columns(pl.col("order") * (1 << 24) + tie), "order")


def last_arrival(landed: pl.DataFrame) -> pl.DataFrame:
    """Give the delays of the last flight of each number that landed."""
    order = pl.col("known_at").dt.epoch("s") * (1 << 26) + pl.col("scheduled_at").dt.epoch("s") // 60
    events = landed.select(
        packed(("carrier", "flight"), pl.col("tick")).alias("at"),
        (order * 256 - pl.col("origin").to_physical()).alias("order"),
        last_dep_delay="dep_delay",
        last_arr_delay="arr_delay",
    )
    return last(events, "order")


def weather(facts: Path) -> pl.DataFrame:
    """Give the last observation at each origin, and nothing once it is 6 hours old."""
    observed = read(facts, "observed", "origin", "event_at", "dewp", "landing", "row", *OBSERVED)
    at = packed(["origin"], published(pl.col("known_at"))).alias("at")
    spread = (pl.col("temp") - pl.col("dewp")).alias("dew_spread")
    order = ["event_at", "landing", "row"]
    events = observed.select(at, *order, "temp", spread, *OBSERVED[1:]).sort(order, descending=[False, True, True])
    events = events.sort("at", maintain_order=True)
    events = events.filter(last_of(pl.col("at"))).drop(order)
    gap = pl.col("at").shift(-1) - pl.col("at")
    silent = events.filter(gap.is_null() | (gap > 6 * HOUR)).select(pl.col("at") + 6 * HOUR)
    return pl.concat([events, silent], how="diagonal").sort("at")


def congestion(scheduled: pl.DataFrame) -> pl.DataFrame:
    """Count what is scheduled for each hour, until it is long gone."""
    keys = ("origin", "slot")
    rows = scheduled.select("slot", "origin", packed(keys, published(pl.col("known_at"))).alias("at"))
    counted = rows.group_by("at").agg(pl.len(), pl.col(keys).first()).sort("at")
    total = pl.col("len").cum_sum().over(keys).cast(pl.Float64)
    gone = counted.unique(keys).select(packed(keys, pl.col("slot") * HOUR + DAY + 1).alias("at"))
    return pl.concat([counted.select("at", slot_departures=total), gone], how="diagonal").sort("at")


def views_of(facts: Path, known: Known) -> list[View]:
    """Name all views, those that take long first."""
    events, legs, landed = known.events(), known.legs, known.landed
    long = {"here": "carrier_origin", "hour": "carrier_origin_hour"}
    return [
        *(View(f"{long.get(n, n)}.delays", by, partial(delays, events, n, by)) for n, by in DELAYS.items()),
        View("aircraft.last_leg", ("tailnum",), partial(last_leg, legs, landed)),
        *(View(f"{long.get(n, n)}.history", by, partial(history, landed, n, by)) for n, by in HISTORY.items()),
        View("flight.last", ("carrier", "flight"), partial(last_arrival, landed)),
        *(View(f"{long.get(n, n)}.overdue", by, partial(overdue, legs, n, by)) for n, by in OVERDUE.items()),
        View("origin.weather", ("origin",), partial(weather, facts)),
        View("origin_slot.congestion", ("origin", "slot"), partial(congestion, known.scheduled)),
    ]


def build(facts: Path, folder: Path) -> None:
    """Make, write and join two views at a time; then write the training set."""
    (folder / "views").mkdir(parents=True, exist_ok=True)
    texts = texts_of(facts)
    codes = {name: text.cast(coded_as(name)) for name, text in texts.items()}  # which last as long as this does
    known = Known.of(facts)

    def joined(view: View) -> pl.DataFrame:
        rows = view.make()
        view.table(rows, texts).write_parquet(folder / "views" / f"{view.name}.parquet", row_group_size=ROW_GROUP)
        return newest(known.requests, rows, view.keys)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(joined, views_of(facts, known)))
    rows_of(facts, known, found).write_parquet(folder / "rows.parquet", row_group_size=ROW_GROUP)
    codes.clear()


if __name__ == "__main__":
    start = time.perf_counter()
    build(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"work {time.perf_counter() - start}")
