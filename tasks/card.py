"""The model card: what a person should know before trusting a model."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tandem.card import SECTIONS, lint
from tandem.errors import BundleError
from tandem.features import FeatureSpec
from tandem.params import Params
from tandem.run import step
from tandem.tables import cell, markdown

FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece")
ACTING = {"by the model": "model", "never": "never", "always": "always"}
TREATMENT = ("share_acted", "true_positive_rate", "false_positive_rate")


@dataclass(frozen=True)
class Reports:
    """What the stages said of a model, as its bundle holds it."""

    spec: FeatureSpec
    params: Params
    inputs: dict[str, Any]
    ingest: dict[str, Any]
    training: dict[str, Any]
    evaluation: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read them from a bundle, finished or not."""
        names = ("inputs", "reports/ingest", "reports/training_set", "reports/evaluation")
        found = (json.loads((folder / f"{name}.json").read_text()) for name in names)
        params = Params.model_validate_json((folder / "params.json").read_text())
        return cls(FeatureSpec.load(folder / "features.json"), params, *found)


def _figures(of: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(of[name] for name in FIGURES)


def _span(ends: list[float | None]) -> str:
    return " to ".join(map(cell, ends)) if None not in ends else ""


def _use(r: Reports) -> str:
    return (
        f"An answer holds a score between 0 and 1, the probability of yes, and an action: `act` from a score of "
        f"{r.evaluation['costs']['threshold']:.3f} on."
    )


def _data(r: Reports) -> str:
    parts = [(name, of["rows"], of["positives"], of["from"], of["until"]) for name, of in r.training["parts"].items()]
    cut = (
        f"Of it counts what was known before {r.params.as_of} UTC. Fitted on the first part, stopped by the second, "
        "judged on the third:"
    )
    return "\n\n".join(
        [
            "What has landed, by source. What broke its contract is in quarantine, and in no figure.",
            markdown(("source", "files", "rows", "in quarantine", "facts", "facts in quarantine"), list(_landed(r))),
            cut,
            markdown(("part", "rows", "positives", "from", "until"), parts),
            "Requests without a label are neither fitted nor judged.",
            markdown(("outcome", "requests"), list(r.training["outcomes"].items())),
        ]
    )


def _landed(r: Reports) -> Iterator[tuple[object, ...]]:
    for name, source in r.ingest["sources"].items():
        landings = source["landings"].values()
        raw = [landing[name] for landing in landings]
        facts = [of for landing in landings for kind, of in landing.items() if kind != name]
        counted = (sum(of[what] for of in each) for each in (raw, facts) for what in ("rows", "quarantined"))
        yield (name, len(landings), *counted)


def _overall(r: Reports) -> str:
    overall = r.evaluation["overall"]
    rows = [(name, overall[name], _span(overall["intervals"][name])) for name in ("base_rate", *FIGURES)]
    said = (
        f"On {overall['rows']} held-out requests of {r.evaluation['costs']['days']} days, all later than what was "
        "fitted. Intervals are 95 %, over days, because the requests of a day share their luck."
    )
    return f"{said}\n\n{markdown(('figure', 'value', 'interval'), rows)}"


def _months(r: Reports) -> str:
    rows = [(month, of["rows"], of["base_rate"], *_figures(of)) for month, of in r.evaluation["months"].items()]
    table = markdown(("month", "rows", "base_rate", *FIGURES), rows)
    return f"How it ages after these months, `tandem backtest` shows.\n\n{table}"


def _slices(r: Reports) -> str:
    rows: list[tuple[object, ...]] = []
    for name, column in r.evaluation["slices"].items():
        for value, of in column["judged"].items():
            rows.append((f"{name} = {value}", of["rows"], *_figures(of), _span(of["intervals"]["auc"])))
        if column["not_judged"]:
            rows.append((f"{name}: {column['not_judged']} not judged", column["rows_not_judged"], *[None] * 6))
    said = f"Slices with fewer than {r.evaluation['smallest_slice']} rows are not judged."
    return f"{said}\n\n{markdown(('slice', 'rows', *FIGURES, 'interval of auc'), rows)}"


def _baselines(r: Reports) -> str:
    rows = [("this model", *_figures(r.evaluation["overall"]), None, None)]
    for name, of in r.evaluation["baselines"].items():
        rows.append((name, *_figures(of), of["margin"], _span(of["margin_interval"])))
    said = (
        "On the same requests. `defaults` is the same model with default parameters, `rates` a table of rates, "
        "`logistic` a logistic regression; any other is the model with only some of its views. The margin is this "
        "model's AUC less theirs."
    )
    return f"{said}\n\n{markdown(('model', *FIGURES, 'margin', 'interval of margin'), rows)}"


def _calibration(r: Reports) -> str:
    rows = [
        (f"{of['lower']:.2f}", f"{of['upper']:.2f}", of["rows"], of["mean_score"], of["share_positive"])
        for of in r.evaluation["calibration"]
        if of["rows"]
    ]
    said = (
        "Of the requests with a score near 0.3, three of ten should come true. The mean gap is "
        f"{cell(r.evaluation['overall']['ece'])} (`ece`)."
    )
    return f"{said}\n\n{markdown(('from', 'to', 'rows', 'mean score', 'share positive'), rows)}"


def _costs(r: Reports) -> str:
    costs = r.evaluation["costs"]
    said = (
        f"Acting in vain costs {r.params.costs.false_alarm}, not acting when needed {r.params.costs.miss}: acting is "
        f"cheaper from a score of {costs['threshold']:.3f} on. Over {costs['days']} days that was worth "
        f"{costs['value_a_day']:.2f} a day against the better of always and never acting."
    )
    acting = [(way, costs[f"{name}_a_day"]) for way, name in ACTING.items()]
    came = [
        ("positive", costs["true_positives"], costs["false_negatives"]),
        ("negative", costs["false_positives"], costs["true_negatives"]),
    ]
    return "\n\n".join([said, markdown(("acting", "cost a day"), acting), markdown(("requests", "act", "none"), came)])


def _fairness(r: Reports) -> str:
    said = "How acting at the threshold treats each slice: the share acted on, and of those that came true or did not."
    rows = [(f"{of['column']} = {of['value']}", of["rows"], *_treated(of)) for of in r.evaluation["fairness"]]
    everyone = ("all", r.evaluation["overall"]["rows"], *_treated_all(r.evaluation["costs"]))
    parts = [said, markdown(("slice", "rows", *TREATMENT), [everyone, *rows])]
    if rows:
        widths = list(_differences(r.evaluation["fairness"]))
        parts += ["The widest difference between two slices of a column:", markdown(("column", *TREATMENT), widths)]
    auc, ece = r.params.gates.worst_slice_auc, r.params.gates.slice_ece
    parts += [f"Gates hold each slice's AUC to {auc} at least, and its calibration error to {ece} at most."]
    return "\n\n".join(parts)


def _treated(of: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(of[name] for name in TREATMENT)


def _treated_all(costs: Mapping[str, Any]) -> Iterator[float | None]:
    hit, alarm = costs["true_positives"], costs["false_positives"]
    positive, negative = hit + costs["false_negatives"], alarm + costs["true_negatives"]
    for part, whole in ((hit + alarm, positive + negative), (hit, positive), (alarm, negative)):
        yield part / whole if whole else None


def _differences(fairness: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for column in dict.fromkeys(of["column"] for of in fairness):
        slices = [of for of in fairness if of["column"] == column]
        known = [[of[name] for of in slices if of[name] is not None] for name in TREATMENT]
        yield (column, *(max(values) - min(values) if values else None for values in known))


def _gates(r: Reports) -> str:
    rows = [(gate["name"], gate["verdict"], gate["reason"]) for gate in r.evaluation["gates"]]
    return f"There is no bundle where one fails.\n\n{markdown(('gate', 'verdict', 'reason'), rows)}"


def _limits(r: Reports) -> str:
    return (
        f"Inputs are as old as their tick: {r.spec.tick_minutes} minutes apart, used from {r.spec.lag_minutes} minutes "
        f"on. Nothing after {r.params.as_of} UTC is known to it."
    )


def _rebuild(r: Reports) -> str:
    landed = [(source, digest) for source, digests in r.inputs["landing"].items() for digest in digests]
    said = (
        "`tandem verify` builds the bundle again from what it holds and these inputs, and compares to the byte. "
        "`source.tar` is the code with its params, `inputs.json` names also what each stage made."
    )
    return f"{said}\n\n{markdown(('input', 'SHA-256'), [*landed, ('requirements.lock', r.inputs['environment'])])}"


MADE: Mapping[str, Callable[[Reports], str]] = {
    "Intended use": _use,
    "Data": _data,
    "Figures": _overall,
    "By month": _months,
    "By slice": _slices,
    "Baselines": _baselines,
    "Calibration": _calibration,
    "Costs": _costs,
    "Fairness": _fairness,
    "Gates": _gates,
    "Limits": _limits,
    "Rebuild": _rebuild,
}


@step
def model_card(written: Mapping[str, str], reports: Reports) -> str:
    """Write the card: what the problem's author says, and below it what the stages reported."""
    spec, params = reports.spec, reports.params
    parts = [f"# Model card: {spec.problem}", f"{spec.question} Made of what was known before {params.as_of} UTC."]
    for title in SECTIONS:
        parts += [f"## {title}", written.get(title, ""), MADE[title](reports)]
    return "\n\n".join(filter(None, parts)) + "\n"


@step
def check_card(card: str) -> str:
    """Let a card pass that is complete.

    Raises:
        BundleError: with all that it lacks.

    """
    if wrong := lint(card):
        msg = "\n".join(["no bundle: its model card is not complete", *(f"  {line}" for line in wrong)])
        raise BundleError(msg)
    return card
