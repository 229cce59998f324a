"""Offline, many requests at once to the model's inputs: the same values as `vectors` makes of one, to the bit.

Views are sorted once; a slice of requests then costs a search for each set of keys, and a copy for each value.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors

from tandem.features import FeatureSpec
from tandem.views import VALID_FROM
from tandem.warehouse import Desk

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
MICROSECOND = timedelta(microseconds=1)
ROOM = 1024


class Sorted:
    """Rising numbers, of which it is known about where one stands: a plain search misses the cache at each step."""

    def __init__(self, numbers: Integers) -> None:
        """Count what stands before each of evenly spaced numbers, as many as there are numbers."""
        self._numbers = np.append(numbers, np.iinfo(np.int64).max)
        last = int(numbers[-1]) if len(numbers) else 0
        self._shift = max(0, (last // max(len(numbers), ROOM)).bit_length())
        self._before = np.searchsorted(numbers, np.arange((last >> self._shift) + 2) << self._shift)
        most = int(np.diff(self._before).max(initial=0))
        self._steps = [1 << n for n in reversed(range(most.bit_length()))]

    def count(self, upto: Integers) -> Integers:
        """Count the numbers that are no greater than each of some."""
        found = self._before.take(upto >> self._shift, mode="clip")
        for step in self._steps:
            found += (self._numbers.take(found + (step - 1), mode="clip") <= upto) * step
        return found


class Timeline:
    """Where the rows stand, in views of the same keys, that are true for a key at a tick."""

    def __init__(self, keys: Sequence[str], tick: timedelta) -> None:
        """Know nothing yet."""
        self._keys, self._tick = list(keys), tick

    def build(self, views: Iterable[pl.DataFrame]) -> list[pl.DataFrame]:
        """Number all keys, and give each view's rows in the order of their keys and of the ticks that they begin at."""
        step = self._tick // MICROSECOND
        known = [frame.drop_nulls(self._keys) for frame in views]
        runs = [_runs(frame, self._keys) for frame in known]
        self._codes = pl.concat(firsts for firsts, _ in runs).unique().sort(self._keys).with_row_index("code")
        begins = [-(-frame[VALID_FROM].dt.epoch("us").to_numpy() // step) for frame in known]
        whole = [(int(each.min()), int(each.max())) for each in begins if len(each)]
        self._first = min((least for least, _ in whole), default=0) - 1  # at which nothing is true yet
        self._width = max((most for _, most in whole), default=0) - self._first + 1
        codes = [np.repeat(self._coded(firsts), lengths) for firsts, lengths in runs]
        sorted_ = [_in_order(frame, self._placed(c, b)) for frame, c, b in zip(known, codes, begins, strict=True)]
        frames, places = [frame for frame, _ in sorted_], [place for _, place in sorted_]
        every = np.sort(np.concatenate(places), kind="stable")
        every = every[np.diff(every, prepend=-1) > 0]
        self._sorted, self._begins = Sorted(every), np.append(-1, every)
        self._rows = [self._standing(every, place) for place in places]
        return frames

    def _coded(self, keys: pl.DataFrame) -> Integers:
        """Number keys; one that no view knows has the number after the last."""
        coded = keys.join(self._codes, on=self._keys, how="left", maintain_order="left")["code"]
        return coded.fill_null(self._codes.height).to_numpy().astype(np.int64)

    def _placed(self, codes: Integers, ticks: Integers) -> Integers:
        return codes * self._width + np.clip(ticks - self._first, 0, self._width - 1)

    def _standing(self, every: Integers, places: Integers) -> Integers:
        """Say which row of one view is true at each place where something begins, and before the first: none is."""
        none = len(places)
        at = np.searchsorted(places, every, side="right") - 1
        own = (at >= 0) & (np.append(places, -1)[at] // self._width == every // self._width)
        return np.append(none, np.where(own, at, none))

    def find(self, requests: pl.DataFrame, ticks: Integers) -> list[Integers]:
        """Give the row of each view that is true for each request at its tick; one after the last where none is."""
        codes = self._coded(requests.select(self._keys))
        at = self._sorted.count(self._placed(codes, ticks))
        at *= self._begins.take(at) >= codes * self._width
        return [rows.take(at) for rows in self._rows]


def _in_order(frame: pl.DataFrame, places: Integers) -> tuple[pl.DataFrame, Integers]:
    """Sort rows by their places; a view's own are in order already, a snapshot's are not."""
    if (np.diff(places) >= 0).all():
        return frame, places
    order = np.lexsort((frame[VALID_FROM].dt.epoch("us").to_numpy(), places))
    return frame[order], places[order]


def _runs(frame: pl.DataFrame, keys: list[str]) -> tuple[pl.DataFrame, Integers]:
    """Give the first row of each run of equal keys, and how long each run is."""
    here = frame.select(keys)
    new = here.select(pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift()) for key in keys)).to_series()
    starts = np.union1d(0, new.arg_true().to_numpy())[: None if frame.height else 0].astype(np.int64)
    return here[starts], np.diff(starts, append=frame.height)


class Columns:
    """The inputs of slices of requests, from views that are held in memory."""

    def __init__(self, spec: FeatureSpec, view: Callable[[str], pl.DataFrame]) -> None:
        """Prepare the views, each a frame as its SQL gives it; no more is kept of them than is needed."""
        request, inputs = spec.request(), set(spec.names)
        values = {name for each in spec.views for name in each.values}
        keys = {key for each in spec.views for key in each.keys}
        wanted = [each for each in request.expressions if each.name in inputs | keys]
        before = [each.name for each in wanted if not values.intersection(each.columns)]
        after = [each.name for each in wanted if each.name not in before]
        self._before, self._after = (request.sql_of(names) if names else "" for names in (before, after))
        read = {name for each in wanted if each.name in after for name in each.columns}
        self.spec, self._fields = spec, list(spec.fields)
        self._place = {name: place for place, name in enumerate(spec.names)}
        shared = defaultdict(list)
        for each in spec.views:
            shared[each.keys].append(each)
        self._timelines = []
        for names, group in shared.items():
            timeline = Timeline(names, spec.grid.tick)
            columns = [
                _Values(
                    frame, [n for n in each.values if n in inputs], [n for n in each.values if n in read], self._place
                )
                for each, frame in zip(group, timeline.build(view(each.name) for each in group), strict=True)
            ]
            self._timelines.append((timeline, columns))

    def ticks(self, moments: pl.Series) -> Integers:
        """Number the newest tick that a request of each moment may use."""
        grid = self.spec.grid
        return (moments.dt.epoch("us").to_numpy() - grid.lag // MICROSECOND) // (grid.tick // MICROSECOND)

    def number(self, tick: datetime) -> int:
        """Number one tick."""
        return (tick - datetime(1970, 1, 1)) // self.spec.grid.tick  # noqa: DTZ001 - all instants are UTC

    def moments(self, ticks: Integers) -> pl.Series:
        """Give ticks by their numbers."""
        return pl.Series("tick", ticks * (self.spec.grid.tick // MICROSECOND)).cast(pl.Datetime("us"))

    def inputs(self, requests: pl.DataFrame, ticks: Integers, desk: Desk) -> Floats:
        """Make the inputs of requests, each as of a tick; NaN where a value is not known."""
        made = requests.select(self._fields)
        if self._before:
            made = made.hstack(_integers(desk.query(self._before, request=made)))
        out = np.empty((len(self._place), requests.height), dtype=np.float32)
        read: list[pl.Series] = []
        for timeline, columns in self._timelines:
            for each, rows in zip(columns, timeline.find(made, ticks), strict=True):
                each.copy(rows, out)
                read += each.read(rows)
        if self._after:
            made = made.hstack(desk.query(self._after, request=made.select(self._fields).hstack(read)))
        for name in self._place.keys() & set(made.columns):
            out[self._place[name]] = as_inputs(made[name])
        return out.T


class _Values:
    """The values of one view, each with one more that is not known."""

    def __init__(self, frame: pl.DataFrame, inputs: list[str], read: list[str], place: Mapping[str, int]) -> None:
        self._inputs = [(place[name], np.append(as_inputs(frame[name]), np.float32(np.nan))) for name in inputs]
        self._read = [frame[name].extend_constant(None, 1) for name in read]

    def copy(self, rows: Integers, out: Floats) -> None:
        for place, values in self._inputs:
            np.take(values, rows, out=out[place], mode="clip")

    def read(self, rows: Integers) -> list[pl.Series]:
        return [values.gather(rows) for values in self._read]


def as_inputs(numbers: pl.Series) -> Floats:
    """Make numbers what the model is fed: by way of a double, as a large integer goes that comes by JSON."""
    return numbers.cast(pl.Float64).cast(pl.Float32).fill_null(np.nan).to_numpy()


def _integers(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(selectors.integer().cast(pl.Int64))
