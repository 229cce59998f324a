import subprocess
import sys

import numpy as np
import pytest

from tandem import metrics
from tandem.metrics import Flags, Floats, Indices

LABELS = np.array([True, False, True, False])
SCORES = np.array([0.9, 0.8, 0.7, 0.1])


def made(rng: np.random.Generator, days: int, rows: int, wobble: float = 0.0) -> tuple[Flags, Floats, Indices]:
    """Labels, calibrated scores and days, on which all risks rise and fall together by `wobble`."""
    day = np.repeat(np.arange(days), rows)
    said = 1 / (1 + np.exp(1 - rng.normal(size=days * rows)))
    odds = said / (1 - said) * np.exp(wobble * rng.normal(size=days))[day]
    return rng.random(days * rows) < odds / (1 + odds), said, day


def test_what_is_written_is_rounded_and_finite() -> None:
    assert [metrics.rounded(value) for value in (0.1234565001, np.nan, -np.inf, None)] == [0.123457, None, None, None]
    assert str(metrics.rounded(-1e-9)) == "0.0"


def test_figures_of_four_rows() -> None:
    got = metrics.figures(LABELS, SCORES)
    assert (got.rows, got.positives, got.base_rate) == (4, 2, 0.5)
    assert got.auc == 0.75
    assert got.average_precision == 0.833333
    assert got.brier == round((0.01 + 0.64 + 0.09 + 0.01) / 4, 6)
    assert got.ece == round((0.1 + 0.8 + 0.3 + 0.1) / 4, 6)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_has_no_auc_and_keeps_the_rest(label: bool) -> None:  # noqa: FBT001
    got = metrics.figures(np.full(3, label), np.array([0.2, 0.5, 0.5]))
    assert got.auc is None
    assert got.average_precision == (1.0 if label else None)
    assert got.brier is not None
    assert got.log_loss is not None


def test_no_rows_have_no_figures() -> None:
    got = metrics.figures(np.array([], dtype=bool), np.array([]))
    assert got == metrics.Figures(0, 0, None, None, None, None, None, None)


def test_a_score_that_is_no_number_leaves_only_the_base_rate() -> None:
    got = metrics.figures(LABELS, np.array([0.9, np.nan, 0.7, 0.1]))
    assert got == metrics.Figures(4, 2, 0.5, None, None, None, None, None)


def test_certain_and_wrong_costs_much_and_not_without_end() -> None:
    assert metrics.figures(np.array([True, False]), np.array([0.0, 1.0])).log_loss == pytest.approx(36.04, abs=0.01)


def test_a_score_on_an_edge_is_in_the_bin_above_and_one_in_the_last() -> None:
    edges = np.arange(11) / 10
    assert metrics.bin_of(edges, 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]


def test_months_are_told_apart_and_named() -> None:
    moments = np.array(["2013-10-31T23:59", "2013-10-01", "2013-12-01", "2013-11-01"], dtype="datetime64[us]")
    got = metrics.by_month(moments, LABELS, SCORES)
    assert {month: each.rows for month, each in got.items()} == {"2013-10": 2, "2013-11": 1, "2013-12": 1}
    assert got["2013-10"] == metrics.figures(LABELS[:2], SCORES[:2])


def test_days_are_counted_where_they_occur() -> None:
    moments = np.array(["2013-10-31T23:59", "2013-10-01", "2013-10-31T00:00"], dtype="datetime64[us]")
    index, count = metrics.days_of(moments)
    assert (index.tolist(), count) == ([1, 0, 1], 2)


def test_an_empty_bin_is_a_gap_in_the_curve() -> None:
    first, second = metrics.calibration(np.array([True, False]), np.array([0.6, 0.8]), 2)
    assert first == metrics.Bin(0.0, 0.5, 0, None, None)
    assert second == metrics.Bin(0.5, 1.0, 2, 0.7, 0.5)


def test_a_draw_is_known_by_its_seed_and_takes_as_many_as_there_are() -> None:
    one, same, other = (metrics.draw(31, 50, seed) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert (one.sum(axis=1) == 31).all()
    assert np.abs(one.mean(axis=0) - 1).max() < 0.6


def test_the_stream_of_draws_is_the_same_on_every_machine() -> None:
    assert metrics.draw(5, 3, seed=7).tolist() == [
        [0.0, 0.0, 1.0, 2.0, 2.0],
        [1.0, 2.0, 0.0, 1.0, 1.0],
        [1.0, 1.0, 1.0, 0.0, 2.0],
    ]


@pytest.mark.parametrize("units", [0, 1])
def test_one_day_tells_nothing_of_other_days(units: int) -> None:
    drawn = metrics.draw(units, 50, seed=1)
    ranked = metrics.rank(LABELS, SCORES)
    spans = metrics.intervals(metrics.resampled(ranked, np.zeros(4, dtype=int), drawn))
    assert set(spans.values()) == {(None, None)}


def test_an_interval_lies_around_its_figure_and_within_what_is_possible() -> None:
    assert metrics.interval(0.5, np.array([0.6, 0.7, 0.8])) == (0.405, 0.595)
    assert metrics.interval(0.02, np.array([0.0, 0.2])) == (0.0, 0.115)
    assert metrics.interval(0.99, np.array([0.8, 1.0])) == (0.895, 1.0)
    assert metrics.interval(-0.5, np.array([-0.6, -0.4]), lowest=-1.0) == (-0.595, -0.405)


def test_resamples_without_a_figure_are_left_out_of_its_interval() -> None:
    assert metrics.interval(0.5, np.array([0.4, np.nan, 0.6])) == metrics.interval(0.5, np.array([0.4, 0.6]))
    assert metrics.interval(0.5, np.array([np.nan])) == (None, None)
    assert metrics.interval(np.nan, np.array([0.5])) == (None, None)


@pytest.mark.parametrize("wobble", [0.0, 0.6])
def test_most_intervals_hold_the_truth_even_when_days_differ(wobble: float) -> None:
    rng = np.random.default_rng(5)
    labels, scores, _ = made(rng, days=3000, rows=50, wobble=wobble)
    truth = metrics.unweighted(metrics.rank(labels, scores))[:5]
    held = np.zeros(5)
    for seed in range(100):
        labels, scores, day = made(rng, days=30, rows=50, wobble=wobble)
        ranked = metrics.rank(labels, scores)
        resamples = metrics.resampled(ranked, day, metrics.draw(30, 200, seed))
        spans = list(metrics.intervals(resamples).values())
        held += [(low or 0) <= value <= (high or 0) for value, (low, high) in zip(truth, spans, strict=False)]
    assert held.min() >= 85
    assert held.mean() <= 99


def test_metrics_import_nothing_heavier_than_numpy() -> None:
    code = "import sys, tandem.metrics; sys.exit(bool({'sklearn', 'scipy', 'pandas', 'polars'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
