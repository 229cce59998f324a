"""The models that ours must beat are what they say they are."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tandem.baselines import PRIOR, Logistic, Rates

ROWS = pl.DataFrame(
    {"town": ["a"] * 60 + ["b"] * 30 + [None] * 10, "label": [True] * 45 + [False] * 15 + [False] * 30 + [True] * 10}
)


def test_a_rate_is_drawn_to_the_overall_one() -> None:
    rates = Rates.fit(ROWS, ["town"])
    overall = 55 / 100
    asked = pl.DataFrame({"town": ["a", "b", None, "never seen"]})
    expected = [(45 + PRIOR * overall) / 80, PRIOR * overall / 50, (10 + PRIOR * overall) / 30, overall]
    assert rates.scores(asked).tolist() == pytest.approx(expected)


def test_rates_are_the_same_whatever_the_order_of_rows_and_after_being_written() -> None:
    rates = Rates.fit(ROWS, ["town", "label"])
    assert Rates.fit(ROWS.sample(fraction=1.0, shuffle=True, seed=3), ["town", "label"]) == rates
    assert Rates.model_validate_json(rates.model_dump_json()) == rates


@pytest.fixture
def numbers() -> pl.DataFrame:
    draw = np.random.default_rng(5)
    known = draw.normal(size=(400, 2))
    label = known[:, 0] + draw.normal(size=400) > 0
    return pl.DataFrame({"x": known[:, 0], "y": 100 + 7 * known[:, 1], "same": np.ones(400), "label": label})


def test_the_logistic_regression_is_scikit_learns(numbers: pl.DataFrame) -> None:
    names = ["x", "y", "same"]
    inputs = StandardScaler().fit_transform(numbers.select(names).to_numpy())
    expected = LogisticRegression(max_iter=300).fit(inputs, numbers["label"].to_numpy()).predict_proba(inputs)[:, 1]
    assert Logistic.fit(numbers, names).scores(numbers) == pytest.approx(expected, abs=1e-4)


def test_what_is_not_known_counts_as_the_mean(numbers: pl.DataFrame) -> None:
    model = Logistic.fit(numbers.with_columns(y=pl.when(pl.col("x") > 1).then(None).otherwise("y")), ["x", "y"])
    unknown, mean = (
        pl.DataFrame({"x": [0.5], "y": [None]}, schema={"x": pl.Float64, "y": pl.Float64}),
        pl.DataFrame({"x": [0.5], "y": [model.means[1]]}),
    )
    assert model.scores(unknown) == pytest.approx(model.scores(mean))
    assert np.isfinite(model.weights).all()


def test_an_input_that_is_never_known_weighs_nothing(numbers: pl.DataFrame) -> None:
    model = Logistic.fit(numbers.with_columns(y=pl.lit(None, pl.Float64)), ["x", "y"])
    assert model.weights[1] == 0
    assert np.isfinite(model.scores(numbers)).all()
