"""Plain files out of a tar."""

import shutil
import tarfile
from pathlib import Path

from tandem.errors import ArchiveError


def unpack(source: Path, folder: Path) -> None:
    """Write an archive's files into a folder; the `filter` of `extractall` is not in Debian's Python 3.11.

    Raises:
        ArchiveError: it cannot be read, or holds what is no plain file inside of the folder.

    """
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                path = folder / member.name
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or not path.resolve().is_relative_to(folder.resolve()):
                    msg = f"{source}: {member.name!r} is no plain file of its own"
                    raise ArchiveError(msg)
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except tarfile.TarError as exc:
        msg = f"{source} is no archive of ours, or was damaged: {exc}"
        raise ArchiveError(msg) from exc
