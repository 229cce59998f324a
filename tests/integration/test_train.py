"""The train stage: the same models every time, stopped where they were best, with inputs as they are said to be."""

import json
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import yaml
from conftest import ROOT, Workspace
from msgspec.structs import replace

from tandem import boosting
from tandem.baselines import Logistic, Rates
from tandem.boosting import Split, fit, predict, prepare, read_booster
from tandem.errors import MissingError
from tandem.features import FeatureSpec
from tandem.params import TrainParams
from tasks.splits import matrix, part, read_rows
from tasks.train import importance, inputs_of

SHAPE = TrainParams(depth=2, learning_rate=0.3, min_child_weight=1.0, subsample=1.0, colsample=1.0, l2=1.0)


@pytest.fixture(scope="module")
def rows(built: Workspace) -> tuple[pl.DataFrame, FeatureSpec]:
    return read_rows(built.data / "training_set")


def test_training_again_gives_the_same_bytes(rebuilt: Workspace) -> None:
    before = rebuilt.files("model")
    rebuilt.run("train")
    assert rebuilt.files("model") == before


def test_only_held_out_rows_are_scored_and_by_every_model(
    built: Workspace, rows: tuple[pl.DataFrame, FeatureSpec]
) -> None:
    scores = pl.read_parquet(built.data / "model" / "scores.parquet")
    test = part(rows[0], "test")
    assert scores["moment"].to_list() == test["moment"].to_list()
    assert scores["label"].to_list() == test["label"].to_list()
    model, rates, logistic, defaults, without = (
        scores[n].to_numpy() for n in ("model", "rates", "logistic", "defaults", "without_history")
    )
    folder, spec = built.data / "model", rows[1]
    for name, found in (("defaults", defaults), ("without_history", without)):
        booster = read_booster(folder / "baselines" / f"{name}.json")
        np.testing.assert_array_equal(found, predict(booster, matrix(test, inputs_of(name, spec))))
    np.testing.assert_array_equal(model, predict(read_booster(folder / "model.json"), matrix(test, spec.names)))
    np.testing.assert_array_equal(
        rates, Rates.model_validate_json((folder / "baselines/rates.json").read_text()).scores(test)
    )
    np.testing.assert_array_equal(
        logistic, Logistic.model_validate_json((folder / "baselines/logistic.json").read_text()).scores(test)
    )


def test_a_model_without_history_sees_none_of_it(rows: tuple[pl.DataFrame, FeatureSpec]) -> None:
    spec = rows[1]
    names = set(inputs_of("without_history", spec))
    assert inputs_of("model", spec) == spec.names
    assert {"notice", "courier_signed", "courier_unseen"} <= names, (
        "the request, the view it keeps, and what is computed of both"
    )
    hidden = {
        "courier_late_6h",
        "courier_handed_6h",
        "part_late_7d",
        "customer_orders_30d",
        "courier_trend",
        "courier_share",
    }
    assert names & hidden == set()


def test_importance_is_a_share_of_each_input(built: Workspace, rows: tuple[pl.DataFrame, FeatureSpec]) -> None:
    shares = json.loads((built.data / "model" / "importance.json").read_text())
    assert tuple(shares) == rows[1].names
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert max(shares, key=lambda name: shares[name]).startswith("courier")


def noise(label: float | None = None) -> Split:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(300, 2)).astype(np.float32)
    y = (draw.random(300) < 0.5).astype(np.float32) if label is None else np.full(300, label, np.float32)
    return Split(("a", "b"), x[:200], y[:200], x[200:], y[200:])


def test_a_booster_is_cut_where_the_stop_rows_liked_it_best(built: Workspace) -> None:
    fitted = fit(prepare(noise()), SHAPE, built.params.tune)
    assert fitted.booster.num_boosted_rounds() == fitted.best_iteration + 1 < len(fitted.losses)
    assert fitted.losses[fitted.best_iteration] == min(fitted.losses)


def test_trees_that_split_nothing_have_no_importance(built: Workspace, rows: tuple[pl.DataFrame, FeatureSpec]) -> None:
    spec = replace(rows[1], inputs=rows[1].inputs[:2])
    stumps = fit(prepare(noise(1.0)), SHAPE.model_copy(update={"min_child_weight": 1e6}), built.params.tune)
    assert set(importance(stumps.booster, spec).values()) == {0.0}


def test_a_written_booster_is_read_as_it_was(built: Workspace, rows: tuple[pl.DataFrame, FeatureSpec]) -> None:
    path = built.data / "model" / "model.json"
    booster = read_booster(path)
    assert booster.feature_names == list(rows[1].names)
    again = boosting.write_booster(booster, built.root.parent / "again.json")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("stage", ["ingest", "views", "training_set", "tune", "train"])
def test_no_cost_threshold_or_gate_reaches_training(stage: str) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(stages[stage].get("params", [])) & {"costs", "gates", "evaluate"} == set()
    assert not [dep for dep in stages[stage]["deps"] if dep.endswith("params.yaml")]


@pytest.mark.parametrize(
    ("stage", "missing", "remedy"),
    [
        ("train", "training_set", "dvc repro training_set"),
        ("train", "tune", "dvc repro tune"),
        ("evaluate", "model", "dvc repro train"),
        ("bundle", "reports", "dvc repro"),
    ],
)
def test_what_was_not_made_is_named_with_the_command_that_makes_it(
    rebuilt: Workspace, stage: str, missing: str, remedy: str
) -> None:
    (rebuilt.data / missing).rename(rebuilt.data / "away")
    with pytest.raises(MissingError, match=remedy):
        rebuilt.run(stage)


def test_a_time_is_of_this_world(rows: tuple[pl.DataFrame, FeatureSpec]) -> None:
    assert rows[0]["moment"].max() < datetime(2024, 4, 15)  # type: ignore[operator]  # noqa: DTZ001
