"""A raw file is read as its contract says, or told what is wrong with it: file, column and first bad line."""

import gzip
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from tandem.contracts import Row
from tandem.errors import SourceError
from tandem.problem import Format, Source
from tasks.reading import read_raw


class Visits(Row):
    """A source whose columns are named by words that SQL has other uses for."""

    order = dy.Int64(nullable=False)
    group = dy.String(nullable=True)
    limit = dy.Float64(nullable=True)
    at = dy.Datetime(nullable=True)
    end = dy.Bool(nullable=True)


HEADING = "order,group,limit,at,end\n"
LINE = "1,x,1.5,2024-01-01 00:00:00,true\n"
NEW_YEAR = datetime(2024, 1, 1)  # noqa: DTZ001
FIRST = {"order": 1, "group": "x", "limit": 1.5, "at": NEW_YEAR, "end": True, "row": 1}
EMPTY = {"order": 2, "group": None, "limit": None, "at": None, "end": None, "row": 2}


def obj(**changed: object) -> str:
    row = {"order": 1, "group": "x", "limit": 1.5, "at": "2024-01-01T00:00:00Z", "end": True} | changed
    return json.dumps(row, ensure_ascii=False) + "\n"


FRAME = pl.DataFrame(
    {"order": [1, 2], "group": ["x", None], "limit": [1.5, None], "at": [NEW_YEAR, None], "end": [True, None]},
    schema_overrides={"at": pl.Datetime("us")},
)


def parquet(frame: pl.DataFrame) -> bytes:
    sink = Path("made.parquet")
    frame.write_parquet(sink)
    return sink.read_bytes()


def packed(**files: str) -> bytes:
    sink = Path("made.zip")
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_csv", ".csv"), text)
    return sink.read_bytes()


def spoilt(data: bytes) -> bytes:
    return data[:60] + bytes(byte ^ 255 for byte in data[60:90]) + data[90:]


LONG = HEADING + "".join(f"{n},x{n * 7919 % 1000},1.5,2024-01-01,true\n" for n in range(2000))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(kind: Format, data: str | bytes, name: str = "raw") -> list[dict[str, Any]]:
    path = Path(name)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    frame = read_raw(path, Source("visits", kind, null="NA"), Visits)
    assert frame.schema == {name: Visits.columns()[name].dtype for name in frame.columns}
    return frame.to_dicts()


Case = tuple[Format, Callable[[], str | bytes]]
FINE: dict[str, Case] = {
    "csv": ("csv", lambda: HEADING + LINE + "2,NA,NA,NA,NA\n"),
    "csv with a byte order mark": ("csv", lambda: "\ufeff" + HEADING + LINE + "2,NA,NA,NA,NA\n"),
    "csv of Windows": ("csv", lambda: (HEADING + LINE + "2,NA,NA,NA,NA\n").replace("\n", "\r\n")),
    "csv with quotes": (
        "csv",
        lambda: HEADING.replace("group", '"group"') + LINE.replace("x", '"x"') + "2,NA,NA,NA,NA",
    ),
    "csv in zip": ("csv.zip", lambda: packed(a_csv=HEADING + LINE + "2,NA,NA,NA,NA\n", readme="not this")),
    "parquet": ("parquet", lambda: parquet(FRAME)),
    "parquet in another order": ("parquet", lambda: parquet(FRAME.select(reversed(FRAME.columns)))),
    "parquet of narrower types": (
        "parquet",
        lambda: parquet(FRAME.cast({"order": pl.Int8, "limit": pl.Float32, "at": pl.Datetime("ns")})),
    ),
    "parquet of days": ("parquet", lambda: parquet(FRAME.cast({"at": pl.Date}))),
    "json lines": ("jsonl", lambda: obj() + '{"order": 2, "group": null}\n'),
    "json lines of Windows": ("jsonl", lambda: (obj() + '{"order": 2}\n').replace("\n", "\r\n")),
}


@pytest.mark.parametrize("case", FINE)
def test_every_format_gives_the_same_rows(case: str) -> None:
    kind, data = FINE[case]
    assert read(kind, data()) == [FIRST, EMPTY]


@pytest.mark.parametrize(("kind", "data"), [("csv", HEADING + LINE), ("jsonl", obj())])
def test_what_a_file_is_called_counts_nothing_as_a_landing_has_no_name(kind: Format, data: str) -> None:
    assert read(kind, data, "raw.gz") == [FIRST]
    with pytest.raises(SourceError, match=r"\Araw\.gz \(visits\): .*line 1: "):
        read(kind, gzip.compress(data.encode()), "raw.gz")


ELSEWHERE = datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
OFFSETS: dict[str, Case] = {
    "csv": ("csv", lambda: HEADING + LINE.replace("2024-01-01 00:00:00", ELSEWHERE.isoformat())),
    "json lines": ("jsonl", lambda: obj(at=ELSEWHERE.isoformat())),
    "parquet": (
        "parquet",
        lambda: parquet(
            FRAME.head(1).with_columns(at=pl.lit(ELSEWHERE.astimezone(UTC)).dt.convert_time_zone("Asia/Tokyo"))
        ),
    ),
}


@pytest.mark.parametrize("case", OFFSETS)
def test_an_offset_from_utc_counts(case: str) -> None:
    kind, data = OFFSETS[case]
    assert read(kind, data()) == [FIRST]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_number_of_64_bits_is_exact(kind: Format) -> None:
    large = 2**63 - 1
    data = HEADING + LINE.replace("1,", f"{large},", 1) if kind == "csv" else obj(order=large)
    assert read(kind, data)[0]["order"] == large


def test_rows_are_numbered_as_they_stand_in_the_file() -> None:
    rows = read("csv", HEADING + "".join(LINE.replace("1,", f"{n},", 1) for n in range(300_000, 0, -1)))
    assert [row["order"] + row["row"] for row in rows] == [300_001] * 300_000


BAD: dict[str, tuple[Format, Callable[[], str | bytes], str]] = {
    "csv empty": ("csv", lambda: "", "the file is empty"),
    "csv heading only": ("csv", lambda: HEADING, "a heading and no rows"),
    "csv without a column": ("csv", lambda: LINE.join(["order,group,limit,at\n", ""]), "column 'end' is missing"),
    "csv with another column": ("csv", lambda: HEADING[:-1] + ",why\n" + LINE, "column 'why' is not in the contract"),
    "csv with a column twice": ("csv", lambda: HEADING[:-1] + ",end\n" + LINE, "column 'end' comes twice"),
    "csv in another order": ("csv", lambda: "group,order,limit,at,end\n" + LINE, "another order .*: group, order"),
    "csv with semicolons": ("csv", lambda: HEADING.replace(",", ";") + LINE, "column 'order' is missing"),
    "csv with a word for a number": (
        "csv",
        lambda: HEADING + LINE * 2 + "q" + LINE,
        "'order', line 4: 'q1' is not BIGINT",
    ),
    "csv with a fraction": ("csv", lambda: HEADING + LINE + "1." + LINE, "'order', line 3: '1.1' is not BIGINT"),
    "csv with too large a number": (
        "csv",
        lambda: HEADING + "9" * 20 + LINE,
        "'order', line 2: '9{20}1' is not BIGINT",
    ),
    "csv with no such day": ("csv", lambda: HEADING + LINE.replace("-01-01", "-02-30"), "'at', line 2: '2024-02-30"),
    "csv with neither yes nor no": ("csv", lambda: HEADING + LINE.replace("true", "maybe"), "'end', line 2: 'maybe'"),
    "csv with an empty number": ("csv", lambda: HEADING + LINE[1:], "'order', line 2: '' is not BIGINT"),
    "csv bad after a blank line": ("csv", lambda: HEADING + LINE + "\n" + "q" + LINE, "'order', line 4: 'q1'"),
    "csv bad after a row of two lines": (
        "csv",
        lambda: HEADING + LINE.replace("x", '"x\ny"') + "q" + LINE,
        "line 4: 'q1'",
    ),
    "csv bad below a very long field": (
        "csv",
        lambda: HEADING + LINE.replace("x", "x" * 200_000) + "q" + LINE,
        "'order', row 2: 'q1' is not BIGINT",
    ),
    "csv with a very long field": ("csv", lambda: HEADING + "q" * 90_000 + LINE, "line 2: 'q{59}... is not BIGINT"),
    "csv with a very long heading": ("csv", lambda: "q" * 200_000 + LINE, "line 1: field larger than field limit"),
    "csv with an instant that never is": (
        "csv",
        lambda: HEADING + LINE.replace("2024-01-01 00:00:00", "infinity"),
        "'at', line 2: 'infinity' is not TIMESTAMP",
    ),
    "csv with lines of two kinds": (
        "csv",
        lambda: HEADING + LINE * 2 + LINE.replace("\n", "\r\n") + LINE,
        "line 4: it ends otherwise than line 1",
    ),
    "csv with a short line": ("csv", lambda: HEADING + LINE + "1,x\n" + LINE, "line 3: Expected Number of Columns: 5"),
    "csv with a long line": (
        "csv",
        lambda: HEADING + LINE + LINE[:-1] + ",7\n",
        "line 3: Expected Number of Columns: 5",
    ),
    "csv with an open quote": ("csv", lambda: HEADING + LINE + '1,"x,1,2024-01-01,true\n', "line 3"),
    "csv in Latin-1": ("csv", lambda: (HEADING + LINE + LINE.replace("x", "ü")).encode("latin-1"), "line 3: .*utf-8"),
    "csv in UTF-16": ("csv", lambda: (HEADING + LINE).encode("utf-16"), "line 1: 'utf-8' codec"),
    "zip cut": ("csv.zip", lambda: packed(a_csv=LONG)[:2000], "not a whole zip file"),
    "zip spoilt": ("csv.zip", lambda: spoilt(packed(a_csv=LONG)), "not a whole zip file"),
    "zip that is none": ("csv.zip", lambda: HEADING + LINE, "not a whole zip file"),
    "zip empty": ("csv.zip", lambda: b"", "not a whole zip file"),
    "zip without csv": ("csv.zip", lambda: packed(readme="no"), "expected one .csv in the zip, found 0"),
    "zip with two": ("csv.zip", lambda: packed(a_csv="", b_csv=""), "expected one .csv in the zip, found 2"),
    "zip with an empty csv": ("csv.zip", lambda: packed(a_csv=""), "the file is empty"),
    "zip with a bad line": ("csv.zip", lambda: packed(a_csv=HEADING + LINE + "q" + LINE), "'order', line 3: 'q1'"),
    "json empty": ("jsonl", lambda: "", "the file is empty"),
    "json cut": ("jsonl", lambda: obj() + obj()[:20], "line 2: it is not a JSON object in UTF-8"),
    "json with a bad line": ("jsonl", lambda: obj() * 2 + "{'order': 1}\n" + obj(), "line 3: it is not a JSON object"),
    "json that is a list": ("jsonl", lambda: "[" + obj().strip() + "]", "line 1: it is not a JSON object"),
    "json with a list": ("jsonl", lambda: obj() + "[1]\n", "line 2: it is not a JSON object"),
    "json with another field": ("jsonl", lambda: obj() + obj(why=1), "column 'why' is not in the contract"),
    "json without a field": ("jsonl", lambda: '{"group": "x"}\n', "column 'order' is missing"),
    "json with a word for a number": ("jsonl", lambda: obj() + obj(order="q"), "'order', line 2: 'q' is not BIGINT"),
    "json with a number in quotes": ("jsonl", lambda: obj() + obj(order="7"), "'order', line 2: '7' is not BIGINT"),
    "json with a fraction": ("jsonl", lambda: obj() + obj(order=1.5), "'order', line 2: 1.5 is not BIGINT"),
    "json with a number for a word": ("jsonl", lambda: obj() + obj(group=5), "'group', line 2: 5 is not VARCHAR"),
    "json with an object for a word": ("jsonl", lambda: obj() + obj(group={}), "'group', line 2: {} is not VARCHAR"),
    "json with a number for yes": ("jsonl", lambda: obj() + obj(end=1), "'end', line 2: 1 is not BOOLEAN"),
    "json with no such day": ("jsonl", lambda: obj() + obj(at="2024-02-30"), "'at', line 2: '2024-02-30' is not TIMES"),
    "json with an instant that never is": ("jsonl", lambda: obj(at="-infinity"), "'at', line 1: '-infinity' is not TI"),
    "json with very deep a list": (
        "jsonl",
        lambda: f'{{"order": 1, "group": {"[" * 5000}{"]" * 5000}}}\n',
        r"'group', line 1: '\[{59}\.\.\. is not VARCHAR",
    ),
    "json bad after a blank line": ("jsonl", lambda: obj() + "\n" + obj(order="q"), "'order', line 3: 'q'"),
    "json in Latin-1": (
        "jsonl",
        lambda: obj().encode() + obj(group="ü").encode("latin-1"),
        "line 2: it is not .* in UTF-8",
    ),
    "parquet empty": ("parquet", lambda: b"", "the file is empty"),
    "parquet cut": ("parquet", lambda: parquet(FRAME)[:-9], "it cannot be read as Parquet: .*No magic bytes"),
    "parquet that is none": ("parquet", lambda: HEADING + LINE, "(No magic bytes|too small)"),
    "parquet without rows": ("parquet", lambda: parquet(FRAME.head(0)), "there are no rows"),
    "parquet without a column": ("parquet", lambda: parquet(FRAME.drop("end")), "column 'end' is missing"),
    "parquet with another column": (
        "parquet",
        lambda: parquet(FRAME.with_columns(why=1)),
        "column 'why' is not in the",
    ),
    "parquet of words": (
        "parquet",
        lambda: parquet(FRAME.cast({"order": pl.String})),
        "'order' is VARCHAR, not BIGINT",
    ),
    "parquet of fractions": (
        "parquet",
        lambda: parquet(FRAME.cast({"order": pl.Float64})),
        "'order' is DOUBLE, not BIG",
    ),
    "parquet of bytes": ("parquet", lambda: parquet(FRAME.cast({"group": pl.Binary})), "'group' is BLOB, not VARCHAR"),
    "parquet of flags": (
        "parquet",
        lambda: parquet(FRAME.cast({"limit": pl.Boolean})),
        "'limit' is BOOLEAN, not DOUBLE",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_file_is_told(case: str) -> None:
    kind, data, told = BAD[case]
    with pytest.raises(SourceError, match=rf"\Araw \(visits\): .*{told}"):
        read(kind, data())


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(SourceError, match=r"\Anowhere \(visits\): no such file"):
        read_raw(Path("nowhere"), Source("visits", "csv"), Visits)
