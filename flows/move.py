"""A bundle as one file, from one workspace's registry to another's."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.publish import publish
from tandem import archive
from tandem.attestations import Trust
from tandem.errors import BundleError
from tandem.origin import origin_of
from tandem.registry import Registry, Version
from tandem.run import operation
from tandem.settings import Settings
from tasks.publish import register


@operation
def export(registry: Registry, ref: str, target: Path) -> Path:
    """Write a version's bundle as an archive, with what is said about it."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        version = registry.find(ref)
        bundle = registry.fetch(version, Path(folder) / "bundle")
        return archive.export(bundle, target, registry.attestations(version))


@operation
def bring_in(registry: Registry, source: Path, settings: Settings) -> tuple[Version, dict[str, Any]]:
    """Publish the bundle of an archive, once all of it was checked."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        bundle, said = archive.unpack(source, Path(folder) / "bundle")
        if (problem := bundle.annotations.get("tandem.problem")) != registry.problem:
            msg = f"{source} is a bundle of problem {problem}, and this workspace's is {registry.problem}"
            raise BundleError(msg)
        version, trust = (
            register(registry, bundle, origin_of(bundle.folder / "source.tar", Path())),
            Trust(registry.trusted),
        )
        for envelope in said:
            registry.attest(version, trust.kind(envelope, bundle.digest), envelope, f"it came with {source.name}")
        return publish(registry, bundle, settings)
