"""Say something about a bundle, signed."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tandem.attestations import Kind, name_of
from tandem.registry import Registry, Version
from tandem.run import operation
from tandem.signing import Signer
from tasks.attest import statement


@operation
def attest(registry: Registry, ref: str, kind: Kind, key: Path, reason: str) -> tuple[Version, str]:
    """Sign a statement about a version's bundle, once all of it was checked, and put it beside it."""
    signer, version = Signer.load(key), registry.find(ref)
    with TemporaryDirectory(prefix="tandem-") as folder:
        bundle = registry.fetch(version, Path(folder) / "bundle")
        envelope = statement(bundle, version, kind, reason).signed(signer)
    registry.attest(version, kind, envelope, reason)
    return version, name_of(envelope)
