"""Stage `evaluate`: figures, intervals, baselines, costs, and the gates' verdicts. It always succeeds."""

import polars as pl

from tandem.features import SLICE
from tandem.files import made
from tandem.params import Params
from tandem.run import entry, operation
from tandem.settings import Settings
from tasks import evaluate as verbs


@operation
def evaluate(params: Params, settings: Settings) -> None:
    """Judge the scores of the held-out rows."""
    data = settings.of(params.problem)
    scores = pl.read_parquet(made(data / "model" / "scores.parquet", "train"))
    slices = [name for name in scores.columns if name.startswith(SLICE)]
    baselines = [name for name in scores.columns if name not in ("moment", "label", "model", *slices)]
    plain = {name: name.removeprefix(SLICE) for name in slices}
    judged = verbs.evaluate(scores.rename(plain), baselines, list(plain.values()), params)
    verbs.write_evaluation(judged, data / "reports")


if __name__ == "__main__":
    entry(evaluate)
