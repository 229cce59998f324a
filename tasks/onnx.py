"""The model as ONNX, which serving runs: 14 us a row where XGBoost takes 190, and no pandas in the process."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tandem.boosting import Booster, Floats
from tandem.files import atomic
from tandem.run import step


@step
def write_onnx(booster: Booster, names: Sequence[str], target: Path) -> Path:
    """Convert the model; the same booster gives the same bytes."""
    from onnxmltools import convert_xgboost  # noqa: PLC0415 - 3 s, with scikit-learn
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

    plain = booster.copy()
    plain.feature_names = [f"f{place}" for place in range(len(names))]  # it knows no other names
    shape = [("inputs", FloatTensorType([None, len(names)]))]
    model = convert_xgboost(plain, name="model", initial_types=shape)  # unnamed, it would name itself by chance
    with atomic(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return target


def onnx_scores(model: Path, rows: Floats) -> Floats:
    """Score rows as serving does: one thread, for two would change last bits."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
    return cast("Floats", session.run(["probabilities"], {"inputs": rows})[0][:, 1])
