"""The model as ONNX, which serving runs: 14 us a row where XGBoost takes 190, and no pandas in the process."""

import json
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any, cast

import numpy as np

from tandem.boosting import Booster, Floats
from tandem.files import atomic
from tandem.run import step

SHAPE = """<ir_version: 8, opset_import: ["ai.onnx.ml": 1]>
model (float[N, INPUTS] inputs) => (int64[N] label, float[N, 2] probabilities) {
    label, probabilities = ai.onnx.ml.TreeEnsembleClassifier(inputs)
}"""


@step
def write_onnx(booster: Booster, target: Path) -> Path:
    """Convert the model; the same booster gives the same bytes.

    Its trees are lists of nodes in XGBoost's own JSON and in ONNX alike; the converters there are take 3 s to import.
    """
    from onnx import helper, parser  # noqa: PLC0415 - 0.3 s

    learner = json.loads(booster.save_raw(raw_format="json"))["learner"]
    share = float(learner["learner_model_param"]["base_score"].strip("[]"))
    model = parser.parse_model(SHAPE.replace("INPUTS", learner["learner_model_param"]["num_feature"]))
    fixed = {"classlabels_int64s": [0, 1], "post_transform": "LOGISTIC", "base_values": [log(share / (1 - share))]}
    for name, value in (fixed | _nodes(learner["gradient_booster"]["model"]["trees"])).items():
        model.graph.node[0].attribute.append(helper.make_attribute(name, value))
    with atomic(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return target


def _nodes(trees: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the nodes of all trees one after the other; a leaf has no left child, and its value as its condition."""
    names = ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
    left, right, column, value, missing = (np.concatenate([tree[name] for tree in trees]) for name in names)
    place = np.array([(number, node) for number, tree in enumerate(trees) for node, _ in enumerate(tree["parents"])])
    leaf = left < 0
    return {
        "nodes_treeids": place[:, 0],
        "nodes_nodeids": place[:, 1],
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LT"),
        "nodes_featureids": column,
        "nodes_values": value,
        "nodes_truenodeids": np.where(leaf, 0, left),
        "nodes_falsenodeids": np.where(leaf, 0, right),
        "nodes_missing_value_tracks_true": missing,
        "class_treeids": place[leaf, 0],
        "class_nodeids": place[leaf, 1],
        "class_ids": np.zeros(leaf.sum(), int),
        "class_weights": value[leaf],
    }


def onnx_session(model: Path) -> Callable[[Floats], Floats]:
    """Load the model as serving does: one thread, for two would change last bits."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda rows: cast("Floats", session.run(["probabilities"], {"inputs": rows})[0][:, 1])


def onnx_scores(model: Path, rows: Floats) -> Floats:
    """Score rows as serving does."""
    return onnx_session(model)(rows)
