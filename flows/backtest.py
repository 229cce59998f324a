"""Score a bundle on what became known after its day: how good it was, and how it aged."""

from datetime import datetime
from pathlib import Path
from typing import Any

from tandem.bundle import Bundle
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import operation
from tandem.settings import Settings
from tasks.backtest import future_rows, judged, scores_of


@operation
def backtest(params: Params, settings: Settings, folder: Path | None, until: datetime) -> dict[str, Any]:
    """Build the requests after the bundle's day in a temporary folder, score them, and judge the scores."""
    problem = load_problem(params.problem)
    data = settings.of(problem.name)
    bundle = Bundle.open(folder or data / "bundle")
    rows = future_rows(problem, bundle, data / "facts", until)
    return judged(rows, scores_of(bundle, rows), params.evaluate)
