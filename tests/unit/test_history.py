"""The ledger as tables: each row once, wherever it is by now; nothing can be changed by asking."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from ledgers import DAY, asked, no, prediction, write, yes

from tandem import ledger
from tandem.compacted import PARQUET
from tandem.errors import LedgerError, QueryError
from tandem.history import History
from tandem.ledger import Segment
from tandem.serving.records import KINDS, Label, Prediction, Shadow, segments
from tasks.answers import FORMS, SHOWN
from tasks.compact import Compacted, compact_closed

COLUMNS = {
    "predictions": ("id", *Prediction.__struct_fields__),
    "labels_all": ("id", *Label.__struct_fields__),
    "shadows": ("id", *Shadow.__struct_fields__),
    "labels": ("prediction", "label", "known_at", "world", "wall", "problem", "id", "by_keys", "told"),
    "audit": ("number", "event", "problem", "world", "wall", "who", "reason", "digest", "said"),
}


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
