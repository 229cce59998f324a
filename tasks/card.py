"""The model card: what a person should know before trusting a model."""

from typing import Any

from tandem.features import FeatureSpec
from tandem.params import Params
from tandem.run import step
from tandem.tables import markdown

FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece")


def _figures(of: dict[str, Any]) -> tuple[object, ...]:
    return tuple(of[name] for name in FIGURES)


@step
def model_card(spec: FeatureSpec, params: Params, evaluation: dict[str, Any], training: dict[str, Any]) -> str:
    """Write the card from what the stages reported."""
    overall, costs = evaluation["overall"], evaluation["costs"]
    models = [("this model", *_figures(overall)), *((n, *_figures(b)) for n, b in evaluation["baselines"].items())]
    months = [(month, of["rows"], *_figures(of)) for month, of in evaluation["months"].items()]
    slices = [
        (f"{name} = {value}", of["rows"], *_figures(of))
        for name, column in evaluation["slices"].items()
        for value, of in column["judged"].items()
    ]
    parts = [(name, of["rows"], of["positives"], of["from"], of["until"]) for name, of in training["parts"].items()]
    outcomes = [(name, count) for name, count in training["outcomes"].items()]
    gates = [(gate["name"], gate["verdict"], gate["reason"]) for gate in evaluation["gates"]]
    money = (
        f"Acting in vain costs {params.costs.false_alarm}, not acting when needed {params.costs.miss}: acting is "
        f"cheaper from a score of {costs['threshold']:.3f} on. Over {costs['days']} days that was worth "
        f"{costs['value_a_day']:.2f} a day against the better of always and never acting."
    )
    limits = (
        f"Inputs are as old as their tick: {spec.tick_minutes} minutes apart, used from {spec.lag_minutes} minutes on. "
        "The model knows the world up to its day; how it ages is what `tandem backtest` shows."
    )
    paragraphs = [
        f"# Model card: {spec.problem}",
        f"{spec.question} Made of what was known before {params.as_of} UTC.",
        "## Data",
        markdown(("part", "rows", "positives", "from", "until"), parts),
        markdown(("outcome of a request", "requests"), outcomes),
        "Requests without a label are neither fitted nor judged.",
        "## Figures on held-out time",
        markdown(("model", *FIGURES), models),
        markdown(("month", "rows", *FIGURES), months),
        f"## By slice\n\nSlices with fewer than {evaluation['smallest_slice']} rows are not judged.",
        markdown(("slice", "rows", *FIGURES), slices),
        "## Costs",
        money,
        "## Gates",
        markdown(("gate", "verdict", "reason"), gates),
        "## Limits",
        limits,
        "## Rebuild",
        "`source.tar` holds the code and params, `inputs.json` the digest of every raw file and of the lock.",
    ]
    return "\n\n".join(paragraphs) + "\n"
