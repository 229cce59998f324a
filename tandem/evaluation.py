"""What an evaluation says, as it is written to evaluation.json and read back by whoever decides on it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator

from tandem.metrics import Bin, Figures, Interval, rounded
from tandem.params import Frozen

Figure = Annotated[float | None, BeforeValidator(rounded)]


@dataclass(frozen=True)
class Estimate(Figures):
    """Figures, each with its interval."""

    intervals: dict[str, Interval]


@dataclass(frozen=True)
class Baseline(Estimate):
    """A model to compare with; the margin is our AUC less its own, on the same rows and the same draws."""

    margin: float | None
    margin_interval: Interval


class SliceColumn(Frozen):
    """The values of one slice column that have rows enough to be judged, and how many have not."""

    judged: dict[str, Estimate]
    not_judged: int
    rows_not_judged: int


class Treatment(Frozen):
    """How acting at the threshold treats one slice."""

    column: str
    value: str
    rows: int
    share_acted: Figure
    true_positive_rate: Figure
    false_positive_rate: Figure


class CostPoint(Frozen):
    """What acting from one threshold on would have cost."""

    threshold: float
    share_acted: Figure
    cost_a_day: Figure


class Costs(Frozen):
    """What acting by the model cost at the threshold, beside the better of acting never and always."""

    threshold: Figure
    days: int
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    model_a_day: Figure
    never_a_day: Figure
    always_a_day: Figure
    value_a_day: Figure
    curve: tuple[CostPoint, ...]


class Gate(Frozen):
    """One condition for there to be a bundle."""

    name: str
    verdict: Literal["pass", "fail"]
    figure: float | None
    bound: float
    reason: str


class Evaluation(Frozen):
    """All that was measured on the held-out rows, and the gates' verdicts on it."""

    overall: Estimate
    months: dict[str, Figures]
    baselines: dict[str, Baseline]
    smallest_slice: int
    slices: dict[str, SliceColumn]
    fairness: tuple[Treatment, ...]
    calibration: tuple[Bin, ...]
    costs: Costs
    gates: tuple[Gate, ...]
