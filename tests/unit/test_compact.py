"""Closed segments as Parquet: each row once, whatever is killed, damaged or left lying about."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ledgers import DAY, asked, no, prediction, write, yes

from tandem.compacted import PARQUET, Receipt
from tandem.errors import LedgerError
from tandem.history import History
from tandem.serving.records import Records, Shadow, find, segments
from tasks.compact import Compacted, compact_closed, drop_compacted

LATER = datetime(2100, 1, 1)  # noqa: DTZ001
Everything = list[list[tuple[Any, ...]]]


def everything(folder: Path) -> Everything:
    return [
        asked(folder, f"select {t}::varchar from {t} order by id") for t in ("predictions", "labels_all", "shadows")
    ]


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, list[str]]:
    """A ledger of two writers, over two days, whose last lines were torn."""
    shadow = Shadow(DAY, DAY.replace(tzinfo=UTC), "p", "x", "b" * 64, score=0.5)
    ids = write(tmp_path, prediction(1), prediction(2, days=1), yes(prediction="x"), shadow)
    ids += write(tmp_path, prediction(3, days=1.5), no(known=1, keys={"parcel": "P1"}))
    for path in segments(tmp_path):
        with path.open("ab") as file:
            file.write(b'{"chain":')
    return tmp_path, ids


def test_compaction_keeps_each_row_once_and_has_nothing_to_do_again(filled: tuple[Path, list[str]]) -> None:
    folder, ids = filled
    before, found = everything(folder), [find(folder, name) for name in ids]
    report = Compacted()
    compact_closed(folder, report)
    assert sorted(report.made) == sorted(f"{path.parent.name}/{path.name}" for path in segments(folder))
    files = sorted(path.relative_to(folder / PARQUET).parent.as_posix() for path in folder.rglob("*.parquet"))
    assert files == [f"{kind}/2024-04-{day}" for kind, day in (("labels", 15), ("labels", 15), ("predictions", 15), ("predictions", 16), ("predictions", 16), ("shadows", 15))]  # fmt: skip
    assert everything(folder) == before
    again = Compacted()
    compact_closed(folder, again)
    assert again.made == []
    drop_compacted(folder, DAY, again)
    assert again.dropped == [], "segments stay for a while"
    drop_compacted(folder, LATER, again)
    assert (sorted(again.dropped), segments(folder)) == (sorted(report.made), [])
    assert everything(folder) == before
    assert [find(folder, name) for name in ids] == found, "a record is the same out of Parquet"
    assert find(folder, f"{ids[0][:-1]}1") is None


def test_a_living_segment_is_let_be_and_a_full_one_is_not(tmp_path: Path) -> None:
    records = Records(tmp_path, largest=1)
    for number in range(3):
        records.append([prediction(number)])
    report = Compacted()
    compact_closed(tmp_path, report)
    assert report.made == [f"{records.writer}/{number:04x}" for number in range(2)]
    records.append([prediction(3)])
    assert len(asked(tmp_path, "from predictions")) == 4
    records.close()


def test_a_record_is_read_out_of_parquet_without_pandas(filled: tuple[Path, list[str]]) -> None:
    folder, ids = filled
    compact_closed(folder, Compacted())
    for path in segments(folder):
        path.unlink()
    code = f"import sys; from pathlib import Path; from tandem.serving.records import find; print(find(Path({str(folder)!r}), {ids[1]!r})['score'], {{'pandas', 'polars', 'duckdb'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{2 / 7} set()\n"


def write_into(path: Path) -> None:
    """Change bytes of a file that is as long as before, with the same ends."""
    with path.open("r+b") as file:
        file.seek(4)
        file.write(bytes(path.stat().st_size // 4))


@pytest.mark.parametrize("damage", ["missing", "cut", "written", "receipt"])
@pytest.mark.parametrize("kept", [True, False])
def test_what_was_made_of_a_segment_and_is_damaged_is_named_and_read_from_the_segment(
    filled: tuple[Path, list[str]], damage: str, *, kept: bool
) -> None:
    folder, ids = filled
    before, report = everything(folder), Compacted()
    compact_closed(folder, report)
    receipt = Receipt.path_of(folder, report.made[0])
    made = next(path for path in sorted(folder.rglob("*.parquet")) if receipt.stem in path.name)
    if damage == "missing":
        made.unlink()
    elif damage == "cut":
        made.write_bytes(made.read_bytes()[:-9])
    elif damage == "written":
        write_into(made)
    else:
        receipt.write_text("{")
    if not kept:
        for path in segments(folder):
            path.unlink()
    named = str(receipt if damage == "receipt" else made)
    every = "select id from predictions union select id from labels_all union select id from shadows"
    with History.open(folder) as history:
        left = {name for (name,) in history.ask(every).rows}
        (told,) = history.damaged
    assert named in told
    if not kept:
        assert left < set(ids)
        if damage == "written":
            return
        with pytest.raises(LedgerError, match=re.escape(named)):
            [find(folder, name) for name in ids]
        return
    assert left == set(ids)
    again = Compacted()
    drop_compacted(folder, DAY, again)
    assert [named in each for each in again.refused] == [True], "it is found before its segment is deleted"
    receipt.unlink()
    compact_closed(folder, again)
    assert everything(folder) == before, "and is mended as was said"


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("step", range(8))
def test_killed_at_any_step_nothing_is_lost_or_there_twice(
    filled: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, call: str, step: int
) -> None:
    folder, ids = filled
    before, real, calls = everything(folder), getattr(os, call), iter(range(step))

    class Killed(BaseException):
        pass

    def dies(*args: Any) -> Any:  # noqa: ANN401
        if next(calls, None) is None:
            raise Killed
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, dies)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # as if nobody came to clean up
        with pytest.raises(Killed):
            compact_closed(folder, Compacted())
    assert everything(folder) == before
    report = Compacted()
    compact_closed(folder, report)
    drop_compacted(folder, LATER, report)
    assert everything(folder) == before
    assert all(find(folder, name) for name in ids)
    assert [path for path in (folder / PARQUET).rglob(".*")] == [], "nor does anything lie about"  # noqa: C416


def test_a_damaged_foot_is_found_though_nobody_wrote_since(filled: tuple[Path, list[str]]) -> None:
    folder, ids = filled
    compact_closed(folder, Compacted())
    made = next(folder.rglob("predictions/*/*.parquet"))
    was = made.stat()
    with made.open("r+b") as file:
        file.seek(was.st_size - 100)
        file.write(b"\xff" * 80)
    os.utime(made, ns=(was.st_atime_ns, was.st_mtime_ns))
    with History.open(folder) as history:
        (told,) = history.damaged
        every = "select id from predictions union select id from labels_all union select id from shadows"
        assert {name for (name,) in history.ask(every).rows} == set(ids)
    assert f"{made}: it is not what was made" in told


def test_damage_that_shows_only_when_it_is_read_is_named(filled: tuple[Path, list[str]]) -> None:
    folder, _ = filled
    report = Compacted()
    compact_closed(folder, report)
    made = next(folder.rglob("predictions/*/*.parquet"))
    was = made.stat().st_mtime_ns
    write_into(made)
    os.utime(made, ns=(was, was))  # as a disk does that forgets
    with History.open(folder) as history, pytest.raises(LedgerError, match=f"\n{made}: it is not what was made"):
        list(history.ask("from predictions").rows)
    (folder / PARQUET / f"{made.stem}.json").unlink()  # as it says
    compact_closed(folder, report)
    with History.open(folder) as history:
        assert list(history.ask("from predictions").rows)


def test_a_damaged_audit_is_named_and_the_rest_is_read(filled: tuple[Path, list[str]]) -> None:
    folder, ids = filled
    audit = folder / "audit" / "0"
    audit.parent.mkdir()
    audit.write_text("x\n")
    with History.open(folder) as history:
        assert len(history.damaged) == 1
        assert f"{audit}: line 1" in history.damaged[0]
        assert list(history.ask("from audit").rows) == []
        every = "select id from predictions union select id from labels_all union select id from shadows"
        assert len(list(history.ask(every).rows)) == len(ids)


def test_what_others_keep_beside_parquet_stays(filled: tuple[Path, list[str]]) -> None:
    folder, _ = filled
    report = Compacted()
    compact_closed(folder, report)
    (folder / PARQUET / ".snapshot").mkdir()
    (folder / PARQUET / ".snapshot.1.2").mkdir()
    (folder / PARQUET / ".nfs0001").write_text("")
    drop_compacted(folder, LATER, report)
    assert (report.refused, segments(folder)) == ([], [])
    assert sorted(each.name for each in (folder / PARQUET).glob(".*")) == [".nfs0001", ".snapshot", ".snapshot.1.2"]


def test_no_segment_is_deleted_whose_parquet_was_damaged(filled: tuple[Path, list[str]]) -> None:
    folder, _ = filled
    report = Compacted()
    compact_closed(folder, report)
    damaged = next(folder.rglob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    drop_compacted(folder, LATER, report)
    assert len(segments(folder)) == 1
    with pytest.raises(LedgerError, match=f"{damaged}: it is not what was made of segment"):
        report.check()
