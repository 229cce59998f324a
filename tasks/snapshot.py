"""The views' values at one tick, for serving."""

from datetime import datetime
from pathlib import Path

import polars as pl

from tandem.errors import BundleError
from tandem.features import FeatureSpec
from tandem.run import step
from tandem.vectors import Snapshot
from tandem.views import VALID_FROM
from tasks.views import read_specs, read_view


@step
def snapshot_at(views: Path, spec: FeatureSpec, tick: datetime) -> Snapshot:
    """Give each view's row of each key that is true at a tick; instants are whole microseconds, as online.

    A row whose key is not known is nobody's, as in the join that makes the training set.

    Raises:
        BundleError: the views are not those that the bundle knows.

    """
    known = read_specs(views)
    if other := [view.name for view in spec.views if view not in known]:
        msg = f"{views} does not hold {', '.join(other)} as the bundle knows it: `tandem run` makes both anew"
        raise BundleError(msg)
    found: dict[str, dict[tuple[object, ...], tuple[object, ...]]] = {}
    for view in spec.views:
        rows = read_view(views, view.name).filter(pl.col(VALID_FROM) <= tick).drop_nulls(list(view.keys))
        last = rows.unique(list(view.keys), keep="last", maintain_order=True)
        plain = last.with_columns(pl.col(pl.Datetime).dt.epoch("us"))
        keys, values = plain.select(view.keys).rows(), plain.select(list(view.values)).rows()
        found[view.name] = dict(zip(keys, values, strict=True))
    return found
