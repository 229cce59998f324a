"""Scores of whole tables: what training saw, what the server answers, and what is no request is told."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from answering import Answering
from commands import tandem
from conftest import Workspace

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
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(scope="module")
def known(built: Workspace, bundle: Bundle) -> Path:
    """Snapshots in the place where serving has them."""
    knowledge = Knowledge(load_problem("parcels"), built.data / "facts", bundle.spec.grid, bundle.as_of)
    write_due(knowledge, built.settings.snapshots, 4)
    return built.settings.snapshots


@pytest.fixture(scope="module")
def asked(built: Workspace, bundle: Bundle) -> pl.DataFrame:
    """All requests of the problem that were made before its day, each with its moment."""
    with Warehouse.open(built.data / "facts", bundle.as_of, bundle.spec.grid.tick) as warehouse:
        return requests_of(load_problem("parcels"), warehouse, bundle.spec.grid).drop("due")


@pytest.fixture(scope="module")
def trained(built: Workspace) -> pl.DataFrame:
    return pl.read_parquet(built.data / "training_set" / "rows.parquet")


def scored(built: Workspace, rows: pl.DataFrame | str, folder: Path, **how: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Score rows of a file or a query in the built workspace."""
    if isinstance(rows, pl.DataFrame):
        rows.write_parquet(folder / "in.parquet")
        rows = str(folder / "in.parquet")
    wanted = Wanted(rows, folder / "out.parquet", **how)
    done = score(wanted, None, built.params, built.settings, lambda _: None)
    return pl.read_parquet(wanted.target), done


def bits(floats: Any) -> Any:
    return np.ascontiguousarray(floats).view(np.uint32)


@pytest.mark.parametrize("order", ["as they came", "mixed"])
def test_inputs_are_those_of_the_training_set_to_the_bit(
    built: Workspace, bundle: Bundle, asked: pl.DataFrame, trained: pl.DataFrame, order: str
) -> None:
    columns = Columns(bundle.spec, lambda name: read_view(built.data / "views", name))
    place = pl.int_range(asked.height, eager=True)
    place = place.shuffle(seed=3) if order == "mixed" else place
    with Desk.at() as desk:
        rows = asked[place]
        found = columns.inputs(rows, columns.ticks(rows["moment"]), desk)
    np.testing.assert_array_equal(bits(found), bits(matrix(trained[place], bundle.spec.names)))


@pytest.mark.parametrize("engine", ENGINES)
def test_with_moments_rows_are_scored_by_what_was_known_then(
    built: Workspace, bundle: Bundle, asked: pl.DataFrame, trained: pl.DataFrame, tmp_path: Path, engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(requests, "SLICE", 100)
    found, done = scored(built, asked, tmp_path, engine=engine)
    assert (done["rows"], done["left_out"], found.height) == (asked.height, 0, asked.height)
    assert found.columns == ["moment", "parcel", "score", "action", "bundle", "tick"]
    assert found.select("moment", "parcel").equals(asked.select("moment", "parcel"))
    expected = onnx_scores(bundle.folder / "model.onnx", np.ascontiguousarray(matrix(trained, bundle.spec.names)))
    got = found["score"].to_numpy()
    if engine == "onnx":
        np.testing.assert_array_equal(got, expected.astype(np.float64))
    assert np.abs(got - expected).max() <= NEAR
    decision = bundle.json("decision.json")
    acted = found.select((pl.col("action") == decision["actions"][1]) == (pl.col("score") >= decision["threshold"]))
    assert acted.to_series().all()
    assert found["bundle"].unique().to_list() == [bundle.digest]
    assert (found["tick"] == (asked["moment"] - timedelta(minutes=bundle.spec.lag_minutes)).dt.truncate("15m")).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_without_moments_rows_are_scored_as_the_server_would_now(
    built: Workspace, bundle: Bundle, known: Path, asked: pl.DataFrame, tmp_path: Path, engine: Engine
) -> None:
    rows = (
        asked.tail(300)
        .drop("moment")
        .with_columns(courier=pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.lit("c99")).otherwise("courier"))
    )
    found, _ = scored(built, rows, tmp_path, engine=engine)
    instances = [json.loads(json.dumps(row, default=lambda t: f"{t.isoformat()}Z")) for row in rows.to_dicts()]
    answers = Answering(bundle.folder, known, bundle.as_of).ask(instances)
    served = np.array([each.score for each in answers])
    got = found["score"].to_numpy()
    if engine == "onnx":
        np.testing.assert_array_equal(got, served)
    assert np.abs(got - served).max() <= NEAR
    assert found["action"].to_list() == [each.action for each in answers]
    assert {f"{tick.isoformat()}+00:00" for tick in found["tick"]} == {each.tick for each in answers}


def test_csv_and_queries_give_what_parquet_gives(built: Workspace, asked: pl.DataFrame, tmp_path: Path) -> None:
    expected, _ = scored(built, asked, tmp_path)
    asked.with_columns(pl.col("ordered_at").dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")).write_csv(tmp_path / "in.csv")
    (tmp_path / "in.sql").write_text(f"select *, 1 as more from '{tmp_path / 'in.parquet'}' order by moment, parcel;\n")
    for source in (str(tmp_path / "in.csv"), str(tmp_path / "in.sql"), (tmp_path / "in.sql").read_text()):
        found, _ = scored(built, source, tmp_path)
        assert found.sort("moment", "parcel").equals(expected.sort("moment", "parcel")), source
    assert not list(tmp_path.glob(".*"))


def test_what_became_known_after_the_bundles_day_is_made_from_the_facts(
    built: Workspace, bundle: Bundle, asked: pl.DataFrame, tmp_path: Path
) -> None:
    spec, problem, until = bundle.spec, load_problem("parcels"), bundle.as_of + timedelta(days=2)
    with Warehouse.open(built.data / "facts", until, spec.grid.tick) as warehouse:
        later = requests_of(problem, warehouse, spec.grid).filter(pl.col("moment") >= bundle.as_of - timedelta(days=1))
        write_views(problem, warehouse, tmp_path)
        rows = with_features(with_views(later, spec, warehouse, tmp_path), spec, warehouse)
    assert later["moment"].max() > bundle.as_of  # type: ignore[operator]
    Clock.stopped(until).save(built.settings.clock)
    try:
        found, _ = scored(built, later.drop("due"), tmp_path, engine="onnx")
    finally:
        built.settings.clock.unlink()
    expected = onnx_scores(bundle.folder / "model.onnx", np.ascontiguousarray(matrix(rows, spec.names)))
    np.testing.assert_array_equal(found["score"].to_numpy(), expected.astype(np.float64))


Change = Callable[[pl.DataFrame], pl.DataFrame]


def at_row(field: str, value: object, kind: pl.DataType | None = None) -> Change:
    """Change one field of the third row."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        values = rows[field].to_list()
        values[2] = value
        return rows.with_columns(pl.Series(field, values, dtype=kind or rows.schema[field], strict=False))

    return change


@pytest.mark.parametrize(
    ("change", "field", "told", "rule"),
    [
        (at_row("depot", "Berlin"), "depot", "expected like ^[A-Z][0-9]$, got 'Berlin'", "depot|pattern"),
        (at_row("depot", None), "depot", "expected a value, got nothing", "depot|required"),
        (at_row("weight_g", 0), "weight_g", "expected at least 1, got 0", "weight_g|minimum"),
        (at_row("weight_g", 50_001), "weight_g", "expected at most 50000, got 50001", "weight_g|maximum"),
        (at_row("weight_g", 1.5, pl.Float64()), "weight_g", "expected a whole number, got 1.5", "weight_g|type"),
        (at_row("ordered_at", "soon", pl.String()), "ordered_at", "expected a time, got 'soon'", "ordered_at|type"),
        (at_row("express", "maybe", pl.String()), "express", "expected true or false, got", "express|type"),
        (at_row("town", "x" * 300), "town", "characters, got 'xxx", "town|maxLength"),
        (at_row("moment", None), "moment", "expected a value, got nothing", "moment|required"),
    ],
)
def test_a_row_that_is_no_request_is_told_or_left_out(
    built: Workspace, asked: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    change: Change, field: str, told: str, rule: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(requests, "SLICE", 2)
    good = asked.head(5)
    rows = change(good.with_columns(pl.col("ordered_at").cast(pl.String) if field == "ordered_at" else []))
    with pytest.raises(RowError, match="row 3: ") as refused:
        scored(built, rows, tmp_path)
    assert (refused.value.row, refused.value.field) == (3, field)
    assert told in str(refused.value)
    assert "--skip" in str(refused.value)
    assert not (tmp_path / "out.parquet").exists()
    expected, _ = scored(built, good, tmp_path)
    found, done = scored(built, rows, tmp_path, skip=True)
    assert (done["rows"], done["left_out"]) == (4, 1)
    assert found.equals(expected[[0, 1, 3, 4]])
    (beside,) = pl.read_parquet(done["quarantine"]).to_dicts()
    assert (beside["row"], beside["rules"]) == (3, rule)
    assert json.loads(beside["values"])["parcel"] == good["parcel"][2]


def test_all_rules_that_a_row_breaks_are_told_and_an_old_quarantine_goes(
    built: Workspace, asked: pl.DataFrame, tmp_path: Path
) -> None:
    rows = at_row("town", None)(at_row("weight_g", -1)(asked.head(5)))
    _, done = scored(built, rows, tmp_path, skip=True)
    beside = Path(done["quarantine"])
    assert pl.read_parquet(beside)["rules"].to_list() == ["town|required,weight_g|minimum"]
    scored(built, asked.head(5), tmp_path)
    assert not beside.exists()


def test_all_columns_are_kept_if_wanted_but_not_under_names_that_are_made(
    built: Workspace, asked: pl.DataFrame, tmp_path: Path
) -> None:
    found, _ = scored(built, asked.head(5).with_columns(more=pl.lit(7)), tmp_path, whole=True)
    assert found.columns == [*asked.columns, "more", "score", "action", "bundle", "tick"]
    with pytest.raises(SourceError, match="has a column score of its own"):
        scored(built, asked.head(5).with_columns(score=pl.lit(0.5)), tmp_path, whole=True)


def test_no_rows_are_scored_as_well(built: Workspace, asked: pl.DataFrame, tmp_path: Path) -> None:
    found, done = scored(built, asked.head(0), tmp_path)
    assert (done["rows"], found.height) == (0, 0)


def test_what_is_missing_is_told(built: Workspace, known: Path, asked: pl.DataFrame, tmp_path: Path) -> None:
    assert known.is_dir()
    with pytest.raises(SourceError, match="has no column depot, town: a request needs"):
        scored(built, asked.drop("depot", "town"), tmp_path)
    with pytest.raises(SourceError, match="there is no such file, and it is no query"):
        scored(built, "nothing.parquet", tmp_path)
    (tmp_path / "rows.xlsx").touch()
    with pytest.raises(SourceError, match="in a .parquet, .csv or .sql file"):
        scored(built, str(tmp_path / "rows.xlsx"), tmp_path)
    (tmp_path / "rows.csv").write_text("parcel,depot\nP1,B1,more,and,more\n")
    with pytest.raises(SourceError, match="rows.csv"):
        scored(built, str(tmp_path / "rows.csv"), tmp_path)
    with pytest.raises(SnapshotError, match="nothing is known at 2020"):
        scored(built, asked.drop("moment"), tmp_path, at=datetime(2020, 1, 1))  # noqa: DTZ001


def test_the_command(built: Workspace, known: Path, asked: pl.DataFrame, tmp_path: Path) -> None:
    assert known.is_dir()
    asked.drop("moment").write_csv(tmp_path / "in.csv")
    done = tandem(built.root, "score", str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"))
    assert done.returncode == 0, done.stderr
    assert f"scored {asked.height:,} rows in " in done.stdout
    at_row("weight_g", -1)(asked).write_csv(tmp_path / "in.csv")
    done = tandem(built.root, "score", str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "in.csv: row 3: weight_g: expected at least 1, got '-1'. Mend it" in done.stderr
    words = ("score", f"select * from '{tmp_path / 'in.csv'}'", str(tmp_path / "out.parquet"), "--skip", "--json")
    told = json.loads(tandem(built.root, *words).stdout)
    assert (told["rows"], told["left_out"]) == (asked.height - 1, 1)
