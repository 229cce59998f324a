"""BentoML's service of the same booster."""

import os
from pathlib import Path

import bentoml
import numpy as np
import xgboost as xgb


@bentoml.service(workers=1)
class Peer:
    """One model."""

    def __init__(self) -> None:
        """Load it."""
        self.booster = xgb.Booster({"nthread": 1})
        self.booster.load_model(Path(os.environ["PEER_MODEL"]) / "model.json")

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: list[list[float]]) -> list[float]:
        """Score rows of ready inputs."""
        scores: list[float] = self.booster.inplace_predict(np.array(rows, dtype=np.float32)).tolist()
        return scores
