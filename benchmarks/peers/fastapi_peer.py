"""What most teams write: FastAPI, a pydantic model of the inputs, XGBoost."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from fastapi import FastAPI
from pydantic import create_model

MODEL = Path(os.environ["PEER_MODEL"])
names = json.loads((MODEL / "names.json").read_text())
booster = xgb.Booster({"nthread": 1})
booster.load_model(MODEL / "model.json")
fields: Any = dict.fromkeys(names, (float, ...))
Inputs = create_model("Inputs", **fields)
app = FastAPI()


@app.post("/predict")
def predict(rows: list[Inputs]) -> dict[str, list[float]]:
    """Score rows of ready inputs."""
    values = np.array([[getattr(row, name) for name in names] for row in rows], dtype=np.float32)
    return {"scores": booster.inplace_predict(values).tolist()}
