"""A bundle as one file: an OCI image layout in a tar, made in one way only, so that any OCI registry can take it.

What is said about the bundle is in it too: each envelope by a manifest that refers to the bundle's.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tandem.bundle import EMPTY, LARGEST, MANIFEST, TITLE, Bundle
from tandem.errors import BundleError
from tandem.files import atomic, atomic_folder, canonical_json, sha256_of

LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"}).encode()
BLOBS = "blobs/sha256/"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
DAMAGED = (
    tarfile.TarError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
"""What readers raise at what they cannot read."""


def export(bundle: Bundle, target: Path, said: Collection[bytes] = ()) -> Path:
    """Write a bundle's archive in one step, with what is said about it; the same gives the same bytes."""
    with atomic(target) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in _entries(bundle, said):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return target


def _entries(bundle: Bundle, said: Collection[bytes]) -> Iterator[tuple[str, bytes]]:
    """Give what a layout is made of: its version, its index, and each blob once, by digest."""
    files = {_hex(digest): bundle.folder / title for title, digest in bundle.files.items()}
    subject = _described((bundle.folder / MANIFEST).read_bytes(), bundle.manifest["artifactType"])
    referrers = [_referrer(envelope, subject) for envelope in sorted(said)]
    manifests = [subject, *(_described(each, ENVELOPE) for each in referrers)]
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
    made = {_named(each): each for each in (*said, *referrers, b"{}")}
    for digest in sorted({*files, *made, bundle.digest}):
        path = files.get(digest, bundle.folder / MANIFEST)
        yield f"{BLOBS}{digest}", made[digest] if digest in made else path.read_bytes()
    yield "index.json", canonical_json(index).encode()
    yield "oci-layout", LAYOUT


def _described(manifest: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": IMAGE, "artifactType": kind, "digest": f"sha256:{_named(manifest)}", "size": len(manifest)}


def _referrer(envelope: bytes, subject: dict[str, Any]) -> bytes:
    """Make the manifest by which an envelope refers to its bundle."""
    layer = {"mediaType": ENVELOPE, "digest": f"sha256:{_named(envelope)}", "size": len(envelope)}
    said = {"schemaVersion": 2, "mediaType": IMAGE, "artifactType": ENVELOPE, "config": EMPTY, "layers": [layer]}
    return canonical_json(said | {"subject": subject}).encode()


def _named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def unpack(source: Path, target: Path) -> tuple[Bundle, list[bytes]]:
    """Lay out the bundle of an archive, in one step, and give what is said about it, of which nothing was checked.

    Raises:
        BundleError: the archive is not, byte for byte, the one that its bundle makes.

    """
    if not source.is_file():
        msg = f"{source}: no such file"
        raise BundleError(msg)
    inside = ""
    try:
        with atomic_folder(target) as folder:
            inside = f"{folder}/"
            said = _lay_out(source, folder)
            _check(source, Bundle.open(folder), said)
    except (*DAMAGED, BundleError) as exc:
        why = str(exc).replace(inside, "") or type(exc).__name__
        msg = f"{source} is no bundle's archive, or was damaged: {why}. Export it again, or fetch it again"
        raise BundleError(msg) from exc
    return Bundle.open(target), said


def _lay_out(source: Path, folder: Path) -> list[bytes]:
    with tarfile.open(source, "r:") as archive:
        members = {member.name: member for member in archive if member.isreg() and member.size <= LARGEST}

        def read(name: str) -> bytes:
            content = archive.extractfile(members[name])
            return content.read() if content else b""

        described, *referrers = json.loads(read("index.json"))["manifests"]
        manifest = read(BLOBS + _hex(described["digest"]))
        (folder / MANIFEST).write_bytes(manifest)
        for layer in json.loads(manifest)["layers"]:
            path = folder / layer["annotations"][TITLE]
            if not path.resolve().is_relative_to(folder.resolve()) or path.exists():
                msg = f"{layer['annotations'][TITLE]!r} is outside of the bundle, or there twice"
                raise BundleError(msg)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read(BLOBS + _hex(layer["digest"])))
        manifests = [json.loads(read(BLOBS + _hex(each["digest"]))) for each in referrers]
        return [read(BLOBS + _hex(each["layers"][0]["digest"])) for each in manifests]


def _check(source: Path, bundle: Bundle, said: Collection[bytes]) -> None:
    """Make the archive again: so there is nothing in it, or after it, that the bundle does not hold."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        again = export(bundle, Path(folder) / "archive.tar", said)
        if sha256_of(again) != sha256_of(source):
            msg = f"it is not the archive that bundle {bundle.digest[:12]} makes"
            raise BundleError(msg)
