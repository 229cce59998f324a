"""What was known at each tick, for who scores many requests at once: the views as training has them, or a snapshot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl

from tandem.bundle import MANIFEST, Bundle
from tandem.clock import Clock, floor
from tandem.columns import Columns
from tandem.errors import SnapshotError
from tandem.features import FeatureSpec
from tandem.landing import Pins
from tandem.params import Params
from tandem.problem import Problem
from tandem.run import step
from tandem.settings import Settings
from tandem.snapshots import Snapshot
from tandem.views import VALID_FROM, ViewSpec
from tandem.warehouse import Warehouse
from tasks.ingest import all_parts, facts_in_cache
from tasks.landing import landed_files
from tasks.requests import TYPES
from tasks.views import read_specs, read_view, write_views

Read = Callable[[str], pl.DataFrame]
Change = Callable[[ViewSpec, pl.DataFrame], pl.DataFrame]
"""What is done to a view's rows before they are looked up."""


class Place(NamedTuple):
    """Where a problem's facts and views are."""

    problem: Problem
    params: Params
    settings: Settings


@dataclass(frozen=True)
class Known:
    """What can be looked up, up to the newest tick of which it is known."""

    columns: Columns
    newest: datetime


@step
def known_until(latest: datetime, spec: FeatureSpec, place: Place, change: Change = lambda _, rows: rows) -> Known:
    """Give the views for ticks up to a latest one: those that training had, or made anew from the facts by now.

    Raises:
        SnapshotError: the problem's views are others than the bundle's.

    """
    data = place.settings.of(place.problem.name)
    as_of = Bundle.open(data / "bundle").as_of if (data / "bundle" / MANIFEST).is_file() else None
    if as_of and latest <= as_of and (data / "views" / "views.json").is_file():
        _check(spec, read_specs(data / "views"))
        read: Read = partial(read_view, data / "views")
        newest = as_of
    else:
        newest = floor(Clock.of(*place).now(), spec.grid.tick)
        read = _made(spec, place, newest).pop
    views = {view.name: view for view in spec.views}
    return Known(Columns(spec, lambda name: change(views[name], read(name))), newest)


def _made(spec: FeatureSpec, place: Place, until: datetime) -> dict[str, pl.DataFrame]:
    problem, _, settings = place
    landed = landed_files(Pins.load(settings.data / "sources.lock"), problem, settings.landing)
    facts = facts_in_cache(all_parts(landed, problem, settings.cache), problem, settings.cache)
    with (
        TemporaryDirectory(prefix="tandem-") as temporary,
        Warehouse.open(facts, until, spec.grid.tick, into=(folder := Path(temporary))) as warehouse,
    ):
        _check(spec, write_views(problem, warehouse, folder))
        return {view.name: read_view(folder, view.name) for view in spec.views}


def _check(spec: FeatureSpec, made: Sequence[ViewSpec]) -> None:
    found = {view.name: view for view in made}
    for view in spec.views:
        other = found.get(view.name)
        if other is None or (other.keys, list(other.values.items())) != (view.keys, list(view.values.items())):
            msg = f"the problem's view {view.name} is not what the bundle knows by that name"
            raise SnapshotError(msg)


@step
def known_now(snapshot: Snapshot, spec: FeatureSpec) -> Known:
    """Give what a snapshot holds.

    Raises:
        SnapshotError: it is not of the bundle's views.

    """
    snapshot.fits(spec)
    kinds = {**spec.columns, **{each.name: each.type for each in spec.request().expressions}}
    rows = snapshot.rows()
    frames = {}
    for view in spec.views:
        names = [*view.keys, *view.values]
        plain = pl.DataFrame(
            [(*key, *values) for key, values in rows[view.name].items()],
            schema={n: pl.Int64() if kinds[n] == "TIMESTAMP" else TYPES[kinds[n]] for n in names},
            orient="row",
        )
        typed = plain.with_columns(pl.col(n).cast(TYPES[kinds[n]]) for n in names)
        frames[view.name] = typed.with_columns(pl.lit(snapshot.tick).cast(pl.Datetime("us")).alias(VALID_FROM))
    return Known(Columns(spec, frames.pop), snapshot.tick)
