"""DuckDB behind a door: what was not known yet does not come in, and nothing else gets out."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tandem.errors import MissingError, ProblemError
from tandem.warehouse import INTEGERS, ROW_GROUP, Connection, Desk, Warehouse, bare, connect, identifier, quoted

AS_OF = datetime(2024, 1, 1, 12)  # noqa: DTZ001
TICK = timedelta(minutes=10)
SECOND = timedelta(seconds=1)
KINDS = ("tinyint", "smallint", "integer", "bigint")


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    (tmp_path / "facts" / "seen").mkdir(parents=True)
    moments = [AS_OF - timedelta(days=1), AS_OF - SECOND, AS_OF, AS_OF + SECOND]
    frame = pl.DataFrame({"known_at": moments, "n": range(4)})
    frame.head(2).write_parquet(tmp_path / "facts" / "seen" / "2023-12.parquet")
    frame.tail(2).write_parquet(tmp_path / "facts" / "seen" / "2024-01.parquet")
    return tmp_path / "facts"


@pytest.fixture
def warehouse(facts: Path) -> Iterator[Warehouse]:
    with Warehouse.open(facts, AS_OF, TICK) as opened:
        yield opened


def test_what_becomes_known_at_as_of_or_later_is_not_there(warehouse: Warehouse) -> None:
    assert warehouse.query("select n from seen order by n")["n"].to_list() == [0, 1]


def test_a_label_that_becomes_known_at_as_of_or_later_is_not_there(warehouse: Warehouse) -> None:
    moved = "select n, known_at + interval 1 second as known_at from seen"
    assert warehouse.query(warehouse.known(f"({moved})"))["n"].to_list() == [0]


def test_a_request_made_at_as_of_or_later_is_not_there(warehouse: Warehouse) -> None:
    asked = "select n, known_at + interval 1 second as moment from seen"
    assert warehouse.requests(asked)["n"].to_list() == [0]


@pytest.mark.parametrize(
    ("known", "published"),
    [("12:00:00", "12:10:00"), ("12:00:00.000001", "12:10:00"), ("12:09:59.999999", "12:10:00"), ("23:59:00", "24:00")],
)
def test_what_is_known_is_published_at_the_next_tick_and_never_at_once(
    warehouse: Warehouse, known: str, published: str
) -> None:
    day = datetime(2024, 1, 1)  # noqa: DTZ001
    hours, minutes = map(int, published.split(":")[:2])
    found = warehouse.query(f"select published(timestamp '2024-01-01 {known}') as tick")["tick"][0]
    assert found == day + timedelta(hours=hours, minutes=minutes)


def test_what_happened_and_was_known_before_a_moment_can_be_left_out(tmp_path: Path) -> None:
    since = AS_OF - timedelta(days=1)
    told = [
        (since - SECOND, since - SECOND),
        (since, since - SECOND),
        (since - SECOND, since),
        (since + SECOND, since - SECOND),
        (since - SECOND, since + SECOND),
    ]
    (tmp_path / "facts" / "seen").mkdir(parents=True)
    frame = pl.DataFrame(told, orient="row", schema=["event_at", "known_at"]).with_row_index("n")
    frame.write_parquet(tmp_path / "facts" / "seen" / "a.parquet")
    for moment, kept in ((since, [1, 2, 3, 4]), (None, [0, 1, 2, 3, 4])):
        with Warehouse.open(tmp_path / "facts", AS_OF, TICK, moment) as opened:
            assert opened.query("select n from seen order by n")["n"].to_list() == kept


def test_what_is_published_at_a_tick_is_told_by_its_raw_lines(tmp_path: Path) -> None:
    lines = [(1, AS_OF - 3 * TICK), (2, AS_OF - 3 * TICK), (3, AS_OF - 3 * TICK), (4, AS_OF - 2 * TICK), (5, AS_OF)]
    frame = pl.DataFrame(lines, orient="row", schema=["row", "known_at"]).with_columns(landing=pl.lit("0"))

    def published(*left_out: int) -> list[tuple[datetime, int]]:
        for kind in ("lost", "seen"):
            (tmp_path / "facts" / kind).mkdir(parents=True, exist_ok=True)
        half = frame.filter(~pl.col("row").is_in(left_out))
        half.filter(pl.col("row") > 2).write_parquet(tmp_path / "facts" / "lost" / "a.parquet")
        half.filter(pl.col("row") < 4).write_parquet(tmp_path / "facts" / "seen" / "a.parquet")
        with Warehouse.open(tmp_path / "facts", AS_OF, TICK) as opened:
            return [(tick, facts) for tick, facts in opened.published().rows()]

    ticks = dict(whole := published())
    assert [tick for tick, _ in whole] == [AS_OF - 2 * TICK, AS_OF - TICK]
    assert published() == whole
    for line in (1, 2, 3):
        assert dict(published(line))[AS_OF - 2 * TICK] != ticks[AS_OF - 2 * TICK]
        assert dict(published(line))[AS_OF - TICK] == ticks[AS_OF - TICK]
    assert published(5) == whole, "it is not known yet"


def test_two_facts_of_one_line_are_two(tmp_path: Path) -> None:
    def published(*lines: int) -> int:
        rows = pl.DataFrame({"row": lines}, schema={"row": pl.Int64})
        rows = rows.with_columns(known_at=pl.lit(AS_OF - TICK), landing=pl.lit("0"))
        for kind, half in (("lost", rows.head(1)), ("seen", rows.slice(1))):
            (tmp_path / "facts" / kind).mkdir(parents=True, exist_ok=True)
            half.write_parquet(tmp_path / "facts" / kind / "a.parquet")
        with Warehouse.open(tmp_path / "facts", AS_OF, TICK) as opened:
            return int(opened.published()["facts"].item())

    assert len({published(1), published(1, 2), published(1, 2, 2)}) == 3


def test_what_a_tick_publishes_is_added_up_to_the_last_bit(tmp_path: Path) -> None:
    (tmp_path / "facts" / "seen").mkdir(parents=True)
    rows = pl.DataFrame({"row": range(5)}).with_columns(known_at=pl.lit(AS_OF - TICK), landing=pl.lit("0"))
    rows.write_parquet(tmp_path / "facts" / "seen" / "a.parquet")
    with Warehouse.open(tmp_path / "facts", AS_OF, TICK) as opened:
        each = opened.query("select hash('seen', landing, row) as fact from seen")["fact"].to_list()
        assert opened.published()["facts"].item() == sum(each) % 2**64


def test_requests_are_in_the_order_that_was_asked_for(warehouse: Warehouse) -> None:
    asked = "select known_at as moment, m, n from seen, (values (2), (1)) as twice(m)"
    assert warehouse.requests(asked, "m", "n").select("m", "n").rows() == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_warehouse_that_writes_has_a_thread_a_query(facts: Path, tmp_path: Path) -> None:
    for into, threads in ((tmp_path, 1), (None, 2)):
        with Warehouse.open(facts, AS_OF, TICK, into=into) as opened:
            assert opened.first("select current_setting('threads')") == (threads,)


def test_rows_are_written_in_groups_and_counted(tmp_path: Path) -> None:
    target = tmp_path / "rows.parquet"
    with Desk.at(tmp_path) as desk:
        desk.execute("create table numbers as select i as n from range(200_000) as t(i)")
        with desk.beside() as other:
            assert other.write("from numbers;", target) == 200_000
        described = f"from parquet_metadata({quoted(str(target))}) select row_group_num_rows as rows, compression"
        assert desk.query(described).rows() == [(ROW_GROUP, "LZ4_RAW"), (200_000 - ROW_GROUP, "LZ4_RAW")]
        assert ROW_GROUP == 131_072
        assert desk.write("from numbers", target, "max(n) as n") == 1
        assert desk.first(f"from {quoted(str(target))}") == (199_999,)


def test_a_query_is_bare_without_what_ends_it() -> None:
    assert bare("\n select 1 as X;\n") == "select 1 as X"


def test_all_of_duckdbs_integers_but_the_huge_are_known() -> None:
    with Desk.at() as desk:
        every = ", ".join(f"1::{'u' * unsigned}{kind}" for unsigned in (0, 1) for kind in KINDS)
        assert tuple(desk.types(f"select {every}").values()) == INTEGERS


def test_nothing_is_fetched_by_itself_and_threads_do_not_depend_on_the_machine(locked: Connection) -> None:
    names = ("autoinstall_known_extensions", "autoload_known_extensions", "allow_community_extensions", "threads")
    asked = ", ".join(f"current_setting('{name}')" for name in names)
    assert locked.execute(f"select {asked}").fetchone() == (False, False, False, 2)


def test_what_views_share_is_made_once_or_told(warehouse: Warehouse) -> None:
    warehouse.execute("create macro twice(x) as x * 2")
    assert warehouse.query("select twice(n) as n from seen order by n")["n"].to_list() == [0, 2]
    with pytest.raises(ProblemError, match="create macro x"):
        warehouse.execute("create macro x()")


def test_frames_are_seen_for_one_query_only(warehouse: Warehouse) -> None:
    frame = pl.DataFrame({"x": [1, 2]})
    assert warehouse.query("select sum(x)::bigint as x from numbers", numbers=frame)["x"].to_list() == [3]
    with pytest.raises(ProblemError, match="numbers"):
        warehouse.query("select * from numbers")


def test_sql_that_does_not_run_is_told_with_its_line(warehouse: Warehouse) -> None:
    with pytest.raises(ProblemError, match=r"\ACatalog Error: .*zebras(?s:.*)\n-- grain: one row per zebra\Z"):
        warehouse.query("-- grain: one row per zebra\nselect * from zebras")
    with pytest.raises(ProblemError, match=r"\Aline 2: Parser Error: .*frm"):
        warehouse.query("-- grain: one row per zebra\nselect 1 as one frm zebras z")


def test_where_no_facts_are_the_command_that_makes_them_is_told(tmp_path: Path) -> None:
    for into in (None, tmp_path):
        with (
            pytest.raises(MissingError, match="dvc repro ingest"),
            Warehouse.open(tmp_path / "no", AS_OF, TICK, into=into),
        ):
            raise AssertionError


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Connection]:
    (tmp_path / "in").mkdir()
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "in" / "x.csv").write_text("a\n1\n")
    with connect(tmp_path / "in") as con:
        yield con


def test_the_folder_that_was_opened_can_be_read(locked: Connection, tmp_path: Path) -> None:
    assert locked.execute(f"select a from read_csv('{tmp_path}/in/x.csv')").fetchall() == [(1,)]


@pytest.mark.parametrize("path", ["in.csv", "in/../in.csv", "in*.csv"])
def test_another_folder_cannot(locked: Connection, tmp_path: Path, path: str) -> None:
    with pytest.raises(duckdb.PermissionException):
        locked.execute(f"select * from read_csv('{tmp_path}/{path}')")


@pytest.mark.parametrize(
    "sql",
    [
        "install sqlite",
        "install httpfs from community",
        "load sqlite",
        "attach 'elsewhere.db'",
        "copy (select 1) to 'elsewhere.csv'",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "set autoinstall_known_extensions = true",
        "set threads = 1",
        "select * from read_csv('https://example.org/x.csv')",
        "select getenv('HOME')",
    ],
)
def test_nothing_can_be_installed_attached_written_or_set(locked: Connection, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        locked.execute(sql)


def test_time_is_utc_whatever_the_machine_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    with connect() as con:
        found = con.execute("select timestamptz '2024-07-01 00:00:00+02:00'::timestamp").fetchone()
    assert found == (datetime(2024, 6, 30, 22),)  # noqa: DTZ001


def test_names_and_text_can_hold_quotes() -> None:
    with connect() as con:
        text, name = quoted("it's"), identifier('a "b"')
        found = con.sql(f"select {text} as {name}").pl()
    assert found.to_dicts() == [{'a "b"': "it's"}]
