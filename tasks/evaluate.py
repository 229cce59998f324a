"""The held-out rows judged: figures, intervals, baselines, slices, costs, and the gates' verdicts with reasons.

It always succeeds: what cannot be said is null, and a failed gate is written down for the bundle to refuse.
What is drawn for an interval are days, not rows: the rows of a day share their luck and their trouble, so that
rows drawn one by one would give intervals far too narrow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import ge, le
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tandem import metrics
from tandem.errors import ParamsError
from tandem.evaluation import Baseline, CostPoint, Costs, Estimate, Evaluation, Gate, SliceColumn, Treatment
from tandem.files import write_json
from tandem.metrics import Flags, Floats, Indices, ratio
from tandem.params import CostParams, EvaluateParams, GateParams, Params
from tandem.run import step

MODEL = "model"
ENDS = ("low", "high")
NO_VALUE = "(none)"
GRID = np.arange(101) / 100
AUC = metrics.NAMES.index("auc")
SLICE_GATES = ("worst_slice_auc", "slice_ece")
NOT_JUDGED = "not judged: every slice has too few rows, or one class only"

Holds = Callable[[float, float], bool]
ASKED: dict[Holds, str] = {ge: "at least", le: "at most"}


@dataclass(frozen=True)
class Rows:
    """Labels, one model's scores and the days of some rows."""

    labels: Flags
    scores: Floats
    days: Indices

    def by(self, values: pl.Series) -> dict[str, "Rows"]:
        """Split by the values of a slice column, in their order."""
        named = values.fill_null(NO_VALUE)
        chosen = {value: (named == value).to_numpy() for value in sorted(named.unique())}
        return {value: Rows(self.labels[at], self.scores[at], self.days[at]) for value, at in chosen.items()}

    def resampled(self, drawn: Floats, bins: int) -> Floats:
        """Figures as they are, and of each draw of days."""
        return metrics.resampled(metrics.rank(self.labels, self.scores, bins), self.days, drawn)


def estimate(labels: Flags, lines: Floats) -> Estimate:
    """Figures with their intervals."""
    return Estimate(**asdict(metrics.named(labels, lines[0])), intervals=metrics.intervals(lines))


def baseline(labels: Flags, lines: Floats, ours: Floats) -> Baseline:
    """Figures with their intervals, and how far ours are above, draw by draw."""
    margin, *paired = ours[:, AUC] - lines[:, AUC]
    span = metrics.interval(margin, paired, lowest=-1.0)
    return Baseline(**vars(estimate(labels, lines)), margin=metrics.rounded(margin), margin_interval=span)


def slice_column(parts: Mapping[str, Rows], drawn: Floats, params: EvaluateParams) -> SliceColumn:
    """Judge each value that has enough rows."""
    judged = {value: part for value, part in parts.items() if len(part.labels) >= params.smallest_slice}
    return SliceColumn(
        judged={value: estimate(part.labels, part.resampled(drawn, params.bins)) for value, part in judged.items()},
        not_judged=len(parts) - len(judged),
        rows_not_judged=sum(len(part.labels) for value, part in parts.items() if value not in judged),
    )


def treatment(column: str, value: str, rows: Rows, threshold: float) -> Treatment:
    """Rates of acting in one slice."""
    acted, positives, total = rows.scores >= threshold, int(rows.labels.sum()), len(rows.labels)
    true, false = int(acted[rows.labels].sum()), int(acted[~rows.labels].sum())
    return Treatment(
        column=column,
        value=value,
        rows=total,
        share_acted=ratio(true + false, total),
        true_positive_rate=ratio(true, positives),
        false_positive_rate=ratio(false, total - positives),
    )


def cost(rows: Rows, days: int, costs: CostParams) -> Costs:
    """Count the errors at the threshold and price them, there and along the grid of thresholds."""
    thresholds = np.array([costs.threshold, *GRID])
    true, false = metrics.acted_on(rows.labels, rows.scores, thresholds)
    positives, total = int(rows.labels.sum()), len(rows.labels)
    paid = costs.false_alarm * false + costs.miss * (positives - true)
    never, always = costs.miss * positives, costs.false_alarm * (total - positives)
    points = zip(thresholds.tolist(), (true + false).tolist(), paid.tolist(), strict=True)
    at, *curve = (CostPoint(threshold=t, share_acted=ratio(n, total), cost_a_day=ratio(c, days)) for t, n, c in points)
    return Costs(
        threshold=at.threshold,
        days=days,
        true_positives=int(true[0]),
        false_positives=int(false[0]),
        false_negatives=positives - int(true[0]),
        true_negatives=total - positives - int(false[0]),
        model_a_day=at.cost_a_day,
        never_a_day=ratio(never, days),
        always_a_day=ratio(always, days),
        value_a_day=ratio(min(never, always) - float(paid[0]), days),
        curve=tuple(curve),
    )


def verdict(name: str, figure: float | None, bound: float, holds: Holds, of: str = "") -> Gate:
    """Hold one figure against its bound; what is not defined cannot pass."""
    passed = figure is not None and holds(figure, bound)
    said = "not defined" if figure is None else str(figure)
    reason = f"{of}{said} where {ASKED[holds]} {bound} is asked for"
    return Gate(name=name, verdict="pass" if passed else "fail", figure=figure, bound=bound, reason=reason)


def extreme(name: str, figures: Mapping[str, float | None], bound: float, holds: Holds) -> Gate:
    """Hold the slice that does worst against the bound; where none is judged, none fails."""
    known = [(figure, of) for of, figure in figures.items() if figure is not None]
    if not known:
        return Gate(name=name, verdict="pass", figure=None, bound=bound, reason=NOT_JUDGED)
    figure, of = min(known) if holds is ge else max(known)
    return verdict(name, figure, bound, holds, f"{of}: ")


def judge(
    overall: Estimate, baselines: Mapping[str, Baseline], slices: Mapping[str, SliceColumn], gates: GateParams
) -> tuple[Gate, ...]:
    """Give each gate's verdict and its reason."""
    judged = {f"{name}={value}": each for name, column in slices.items() for value, each in column.judged.items()}
    margins = sorted(gates.margins.items())
    return (
        verdict("rows", overall.rows, gates.rows, ge),
        verdict("auc", overall.auc, gates.auc, ge),
        *(verdict(f"margin_over_{name}", baselines[name].margin, bound, ge) for name, bound in margins),
        extreme("worst_slice_auc", {of: each.auc for of, each in judged.items()}, gates.worst_slice_auc, ge),
        verdict("ece", overall.ece, gates.ece, le),
        extreme("slice_ece", {of: each.ece for of, each in judged.items()}, gates.slice_ece, le),
    )


@step
def evaluate(scores: pl.DataFrame, baselines: Sequence[str], slices: Sequence[str], params: Params) -> Evaluation:
    """Judge scores, a row a request: `moment`, `label`, `model`, and a column for each baseline and each slice.

    Raises:
        ParamsError: a margin is asked for over a baseline that is not there.

    """
    if unknown := sorted(set(params.gates.margins) - set(baselines)):
        msg = f"gates.margins: no baseline is called {', '.join(unknown)}; there are {', '.join(baselines)}"
        raise ParamsError(msg)
    settings, labels, moments = params.evaluate, scores["label"].to_numpy(), scores["moment"].to_numpy()
    days, count = metrics.days_of(moments)
    drawn = metrics.draw(count, settings.resamples, settings.seed)
    models = {name: Rows(labels, scores[name].to_numpy(), days) for name in (MODEL, *baselines)}
    lines = {name: rows.resampled(drawn, settings.bins) for name, rows in models.items()}
    rows, ours = models[MODEL], lines.pop(MODEL)
    overall = estimate(labels, ours)
    others = {name: baseline(labels, each, ours) for name, each in lines.items()}
    parts = {name: rows.by(scores[name]) for name in slices}
    columns = {name: slice_column(each, drawn, settings) for name, each in parts.items()}
    judged = [(name, value) for name, column in columns.items() for value in column.judged]
    return Evaluation(
        overall=overall,
        months=metrics.by_month(moments, labels, rows.scores, settings.bins),
        baselines=others,
        smallest_slice=settings.smallest_slice,
        slices=columns,
        fairness=tuple(treatment(name, value, parts[name][value], params.costs.threshold) for name, value in judged),
        calibration=tuple(metrics.calibration(labels, rows.scores, settings.bins)),
        costs=cost(rows, count, params.costs),
        gates=judge(overall, others, columns, params.gates),
    )


def headline(said: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the few figures that are compared between commits."""
    return {
        **{name: said["overall"][name] for name in ("rows", "positives", *metrics.NAMES)},
        **{f"margin_over_{name}": each["margin"] for name, each in said["baselines"].items()},
        **{gate["name"]: gate["figure"] for gate in said["gates"] if gate["name"] in SLICE_GATES},
        "value_a_day": said["costs"]["value_a_day"],
        "gates_failed": sum(gate["verdict"] == "fail" for gate in said["gates"]),
    }


def slice_row(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Put figures and the ends of their intervals side by side."""
    ends = (
        (f"{of}_{end}", at) for of, span in figures["intervals"].items() for end, at in zip(ENDS, span, strict=True)
    )
    return {"slice": name, **{of: figures[of] for of in figures if of != "intervals"}, **dict(ends)}


def plots(said: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each plot, by its name."""
    judged = {f"{n}={v}": each for n, column in said["slices"].items() for v, each in column["judged"].items()}
    return {
        "calibration": said["calibration"],
        "months": [{"month": month, **figures} for month, figures in said["months"].items()],
        "slices": [slice_row(name, figures) for name, figures in judged.items()],
        "costs": said["costs"]["curve"],
    }


@step
def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write evaluation.json, the flat metrics.json, and plots/*.json, each the rows of one plot."""
    said = evaluation.model_dump(mode="json")
    write_json(folder / "evaluation.json", said)
    write_json(folder / "metrics.json", headline(said))
    for name, rows in plots(said).items():
        write_json(folder / "plots" / f"{name}.json", rows)
