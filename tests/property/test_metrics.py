"""sklearn.metrics is the oracle: it is slow, and it is right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from tandem import metrics

Case = tuple[metrics.Flags, metrics.Floats, metrics.Floats]

TIED = st.integers(0, 8).map(lambda n: n / 8)
ANY = st.floats(0, 1, allow_subnormal=False)


@st.composite
def cases(draw: Callable[[Any], Any], scores: st.SearchStrategy[float] = TIED | ANY) -> Case:
    """Labels, scores, and how often each row comes."""
    rows = draw(st.lists(st.tuples(st.booleans(), scores, st.integers(0, 4)), min_size=1, max_size=40))
    labels, said, often = zip(*rows, strict=True)
    return np.array(labels), np.array(said, dtype=float), np.array(often, dtype=float)


def computed(labels: metrics.Flags, scores: metrics.Floats) -> dict[str, float]:
    return dict(zip(metrics.NAMES, metrics.unweighted(metrics.rank(labels, scores)).tolist(), strict=True))


def expected_ece(labels: metrics.Flags, scores: metrics.Floats, bins: int) -> float:
    total = 0.0
    for n in range(bins):
        upper = scores <= 1 if n == bins - 1 else scores < (n + 1) / bins
        inside = (scores >= n / bins) & upper
        if inside.any():
            total += inside.mean() * abs(scores[inside].mean() - labels[inside].mean())
    return float(total)


@given(cases())
def test_figures_are_those_of_sklearn(case: Case) -> None:
    labels, scores, _ = case
    assume(labels.any() and not labels.all())
    got = computed(labels, scores)
    assert got == pytest.approx(
        {
            "base_rate": labels.mean(),
            "auc": oracle.roc_auc_score(labels, scores),
            "average_precision": oracle.average_precision_score(labels, scores),
            "log_loss": oracle.log_loss(labels, scores, labels=[False, True]),
            "brier": oracle.brier_score_loss(labels, scores),
            "ece": expected_ece(labels, scores, metrics.BINS),
        },
        abs=1e-9,
    )


@given(cases())
def test_a_weight_is_a_repeated_row(case: Case) -> None:
    labels, scores, often = case
    assume(often.sum() > 0)
    ranked = metrics.rank(labels, scores)
    weighted = metrics.weighted(ranked, often[ranked.order])
    times = often.astype(int)
    repeated = metrics.unweighted(metrics.rank(labels.repeat(times), scores.repeat(times)))
    np.testing.assert_allclose(weighted, repeated, rtol=0, atol=1e-9)


@given(cases(), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(case: Case, seed: int) -> None:
    labels, scores, _ = case
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    before, after = (metrics.unweighted(metrics.rank(labels[o], scores[o])) for o in (slice(None), shuffled))
    np.testing.assert_allclose(before, after, rtol=0, atol=1e-9)


@given(cases(), ANY)
def test_a_constant_score_ranks_nothing(case: Case, constant: float) -> None:
    labels, scores, _ = case
    assume(labels.any() and not labels.all())
    got = computed(labels, np.full_like(scores, constant))
    assert got["auc"] == 0.5
    assert got["average_precision"] == pytest.approx(got["base_rate"])
    assert got["ece"] == pytest.approx(abs(constant - labels.mean()))


@given(cases(), st.integers(2, 20))
def test_a_calibration_curve_holds_every_row_and_gives_the_ece(case: Case, bins: int) -> None:
    labels, scores, _ = case
    curve = list(metrics.calibration(labels, scores, bins))
    assert sum(each.rows for each in curve) == len(labels)
    gaps = [each.rows * abs((each.mean_score or 0) - (each.share_positive or 0)) for each in curve]
    assert metrics.figures(labels, scores, bins).ece == pytest.approx(sum(gaps) / len(labels), abs=5e-6)


@given(cases(), st.lists(TIED | ANY, min_size=1, max_size=5))
def test_what_is_acted_on_is_what_reaches_the_threshold(case: Case, thresholds: list[float]) -> None:
    labels, scores, _ = case
    true, false = metrics.acted_on(labels, scores, np.array(thresholds))
    acted = scores >= np.array(thresholds)[:, None]
    assert true.tolist() == (acted & labels).sum(axis=1).tolist()
    assert false.tolist() == (acted & ~labels).sum(axis=1).tolist()


@given(cases(), st.integers(2, 6), st.integers(1, 7))
def test_resamples_are_the_figures_of_the_drawn_rows(case: Case, units: int, resamples: int) -> None:
    labels, scores, _ = case
    unit = np.arange(len(labels)) % units
    drawn = metrics.draw(units, resamples, seed=3)
    plain, *got = metrics.resampled(metrics.rank(labels, scores), unit, drawn)
    assert plain.tolist() == pytest.approx(list(computed(labels, scores).values()), nan_ok=True)
    for line, often in zip(got, drawn[:, unit].astype(int), strict=True):
        again = metrics.unweighted(metrics.rank(labels.repeat(often), scores.repeat(often)))
        np.testing.assert_allclose(line, again, rtol=0, atol=1e-9)
