"""Images that are built twice from the same commit, each time anew, hold the same files.

It takes ten minutes: TANDEM_IMAGES_TWICE=1 has it done. BASE names the base image where it is not the usual one, as for
`make images`.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from re import compile as regex
from typing import IO, cast

import pytest
from conftest import ROOT

from tandem.workspace import LOCKED
from tasks.containers import engine

TWICE = "TANDEM_IMAGES_TWICE"
REASONS = {
    regex(r"etc/(hostname|hosts|resolv\.conf|mtab)"): "the engine's, of a container",
}
"""What differs, and why."""

pytestmark = pytest.mark.skipif(TWICE not in os.environ, reason=f"ten minutes: {TWICE}=1 has it done")


def built(folder: Path) -> Mapping[str, str]:
    words = ["--base", base] if (base := os.environ.get("BASE")) else []
    own = [sys.executable, "-m", "flows.cli", "workspace", "images", *words]
    beside = {"TANDEM_VAR": str(folder), "TF_VAR_fresh": "true"}
    done = subprocess.run(own, cwd=ROOT, env=os.environ | beside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    images: Mapping[str, str] = json.loads((folder / "workspaces" / LOCKED).read_text())["images"]
    return images


class Chunks:
    """An archive that comes in chunks, as a file."""

    def __init__(self, chunks: "Callable[[], bytes]") -> None:
        self._next, self._held = chunks, b""

    def read(self, size: int) -> bytes:
        while len(self._held) < size and (chunk := self._next()):
            self._held += chunk
        read, self._held = self._held[:size], self._held[size:]
        return read


def files(image: str) -> dict[str, tuple[str, ...]]:
    """Give what is in an image: by path its kind, mode, owner, and the digest of what it holds or where it leads."""
    held = engine().containers.create(image)
    try:
        chunks = iter(held.export())
        source = cast("IO[bytes]", Chunks(lambda: next(chunks, b"")))
        with tarfile.open(fileobj=source, mode="r|") as archive:
            return {member.name: _told(archive, member) for member in archive}
    finally:
        held.remove()


def _told(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, ...]:
    file = archive.extractfile(member) if member.isfile() else None
    digest = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
    return str(member.type), oct(member.mode), f"{member.uid}:{member.gid}", digest


def test_the_same_commit_gives_the_same_files(tmp_path: Path) -> None:
    one, other = built(tmp_path / "one"), built(tmp_path / "other")
    differing = {}
    for name, image in one.items():
        a, b = files(image), files(other[name])
        paths = [path for path in sorted(a.keys() | b.keys()) if a.get(path) != b.get(path)]
        if found := [path for path in paths if not any(each.fullmatch(path) for each in REASONS)]:
            differing[name] = found
    assert differing == {}
