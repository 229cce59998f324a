"""The views' values at one tick, for serving."""

from datetime import datetime
from pathlib import Path

import polars as pl

from tandem.features import FeatureSpec
from tandem.run import step
from tandem.serving.model import Snapshot
from tandem.views import VALID_FROM
from tasks.views import read_view


@step
def snapshot_at(views: Path, spec: FeatureSpec, tick: datetime) -> Snapshot:
    """Give each view's row of each key that is true at a tick; instants are whole microseconds, as online."""
    found: dict[str, dict[tuple[object, ...], tuple[object, ...]]] = {}
    for view in spec.views:
        rows = read_view(views, view.name).filter(pl.col(VALID_FROM) <= tick)
        last = rows.unique(list(view.keys), keep="last", maintain_order=True)
        plain = last.with_columns(pl.col(pl.Datetime).dt.epoch("us"))
        keys, values = plain.select(view.keys).rows(), plain.select(list(view.values)).rows()
        found[view.name] = dict(zip(keys, values, strict=True))
    return found
