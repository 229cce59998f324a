"""Online, one request to the model's inputs: the same values as offline, to the bit, without a frame."""

from collections.abc import Callable, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from tandem.expressions import Expressions
from tandem.features import FeatureSpec

Values = tuple[object, ...]
Vector = NDArray[np.float32]
Pick = Callable[[Sequence[object]], Values]
Lookup = Callable[[str, Values], Values | None]
"""Gives a view's row of a key, as a snapshot does."""


class Vectors:
    """What is compiled once for a feature spec, and then makes the inputs of each request."""

    def __init__(self, spec: FeatureSpec, request: Expressions | None = None) -> None:
        """Compile the keys, which need the request alone, and the features, which need the views' values too."""
        request = request or spec.request()
        fields = list(spec.fields)
        made = list(dict.fromkeys(key for view in spec.views for key in view.keys if key not in spec.fields))
        columns = [*fields, *(name for view in spec.views for name in view.values)]
        self._key_values = request.compile(fields, made)
        self._features = request.compile(columns, [f.name for f in spec.inputs if f.origin == "request"])
        known = [*fields, *made]
        self._key_places = [(view.name, picked([known.index(key) for key in view.keys])) for view in spec.views]
        self._unknown = [(None,) * len(view.values) for view in spec.views]
        self._passed = picked([columns.index(f.name) for f in spec.inputs if f.origin != "request"])

    def rows(self, fields: Values, look: Lookup) -> list[Values | None]:
        """Look up the row of each view that the request needs; `fields` are in the spec's order."""
        known = fields + self._key_values(fields)
        return [look(view, key(known)) for view, key in self._key_places]

    def inputs(self, fields: Values, rows: Sequence[Values | None]) -> Values:
        """Make the inputs from the fields and the views' rows, None for a key that was never seen."""
        known = list(fields)
        for row, unknown in zip(rows, self._unknown, strict=True):
            known += unknown if row is None else row
        return self._passed(known) + self._features(known)

    def vector(self, fields: Values, rows: Sequence[Values | None]) -> Vector:
        """Make the inputs as the model takes them."""
        return np.array(self.inputs(fields, rows), dtype=np.float32)  # None becomes NaN

    def of(self, fields: Values, look: Lookup) -> Vector:
        """Make the inputs of a request from a snapshot's rows."""
        return self.vector(fields, self.rows(fields, look))


def picked(places: list[int]) -> Pick:
    """Give what takes the values at some places out of a row."""
    if len(places) > 1:
        several: Pick = itemgetter(*places)
        return several
    if places:
        place = places[0]
        return lambda row: (row[place],)
    return lambda _: ()
