"""Online, one request to the model's inputs: the same values as offline, to the bit, without a frame.

What a snapshot says of a key is made ready for the model once, and kept.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import groupby
from math import inf, nan
from operator import attrgetter, itemgetter

import msgspec
import numpy as np

from tandem.expressions import Expressions
from tandem.features import FeatureSpec
from tandem.views import ViewSpec

Values = tuple[object, ...]
Pick = Callable[[Sequence[object]], Values]
Lookup = Callable[[str, Values], Values | None]
"""Gives a view's row of a key, as a snapshot does; None: the key was never seen."""
Names = tuple[str, ...]
Reach = tuple[float, float]
"""The least and the most of an input that the model was fitted on, as 32-bit floats."""
TICKS = 2
"""From whose snapshots inputs can be made at a time, without looking everything up again."""
KEPT = 1 << 12
"""Keys that are kept of the views that share them."""


class Made(msgspec.Struct, frozen=True, gc=False):
    """A request's inputs."""

    data: bytes
    """32-bit floats, as the model takes them and the ledger keeps them."""
    nulls: int
    outside: Names
    """Those outside of what the model was fitted on."""
    unknown: Names
    """Views in which the request's key was never seen."""


Known = tuple[bytes, Values, Made | None]
"""What views say of a key: inputs, what request features read, and what else there is to tell, if any."""


class Part:
    """Inputs that stand beside each other."""

    def __init__(self, names: Sequence[str], reaches: Sequence[Reach]) -> None:
        """Know how far each reaches."""
        self._form = struct.Struct(f"={len(names)}f")
        self._reaches = [(name, *reach) for name, reach in zip(names, reaches, strict=True)]

    def made(self, values: Iterable[object], unknown: Names = ()) -> Made:
        """Write values as inputs; no value is no number."""
        numbers = [nan if value is None else value for value in values]
        try:
            data = self._form.pack(*numbers)
        except OverflowError:  # numpy's is infinite
            data = np.array(numbers, dtype=np.float32).tobytes()
        nulls, outside = 0, Names()
        for value, (name, least, most) in zip(self._form.unpack(data), self._reaches, strict=True):
            if not least <= value <= most:
                if value != value:  # noqa: PLR0124 - only NaN is not itself
                    nulls += 1
                else:
                    outside += (name,)
        return Made(data, nulls, outside, unknown)


class Group:
    """Views of one key, which stand beside each other."""

    def __init__(self, views: Sequence[ViewSpec], spec: FeatureSpec, read: set[str]) -> None:
        """Know which of their values are inputs, and which request features read."""
        self.views, origins = views, {view.name for view in views}
        columns = [name for view in views for name in view.values]
        self.names = [feature.name for feature in spec.inputs if feature.origin in origins]
        self._inputs = picked([columns.index(name) for name in self.names])
        self.read = [name for name in columns if name in read]
        self._read = picked([columns.index(name) for name in self.read])

    def known(self, part: Part, look: Lookup, key: Values) -> Known:
        """Read what they say of a key."""
        values, unknown = list[object](), Names()
        for view in self.views:
            row = look(view.name, key)
            if row is None:
                row, unknown = (None,) * len(view.values), (*unknown, view.name)
            values += row
        made = part.made(self._inputs(values), unknown)
        return made.data, self._read(values), made if made.nulls or made.outside or unknown else None


class Prepared:
    """Makes inputs from one snapshot."""

    def __init__(self, compiled: "Compiled", look: Lookup) -> None:
        """Look nothing up yet."""
        self._keys, self._features, self._own = compiled.keys, compiled.features, compiled.own
        self._known = [(lru_cache(KEPT)(partial(group.known, part, look)), key) for group, part, key in compiled.groups]

    def made(self, fields: Values) -> Made:
        """Make a request's inputs; ArithmeticError says that a value is out of their reach."""
        keys = fields + self._keys(fields)
        parts, values, odd = list[bytes](), list(fields), list[Made]()
        for look, key in self._known:
            data, read, more = look(key(keys))
            parts.append(data)
            values += read
            if more is not None:
                odd.append(more)
        own = self._own.made(self._features(values))
        parts.append(own.data)
        nulls, outside, unknown = own.nulls, Names(), Names()
        for each in odd:
            nulls += each.nulls
            outside += each.outside
            unknown += each.unknown
        return Made(b"".join(parts), nulls, outside + own.outside, unknown)


class Compiled:
    """What makes the inputs of one bundle."""

    def __init__(
        self, spec: FeatureSpec, request: Expressions | None = None, reaches: Sequence[Reach] | None = None
    ) -> None:
        """Compile keys and features for what each reads; without reaches nothing is outside of them."""
        request, reaches = request or spec.request(), reaches or [(-inf, inf)] * len(spec.inputs)
        named = [feature.name for feature in spec.inputs if feature.origin == "request"]
        read = {name for feature in spec.inputs if feature.origin == "request" for name in feature.reads}
        fields, self.groups, begin = list(spec.fields), list[tuple[Group, Part, Pick]](), 0
        made = list(dict.fromkeys(key for view in spec.views for key in view.keys if key not in spec.fields))
        for keys, views in groupby(spec.views, attrgetter("keys")):
            group = Group(list(views), spec, read)
            end = begin + len(group.names)
            key = picked([[*spec.fields, *made].index(name) for name in keys])
            self.groups.append((group, Part(group.names, reaches[begin:end]), key))
            fields, begin = fields + group.read, end
        self.own = Part(named, reaches[begin:])
        self.keys, self.features = request.compile(list(spec.fields), made), request.compile(fields, named)
        self.on = lru_cache(TICKS)(partial(Prepared, self))
        """Gives what makes inputs from a snapshot's rows."""
        self._views = [view.name for view in spec.views]

    def made(self, fields: Values, rows: Sequence[Values | None]) -> Made:
        """Make a request's inputs from a row of each view, whatever its key is."""
        named = dict(zip(self._views, rows, strict=True))
        return Prepared(self, lambda view, _: named[view]).made(fields)


def picked(places: list[int]) -> Pick:
    """Give what takes the values at some places out of a row."""
    if len(places) > 1:
        several: Pick = itemgetter(*places)
        return several
    if places:
        place = places[0]
        return lambda row: (row[place],)
    return lambda _: ()
