"""params.yaml, parsed once at the edge and passed down as frozen values."""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tandem.clock import Grid, naive
from tandem.errors import ParamsError, brief
from tandem.files import write_text

PARAMS = Path("params.yaml")
AS_OF = re.compile(r"^(as_of: *)(\"[^\"]*\"|'[^']*'|[^\s#]+)", re.MULTILINE)


def _instant(value: object) -> object:
    """Read a date or time as naive UTC, the only kind of instant in the project."""
    if isinstance(value, int | float):
        msg = "it is a number: write a date, or a date and a time, in quotes"
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes no other
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return naive(value) if isinstance(value, datetime) else value


def _in_quotes(value: object) -> object:
    """Refuse what YAML made a date of: DVC, which reads the same file, takes none."""
    if isinstance(value, date):
        msg = "a date stands in quotes"
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes no other
    return value


Instant = Annotated[datetime, BeforeValidator(_instant)]
Rate = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class Frozen(BaseModel):
    """An unknown key is an error, as is a number that is none, and nothing changes after it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def wrong_in(exc: ValidationError) -> list[str]:
    """Say of each wrong value where it stands, what is wrong with it, and what it is."""
    return [
        f"{'.'.join(map(str, error['loc'])) or 'all of it'}: {error['msg'].removeprefix('Value error, ')} "
        f"(got {brief(error['input'])})"
        for error in exc.errors()
    ]


class SplitParams(Frozen):
    """Days before `as_of`: the last ones test, the ones before them stop the fitting, all before those fit."""

    test_days: int = Field(gt=0)
    stop_days: int = Field(gt=0)
    smallest: int = Field(gt=0, description="rows that each part must have")


class TuneParams(Frozen):
    """The Optuna study: how long it goes on, and the range that each of `TrainParams` is looked for in."""

    seed: int
    trials: int = Field(gt=0)
    startup: int = Field(gt=0, description="trials before any is learned from or pruned")
    rounds: int = Field(gt=0)
    patience: int = Field(gt=0, description="rounds without gain before a fit stops")
    depth: tuple[int, int]
    learning_rate: Range
    min_child_weight: Range
    subsample: Range
    colsample: Range
    l2: Range

    @model_validator(mode="after")
    def _ranges_hold_what_can_be_fitted(self) -> Self:
        for end in (0, 1):
            TrainParams.model_validate({name: getattr(self, name)[end] for name in TrainParams.model_fields})
        if crossed := [name for name in TrainParams.model_fields if getattr(self, name)[0] > getattr(self, name)[1]]:
            msg = f"the range of {', '.join(crossed)} ends before it begins"
            raise ValueError(msg)
        return self


class TrainParams(Frozen):
    """How one model is boosted: the study's first trial, and the models beside the tuned one."""

    depth: int = Field(gt=0)
    learning_rate: float = Field(gt=0, le=1)
    min_child_weight: float = Field(gt=0)
    subsample: float = Field(gt=0, le=1)
    colsample: float = Field(gt=0, le=1, description="share of the columns that each tree sees")
    l2: float = Field(gt=0)


class EvaluateParams(Frozen):
    """How figures are computed."""

    seed: int
    bins: int = Field(gt=1, le=1000, description="of equal width, for calibration")
    resamples: int = Field(ge=0, description="draws of days behind each interval")
    smallest_slice: int = Field(gt=0, description="slices with fewer rows are not judged")


class CostParams(Frozen):
    """What each kind of error costs; together they give the threshold."""

    false_alarm: float = Field(gt=0)
    miss: float = Field(gt=0)

    @property
    def threshold(self) -> float:
        """The score from which acting is cheaper than not acting."""
        return self.false_alarm / (self.false_alarm + self.miss)


class GateParams(Frozen):
    """What a model must show before there is a bundle of it."""

    rows: int = Field(ge=0, description="test rows with a label")
    auc: Rate = Field(description="floor")
    margins: dict[str, float] = Field(description="AUC at least this much above the named baseline's")
    worst_slice_auc: Rate
    ece: Rate = Field(description="ceiling")
    slice_ece: Rate = Field(description="ceiling of a slice's calibration error: what is fair between slices")


class Params(Frozen):
    """The whole of params.yaml."""

    problem: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    as_of: Annotated[Instant, BeforeValidator(_in_quotes)]
    features: Grid
    split: SplitParams
    tune: TuneParams
    train: TrainParams
    evaluate: EvaluateParams
    costs: CostParams
    gates: GateParams

    @model_validator(mode="after")
    def _as_of_is_a_tick(self) -> Self:
        if (self.as_of - datetime(1970, 1, 1)) % self.features.tick:  # noqa: DTZ001
            msg = f"as_of {self.as_of} is not a tick: the grid has one every {self.features.tick_minutes} minutes"
            raise ValueError(msg)
        return self

    @classmethod
    def load(cls, path: Path = PARAMS) -> "Params":
        """Parse and validate; the only reader of params.yaml."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text()))
        except ValidationError as exc:
            raise ParamsError("\n  ".join([f"{path} is not valid:", *wrong_in(exc)])) from exc
        except FileNotFoundError as exc:
            msg = f"there is no {path} in {path.absolute().parent}: go to the project's folder, where it is"
            raise ParamsError(msg) from exc
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            msg = f"{path} cannot be read: {exc}"
            raise ParamsError(msg) from exc


def set_as_of(path: Path, as_of: datetime) -> None:
    """Change one line of params.yaml, and nothing if it says so already."""
    text = path.read_text()
    shown = as_of.date().isoformat() if as_of == datetime(as_of.year, as_of.month, as_of.day) else as_of.isoformat()  # noqa: DTZ001
    changed, count = AS_OF.subn(rf'\g<1>"{shown}"', text)
    if count != 1:
        msg = f"{path} has no line `as_of: MOMENT` that could be changed"
        raise ParamsError(msg)
    if changed != text:
        write_text(path, changed)
