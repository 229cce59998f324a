"""Online, one request to the model's inputs: the same values as offline, to the bit, without a frame."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tandem.features import FeatureSpec

Values = tuple[object, ...]
Vector = NDArray[np.float32]
Lookup = Callable[[str, Values], Values | None]
"""Gives a view's row of a key, as a snapshot does."""


class Vectors:
    """What is compiled once for a feature spec, and then makes a vector for each request."""

    def __init__(self, spec: FeatureSpec) -> None:
        """Compile the keys, which need the request alone, and the features, which need the views' values too."""
        request = spec.request()
        fields = list(spec.fields)
        derived = [key for view in spec.views for key in view.keys if key not in spec.fields]
        made = list(dict.fromkeys(derived))
        columns = [*fields, *(name for view in spec.views for name in view.values)]
        self._key_values = request.compile(fields, made)
        self._features = request.compile(columns, [f.name for f in spec.inputs if f.origin == "request"])
        known = [*fields, *made]
        self._key_places = [(view.name, [known.index(key) for key in view.keys]) for view in spec.views]
        self._unknown = [(None,) * len(view.values) for view in spec.views]
        self._passed = [columns.index(f.name) for f in spec.inputs if f.origin != "request"]

    def keys(self, fields: Values) -> list[tuple[str, Values]]:
        """Name the row of each view that the request needs; `fields` are in the spec's order."""
        known = fields + self._key_values(fields)
        return [(view, tuple(known[place] for place in places)) for view, places in self._key_places]

    def vector(self, fields: Values, rows: Sequence[Values | None]) -> Vector:
        """Make the inputs from the fields and the views' rows, None for a key that was never seen."""
        known = list(fields)
        for row, unknown in zip(rows, self._unknown, strict=True):
            known += unknown if row is None else row
        inputs = [*(known[place] for place in self._passed), *self._features(known)]
        return np.array(inputs, dtype=np.float32)  # None becomes NaN

    def of(self, fields: Values, row: Lookup) -> Vector:
        """Make the inputs of a request from a snapshot's rows."""
        return self.vector(fields, [row(view, key) for view, key in self.keys(fields)])
