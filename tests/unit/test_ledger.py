"""The ledger: what was acknowledged is there, in order, and nothing of it was changed."""

import errno
import json
import os
from pathlib import Path

import pytest

from tandem.errors import LedgerError
from tandem.ledger import Line, Segment, rows, salted


def written(path: Path, count: int) -> Path:
    with Segment(path, durable=True) as segment:
        for number in range(count):
            segment.append({"number": number, "text": "Zoë\n"})
    return path


def test_rows_come_back_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path / "writer" / "0", 5)
    assert [row["number"] for row in rows(path)] == list(range(5))
    with Segment(path, durable=False) as segment:
        assert segment.rows == 5
        segment.append({"number": 5})
    assert [row["number"] for row in rows(path)] == list(range(6))
    assert list(rows(tmp_path / "none")) == []


@pytest.mark.parametrize("left", range(1, 60, 7))
def test_a_torn_line_is_not_read_and_is_cut_by_the_next_writer(tmp_path: Path, left: int) -> None:
    path = written(tmp_path / "0", 3)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:left])
    assert [row["number"] for row in rows(path)] == [0, 1, 2]
    with Segment(path, durable=False) as segment:
        assert path.read_bytes() == whole
        segment.append({"number": 3})
    assert [row["number"] for row in rows(path)] == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["changed", "taken out", "swapped", "no json"])
def test_what_was_changed_is_found(tmp_path: Path, how: str) -> None:
    path = written(tmp_path / "0", 4)
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "changed":
        lines[1] = lines[1].replace(b'"number":1', b'"number":7')
    elif how == "taken out":
        del lines[1]
    elif how == "swapped":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines[1] = b"{\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerError, match="line 2"):
        list(rows(path))
    with pytest.raises(LedgerError, match="line 2"):
        Segment(path, durable=False)


def test_a_row_can_be_erased_and_the_chain_still_holds(tmp_path: Path) -> None:
    path = written(tmp_path / "0", 3)
    lines = path.read_text().splitlines()
    said = json.loads(lines[1])
    row = lines[1].partition('"row":')[2][:-1]
    lines[1] = json.dumps({"chain": said["chain"], "erased": salted(said["salt"], row.encode())})
    path.write_text("\n".join(lines) + "\n")
    assert [row["number"] for row in rows(path)] == [0, 2]
    lines[1] = json.dumps({"chain": said["chain"], "erased": Line("").digest()})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(LedgerError, match="line 2"):
        list(rows(path))


def test_the_same_row_leaves_another_digest_each_time(tmp_path: Path) -> None:
    with Segment(tmp_path / "0", durable=False) as segment:
        segment.append({"name": "ada"})
        segment.append({"name": "ada"})
    first, second = map(json.loads, (tmp_path / "0").read_text().splitlines())
    assert first["salt"] != second["salt"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "0", 2)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Segment(path, durable=True) as segment:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(LedgerError, match="No space left"):
                segment.append({"number": 2})
        assert path.read_bytes() == before
        segment.append({"number": 2})
    assert [row["number"] for row in rows(path)] == [0, 1, 2]
