"""What is unpacked is plain files, inside of the folder."""

import io
import tarfile
from pathlib import Path

import pytest

from tandem.errors import ArchiveError
from tandem.tarball import unpack


def packed(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return path


def test_files_are_written_where_they_belong(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.tar", ("x", tarfile.REGTYPE, b"1"), ("y/z", tarfile.REGTYPE, b"2"))
    unpack(source, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == {
        "x": b"1",
        "z": b"2",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../x", tarfile.REGTYPE), ("/x", tarfile.REGTYPE), ("x", tarfile.SYMTYPE), ("x", tarfile.CHRTYPE)],
)
def test_what_is_no_plain_file_of_its_own_is_refused(name: str, kind: bytes, tmp_path: Path) -> None:
    source = packed(tmp_path / "a.tar", (name, kind, b""))
    with pytest.raises(ArchiveError, match=f"'{name}' is no plain file"):
        unpack(source, tmp_path / "out")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"x" * 2000])
def test_what_is_no_archive_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ArchiveError, match="is no archive of ours, or was damaged"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
