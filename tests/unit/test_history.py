"""The ledger as tables: each row once, wherever it is by now; nothing can be changed by asking."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tandem import ledger
from tandem.compacted import PARQUET, Receipt
from tandem.errors import LedgerError, QueryError
from tandem.history import History
from tandem.ledger import Segment
from tandem.serving.records import KINDS, Label, Prediction, Records, Shadow, find, segments
from tasks.answers import FORMS, SHOWN
from tasks.compact import Compacted, compact_closed, drop_compacted

DAY = datetime(2024, 4, 15)  # noqa: DTZ001
LATER = datetime(2100, 1, 1)  # noqa: DTZ001
COLUMNS = {
    "predictions": ("id", *Prediction.__struct_fields__),
    "labels_all": ("id", *Label.__struct_fields__),
    "shadows": ("id", *Shadow.__struct_fields__),
    "labels": ("prediction", "label", "known_at", "world", "wall", "problem", "id", "by_keys", "told"),
    "audit": ("number", "event", "problem", "world", "wall", "who", "reason", "digest", "said"),
}


def prediction(number: int, days: float = 0, **request: object) -> Prediction:
    return Prediction(
        world=DAY + timedelta(days=days),
        wall=(DAY + timedelta(days=days)).replace(tzinfo=UTC),
        problem="p",
        request=msgspec.Raw(json.dumps({"parcel": f"P{number}", **request}).encode()),
        features=np.array([number, np.nan, -0.0], dtype=np.float32).tobytes(),
        score=number / 7,
        action="act",
        variant="champion",
        bundle="b" * 64,
        snapshot="s" * 64,
        tick=DAY,
        generation=3,
        contract="c" * 64,
        microseconds=12.5,
        unknown=("courier.pace",),
    )


def label(*, said: bool, known: float | None = None, wall: float = 0, **to: Any) -> Label:  # noqa: ANN401
    return Label(
        world=DAY + timedelta(days=wall),
        wall=(DAY + timedelta(days=wall)).replace(tzinfo=UTC),
        problem="p",
        label=said,
        known_at=None if known is None else DAY + timedelta(days=known),
        **to,
    )


yes, no = partial(label, said=True), partial(label, said=False)


def write(folder: Path, *rows: Any) -> list[str]:  # noqa: ANN401
    records = Records(folder)
    try:
        return records.append(rows)
    finally:
        records.close()


def asked(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with History.open(folder) as history:
        found = list(history.ask(sql).rows)
        assert history.damaged == []
        return found


def test_a_ledger_in_which_nothing_was_written_has_its_tables_empty_and_typed(tmp_path: Path) -> None:
    with History.open(tmp_path / "none") as history:
        for table, columns in COLUMNS.items():
            answer = history.ask(f"from {table}")
            assert (answer.names, list(answer.rows)) == (columns, [])
        assert history.ask("select sum(score), max(world) from predictions").types == ("DOUBLE", "TIMESTAMP")


def test_the_docs_tell_all_tables_and_columns() -> None:
    text = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| [^:|]+: (`.*) \|$", text, re.MULTILINE)
    assert {table: tuple(re.findall(r"`(\w+)`", columns)) for table, columns in told} == COLUMNS


def test_rows_are_told_as_they_were_written(tmp_path: Path) -> None:
    (name,) = write(tmp_path, prediction(3, ordered_at="2024-04-14T06:00:00Z"))
    ((row, values),) = asked(tmp_path, "select id, features from predictions where request->>'parcel' = 'P3'")
    assert row == name
    assert str(values) == "[3.0, nan, -0.0]"
    assert asked(tmp_path, "select world, wall, tick, unknown, request_id from predictions") == [
        (DAY, DAY, DAY, ["courier.pace"], None)
    ]


def test_the_latest_that_was_known_of_a_prediction_holds_in_whatever_order_it_came(tmp_path: Path) -> None:
    first, second, _ = write(tmp_path, prediction(1), prediction(2), prediction(3))
    write(
        tmp_path,
        yes(known=2, prediction=first),
        no(known=1, prediction=first),  # late: it was known before
        no(known=1, prediction=second),
        yes(known=1, wall=1, prediction=second),  # corrected: told after
        yes(known=1, wall=1, prediction=second),  # and repeated
    )
    rows = asked(tmp_path, "select prediction, label, told from labels order by prediction")
    assert rows == [(first, True, 2), (second, True, 3)]
    assert asked(tmp_path, "select count(*) from labels_all") == [(5,)]


def test_a_label_without_a_moment_was_known_when_it_was_told(tmp_path: Path) -> None:
    (name,) = write(tmp_path, prediction(1))
    write(tmp_path, yes(wall=3, prediction=name), no(known=2, wall=9, prediction=name))
    assert asked(tmp_path, "select label, known_at from labels") == [(True, DAY + timedelta(days=3))]


def test_labels_by_keys_are_of_all_answers_to_that_request(tmp_path: Path) -> None:
    at, same = "2024-04-14T06:00:00Z", "2024-04-14T08:00:00+02:00"
    one, two, other, null = write(
        tmp_path,
        prediction(1, at=at),
        prediction(1, at=same),
        prediction(1, at="2024-04-14T06:00:01Z"),
        prediction(2, at=None),
    )
    write(
        tmp_path,
        yes(keys={"parcel": "P1", "at": same}),
        no(keys={"parcel": "P2", "at": None}),
        yes(keys={"parcel": "P9", "at": at}),
        no(known=5, prediction=two),
    )
    told = dict(asked(tmp_path, "select prediction, label from labels"))
    assert told == {one: True, two: False, null: False}
    assert other not in told


@pytest.mark.parametrize(
    "sql",
    [
        "select ';é' as a; -- one; more",
        "/* ; */ select ';é' as a /* ; */ ;",
        ";select ';é' as a;;",
        "select ';é' a -- ;",
    ],
)
def test_a_question_may_end_as_one_ends_it(tmp_path: Path, sql: str) -> None:
    assert asked(tmp_path, sql) == [(";é",)]


@pytest.mark.parametrize("sql", ["selec", "select '\udcff'", "select nothing from predictions", "select 1; select 2", "", "create table x as select 1", "insert into audit values (1)", "copy (select 1) to 'x.csv'", "with x as (copy (select 1) to 'x.csv') from x", "explain analyze copy (select 1) to 'x.csv'", "with x as (insert into audit by name select 1 as number) from x", "set threads = 9", "attach 'x.db'", "install httpfs", "select * from read_text('/etc/passwd')", "from '/etc/passwd.csv'", "from history", "select 1/0 + cast('x' as int)"])  # fmt: skip
def test_what_is_no_question_is_told_and_nothing_is_changed_or_read_beside(tmp_path: Path, sql: str) -> None:
    write(tmp_path, prediction(1))
    compact_closed(tmp_path, Compacted())
    target = tmp_path / PARQUET / "x.csv"
    with History.open(tmp_path) as history, pytest.raises(QueryError):
        list(history.ask(sql.replace("x.csv", str(target))).rows)
    assert not target.exists()


def test_a_damaged_segment_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, prediction(1), prediction(2))
    (name,) = write(tmp_path, prediction(3))
    path = next(path for path in segments(tmp_path) if not name.startswith(path.parent.name))
    path.write_bytes(path.read_bytes().replace(b"P2", b"P7"))
    with History.open(tmp_path) as history:
        assert list(history.ask("select id from predictions").rows) == [(name,)]
        assert len(history.damaged) == 1
        assert f"{path}: line 2" in history.damaged[0]
    report = Compacted()
    compact_closed(tmp_path, report)
    assert report.made == [f"{name[:8]}/0000"]
    with pytest.raises(LedgerError, match=r"1 segments compacted, but:\n.*line 2"):
        report.check()


def test_a_kind_of_row_that_is_not_known_is_told(tmp_path: Path) -> None:
    path = tmp_path / "0123abcd" / "0000"
    with Segment(path, durable=False) as segment:
        segment.append({"kind": "letter"})
    with History.open(tmp_path) as history:
        assert "none that is known" in history.damaged[0]


def test_the_audit_is_a_table(tmp_path: Path) -> None:
    said = {"number": 1, "event": "promote", "problem": "p", "world": "2024-04-15T00:00:00", "wall": "2026-01-01T00:00:00", "by": "ada", "reason": "r", "state": {"generation": 1}}  # fmt: skip
    with Segment(tmp_path / "audit" / "0", durable=False) as segment:
        segment.append(said)
    rows = asked(tmp_path, "select event, who, world, digest, (said->'state'->>'generation')::int from audit")
    assert rows == [("promote", "ada", DAY, None, 1)]


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


def text(folder: Path, sql: str, form: str) -> str:
    with History.open(folder) as history:
        return "".join(FORMS[form](history.ask(sql)))


def test_json_is_one_array_of_all_rows(tmp_path: Path) -> None:
    assert json.loads(text(tmp_path, "from labels", "json")) == []
    assert len(json.loads(text(tmp_path, "select i from range(25000) t(i)", "json"))) == 25000
    odd = "select 1 as a, 2 as a, 'nan'::double b, 1.50::decimal(4,2) c, 2::hugeint ** 100 d, (170141183460469231731687303715884105727)::hugeint e, timestamp '2020-01-01' f, '{\"x\":[1]}'::json g, [1, null] h, {'x': 1} i, 'a\u00e9\"' j, null k, uuid '12345678-1234-1234-1234-123456789abc' l, 'x'::blob m"
    assert json.loads(text(tmp_path, odd, "json")) == [
        {
            "a": 1,
            "a_1": 2,
            "b": None,
            "c": 1.5,
            "d": 2.0**100,
            "e": 2**127 - 1,
            "f": "2020-01-01T00:00:00",
            "g": {"x": [1]},
            "h": [1, None],
            "i": {"x": 1},
            "j": 'aé"',
            "k": None,
            "l": "12345678-1234-1234-1234-123456789abc",
            "m": "eA==",
        }
    ]


def test_csv_and_tables(tmp_path: Path) -> None:
    assert text(tmp_path, "select 1 a, 'x,\"y' b, [1] c, null d", "csv") == 'a,b,c,d\n1,"x,""y",[1],\n'
    assert text(tmp_path, "select 1 a, repeat('x', 99) b, true c", "table").splitlines()[1] == f"1  {'x' * 57}...  True"
    assert f"the first {SHOWN} rows" in text(tmp_path, f"from range({SHOWN + 1})", "table")


def test_every_kind_has_an_id_and_both_times(tmp_path: Path) -> None:
    for kind in KINDS.values():
        assert {"world", "wall", "problem"} <= set(kind.__struct_fields__)
    write(tmp_path, prediction(1))
    assert ledger.is_living(segments(tmp_path)[0]) is False
