"""A registry whose champion is served."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from published import put_in

from flows.promote import promote
from flows.sync import sync
from tandem.bundle import MANIFEST, Bundle, seal
from tandem.registry import Registry
from tandem.serving.synced import Synced
from tandem.serving.traffic import Traffic
from tandem.settings import Settings


@dataclass(frozen=True)
class Place:
    """A registry whose champion is served."""

    registry: Registry
    settings: Settings
    bundle: Bundle
    served: Traffic
    folder: Path
    beside: dict[str, str]
    """The environment in which commands find it."""


def traffic(settings: Settings) -> Traffic:
    found = Traffic.load(settings.serving / "traffic.json")
    assert found
    return found


def laid_out(settings: Settings) -> set[str]:
    return {path.name for path in (settings.serving / "bundles").iterdir()}


def refusals(registry: Registry) -> list[tuple[str | None, str]]:
    return [(event["digest"], event["reason"]) for event in registry.refused()]


def remade(bundle: Bundle, folder: Path, change: Callable[[Path], object]) -> Bundle:
    """A bundle in which something was changed before it was sealed: its digests are right."""
    shutil.copytree(bundle.folder, folder)
    change(folder)
    (folder / MANIFEST).unlink()
    seal(folder, bundle.annotations)
    return Bundle.open(folder)


def challenge(registry: Registry, bundle: Bundle, settings: Settings) -> Synced:
    """Publish a bundle, make it challenger, and sync."""
    version = put_in(registry, bundle)
    promote(registry, str(version.version), "challenger", 0.25, "try it")
    return sync(registry, settings)


def flipped(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[100] ^= 1
    (folder / "model.onnx").write_bytes(data)
