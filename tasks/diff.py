"""What differs between two bundles: data, features, params and figures."""

from typing import Any

from tandem.bundle import Bundle
from tandem.leaves import leaves
from tandem.run import step

FIGURES = ("rows", "auc", "average_precision", "log_loss", "brier", "ece")


def changes(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    """Give what is not the same on both sides, None where one lacks it."""
    return {name: [a.get(name), b.get(name)] for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)}


def _figures(bundle: Bundle) -> dict[str, Any]:
    evaluation = bundle.json("reports/evaluation.json")
    groups = {"all": evaluation["overall"]} | {f"month = {m}": of for m, of in evaluation["months"].items()}
    for column, of in evaluation["slices"].items():
        groups |= {f"{column} = {value}": figures for value, figures in of["judged"].items()}
    return {group: {name: figures[name] for name in FIGURES} for group, figures in groups.items()}


@step
def compared(a: Bundle, b: Bundle) -> dict[str, Any]:
    """Say what differs."""
    inputs = [leaves(bundle.json("inputs.json")) for bundle in (a, b)]
    features = [{f.name: f"{f.type} from {f.origin}: {f.meaning}" for f in bundle.spec.inputs} for bundle in (a, b)]
    params = [leaves(bundle.json("params.json")) for bundle in (a, b)]
    figures = [_figures(bundle) for bundle in (a, b)]
    return {
        "bundles": [a.digest, b.digest],
        "as_of": [a.as_of.isoformat(), b.as_of.isoformat()],
        "data": changes(inputs[0], inputs[1]),
        "features": changes(features[0], features[1]),
        "params": changes(params[0], params[1]),
        "files": changes(a.files, b.files),
        "figures": {group: [each.get(group) for each in figures] for group in figures[0] | figures[1]},
    }
