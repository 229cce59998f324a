"""Where a bundle's source is from: the commit that holds it, told by git or by who built the image."""

import hashlib
import logging
import os
import posixpath
import re
import subprocess
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path

from tandem.params import AS_OF, Frozen

log = logging.getLogger(__name__)

COMMIT = "TANDEM_COMMIT"
"""Names the commit where there is no git, as in an image."""
LISTED = re.compile(r"^(\d+) blob ([0-9a-f]+)\t(.+)$", re.MULTILINE)
LINK = "120000"
PARAMS = "params.yaml"
LOOKED_AT = 500
"""Commits, the newest of all branches and tags."""
Files = Mapping[str, bytes | None]
"""What a source holds, by path; None: what is no file."""


class Origin(Frozen):
    """The commit, if it is known, and the files of the source that it does not hold as they are."""

    commit: str | None
    differ: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether code or params took part that no commit holds."""
        return bool(self.differ)


def origin_of(source: Path, root: Path) -> Origin:
    """Hold a bundle's source against the commit that is checked out in a folder, or in one that it lies in; or another.

    Where there is a checkout and git cannot say of what, no file is known to be as committed.
    """
    here = root.absolute()
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return Origin(commit=os.environ.get(COMMIT))
    with tarfile.open(source) as archive:
        members = {member.name: archive.extractfile(member) for member in archive}
        files = {name: file.read() if file else None for name, file in sorted(members.items())}
    try:
        head = Origin(commit=_asked(root, "rev-parse", "HEAD"), differ=_differing(files, "HEAD", root))
        return (head.dirty and _elsewhere(files, head.differ, root)) or head
    except (OSError, subprocess.CalledProcessError) as exc:
        why = getattr(exc, "stderr", None) or str(exc)
        log.warning("git cannot tell which commit this is, so it counts as none: %s", why.strip().splitlines()[0])
        return Origin(commit=None, differ=tuple(files))


def _elsewhere(files: Files, differ: Collection[str], root: Path) -> Origin | None:
    """Find another commit that holds the source: a bundle that is imported, or is published later, may be of that."""
    told = "".join(f"{_blob(data)}\n" for name in differ if name != PARAMS and (data := files[name]) is not None)
    if None in files.values() or "missing" in _asked(root, "cat-file", "--batch-check", given=told):
        return None
    where = ("--branches", "--tags", "--remotes", "HEAD")  # and nothing that was only put aside
    commits = _asked(root, "rev-list", f"--max-count={LOOKED_AT}", *where).split()
    return next((Origin(commit=each) for each in commits if not _differing(files, each, root)), None)


def _differing(files: Files, commit: str, root: Path) -> tuple[str, ...]:
    """Name the files that a commit does not hold as they are."""
    blobs = _blobs(root, commit)
    return tuple(name for name, data in files.items() if data is None or not _held(name, data, blobs.get(name), root))


def _blobs(root: Path, commit: str) -> dict[str, str]:
    """Name the content of each file of a commit; that of a link is what it leads to, as in a bundle's source."""
    listed = re.findall(LISTED, _asked(root, "ls-tree", "-r", "-z", commit).replace("\0", "\n"))
    blobs = {path: blob for _, blob, path in listed}
    links = {path: _asked(root, "cat-file", "blob", blob) for mode, blob, path in listed if mode == LINK}
    leads = {path: posixpath.normpath(posixpath.join(posixpath.dirname(path), to)) for path, to in links.items()}
    return blobs | {path: blobs[to] for path, to in leads.items() if to in blobs}


def _asked(root: Path, *words: str, given: str = "") -> str:
    git = ["git", *words]
    done = subprocess.run(git, cwd=root, check=True, capture_output=True, text=True, input=given)  # noqa: S603 - ours
    return done.stdout.strip()


def _blob(data: bytes) -> str:
    """Name a content as git does."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _held(name: str, data: bytes, blob: str | None, root: Path) -> bool:
    """Tell whether a file is as committed; the day that `--advance` writes into params.yaml is no change of its own."""
    if blob is None:
        return False
    if _blob(data) == blob:
        return True
    if name != PARAMS:
        return False
    committed = _asked(root, "cat-file", "blob", blob)
    return AS_OF.sub("", data.decode()).strip() == AS_OF.sub("", committed).strip()
