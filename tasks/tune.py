"""The study: Optuna over XGBoost, stopped and judged by later rows; killed at any moment, it goes on where it was.

Every finished trial is one file, and the next is a function of those before it and of nothing else: so what a kill
takes away is made again with the same bits.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tandem import boosting
from tandem.boosting import Prepared, Split
from tandem.files import canonical_json, digest_of, write_json
from tandem.imports import without
from tandem.params import Frozen, Range, TrainParams, TuneParams
from tandem.run import step
from tandem.tracking import SILENT, Tracker, Trial

with without("redis"):  # 1 s, for a storage that is not used here
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

LOGARITHMIC = {"learning_rate", "min_child_weight", "l2"}
WARM_UP = 3
"""Steps before which no trial is pruned. A step is 1 of rounds x learning rate: slow learners are judged as fairly."""

_LOG = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Study:
    """Every trial in its order."""

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The complete trial with the least loss, the first of equals; the first trial is never pruned."""
        return min((trial for trial in self.trials if trial.state == "complete"), key=lambda trial: trial.loss)


def _space(params: TuneParams) -> dict[str, BaseDistribution]:
    ranges: dict[str, Range] = params.model_dump(include=set(TrainParams.model_fields) - {"depth"})
    floats = {name: FloatDistribution(low, high, log=name in LOGARITHMIC) for name, (low, high) in ranges.items()}
    return {"depth": IntDistribution(*params.depth), **floats}


def _within(first: TrainParams, params: TuneParams) -> dict[str, float]:
    ranges = {name: getattr(params, name) for name in TrainParams.model_fields}
    return {name: min(max(getattr(first, name), low), high) for name, (low, high) in ranges.items()}


def _frozen(trial: Trial, space: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[trial.state.upper()],
        value=trial.loss,
        params=trial.params.model_dump(),
        distributions=space,
        intermediate_values=dict(enumerate(trial.curve, start=1)),
    )


def _ask(params: TuneParams, first: TrainParams, done: list[Trial]) -> optuna.Trial:
    """Make the study anew for every trial, so that a run that was killed and one that was not cannot differ."""
    seed = int(digest_of(str(params.seed), str(len(done)))[:8], 16)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=params.startup, multivariate=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=params.startup, n_warmup_steps=WARM_UP),
    )
    space = _space(params)
    study.add_trials([_frozen(trial, space) for trial in done])
    if not done:
        study.enqueue_trial(_within(first, params))
    return study.ask(space)


@dataclass
class _Watch:
    """Takes the loss at each step, shows it, and ends a fit that falls behind the others' median."""

    asked: optuna.Trial
    learning_rate: float
    tracker: Tracker
    curve: list[float] = field(default_factory=list)
    pruned: bool = False

    def __call__(self, rounds: int, loss: float) -> bool:
        if int(rounds * self.learning_rate) > len(self.curve):
            self.curve.append(loss)
            self.tracker.round_finished(self.asked.number, rounds, loss)
            self.asked.report(loss, len(self.curve))
            self.pruned = self.asked.should_prune()
        return self.pruned


def _run(asked: optuna.Trial, data: Prepared, params: TuneParams, tracker: Tracker) -> Trial:
    chosen = TrainParams.model_validate(asked.params)
    tracker.trial_started(asked.number, chosen)
    watch = _Watch(asked, chosen.learning_rate, tracker)
    fitted = boosting.fit(data, chosen, params, watch)
    return Trial(
        number=asked.number,
        state="pruned" if watch.pruned else "complete",
        params=chosen,
        loss=min(fitted.losses),
        best_iteration=fitted.best_iteration,
        rounds=len(fitted.losses),
        curve=tuple(watch.curve),
    )


class _Record(Frozen):
    trial: Trial
    check: str


@dataclass(frozen=True)
class _Journal:
    """The finished trials of one study, a file each; a file that another study left counts as damaged."""

    folder: Path
    study: str

    def _check(self, trial: Trial) -> str:
        return digest_of(self.study, canonical_json(trial.model_dump()))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def write(self, trial: Trial) -> None:
        """Keep a trial, whole or not at all."""
        write_json(self._path(trial.number), _Record(trial=trial, check=self._check(trial)).model_dump())

    def _read(self, number: int) -> Trial | None:
        path = self._path(number)
        try:
            record = _Record.model_validate(json.loads(path.read_bytes()))
            sound = record.trial.number == number and record.check == self._check(record.trial)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            sound = False
        if not sound:
            _LOG.warning("a trial's file is damaged: it is run again", extra={"path": str(path)})
            return None
        return record.trial

    def trials(self, most: int) -> list[Trial]:
        """Read the trials up to the first that is absent."""
        found: list[Trial] = []
        while len(found) < most and (trial := self._read(len(found))):
            found.append(trial)
        return found

    def sweep(self) -> None:
        """Remove what killed runs were writing."""
        for leftover in self.folder.glob(".*"):
            leftover.unlink(missing_ok=True)


def _identity(journal: Path, params: TuneParams, first: TrainParams) -> str:
    """Digest of all that trials depend on; not of how many there are, so that a longer study goes on from these."""
    shape = canonical_json([params.model_dump(exclude={"trials"}), first.model_dump()])
    return digest_of(journal.name, shape, optuna.__version__, boosting.VERSION)


def _row(trial: Trial) -> dict[str, object]:
    return trial.model_dump(exclude={"params", "curve"}) | trial.params.model_dump()


@step
def tune(split: Split, params: TuneParams, first: TrainParams, journal: Path, tracker: Tracker = SILENT) -> Study:
    """Run the trials that `journal`, a folder named by the digest of rows and code, lacks; `first` is the first."""
    records = _Journal(journal, _identity(journal, params, first))
    done = records.trials(params.trials)
    for trial in done:
        tracker.trial_finished(trial)
    data = boosting.prepare(split) if len(done) < params.trials else None
    while data and len(done) < params.trials:
        trial = _run(_ask(params, first, done), data, params, tracker)
        records.write(trial)
        done.append(trial)
        tracker.trial_finished(trial)
        _LOG.info("trial %d of %d: %s, log loss %.6f", len(done), params.trials, trial.state, trial.loss)
    records.sweep()
    return Study(tuple(done))


@step
def trial_table(study: Study) -> pl.DataFrame:
    """One row a trial, in their order."""
    columns = ["number", "state", "loss", *TrainParams.model_fields, "best_iteration", "rounds"]
    return pl.DataFrame([_row(trial) for trial in study.trials]).select(columns)
