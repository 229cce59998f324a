"""An archive is the one that its bundle makes, byte for byte, or it is refused and leaves nothing."""

import io
import json
import random
import tarfile
from pathlib import Path

import pytest
from conftest import Workspace

from tandem import archive
from tandem.bundle import Bundle
from tandem.errors import BundleError


@pytest.fixture(scope="module")
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(scope="module")
def made(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return archive.export(bundle, tmp_path_factory.mktemp("archive") / "a.tar").read_bytes()


def test_it_is_an_oci_layout_and_comes_back_whole(bundle: Bundle, made: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(made)
    assert archive.unpack(path, tmp_path / "out")[0].files == bundle.files
    assert archive.export(bundle, tmp_path / "b.tar").read_bytes() == made
    with tarfile.open(path) as packed:
        names = packed.getnames()
        index = json.loads((packed.extractfile("index.json") or io.BytesIO()).read())
        assert {(m.mtime, m.uid, m.mode) for m in packed} == {(0, 0, 0o644)}
    assert names == sorted(names)
    assert index["manifests"][0]["digest"] == f"sha256:{bundle.digest}"


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_one_is_refused_and_leaves_nothing(made: bytes, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    damaged = bytearray(made)
    if seed % 3 == 0:
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    elif seed % 3 == 1:
        del damaged[draw.randrange(len(damaged)) :]
    else:
        damaged += bytes(draw.randrange(1, 4096))
    path = tmp_path / "a.tar"
    path.write_bytes(damaged)
    with pytest.raises(BundleError):
        archive.unpack(path, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "model.onnx"])  # noqa: S108
def test_a_file_outside_or_twice_is_refused(bundle: Bundle, made: bytes, tmp_path: Path, name: str) -> None:
    source, path = io.BytesIO(made), tmp_path / "a.tar"
    with tarfile.open(fileobj=source) as old, tarfile.open(path, "w") as new:
        for member in old:
            data = (old.extractfile(member) or io.BytesIO()).read()
            if member.name.endswith(bundle.digest):
                manifest = json.loads(data)
                manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = name
                data = json.dumps(manifest).encode()
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    with pytest.raises(BundleError, match="outside of the bundle, or there twice"):
        archive.unpack(path, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["a.tar"]


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        archive.unpack(tmp_path / "none.tar", tmp_path / "out")
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(BundleError, match="is no bundle's archive"):
        archive.unpack(tmp_path / "text.tar", tmp_path / "out")
    with tarfile.open(tmp_path / "deep.tar", "w") as packed:
        index = tarfile.TarInfo("index.json")
        index.size = 1 << 17
        packed.addfile(index, io.BytesIO(b"[" * index.size))
    with pytest.raises(BundleError, match=r"is no bundle's archive.*maximum recursion depth"):
        archive.unpack(tmp_path / "deep.tar", tmp_path / "out")
