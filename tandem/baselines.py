"""Models simple enough to be read, which ours must beat: a table of rates, and a logistic regression."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.params import Frozen

Scores = NDArray[np.float64]
PRIOR = 20
"""Rows of the overall rate that are mixed into each key's own."""
STEPS, CLOSE = 50, 1e-8
"""Steps to the best weights at most, and a step so short that it is the last; seven do where both labels occur."""
DIGITS = 6
"""More are not the same on all processors, whose `exp` differ in the last bit."""


class Rates(Frozen):
    """The share of positives by a few columns, drawn to the overall share where rows are few."""

    columns: tuple[str, ...]
    positives: int
    rows: int
    table: tuple[tuple[tuple[str, ...], int, int], ...]
    """Key as text, positives, rows."""

    @classmethod
    def fit(cls, rows: pl.DataFrame, columns: Sequence[str]) -> Self:
        """Count."""
        counted = (
            rows.group_by(cls._key(columns).alias("key"))
            .agg(pl.col("label").sum().alias("positives"), pl.len().alias("rows"))
            .sort("key")
        )
        return cls(columns=columns, positives=rows["label"].sum(), rows=rows.height, table=counted.rows())

    @staticmethod
    def _key(columns: Sequence[str]) -> pl.Expr:
        return pl.concat_list(pl.col(name).cast(pl.String).fill_null("") for name in columns)

    def scores(self, rows: pl.DataFrame) -> Scores:
        """Give the mixed rate of each row's key; a key never seen has the overall one."""
        overall = self.positives / self.rows
        rates = {key: (positives + PRIOR * overall) / (count + PRIOR) for key, positives, count in self.table}
        keys = rows.select(self._key(self.columns)).to_series()
        return np.array([rates.get(tuple(key), overall) for key in keys.to_list()], dtype=np.float64)


def _best(inputs: Scores, labels: NDArray[np.bool_]) -> Scores:
    """Return the weights, the intercept last, with the least log loss plus half their squares, by Newton's method."""
    inputs = np.column_stack([inputs, np.ones(len(inputs))])
    weights, drawn = np.zeros(inputs.shape[1]), np.ones(inputs.shape[1])
    drawn[-1] = 0  # nothing draws the intercept to zero

    def loss(weights: Scores) -> float:
        margins = inputs @ weights
        return float(np.logaddexp(0, margins).sum() - margins[labels].sum() + drawn @ weights**2 / 2)

    reached = loss(weights)
    for _ in range(STEPS):
        said = 1 / (1 + np.exp(-(inputs @ weights)))
        spread = inputs * np.sqrt(said * (1 - said))[:, None]
        step = np.linalg.solve(spread.T @ spread + np.diag(drawn), inputs.T @ (said - labels) + drawn * weights)
        while (ahead := loss(weights - step)) > reached:
            step /= 2  # too far: from here the parabola tells little of what is there
        weights, reached = weights - step, ahead
        if np.abs(step).max() < CLOSE:
            break
    return weights


class Logistic(Frozen):
    """A logistic regression of standardised inputs; what is not known counts as the mean."""

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def fit(cls, rows: pl.DataFrame, names: Sequence[str]) -> Self:
        """Fit with scikit-learn's default strength, and so near to the one best fit that no step on the way shows."""
        raw = rows.select(names).to_numpy().astype(np.float64)
        count = np.maximum((~np.isnan(raw)).sum(axis=0), 1)
        means = np.nansum(raw, axis=0) / count
        spread = np.sqrt(np.nansum((raw - means) ** 2, axis=0) / count)
        scales = np.where(spread > 0, spread, 1)
        *weights, intercept = _best(cls._standard(raw, means, scales), rows["label"].to_numpy()).round(DIGITS).tolist()
        return cls(names=names, means=means.tolist(), scales=scales.tolist(), weights=weights, intercept=intercept)

    @staticmethod
    def _standard(raw: Scores, means: Scores, scales: Scores) -> Scores:
        return np.nan_to_num((raw - means) / scales, nan=0.0)

    def scores(self, rows: pl.DataFrame) -> Scores:
        """Give the probability of each row."""
        raw = rows.select(self.names).to_numpy().astype(np.float64)
        margin = self._standard(raw, np.array(self.means), np.array(self.scales)) @ np.array(self.weights)
        result: Scores = 1 / (1 + np.exp(-(margin + self.intercept)))
        return result.round(DIGITS)
