"""The views' values at each tick, for serving: what was true before, and the rows that began since."""

import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl

from tandem import processor, views, warehouse
from tandem.clock import Grid, floor
from tandem.files import digest_of
from tandem.problem import Problem
from tandem.run import step
from tandem.snapshots import About, Named, Snapshot, is_whole, write_snapshot
from tandem.vectors import Values
from tandem.views import VALID_FROM, ViewSpec
from tandem.warehouse import Warehouse
from tasks import views as run
from tasks.views import read_view, write_views

log = logging.getLogger(__name__)

Views = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""The names of each view's keys and values."""
Rows = dict[str, dict[Values, Values]]
Changed = dict[datetime, list[tuple[str, Values, Values]]]
"""The rows that begin at a tick: view, key and values."""


@dataclass(frozen=True)
class Knowledge:
    """A problem's facts, and the grid on which they are published until a tick."""

    problem: Problem
    facts: Path
    grid: Grid
    until: datetime

    @cached_property
    def _code(self) -> str:
        sql = sorted([*self.problem.folder.glob("macros.sql"), *self.problem.folder.glob("views/*.sql")])
        modules = [Path(str(module.__file__)) for module in (processor, run, views, warehouse)]
        engines = (duckdb.__version__, pl.__version__)
        texts = [path.read_bytes() for path in (*sql, *modules)]
        return digest_of(*texts, *engines, repr(self.grid), repr(self.problem.lookback))

    @cached_property
    def _published(self) -> tuple[list[datetime], list[int]]:
        """The ticks at which facts were published, and the digest of all facts before and after each."""
        with Warehouse.open(self.facts, self.until, self.grid.tick) as opened:
            published = opened.published()
        return published["tick"].to_list(), list(accumulate(published["facts"], initial=0))

    def made_of(self, tick: datetime) -> str:
        """Digest of the SQL and the facts that a tick's snapshot follows from."""
        ticks, states = self._published
        return digest_of(self._code, str(states[bisect_right(ticks, tick)]))


@step
def write_due(known: Knowledge, folder: Path, kept: int) -> list[Path]:
    """Write the snapshot of each tick that came since the newest there is, and delete those that are too old to keep.

    What is true at a tick follows from what was true at one before and from the facts of the problem's `lookback`;
    where there is none before, or it was made of other SQL or other facts, it follows from all facts.
    From one that was damaged on all are made anew.
    """
    damaged, newest, tick = _without_damaged(folder), known.until, known.grid.tick
    base = _base(known, folder, damaged)
    since = floor(newest - known.grid.lag, tick)
    first = base.tick + tick if base else min(damaged or since, since)
    first = max(first, newest - (kept - 1) * tick)
    if first > newest:
        return []
    names, rows, changed = _run(known, base, first)
    written = []
    for due in (first + n * tick for n in range((newest - first) // tick + 1)):
        for view, key, values in changed.pop(due, ()):
            _begin(rows[view], key, values)
        written.append(write_snapshot(folder, About(due, names, known.made_of(due)), rows))
    _prune(folder, written, newest, kept)
    log.info("%d snapshots, the newest of %s", len(written), newest)
    return written


def _without_damaged(folder: Path) -> datetime | None:
    """Delete what was damaged, 2 ms a snapshot to find; tell the first tick that has lost its own."""
    damaged = [named for named in Named.all(folder) if not is_whole(named.path)]
    for named in damaged:
        log.warning("%s was damaged, and is made anew", named.path)
        named.path.unlink()
    return damaged[0].tick if damaged else None


def _base(known: Knowledge, folder: Path, before: datetime | None) -> Snapshot | None:
    """Find the newest snapshot, before a tick if one is given, if one can go on from it."""
    usable = [named for named in Named.all(folder) if named.tick <= known.until]
    there = [named for named in usable if before is None or named.tick < before]
    if not there or not known.problem.lookback:
        return None
    base = Snapshot.open(there[-1].path)
    return base if base.about.made_of == known.made_of(base.tick) else None


def _run(known: Knowledge, base: Snapshot | None, first: datetime) -> tuple[Views, Rows, Changed]:
    """Run the views: what they are, what is true before the first tick, and what changes from then on."""
    names: Views = {}
    rows: Rows = base.rows() if base else {}
    changed: Changed = defaultdict(list)
    since = base.tick - known.problem.lookback if base and known.problem.lookback else None
    with (
        TemporaryDirectory(prefix="tandem-") as temporary,
        Warehouse.open(known.facts, known.until, known.grid.tick, since, into=(folder := Path(temporary))) as opened,
    ):
        for spec in write_views(known.problem, opened, folder):
            names[spec.name] = (spec.keys, tuple(spec.values))
            standing = rows.setdefault(spec.name, {})
            for tick, key, values in _in_time(spec, read_view(folder, spec.name), base.tick if base else None, first):
                if tick > first:
                    changed[tick].append((spec.name, key, values))
                else:
                    _begin(standing, key, values)
    return names, rows, changed


def _in_time(
    spec: ViewSpec, frame: pl.DataFrame, after: datetime | None, first: datetime
) -> Iterator[tuple[datetime, Values, Values]]:
    """Give a view's rows in the order of time; of those up to the first tick each key's last one is enough.

    Instants are whole microseconds, as online. A row whose key is not known is nobody's, as in an as-of join.
    """
    keys = list(spec.keys)
    known = (frame.filter(pl.col(VALID_FROM) > after) if after else frame).drop_nulls(keys)
    standing = known.filter(pl.col(VALID_FROM) <= first).unique(keys, keep="last", maintain_order=True)
    rows = pl.concat([standing, known.filter(pl.col(VALID_FROM) > first)]).sort(VALID_FROM, maintain_order=True)
    plain = rows.with_columns(pl.col(pl.Datetime).exclude(VALID_FROM).dt.epoch("us"))
    return zip(rows[VALID_FROM], plain.select(keys).rows(), plain.select(list(spec.values)).rows(), strict=True)


def _begin(standing: dict[Values, Values], key: Values, values: Values) -> None:
    """Let a row take the place of its key's last one; a row without any value says as much as none."""
    if any(value is not None for value in values):
        standing[key] = values
    else:
        standing.pop(key, None)


def _prune(folder: Path, written: list[Path], newest: datetime, kept: int) -> None:
    """Leave one snapshot a tick, the one that was written now, and no more than are kept.

    Ticks to come, of a clock that was set back since, go too: they would be kept in place of what is due.
    """
    there = Named.all(folder)
    ticks = {named.tick for named in there if named.path in written}
    replaced = {named for named in there if named.tick in ticks and named.path not in written}
    left = [named for named in there if named not in replaced and named.tick <= newest][-kept:]
    for named in there:
        if named not in left:
            named.path.unlink()
