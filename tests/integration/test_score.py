"""Scores of whole tables: what training saw, what the server answers, and what is no request is told."""

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from answering import Answering
from commands import tandem
from conftest import Workspace, workspace_at
from numpy.typing import NDArray

from flows.score import score
from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.columns import Columns
from tandem.errors import RowError, SnapshotError, SourceError
from tandem.problem import load_problem
from tandem.warehouse import Desk, Warehouse
from tasks import requests
from tasks.onnx import onnx_scores
from tasks.score import Engine, Wanted
from tasks.snapshots import Knowledge, write_due
from tasks.splits import matrix
from tasks.training_set import requests_of, with_features, with_views
from tasks.views import read_view, write_views

NEAR = 1e-6
ENGINES: tuple[Engine, ...] = ("xgboost", "onnx")


@pytest.fixture(scope="module")
def own(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the built workspace, for snapshots and a clock of its own."""
    root = tmp_path_factory.mktemp("score") / "workspace"
    shutil.copytree(built.root, root, symlinks=True)
    return workspace_at(root)


@pytest.fixture(scope="module")
def bundle(own: Workspace) -> Bundle:
    return Bundle.open(own.data / "bundle")


@pytest.fixture(scope="module")
def known(own: Workspace, bundle: Bundle) -> Path:
    """Snapshots in the place where serving has them."""
    knowledge = Knowledge(load_problem("parcels"), own.data / "facts", bundle.spec.grid, bundle.as_of)
    write_due(knowledge, own.settings.snapshots, 4)
    return own.settings.snapshots


@pytest.fixture(scope="module")
def asked(own: Workspace, bundle: Bundle) -> pl.DataFrame:
    """All requests of the problem that were made before its day, each with its moment."""
    with Warehouse.open(own.data / "facts", bundle.as_of, bundle.spec.grid.tick) as warehouse:
        return requests_of(load_problem("parcels"), warehouse, bundle.spec.grid).drop("due")


@pytest.fixture(scope="module")
def trained(own: Workspace) -> pl.DataFrame:
    return pl.read_parquet(own.data / "training_set" / "rows.parquet")


class Scoring:
    """A built workspace, its requests, and a folder for tables."""

    def __init__(self, own: Workspace, bundle: Bundle, asked: pl.DataFrame, folder: Path) -> None:
        self.own, self.bundle, self.asked, self.folder = own, bundle, asked, folder

    def __call__(self, rows: pl.DataFrame | str, **how: Any) -> tuple[pl.DataFrame, dict[str, Any]]:  # noqa: ANN401
        """Score rows of a file or a query."""
        if isinstance(rows, pl.DataFrame):
            rows.write_parquet(self.folder / "in.parquet")
            rows = str(self.folder / "in.parquet")
        wanted = Wanted(rows, self.folder / "out.parquet", **how)
        done = score(wanted, None, self.own.params, self.own.settings, lambda _: None)
        return pl.read_parquet(wanted.target), done

    def expected(self, rows: pl.DataFrame) -> NDArray[np.float64]:
        """Score inputs as the server would."""
        inputs = np.ascontiguousarray(matrix(rows, self.bundle.spec.names))
        return onnx_scores(self.bundle.folder / "model.onnx", inputs).astype(np.float64)


@pytest.fixture
def scoring(own: Workspace, bundle: Bundle, asked: pl.DataFrame, tmp_path: Path) -> Scoring:
    return Scoring(own, bundle, asked, tmp_path)


def bits(floats: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(floats).view(np.uint32)


@pytest.mark.parametrize("order", ["as they came", "mixed"])
def test_inputs_are_those_of_the_training_set_to_the_bit(
    own: Workspace, bundle: Bundle, asked: pl.DataFrame, trained: pl.DataFrame, order: str
) -> None:
    columns = Columns(bundle.spec, lambda name: read_view(own.data / "views", name))
    place = pl.int_range(asked.height, eager=True)
    place = place.shuffle(seed=3) if order == "mixed" else place
    with Desk.at() as desk:
        rows = asked[place]
        found = columns.inputs(rows, columns.ticks(rows["moment"]), desk)
    np.testing.assert_array_equal(bits(found), bits(matrix(trained[place], bundle.spec.names)))


@pytest.mark.parametrize("engine", ENGINES)
def test_with_moments_rows_are_scored_by_what_was_known_then(
    scoring: Scoring, trained: pl.DataFrame, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, bundle = scoring.asked, scoring.bundle
    monkeypatch.setattr(requests, "SLICE", 100)
    found, done = scoring(asked, engine=engine)
    assert (done["rows"], done["left_out"], found.height) == (asked.height, 0, asked.height)
    assert found.columns == ["moment", "parcel", "score", "action", "bundle", "tick"]
    assert found.select("moment", "parcel").equals(asked.select("moment", "parcel"))
    expected = scoring.expected(trained)
    got = found["score"].to_numpy()
    if engine == "onnx":
        np.testing.assert_array_equal(got, expected)
    assert np.abs(got - expected).max() <= NEAR
    decision = bundle.json("decision.json")
    acted = found.select((pl.col("action") == decision["actions"][1]) == (pl.col("score") >= decision["threshold"]))
    assert acted.to_series().all()
    assert found["bundle"].unique().to_list() == [bundle.digest]
    assert (found["tick"] == (asked["moment"] - timedelta(minutes=bundle.spec.lag_minutes)).dt.truncate("15m")).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_without_moments_rows_are_scored_as_the_server_would_now(scoring: Scoring, known: Path, engine: Engine) -> None:
    asked, bundle = scoring.asked, scoring.bundle
    rows = (
        asked.tail(300)
        .drop("moment")
        .with_columns(courier=pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.lit("c99")).otherwise("courier"))
    )
    found, _ = scoring(rows, engine=engine)
    instances = [json.loads(json.dumps(row, default=lambda t: f"{t.isoformat()}Z")) for row in rows.to_dicts()]
    answers = Answering(bundle.folder, known, bundle.as_of).ask(instances)
    served = np.array([each.score for each in answers])
    got = found["score"].to_numpy()
    if engine == "onnx":
        np.testing.assert_array_equal(got, served)
    assert np.abs(got - served).max() <= NEAR
    assert found["action"].to_list() == [each.action for each in answers]
    assert {f"{tick.isoformat()}+00:00" for tick in found["tick"]} == {each.tick for each in answers}


def test_csv_and_queries_give_what_parquet_gives(scoring: Scoring, asked: pl.DataFrame, tmp_path: Path) -> None:
    expected, _ = scoring(asked)
    written = pl.col("ordered_at").dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"), pl.col("weight_g").cast(pl.Float64)
    asked.with_columns(written).write_csv(tmp_path / "in.csv")
    (tmp_path / "in.sql").write_text(f"select *, 1 as more from '{tmp_path / 'in.parquet'}' order by moment, parcel;\n")
    for source in (str(tmp_path / "in.csv"), str(tmp_path / "in.sql"), (tmp_path / "in.sql").read_text()):
        found, _ = scoring(source)
        assert found.sort("moment", "parcel").equals(expected.sort("moment", "parcel")), source
    assert not list(tmp_path.glob(".*"))


def test_what_became_known_after_the_bundles_day_is_made_from_the_facts(scoring: Scoring, tmp_path: Path) -> None:
    own, bundle = scoring.own, scoring.bundle
    spec, problem, until = bundle.spec, load_problem("parcels"), bundle.as_of + timedelta(days=2)
    with Warehouse.open(own.data / "facts", until, spec.grid.tick, into=tmp_path) as warehouse:
        later = requests_of(problem, warehouse, spec.grid).filter(pl.col("moment") >= bundle.as_of - timedelta(days=1))
        write_views(problem, warehouse, tmp_path)
        rows = with_features(with_views(later, spec, warehouse, tmp_path), spec, warehouse)
    assert later["moment"].max() > bundle.as_of  # type: ignore[operator]
    Clock.stopped(until).save(own.settings.clock)
    try:
        found, _ = scoring(later.drop("due"), engine="onnx")
    finally:
        own.settings.clock.unlink()
    np.testing.assert_array_equal(found["score"].to_numpy(), scoring.expected(rows))


Change = Callable[[pl.DataFrame], pl.DataFrame]


def at_row(field: str, value: object, kind: pl.DataType | None = None) -> Change:
    """Change one field of the third row."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        values = rows[field].to_list()
        values[2] = value
        return rows.with_columns(pl.Series(field, values, dtype=kind or rows.schema[field], strict=False))

    return change


@pytest.mark.parametrize(
    "case",
    [
        (at_row("depot", "Berlin"), "depot", "expected like ^[A-Z][0-9]$, got 'Berlin'", "depot|pattern"),
        (at_row("depot", None), "depot", "expected a value, got nothing", "depot|required"),
        (at_row("weight_g", 0), "weight_g", "expected at least 1, got 0", "weight_g|minimum"),
        (at_row("weight_g", 50_001), "weight_g", "expected at most 50000, got 50001", "weight_g|maximum"),
        (at_row("weight_g", 1.5, pl.Float64()), "weight_g", "expected a whole number, got 1.5", "weight_g|type"),
        (at_row("ordered_at", "soon", pl.String()), "ordered_at", "expected a time, got 'soon'", "ordered_at|type"),
        (at_row("ordered_at", "epoch", pl.String()), "ordered_at", "a time, got 'epoch'", "ordered_at|type"),
        (at_row("ordered_at", "2024-04-01T24:00:00Z", pl.String()), "ordered_at", "a time, got", "ordered_at|type"),
        (at_row("moment", datetime(1, 1, 1)), "moment", "a moment after the year 1", "moment|minimum"),  # noqa: DTZ001
        (at_row("express", "maybe", pl.String()), "express", "expected true or false, got", "express|type"),
        (at_row("town", "x" * 300), "town", "characters, got 'xxx", "town|maxLength"),
        (at_row("moment", None), "moment", "expected a value, got nothing", "moment|required"),
    ],
)
def test_a_row_that_is_no_request_is_told_or_left_out(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch, case: tuple[Change, str, str, str]
) -> None:
    monkeypatch.setattr(requests, "SLICE", 2)
    change, field, told, rule = case
    good = scoring.asked.head(5)
    rows = change(good.with_columns(pl.col("ordered_at").cast(pl.String) if field == "ordered_at" else []))
    with pytest.raises(RowError, match="row 3: ") as refused:
        scoring(rows)
    assert (refused.value.row, refused.value.field) == (3, field)
    assert told in str(refused.value)
    assert "--skip" in str(refused.value)
    assert not (scoring.folder / "out.parquet").exists()
    expected, _ = scoring(good)
    found, done = scoring(rows, skip=True)
    assert (done["rows"], done["left_out"]) == (4, 1)
    assert found.equals(expected[[0, 1, 3, 4]])
    (beside,) = pl.read_parquet(done["quarantine"]).to_dicts()
    assert (beside["row"], beside["rules"]) == (3, rule)
    assert json.loads(beside["values"])["parcel"] == good["parcel"][2]


def test_all_rules_that_a_row_breaks_are_told_and_an_old_quarantine_goes(scoring: Scoring, asked: pl.DataFrame) -> None:
    rows = at_row("town", None)(at_row("weight_g", -1)(asked.head(5)))
    _, done = scoring(rows, skip=True)
    beside = Path(done["quarantine"])
    assert pl.read_parquet(beside)["rules"].to_list() == ["town|required,weight_g|minimum"]
    scoring(asked.head(5))
    assert not beside.exists()


def test_all_columns_are_kept_if_wanted_but_not_under_names_that_are_made(
    scoring: Scoring, asked: pl.DataFrame
) -> None:
    found, _ = scoring(asked.head(5).with_columns(more=pl.lit(7)), whole=True)
    assert found.columns == [*asked.columns, "more", "score", "action", "bundle", "tick"]
    with pytest.raises(SourceError, match="has a column score of its own"):
        scoring(asked.head(5).with_columns(score=pl.lit(0.5)), whole=True)


def test_no_rows_are_scored_as_well(scoring: Scoring, asked: pl.DataFrame) -> None:
    found, done = scoring(asked.head(0))
    assert (done["rows"], found.height) == (0, 0)


def test_what_is_missing_is_told(scoring: Scoring, known: Path, asked: pl.DataFrame, tmp_path: Path) -> None:
    assert known.is_dir()
    with pytest.raises(SourceError, match="has no column depot, town: a request needs"):
        scoring(asked.drop("depot", "town"))
    with pytest.raises(SourceError, match="there is no such file, and it is no query"):
        scoring("nothing.parquet")
    (tmp_path / "rows.xlsx").touch()
    with pytest.raises(SourceError, match=r"in a \.parquet, \.csv or \.sql file"):
        scoring(str(tmp_path / "rows.xlsx"))
    (tmp_path / "rows.csv").write_text("parcel,depot\nP1,B1,more,and,more\n")
    with pytest.raises(SourceError, match=r"rows\.csv"):
        scoring(str(tmp_path / "rows.csv"))
    for name in ("junk.parquet", "junk.csv"):
        (tmp_path / name).touch()
        with pytest.raises(SourceError, match=name):
            scoring(str(tmp_path / name))
    with pytest.raises(SnapshotError, match="nothing is known at 2020"):
        scoring(asked.drop("moment"), at=datetime(2020, 1, 1))  # noqa: DTZ001


def test_scores_are_never_written_over_what_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="lost under its own scores"):
        Wanted(str(tmp_path / "a" / ".." / "rows.parquet"), Path("rows.parquet"))


def test_the_command(own: Workspace, known: Path, asked: pl.DataFrame, tmp_path: Path) -> None:
    assert known.is_dir()
    asked.drop("moment").write_csv(tmp_path / "in.csv")
    done = tandem(own.root, "score", str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"))
    assert done.returncode == 0, done.stderr
    assert f"scored {asked.height:,} rows in " in done.stdout
    at_row("weight_g", -1)(asked).write_csv(tmp_path / "in.csv")
    done = tandem(own.root, "score", str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "in.csv: row 3: weight_g: expected at least 1, got '-1'. Mend it" in done.stderr
    words = ("score", f"select * from '{tmp_path / 'in.csv'}'", str(tmp_path / "out.parquet"), "--skip", "--json")
    told = json.loads(tandem(own.root, *words).stdout)
    assert (told["rows"], told["left_out"]) == (asked.height - 1, 1)
