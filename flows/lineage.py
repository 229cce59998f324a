"""The whole chain behind a version: from the registry to the raw files, and what was said about it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tandem.attestations import Trust
from tandem.registry import Registry, events_about
from tandem.run import operation


@operation
def lineage(registry: Registry, ref: str) -> dict[str, Any]:
    """Follow a version down to its landing, each link by its digest."""
    version, state = registry.find(ref), registry.settle()
    with TemporaryDirectory(prefix="tandem-") as folder:
        bundle = registry.fetch(version, Path(folder) / "bundle")
        inputs, trust = bundle.json("inputs.json"), Trust(registry.trusted)
        return {
            "version": version.version,
            "bundle": bundle.digest,
            "is": state.of(bundle.digest),
            "as_of": bundle.as_of.isoformat(),
            "run": version.run,
            "commit": version.commit,
            "dirty": version.dirty,
            "source": bundle.files["source.tar"],
            "lock": inputs["environment"],
            "params": bundle.json("params.json"),
            "figures": version.figures,
            "stages": inputs["stages"],
            "landing": inputs["landing"],
            "attested": [trust.told(each, bundle.digest) for each in registry.attestations(version)],
            "said": events_about(registry, bundle.digest),
        }
