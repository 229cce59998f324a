"""Files are written whole or not at all, and always in the same way."""

from contextlib import suppress
from pathlib import Path

import pytest

from tandem.errors import MissingError
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
