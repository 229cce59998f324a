"""The bundle: all that is needed to answer, to judge and to rebuild, closed, and named by its manifest's digest.

The folder is an OCI artifact: `manifest.json` is an OCI image manifest, each other file a layer with its path as title.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Annotated, Any, Self

import msgspec

from tandem.errors import BundleError, MissingError
from tandem.features import FeatureSpec
from tandem.files import canonical_json, sha256_of, write_text

MANIFEST = "manifest.json"
ARTIFACT = "application/vnd.tandem.bundle.v1+json"
TITLE = "org.opencontainers.image.title"
EMPTY = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
    "size": 2,
    "data": "e30=",
}
MEDIA = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".onnx": "application/vnd.tandem.onnx",
    ".parquet": "application/vnd.apache.parquet",
    ".sql": "application/sql",
    ".tar": "application/x-tar",
}
LARGEST = 1 << 30
"""Bytes of one file of a bundle, at most."""
LARGEST_MANIFEST = 1 << 22
MOST_FILES = 10_000
LINKED = "is a link or the like: a bundle holds its files itself"


class Layer(msgspec.Struct, frozen=True):
    """A file, as the manifest names it."""

    digest: Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    annotations: dict[str, str]


class Manifest(msgspec.Struct, frozen=True):
    """What a manifest must hold to be checked by."""

    artifact_type: str = msgspec.field(name="artifactType")
    layers: tuple[Layer, ...]
    annotations: dict[str, str]


def seal(folder: Path, annotations: Mapping[str, str]) -> str:
    """Write the manifest of all files in a folder, and return its digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    layers = [
        {
            "mediaType": MEDIA[path.suffix],
            "digest": f"sha256:{sha256_of(path)}",
            "size": path.stat().st_size,
            "annotations": {TITLE: path.relative_to(folder).as_posix()},
        }
        for path in files
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": ARTIFACT,
        "config": EMPTY,
        "layers": layers,
        "annotations": dict(annotations),
    }
    return sha256_of(write_text(folder / MANIFEST, canonical_json(manifest)))


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked: each file is the one its manifest names, and there is no other."""

    folder: Path
    manifest: dict[str, Any]
    digest: str

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Check a folder and open it; nothing but its manifest is parsed, and nothing larger than allowed is read.

        Raises:
            MissingError: there is no bundle.
            BundleError: it is damaged.

        """
        path = folder / MANIFEST
        _refuse(folder, {MANIFEST} if path.is_symlink() else (), LINKED)
        if not path.is_file():
            msg = f"{folder} holds no bundle: `dvc repro` makes one"
            raise MissingError(msg)
        large = path.stat().st_size > LARGEST_MANIFEST
        _refuse(folder, {MANIFEST} if large else (), "is larger than a manifest may be")
        said = path.read_bytes()
        try:
            manifest = msgspec.json.decode(said)
            read = msgspec.convert(manifest, Manifest)
            datetime.fromisoformat(read.annotations["tandem.as_of"])
            files = {layer.annotations[TITLE]: layer for layer in read.layers}
        except (ValueError, KeyError, RecursionError) as exc:
            msg = f"{path} is no bundle's manifest: {exc}"
            raise BundleError(msg) from exc
        if read.artifact_type != ARTIFACT or len(files) != len(read.layers):
            kind = read.artifact_type
            what = "names a file twice" if kind == ARTIFACT else f"is one of {kind}, not of {ARTIFACT}"
            msg = f"{path} is no bundle's manifest: it {what}"
            raise BundleError(msg)
        try:
            _check(folder, files)
        except OSError as exc:
            msg = f"{folder} cannot be read: {exc}"
            raise BundleError(msg) from exc
        return cls(folder, manifest, hashlib.sha256(said).hexdigest())

    @property
    def files(self) -> dict[str, str]:
        """The digest of each file."""
        return {layer["annotations"][TITLE]: layer["digest"] for layer in self.manifest["layers"]}

    @property
    def annotations(self) -> dict[str, str]:
        """What the manifest says of the whole."""
        return dict(self.manifest["annotations"])

    @property
    def as_of(self) -> datetime:
        """Before which all that it was made of was known."""
        return datetime.fromisoformat(self.annotations["tandem.as_of"])

    @cached_property
    def spec(self) -> FeatureSpec:
        """What the model is fed."""
        return FeatureSpec.load(self.folder / "features.json")

    def text(self, name: str) -> str:
        """Read one of its files.

        Raises:
            BundleError: it has none of that name.

        """
        if name not in self.files:
            msg = f"{self.folder} holds no {name}: an earlier version of Tandem made it"
            raise BundleError(msg)
        return (self.folder / name).read_text()

    def json(self, name: str) -> Any:  # noqa: ANN401 - whatever the file holds
        """Read one of its JSON files."""
        return json.loads(self.text(name))


def _check(folder: Path, named: Mapping[str, Layer]) -> None:
    """Hold a folder against its manifest: names first, then kinds and sizes, and digests of what is left last."""
    found, folders = _walked(folder)
    _refuse(folder, named.keys() - found.keys(), "is missing")
    _refuse(folder, found.keys() - named.keys() - {MANIFEST}, "is not in the manifest")
    needed = {parent.as_posix() for name in named for parent in PurePosixPath(name).parents}
    _refuse(folder, folders - needed, "is a folder that holds nothing")
    modes = {name: os.lstat(path) for name, path in found.items() if name != MANIFEST}
    linked = {name for name, of in modes.items() if not S_ISREG(of.st_mode)}
    _refuse(folder, linked, LINKED)
    large = {name for name, layer in named.items() if layer.size > LARGEST}
    _refuse(folder, large, f"is larger than a bundle's file may be, {LARGEST >> 20} MiB")
    changed = {name for name, layer in named.items() if modes[name].st_size != layer.size}
    _refuse(folder, changed, "is not the file that the manifest names: its size differs")
    changed = {name for name, layer in named.items() if f"sha256:{sha256_of(found[name])}" != layer.digest}
    _refuse(folder, changed, "is not the file that the manifest names: its digest differs")


def _walked(folder: Path) -> tuple[dict[str, Path], set[str]]:
    """Find all files and folders below one, however deep they lie; no link is followed."""
    found: dict[str, Path] = {}
    folders: set[str] = set()
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                name = path.relative_to(folder).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    folders.add(name)
                    waiting.append(path)
                else:
                    found[name] = path
                if len(found) + len(folders) > MOST_FILES:
                    msg = f"{folder} holds more than {MOST_FILES} files"
                    raise BundleError(msg)
    return found, folders


def _refuse(folder: Path, names: Collection[str], why: str) -> None:
    if names:
        msg = f"{folder / min(names)} {why}"
        raise BundleError(msg)
