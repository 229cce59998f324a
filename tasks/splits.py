"""Read the training set as the models take it."""

from pathlib import Path

import numpy as np
import polars as pl

from tandem.boosting import Floats, Split
from tandem.features import FeatureSpec
from tandem.files import made
from tandem.run import step


@step
def read_rows(folder: Path) -> tuple[pl.DataFrame, FeatureSpec]:
    """Read the rows that are for something, and what their inputs are.

    Raises:
        MissingError: they have not been made.

    """
    path = made(folder / "rows.parquet", "training_set")
    return pl.read_parquet(path).filter(pl.col("split").is_not_null()), FeatureSpec.load(folder / "features.json")


def matrix(rows: pl.DataFrame, names: tuple[str, ...]) -> Floats:
    """Give the inputs as XGBoost and ONNX take them: float32, NaN where a value is not known."""
    return rows.select(pl.col(names).cast(pl.Float32).fill_null(np.nan)).to_numpy()


def part(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Give the rows of one part."""
    return rows.filter(pl.col("split") == name)


@step
def split_of(rows: pl.DataFrame, names: tuple[str, ...]) -> Split:
    """Give what a fit needs."""
    fit, stop = part(rows, "fit"), part(rows, "stop")
    return Split(
        names=names,
        fit_x=matrix(fit, names),
        fit_y=fit["label"].cast(pl.Float32).to_numpy(),
        stop_x=matrix(stop, names),
        stop_y=stop["label"].cast(pl.Float32).to_numpy(),
    )
