"""The model as ONNX, which serving runs: 14 us a row where XGBoost takes 190, and no pandas in the process."""

import json
from math import log
from pathlib import Path
from typing import Any, cast

import numpy as np

from tandem.boosting import Booster, Floats
from tandem.files import atomic
from tandem.run import step


@step
def write_onnx(booster: Booster, target: Path) -> Path:
    """Convert the model; the same booster gives the same bytes.

    Its trees are lists of nodes in XGBoost's own JSON and in ONNX alike; the converters there are take 3 s to import.
    """
    from onnx import TensorProto, helper  # noqa: PLC0415 - 0.3 s

    learner = json.loads(booster.save_raw(raw_format="json"))["learner"]
    trees = learner["gradient_booster"]["model"]["trees"]
    inputs = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [None, booster.num_features()])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    scores = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    share = float(learner["learner_model_param"]["base_score"].strip("[]"))
    node = helper.make_node(
        "TreeEnsembleClassifier",
        [inputs.name],
        [label.name, scores.name],
        domain="ai.onnx.ml",
        base_values=[log(share / (1 - share))],
        classlabels_int64s=[0, 1],
        post_transform="LOGISTIC",
        **_nodes(trees),
    )
    graph = helper.make_graph([node], "model", [inputs], [label, scores])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)])
    with atomic(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return target


def _nodes(trees: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Put the nodes of all trees one after the other; a leaf has no left child, and its value as its condition."""

    def joined(name: str) -> Any:  # noqa: ANN401 - numbers of one kind or another
        return np.concatenate([tree[name] for tree in trees])

    left, right, values = joined("left_children"), joined("right_children"), joined("split_conditions")
    sizes = [len(tree["left_children"]) for tree in trees]
    tree_ids, node_ids = np.repeat(np.arange(len(trees)), sizes), np.concatenate([np.arange(size) for size in sizes])
    leaf = left < 0
    columns = {
        "nodes_treeids": tree_ids,
        "nodes_nodeids": node_ids,
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LT"),
        "nodes_featureids": joined("split_indices"),
        "nodes_values": values,
        "nodes_truenodeids": np.where(leaf, 0, left),
        "nodes_falsenodeids": np.where(leaf, 0, right),
        "nodes_missing_value_tracks_true": joined("default_left"),
        "class_treeids": tree_ids[leaf],
        "class_nodeids": node_ids[leaf],
        "class_ids": np.zeros(leaf.sum(), dtype=np.int64),
        "class_weights": values[leaf],
    }
    return {name: column.tolist() for name, column in columns.items()}


def onnx_scores(model: Path, rows: Floats) -> Floats:
    """Score rows as serving does: one thread, for two would change last bits."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
    return cast("Floats", session.run(["probabilities"], {"inputs": rows})[0][:, 1])
