"""A bundle as one file, from one workspace's registry to another's."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.publish import publish
from tandem import archive
from tandem.errors import BundleError
from tandem.registry import Registry, Version
from tandem.run import operation
from tandem.settings import Settings


@operation
def export(registry: Registry, ref: str, target: Path) -> Path:
    """Write a version's bundle as an archive."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        return archive.export(registry.fetch(registry.find(ref), Path(folder) / "bundle"), target)


@operation
def bring_in(registry: Registry, source: Path, settings: Settings) -> tuple[Version, dict[str, Any]]:
    """Publish the bundle of an archive, once all of it was checked."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        bundle = archive.unpack(source, Path(folder) / "bundle")
        if (problem := bundle.annotations.get("tandem.problem")) != registry.problem:
            msg = f"{source} is a bundle of problem {problem}, and this workspace's is {registry.problem}"
            raise BundleError(msg)
        return publish(registry, bundle, settings)
