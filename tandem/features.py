"""What the model is fed: the request's fields, the views' values, the request features, and which are inputs."""

from pathlib import Path
from typing import Self

import msgspec

from tandem.clock import Grid
from tandem.errors import BundleError
from tandem.expressions import Expressions, Type
from tandem.files import made, write_json
from tandem.views import ViewSpec

NUMBERS = ("BIGINT", "DOUBLE", "BOOLEAN")
SLICE = "slice_"
"""Before the names of slice columns, which may be called as an input or a field is."""


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the model."""

    name: str
    type: str
    origin: str
    """The view it comes from, or `request`."""
    meaning: str
    reads: tuple[str, ...] = ()
    """For a request feature the columns that it is computed from."""


class FeatureSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is needed to make a request's inputs, offline and online alike."""

    problem: str
    question: str
    tick_minutes: int
    lag_minutes: int
    fields: dict[str, str]
    """The request's columns and their types."""
    keys: tuple[str, ...]
    rates: tuple[str, ...]
    slices_sql: str
    baselines: dict[str, tuple[str, ...]]
    views: tuple[ViewSpec, ...]
    request_sql: str
    inputs: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs, in the model's order."""
        return tuple(feature.name for feature in self.inputs)

    @property
    def grid(self) -> Grid:
        """When knowledge is published, and may be used."""
        return Grid(tick_minutes=self.tick_minutes, lag_minutes=self.lag_minutes)

    @property
    def columns(self) -> dict[str, Type]:
        """What the request features may read: the request's fields, and the views' values."""
        values = {name: kind for view in self.views for name, kind in view.values.items()}
        return {name: Type(kind) for name, kind in (self.fields | values).items()}

    def request(self) -> Expressions:
        """Parse the request features."""
        return Expressions.parse(self.request_sql, self.columns)

    def names_without(self, baseline: str) -> tuple[str, ...]:
        """Return the inputs that a model with only some of the views has."""
        kept = {"request", *self.baselines[baseline]}
        hidden = {value for view in self.views if view.name not in kept for value in view.values}
        return tuple(f.name for f in self.inputs if f.origin in kept and not hidden & set(f.reads))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a written spec.

        Raises:
            MissingError: it has not been written.
            BundleError: it is another form's.

        """
        try:
            return msgspec.json.decode(made(path, "training_set").read_bytes(), type=cls)
        except msgspec.DecodeError as exc:
            msg = f"{path} is no feature spec of this version of Tandem: {exc}"
            raise BundleError(msg) from exc

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, msgspec.to_builtins(self))
