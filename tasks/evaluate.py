"""The held-out rows judged: figures, intervals, baselines, slices, costs, and the gates' verdicts with reasons.

It always succeeds: what cannot be said is null, and a failed gate is written down for the bundle to refuse.
What is drawn for an interval are days, not rows: the rows of a day share their luck and their trouble, so that
rows drawn one by one would give intervals far too narrow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from operator import ge, le
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tandem import metrics
from tandem.errors import ParamsError
from tandem.evaluation import Baseline, CostPoint, Costs, Estimate, Evaluation, Gate, Measured, SliceColumn, Treatment
from tandem.files import write_json
from tandem.metrics import Figures, Flags, Floats, Indices
from tandem.params import CostParams, EvaluateParams, GateParams, Params
from tandem.run import step

MODEL = "model"
NO_VALUE = "(none)"
GRID = np.arange(101) / 100
AUC = metrics.NAMES.index("auc")
SLICE_GATES = ("worst_slice_auc", "slice_ece")
NOT_JUDGED = "not judged: every slice has too few rows, or one class only"

Row = dict[str, Any]
Holds = Callable[[float, float], bool]
ASKED: dict[Holds, str] = {ge: "at least", le: "at most"}


@dataclass(frozen=True)
class Rows:
    """Labels, one model's scores and the days of some rows."""

    labels: Flags
    scores: Floats
    days: Indices

    def where(self, chosen: Flags) -> "Rows":
        """Keep some of the rows, in their order."""
        return Rows(self.labels[chosen], self.scores[chosen], self.days[chosen])


@dataclass(frozen=True)
class Sample:
    """The figures of some rows as they are, and of each draw of days."""

    ranked: metrics.Ranked
    values: Floats
    resamples: Floats

    @classmethod
    def of(cls, rows: Rows, drawn: Floats, bins: int) -> "Sample":
        """Sort once, then weigh."""
        ranked = metrics.rank(rows.labels, rows.scores, bins)
        return cls(ranked, metrics.unweighted(ranked), metrics.resampled(ranked, rows.days, drawn))

    def estimate(self) -> Estimate:
        """Figures with their intervals."""
        figures = metrics.as_figures(self.ranked, self.values)
        return Estimate(**asdict(figures), intervals=metrics.intervals(self.values, self.resamples))

    def against(self, ours: "Sample") -> Baseline:
        """Figures with their intervals, and how far ours are above."""
        margin = float(ours.values[AUC] - self.values[AUC])
        paired = ours.resamples[:, AUC] - self.resamples[:, AUC]
        span = metrics.interval(margin, paired, lowest=-1.0)
        return Baseline(**vars(self.estimate()), margin=metrics.rounded(margin), margin_interval=span)


def ratio(part: float, whole: float) -> float:
    """Part of a whole; no number where there is no whole."""
    return part / whole if whole else float("nan")


def members(rows: Rows, values: pl.Series) -> dict[str, Rows]:
    """Rows of each value of a slice column, by value."""
    named = values.fill_null(NO_VALUE)
    return {value: rows.where((named == value).to_numpy()) for value in sorted(named.unique())}


def slice_column(parts: Mapping[str, Rows], drawn: Floats, params: EvaluateParams) -> SliceColumn:
    """Judge each value that has enough rows."""
    judged = {value: part for value, part in parts.items() if len(part.labels) >= params.smallest_slice}
    return SliceColumn(
        judged={value: Sample.of(part, drawn, params.bins).estimate() for value, part in judged.items()},
        not_judged=len(parts) - len(judged),
        rows_not_judged=sum(len(part.labels) for value, part in parts.items() if value not in judged),
    )


def treatment(column: str, value: str, rows: Rows, threshold: float) -> Treatment:
    """Rates of acting in one slice."""
    acted = rows.scores >= threshold
    positives, total = int(rows.labels.sum()), len(rows.labels)
    return Treatment(
        column=column,
        value=value,
        rows=total,
        share_acted=ratio(int(acted.sum()), total),
        true_positive_rate=ratio(int(acted[rows.labels].sum()), positives),
        false_positive_rate=ratio(int(acted[~rows.labels].sum()), total - positives),
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


def measure(scores: pl.DataFrame, baselines: Sequence[str], slices: Sequence[str], params: Params) -> Measured:
    """Take every figure."""
    settings, moments = params.evaluate, scores["moment"].to_numpy()
    days, count = metrics.days_of(moments)
    drawn = metrics.draw(count, settings.resamples, settings.seed)
    rows = Rows(scores["label"].to_numpy(), scores[MODEL].to_numpy(), days)
    others = {name: replace(rows, scores=scores[name].to_numpy()) for name in baselines}
    ours = Sample.of(rows, drawn, settings.bins)
    parts = {name: members(rows, scores[name]) for name in slices}
    columns = {name: slice_column(part, drawn, settings) for name, part in parts.items()}
    judged = [(name, value) for name, column in columns.items() for value in column.judged]
    return Measured(
        overall=ours.estimate(),
        months=metrics.by_month(moments, rows.labels, rows.scores, settings.bins),
        baselines={name: Sample.of(other, drawn, settings.bins).against(ours) for name, other in others.items()},
        smallest_slice=settings.smallest_slice,
        slices=columns,
        fairness=tuple(treatment(name, value, parts[name][value], params.costs.threshold) for name, value in judged),
        calibration=tuple(metrics.calibration(rows.labels, rows.scores, settings.bins)),
        costs=cost(rows, count, params.costs),
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


def judge(measured: Measured, gates: GateParams) -> tuple[Gate, ...]:
    """Give each gate's verdict and its reason."""
    overall = measured.overall
    slices = {f"{n}={v}": each for n, column in measured.slices.items() for v, each in column.judged.items()}
    return (
        verdict("rows", overall.rows, gates.rows, ge),
        verdict("auc", overall.auc, gates.auc, ge),
        *(
            verdict(f"margin_over_{name}", measured.baselines[name].margin, bound, ge)
            for name, bound in sorted(gates.margins.items())
        ),
        extreme("worst_slice_auc", {of: each.auc for of, each in slices.items()}, gates.worst_slice_auc, ge),
        verdict("ece", overall.ece, gates.ece, le),
        extreme("slice_ece", {of: each.ece for of, each in slices.items()}, gates.slice_ece, le),
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
    measured = measure(scores, baselines, slices, params)
    return Evaluation(**dict(measured), gates=judge(measured, params.gates))


def headline(evaluation: Evaluation) -> dict[str, float | None]:
    """Return the few figures that are compared between commits."""
    return {
        **{figure.name: getattr(evaluation.overall, figure.name) for figure in fields(Figures)},
        **{f"margin_over_{name}": baseline.margin for name, baseline in evaluation.baselines.items()},
        **{gate.name: gate.figure for gate in evaluation.gates if gate.name in SLICE_GATES},
        "value_a_day": evaluation.costs.value_a_day,
        "gates_failed": sum(gate.verdict == "fail" for gate in evaluation.gates),
    }


def flat(estimate: Estimate) -> Row:
    """Put figures and the ends of their intervals side by side."""
    row = asdict(estimate)
    spans = row.pop("intervals").items()
    return row | {f"{name}_{end}": at for name, span in spans for end, at in zip(("low", "high"), span, strict=True)}


def plots(evaluation: Evaluation) -> dict[str, list[Row]]:
    """Return the rows of each plot, by its name."""
    return {
        "calibration": [asdict(each) for each in evaluation.calibration],
        "months": [{"month": month, **asdict(figures)} for month, figures in evaluation.months.items()],
        "slices": [
            {"slice": f"{name}={value}", **flat(estimate)}
            for name, column in evaluation.slices.items()
            for value, estimate in column.judged.items()
        ],
        "costs": [point.model_dump() for point in evaluation.costs.curve],
    }


@step
def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write evaluation.json, the flat metrics.json, and plots/*.json, each the rows of one plot."""
    write_json(folder / "evaluation.json", evaluation.model_dump(mode="json"))
    write_json(folder / "metrics.json", headline(evaluation))
    for name, rows in plots(evaluation).items():
        write_json(folder / "plots" / f"{name}.json", rows)
