import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tandem.errors import GateError, ParamsError
from tandem.evaluation import Evaluation, Gate
from tandem.params import CostParams, EvaluateParams, GateParams, Params
from tasks import evaluate as module
from tasks.bundle import check_gates
from tasks.evaluate import evaluate, write_evaluation

ALL_PASS = GateParams(rows=100, auc=0.6, margins={"rates": 0.05}, worst_slice_auc=0.55, ece=0.1, slice_ece=0.3)
FIVE = module.Rows(np.arange(5) < 2, np.array([0.25, 0.1, 0.3, 0.2, 0.0]), np.array([0, 0, 1, 1, 1]))
Alter = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture(scope="module")
def scores() -> pl.DataFrame:
    """Calibrated scores over ten days and two months, beside a weaker baseline and one that says nothing."""
    rng = np.random.default_rng(3)
    rows = 2000
    said = rng.random(rows) ** 2
    minutes = np.sort(rng.integers(10 * 1440, size=rows)).astype("timedelta64[m]")
    return pl.DataFrame(
        {
            "moment": np.datetime64("2013-10-27T00:00:00", "us") + minutes,
            "label": rng.random(rows) < said,
            "model": said,
            "rates": (said + rng.random(rows)) / 2,
            "nothing": np.full(rows, 0.3),
            "place": rng.choice(["north", "south"], rows),
            "kind": rng.choice(["a", "b", "rare", "none"], rows, p=[0.5, 0.44, 0.03, 0.03]),
        }
    ).with_columns(kind=pl.col("kind").replace("none", None))


@pytest.fixture(scope="module")
def params() -> Params:
    parts = {
        "evaluate": EvaluateParams(seed=7, bins=10, resamples=40, smallest_slice=300),
        "costs": CostParams(false_alarm=1.0, miss=3.0),
        "gates": ALL_PASS,
    }
    return Params.load().model_copy(update=parts)


def judged(scores: pl.DataFrame, params: Params, **gates: Any) -> dict[str, Gate]:  # noqa: ANN401
    changed = params.model_copy(update={"gates": params.gates.model_copy(update=gates)})
    return {gate.name: gate for gate in evaluate(scores, ["rates", "nothing"], ["place", "kind"], changed).gates}


@pytest.fixture(scope="module")
def evaluation(scores: pl.DataFrame, params: Params) -> Evaluation:
    return evaluate(scores, ["rates", "nothing"], ["place", "kind"], params)


def test_every_part_is_told_apart(evaluation: Evaluation) -> None:
    assert evaluation.overall.rows == 2000
    assert {month: each.rows > 0 for month, each in evaluation.months.items()} == {"2013-10": True, "2013-11": True}
    assert sum(each.rows for each in evaluation.months.values()) == 2000
    judged = {name: list(column.judged) for name, column in evaluation.slices.items()}
    assert judged == {"place": ["north", "south"], "kind": ["a", "b"]}


def test_small_slices_are_counted_and_not_judged(evaluation: Evaluation, scores: pl.DataFrame) -> None:
    column = evaluation.slices["kind"]
    small = scores.filter(pl.col("kind").is_null() | (pl.col("kind") == "rare")).height
    assert (evaluation.smallest_slice, column.not_judged, column.rows_not_judged) == (300, 2, small)


def test_a_slice_is_judged_as_if_it_were_alone(evaluation: Evaluation, scores: pl.DataFrame, params: Params) -> None:
    alone = evaluate(scores.filter(pl.col("place") == "north"), ["rates"], [], params)
    assert evaluation.slices["place"].judged["north"] == alone.overall


def test_an_interval_holds_each_figure(evaluation: Evaluation) -> None:
    overall = evaluation.overall
    for name, (low, high) in overall.intervals.items():
        assert (low or 0) < getattr(overall, name) < (high or 0)


def test_a_margin_is_paired(evaluation: Evaluation) -> None:
    ours, rates = evaluation.overall, evaluation.baselines["rates"]
    assert rates.margin == pytest.approx((ours.auc or 0) - (rates.auc or 0), abs=2e-6)
    assert evaluation.baselines["nothing"].auc == 0.5
    width = {name: (high or 0) - (low or 0) for name, (low, high) in (ours.intervals | rates.intervals).items()}
    low, high = (end or 0 for end in rates.margin_interval)
    assert low < (rates.margin or 0) < high
    assert high - low < width["auc"]


def test_a_baseline_that_is_the_model_has_no_margin_at_all(scores: pl.DataFrame, params: Params) -> None:
    same = evaluate(scores.with_columns(rates=pl.col("model")), ["rates"], [], params).baselines["rates"]
    assert (same.margin, same.margin_interval) == (0.0, (0.0, 0.0))


def test_costs_are_counted_at_the_threshold_and_a_day() -> None:
    costs = module.cost(FIVE, 2, CostParams(false_alarm=1.0, miss=3.0))
    assert costs.threshold == 0.25
    assert (costs.true_positives, costs.false_positives, costs.false_negatives, costs.true_negatives) == (1, 1, 1, 2)
    assert (costs.model_a_day, costs.never_a_day, costs.always_a_day) == (2.0, 3.0, 1.5)
    assert costs.value_a_day == -0.5
    assert [point.threshold for point in costs.curve] == [n / 100 for n in range(101)]
    assert (costs.curve[0].share_acted, costs.curve[0].cost_a_day) == (1.0, costs.always_a_day)
    assert (costs.curve[100].share_acted, costs.curve[100].cost_a_day) == (0.0, costs.never_a_day)


def test_treatment_counts_in_each_class() -> None:
    got = module.treatment("place", "north", FIVE, 0.25)
    assert (got.rows, got.share_acted) == (5, 0.4)
    assert (got.true_positive_rate, got.false_positive_rate) == (0.5, 0.333333)


def test_fairness_has_a_line_for_each_judged_slice(evaluation: Evaluation) -> None:
    lines = [(each.column, each.value) for each in evaluation.fairness]
    assert lines == [("place", "north"), ("place", "south"), ("kind", "a"), ("kind", "b")]
    places = [each for each in evaluation.fairness if each.column == "place"]
    acted = sum(each.rows * (each.share_acted or 0) for each in places)
    assert acted == pytest.approx(evaluation.costs.true_positives + evaluation.costs.false_positives, abs=0.01)


def test_all_gates_pass_a_good_model(scores: pl.DataFrame, params: Params) -> None:
    gates = judged(scores, params)
    names = ["rows", "auc", "margin_over_rates", "worst_slice_auc", "ece", "slice_ece"]
    assert [(name, gate.verdict) for name, gate in gates.items()] == [(name, "pass") for name in names]


@pytest.mark.parametrize(
    ("gate", "bounds"),
    [
        ("rows", {"rows": 2001}),
        ("auc", {"auc": 0.95}),
        ("margin_over_rates", {"margins": {"rates": 0.4}}),
        ("worst_slice_auc", {"worst_slice_auc": 0.95}),
        ("ece", {"ece": 0.001}),
        ("slice_ece", {"slice_ece": 0.001}),
    ],
)
def test_each_gate_fails_alone_and_says_why(
    scores: pl.DataFrame, params: Params, gate: str, bounds: dict[str, Any]
) -> None:
    gates = judged(scores, params, **bounds)
    assert [name for name, each in gates.items() if each.verdict == "fail"] == [gate]
    assert f"{gates[gate].figure}".removesuffix(".0") in gates[gate].reason
    assert f"{gates[gate].bound}".removesuffix(".0") in gates[gate].reason


def test_there_is_no_bundle_where_a_gate_failed_and_each_reason_is_told(scores: pl.DataFrame, params: Params) -> None:
    good = evaluate(scores, ["rates"], ["place"], params)
    check_gates(good.model_dump(mode="json"))
    strict = params.model_copy(update={"gates": params.gates.model_copy(update={"auc": 0.999, "ece": 0.0})})
    bad = evaluate(scores, ["rates"], ["place"], strict)
    reasons = {gate.name: gate.reason for gate in bad.gates}
    with pytest.raises(GateError) as refused:
        check_gates(bad.model_dump(mode="json"))
    assert str(refused.value).splitlines() == [
        "no bundle: 2 of 6 gates failed", f"  auc: {reasons['auc']}", f"  ece: {reasons['ece']}"
    ]  # fmt: skip


def test_a_figure_on_its_bound_passes(scores: pl.DataFrame, params: Params) -> None:
    figures = {name: gate.figure for name, gate in judged(scores, params).items()}
    margins = {"rates": figures.pop("margin_over_rates")}
    gates = judged(scores, params, margins=margins, **figures)
    assert {gate.verdict for gate in gates.values()} == {"pass"}


def test_the_worst_slice_is_named(scores: pl.DataFrame, params: Params) -> None:
    south = pl.when(pl.col("place") == "south")
    gates = judged(scores.with_columns(model=south.then(1 - pl.col("model")).otherwise("model")), params)
    assert (gates["worst_slice_auc"].verdict, gates["slice_ece"].verdict) == ("fail", "fail")
    assert gates["worst_slice_auc"].reason.startswith("place=south: ")
    assert gates["slice_ece"].reason.startswith("place=south: ")


def test_a_margin_over_an_unknown_baseline_is_an_error(scores: pl.DataFrame, params: Params) -> None:
    with pytest.raises(ParamsError, match=r"no baseline is called astrology; there are rates, nothing"):
        judged(scores, params, margins={"astrology": 0.0, "rates": 0.0})


@pytest.mark.parametrize(
    ("alter", "failed"),
    [
        (lambda frame: frame.head(0), ["rows", "auc", "margin_over_rates", "ece"]),
        (lambda frame: frame.head(1), ["rows", "auc", "margin_over_rates"]),
        (lambda frame: frame.with_columns(label=False), ["auc", "margin_over_rates", "ece", "slice_ece"]),
        (
            lambda frame: frame.with_columns(model=pl.when(pl.col("model") < 0.9).then("model")),
            ["auc", "margin_over_rates", "ece"],
        ),
    ],
    ids=["no rows", "one row", "one class", "scores missing"],
)
def test_what_cannot_be_judged_fails_and_is_written(
    scores: pl.DataFrame, params: Params, tmp_path: Path, alter: Alter, failed: list[str]
) -> None:
    evaluation = evaluate(alter(scores), ["rates"], ["place", "kind"], params)
    assert [gate.name for gate in evaluation.gates if gate.verdict == "fail"] == failed
    said = {gate.name: gate.reason for gate in evaluation.gates if gate.name in failed and gate.figure is None}
    assert all(reason.startswith("not defined where at ") for reason in said.values())
    write_evaluation(evaluation, tmp_path)


def test_no_slice_to_judge_is_said_and_passes(scores: pl.DataFrame, params: Params) -> None:
    gates = {gate.name: gate for gate in evaluate(scores, ["rates"], [], params).gates}
    for name in ("worst_slice_auc", "slice_ece"):
        assert (gates[name].verdict, gates[name].figure) == ("pass", None)
        assert gates[name].reason.startswith("not judged")


def test_a_slice_of_one_class_has_no_auc_and_is_not_the_worst(scores: pl.DataFrame, params: Params) -> None:
    altered = scores.with_columns(label=pl.col("label") & (pl.col("place") == "north"))
    evaluation = evaluate(altered, ["rates"], ["place"], params)
    assert evaluation.slices["place"].judged["south"].auc is None
    assert {gate.name: gate.reason for gate in evaluation.gates}["worst_slice_auc"].startswith("place=north: ")
    assert evaluation.fairness[1].true_positive_rate is None


def test_what_is_written_is_read_back(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path)
    assert Evaluation.model_validate_json((tmp_path / "evaluation.json").read_text()) == evaluation
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["auc"], metrics["gates_failed"]) == (evaluation.overall.auc, 0)
    assert metrics["margin_over_rates"] == evaluation.baselines["rates"].margin
    for gate in evaluation.gates:
        assert metrics[gate.name] == gate.figure
    assert {type(value) for value in metrics.values()} == {int, float}


def test_plots_are_rows_of_plain_values(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path)
    plots = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "plots").iterdir()}
    assert {name: len(rows) for name, rows in plots.items()} == {
        "calibration": 10,
        "months": 2,
        "slices": 4,
        "costs": 101,
    }
    values = [value for rows in plots.values() for row in rows for value in row.values()]
    assert {type(value) for value in values} == {str, int, float}
    north = evaluation.slices["place"].judged["north"]
    assert plots["slices"][0]["slice"] == "place=north"
    assert plots["slices"][0]["auc_low"] == north.intervals["auc"][0]


def test_twice_gives_the_same_bytes(scores: pl.DataFrame, params: Params, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_evaluation(evaluate(scores, ["rates"], ["place", "kind"], params), tmp_path / name)
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.json")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 6


def test_another_seed_moves_intervals_only(evaluation: Evaluation, scores: pl.DataFrame, params: Params) -> None:
    other = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"seed": 8})})
    got = evaluate(scores, ["rates", "nothing"], ["place", "kind"], other)
    assert got.overall.intervals != evaluation.overall.intervals
    assert (got.gates, got.costs, got.months) == (evaluation.gates, evaluation.costs, evaluation.months)
