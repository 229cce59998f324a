"""A bundle as one file: an OCI image layout in a tar, made in one way only, so that any OCI registry can take it."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tandem.bundle import EMPTY, MANIFEST, TITLE, Bundle
from tandem.errors import BundleError
from tandem.files import atomic, atomic_folder, canonical_json, sha256_of

LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"}).encode()
BLOBS = "blobs/sha256/"
LARGEST = 1 << 30
"""Bytes of one file of a bundle, at most."""


def export(bundle: Bundle, target: Path) -> Path:
    """Write a bundle's archive in one step; the same bundle gives the same bytes."""
    with atomic(target) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in _entries(bundle):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return target


def _entries(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """Give what a layout is made of: its version, its index, and each blob once, by digest."""
    manifest = bundle.folder / MANIFEST
    described = {
        "mediaType": bundle.manifest["mediaType"],
        "artifactType": bundle.manifest["artifactType"],
        "digest": f"sha256:{bundle.digest}",
        "size": manifest.stat().st_size,
    }
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [described]}
    blobs = {_hex(digest): bundle.folder / title for title, digest in bundle.files.items()} | {bundle.digest: manifest}
    empty = _hex(str(EMPTY["digest"]))
    for digest in sorted({*blobs, empty}):
        yield f"{BLOBS}{digest}", b"{}" if digest == empty else blobs[digest].read_bytes()
    yield "index.json", canonical_json(index).encode()
    yield "oci-layout", LAYOUT


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def unpack(source: Path, target: Path) -> Bundle:
    """Lay out the bundle of an archive, in one step.

    Raises:
        BundleError: the archive is not, byte for byte, the one that its bundle makes.

    """
    if not source.is_file():
        msg = f"{source}: no such file"
        raise BundleError(msg)
    try:
        with atomic_folder(target) as folder:
            _lay_out(source, folder)
            _check(source, Bundle.open(folder))
    except (
        tarfile.TarError,
        OSError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as exc:
        msg = f"{source} is no bundle's archive, or was damaged: {exc!r}"
        raise BundleError(msg) from exc
    return Bundle.open(target)


def _lay_out(source: Path, folder: Path) -> None:
    with tarfile.open(source, "r:") as archive:
        members = {member.name: member for member in archive if member.isreg() and member.size <= LARGEST}

        def read(name: str) -> bytes:
            content = archive.extractfile(members[name])
            return content.read() if content else b""

        (described,) = json.loads(read("index.json"))["manifests"]
        manifest = read(BLOBS + _hex(described["digest"]))
        (folder / MANIFEST).write_bytes(manifest)
        for layer in json.loads(manifest)["layers"]:
            path = folder / layer["annotations"][TITLE]
            if not path.resolve().is_relative_to(folder.resolve()) or path.exists():
                msg = f"{layer['annotations'][TITLE]!r} is outside of the bundle, or there twice"
                raise BundleError(msg)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read(BLOBS + _hex(layer["digest"])))


def _check(source: Path, bundle: Bundle) -> None:
    """Make the archive again: so there is nothing in it, or after it, that the bundle does not hold."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        again = export(bundle, Path(folder) / "archive.tar")
        if sha256_of(again) != sha256_of(source):
            msg = f"{source} was changed: it is not the archive that bundle {bundle.digest[:12]} makes"
            raise BundleError(msg)
