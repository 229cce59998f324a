"""Files are written whole or not at all, and always in the same way."""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import polars as pl
import pytest

from tandem.errors import MissingError, UnwritableError
from tandem.files import atomic, atomic_folder, canonical_json, digest_of, made, sha256_of, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_fails_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    target = write_text(tmp_path / "deep" / "file", "before")
    with suppress(ZeroDivisionError), atomic(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (target.read_text(), names(target.parent)) == ("before", ["file"])


def test_what_fails_leaves_the_folder_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for number in range(2):
        with atomic_folder(target) as temporary:
            (temporary / f"file{number}").touch()
    with suppress(ZeroDivisionError), atomic_folder(target) as temporary:
        (temporary / "half").touch()
        raise ZeroDivisionError
    assert (names(target), names(tmp_path)) == (["file1"], ["folder"])


def test_a_full_disk_that_polars_met_is_told_too(tmp_path: Path) -> None:
    rows = pl.DataFrame({"a": range(9)})
    with (
        pytest.raises(UnwritableError, match=r"target cannot be written: .*No space left"),
        atomic(tmp_path / "target"),
    ):
        rows.write_parquet("/dev/full")
    with pytest.raises(pl.exceptions.ComputeError), atomic(tmp_path / "target"):
        rows.select(pl.col("a").cast(pl.String).str.to_date())
    assert names(tmp_path) == []


@pytest.mark.parametrize("begun", [atomic, atomic_folder])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, begun: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    target = tmp_path / "target"
    with pytest.raises(UnwritableError, match=r"target cannot be written: .*No space left"), begun(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="another") as told, begun(target):
        raise OSError(errno.EIO, "another")
    assert not isinstance(told.value, UnwritableError)
    assert names(tmp_path) == []


def test_what_is_no_file_does_not_become_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnwritableError, match=r"pipe cannot be written: .*it is there, and no file"):
        write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


def test_text_is_utf_8_whatever_the_locale_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: "latin-1")
    assert write_json(tmp_path / "file", {"town": "Łódź"}).read_bytes() == '{\n "town": "Łódź"\n}\n'.encode()


def test_json_has_one_form() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None, "é"]}) == '{"a": [1.5, null, "é"], "b": 1}\n'
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def test_parts_of_a_digest_are_told_apart(tmp_path: Path) -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("ab") == digest_of(b"ab")
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_what_no_stage_has_made_is_named_with_the_stage_that_does(tmp_path: Path) -> None:
    assert made(tmp_path, "views") == tmp_path
    with pytest.raises(MissingError, match=r"rows.parquet does not exist: `dvc repro training_set` makes it"):
        made(tmp_path / "rows.parquet", "training_set")
