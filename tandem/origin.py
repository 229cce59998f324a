"""Where a bundle's source is from: the commit that holds it, told by git or by who built the image."""

import hashlib
import os
import posixpath
import re
import subprocess
import tarfile
from pathlib import Path
from shutil import which

from tandem.params import AS_OF, Frozen

COMMIT = "TANDEM_COMMIT"
"""Names the commit where there is no git, as in an image."""
LISTED = re.compile(r"^(\d+) blob ([0-9a-f]+)\t(.+)$", re.MULTILINE)
LINK = "120000"


class Origin(Frozen):
    """The commit, if it is known, and the files of the source that it does not hold as they are."""

    commit: str | None
    differ: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether code or params took part that no commit holds."""
        return bool(self.differ)


def origin_of(source: Path, root: Path) -> Origin:
    """Hold a bundle's source against the commit that is checked out in a folder."""
    git = which("git")
    head = _asked(git, root, "rev-parse", "HEAD") if git and (root / ".git").exists() else None
    if not (git and head):
        return Origin(commit=os.environ.get(COMMIT))
    blobs = _blobs(git, root)
    with tarfile.open(source) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        differ = tuple(
            name
            for name, file in sorted(files.items())
            if file is None or not _held(name, file.read(), blobs.get(name), git, root)
        )
    return Origin(commit=head, differ=differ)


def _blobs(git: str, root: Path) -> dict[str, str]:
    """Name the content of each file of the commit; that of a link is what it leads to, as in a bundle's source."""
    listed = re.findall(LISTED, _asked(git, root, "ls-tree", "-r", "--full-tree", "HEAD") or "")
    blobs = {path: blob for _, blob, path in listed}
    links = {path: _asked(git, root, "cat-file", "blob", blob) or "" for mode, blob, path in listed if mode == LINK}
    leads = {path: posixpath.normpath(posixpath.join(posixpath.dirname(path), to)) for path, to in links.items()}
    return blobs | {path: blobs[to] for path, to in leads.items() if to in blobs}


def _asked(git: str, root: Path, *words: str) -> str | None:
    done = subprocess.run([git, *words], cwd=root, check=False, capture_output=True, text=True)  # noqa: S603 - our words
    return done.stdout.strip() if done.returncode == 0 else None


def _held(name: str, data: bytes, blob: str | None, git: str, root: Path) -> bool:
    """Tell whether a file is as committed; the day that `--advance` writes into params.yaml is no change of its own."""
    if blob is None:
        return False
    if hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == blob:
        return True
    if name != "params.yaml":
        return False
    committed = _asked(git, root, "cat-file", "blob", blob) or ""
    return AS_OF.sub("", data.decode()).strip() == AS_OF.sub("", committed).strip()
