"""An answer made again, from what the ledger holds of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.bundle import Bundle
from tandem.errors import CannotVerifyError, DivergesError, MissingError
from tandem.features import FeatureSpec
from tandem.registry import Registry
from tandem.run import step
from tandem.serving.contract import instant
from tandem.serving.records import Prediction, find
from tandem.serving.variant import Variant
from tandem.settings import Settings
from tandem.snapshots import Named, Snapshot
from tandem.vectors import Values

REPLAY = "replay"


@dataclass(frozen=True)
class Replayed:
    """An answer that came out the same."""

    id: str
    score: float
    bundle: str
    inputs: int
    """So many inputs were made again from the request and the snapshot, and were the same to the bit."""
    left_out: str
    """Why the others were not; empty if there are none."""


@step
def recorded(ledger: Path, name: str) -> Prediction:
    """Read a prediction's record.

    Raises:
        MissingError: there is none.

    """
    row = find(ledger, name)
    if row is None or row["kind"] != "prediction":
        msg = f"{ledger} holds no prediction {name!r}: `tandem log` shows what it holds"
        raise MissingError(msg)
    return msgspec.json.decode(msgspec.json.encode(row), type=Prediction)


@contextmanager
def bundle_of(record: Prediction, settings: Settings, registry: Callable[[], Registry]) -> Iterator[Bundle]:
    """Open the bundle that answered: where it is served, where it was made, or out of the registry.

    Raises:
        CannotVerifyError: it is nowhere.

    """
    for folder in (settings.serving / "bundles" / record.bundle, settings.of(record.problem) / "bundle"):
        if (folder / "manifest.json").is_file() and (found := Bundle.open(folder)).digest == record.bundle:
            yield found
            return
    missing = f"bundle {record.bundle}"
    if not settings.tracking:
        raise CannotVerifyError(missing)
    with TemporaryDirectory(prefix="tandem-") as temporary:
        try:
            versions = registry()
            version = versions.find(record.bundle)
        except MissingError as exc:
            raise CannotVerifyError(missing) from exc
        yield versions.fetch(version, Path(temporary) / "bundle")


def snapshot_of(record: Prediction, folder: Path) -> Snapshot | None:
    """Open the snapshot that an answer was made from; None: it is no longer kept."""
    return next((Snapshot.open(each.path) for each in Named.all(folder) if each.digest == record.snapshot), None)


def fields_of(record: Prediction, variant: Variant) -> Values:
    """Give the features' fields as the request had them; what is personal is there by its pseudonym."""
    request, kinds = msgspec.json.decode(record.request), variant.spec.fields
    values = (request.get(name) for name in variant.contract.names)
    typed = zip(variant.contract.names, values, strict=True)
    return (*(_typed(value, kinds[name]) for name, value in typed), instant(record.world))


def _typed(value: Any, kind: str) -> object:  # noqa: ANN401 - whatever a field holds
    if kind == "TIMESTAMP" and value is not None:
        return instant(msgspec.convert(value, datetime))
    return float(value) if kind == "DOUBLE" and value is not None else value


@step
def score_again(record: Prediction, variant: Variant) -> None:
    """Score the recorded inputs.

    Raises:
        DivergesError: the score or the action is another one.

    """
    score = variant.scores([record.features])[0]
    if score != record.score:
        raise DivergesError(REPLAY, "score", f"{score!r}, and {record.score!r} was answered")
    action = variant.act if score >= variant.threshold else variant.otherwise
    if action != record.action:
        raise DivergesError(REPLAY, "action", f"{action}, and {record.action} was answered")


def as_vector(inputs: bytes) -> NDArray[np.float32]:
    """Give inputs, as the ledger keeps them, as numbers."""
    return np.frombuffer(inputs, dtype=np.float32)


@step
def make_again(record: Prediction, variant: Variant, snapshots: Path) -> tuple[int, str]:
    """Make the inputs from the request and the snapshot; say how many, and why the others could not be.

    Raises:
        DivergesError: an input is another one.

    """
    snapshot = snapshot_of(record, snapshots)
    if snapshot is None:
        return 0, f"snapshot {record.snapshot[:12]} of {record.tick} is no longer kept"
    made = as_vector(variant.on(snapshot.row).made(fields_of(record, variant)).data)
    hidden = hidden_inputs(variant.spec, variant.contract.personal)
    for name, again, before in zip(variant.spec.names, made, as_vector(record.features), strict=True):
        if name not in hidden and again.tobytes() != before.tobytes():
            raise DivergesError(REPLAY, f"input {name}", f"{again!s}, and {before!s} was recorded")
    why = f"the ledger holds {', '.join(variant.contract.personal)} by pseudonym only" if hidden else ""
    return len(made) - len(hidden), why


def hidden_inputs(spec: FeatureSpec, personal: list[str]) -> set[str]:
    """Name the inputs that follow from what is personal, which the ledger does not tell."""
    made = {each.name: each.columns for each in spec.request().expressions}
    hidden = set(personal) | {name for name, reads in made.items() if set(reads) & set(personal)}
    hidden |= {value for view in spec.views if set(view.keys) & hidden for value in view.values}
    return {feature.name for feature in spec.inputs if feature.name in hidden or set(feature.reads) & hidden}
