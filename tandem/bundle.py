"""The bundle: all that is needed to answer, to judge and to rebuild, closed, and named by its manifest's digest.

The folder is an OCI artifact: `manifest.json` is an OCI image manifest, each other file a layer with its path as title.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

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
        """Check a folder and open it.

        Raises:
            MissingError: there is no bundle.
            BundleError: it is damaged.

        """
        path = folder / MANIFEST
        if not path.is_file():
            msg = f"{folder} holds no bundle: `dvc repro` makes one"
            raise MissingError(msg)
        said = path.read_bytes()
        try:
            manifest = json.loads(said)
            kind, layers = manifest["artifactType"], manifest["layers"]
            named = {layer["annotations"][TITLE]: (layer["digest"], layer["size"]) for layer in layers}
            datetime.fromisoformat(manifest["annotations"]["tandem.as_of"])
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            msg = f"{path} is no bundle's manifest: {exc!r}"
            raise BundleError(msg) from exc
        if kind != ARTIFACT or len(named) != len(layers):
            what = "names a file twice" if kind == ARTIFACT else f"is one of {kind}, not of {ARTIFACT}"
            msg = f"{path} is no bundle's manifest: it {what}"
            raise BundleError(msg)
        _check(folder, named)
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


def _check(folder: Path, named: Mapping[str, tuple[str, int]]) -> None:
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    _refuse(folder, named.keys() - found.keys(), "is missing")
    _refuse(folder, found.keys() - named.keys() - {MANIFEST}, "is not in the manifest")
    linked = {name for name, path in found.items() if path.is_symlink() or not path.is_file()}
    _refuse(folder, linked, "is a link or the like: a bundle holds its files itself")
    of = {name: (f"sha256:{sha256_of(found[name])}", found[name].stat().st_size) for name in named}
    changed = {name for name in named if of[name] != named[name]}
    _refuse(folder, changed, "is not the file that the manifest names: its size or digest differs")


def _refuse(folder: Path, names: Collection[str], why: str) -> None:
    if names:
        msg = f"{folder / min(names)} {why}"
        raise BundleError(msg)
