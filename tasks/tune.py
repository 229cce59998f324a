"""The study: Optuna over XGBoost, stopped and judged by later rows; killed at any moment, it goes on where it was.

Every finished trial is one file, and the next is a function of those before it and of nothing else: so what a kill
takes away is made again with the same bits.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tandem import boosting
from tandem.boosting import Prepared, Split
from tandem.files import canonical_json, digest_of, write_text
from tandem.imports import without
from tandem.params import Range, TrainParams, TuneParams
from tandem.run import step
from tandem.tracking import Started, Step, Tracker, Trial, silent

with without("redis"):  # 1 s, for a storage that is not used here
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

LOGARITHMIC = {"learning_rate", "min_child_weight", "l2"}
WARM_UP = 3
"""Steps before which no trial is pruned. A step is 1 of rounds x learning rate: slow learners are judged as fairly."""
CHECK = 64
"""Characters of a digest."""

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


def _run(asked: optuna.Trial, data: Prepared, params: TuneParams, tracker: Tracker) -> Trial:
    chosen = TrainParams.model_validate(asked.params)
    tracker(Started(number=asked.number, params=chosen))
    curve: list[float] = []

    def watch(rounds: int, loss: float) -> bool:
        """Take and show the loss at each step, and end a fit that falls behind the others' median."""
        if int(rounds * chosen.learning_rate) == len(curve):
            return False
        curve.append(loss)
        tracker(Step(number=asked.number, rounds=rounds, loss=loss))
        asked.report(loss, len(curve))
        return asked.should_prune()

    fitted = boosting.fit(data, chosen, params, watch)
    return Trial(
        number=asked.number,
        state="pruned" if asked.should_prune() else "complete",
        params=chosen,
        loss=min(fitted.losses),
        best_iteration=fitted.best_iteration,
        rounds=len(fitted.losses),
        curve=tuple(curve),
    )


@dataclass(frozen=True)
class _Journal:
    """The finished trials of one study, a file each, which ends with a digest of what is in it and where it belongs."""

    folder: Path
    study: str

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _check(self, number: int, text: str) -> str:
        return digest_of(self.study, str(number), text)

    def write(self, trial: Trial) -> None:
        """Keep a trial, whole or not at all."""
        text = canonical_json(trial.model_dump())
        write_text(self._path(trial.number), text + self._check(trial.number, text))

    def _read(self, number: int) -> Trial | None:
        path = self._path(number)
        if not path.exists():
            return None
        said = path.read_text(errors="replace")
        text, check = said[:-CHECK], said[-CHECK:]
        if check == self._check(number, text):
            return Trial.model_validate(json.loads(text))
        _LOG.warning("a trial's file is damaged: it is run again", extra={"path": str(path)})
        return None

    def trials(self, most: int) -> list[Trial]:
        """Read the trials up to the first that is absent, damaged or another study's."""
        found: list[Trial] = []
        while len(found) < most and (trial := self._read(len(found))):
            found.append(trial)
        return found

    def sweep(self) -> None:
        """Remove what killed runs were writing."""
        for leftover in self.folder.glob(".*"):
            leftover.unlink(missing_ok=True)


def shape_of(params: TuneParams, first: TrainParams) -> str:
    """Write what a study looks through; not how many trials it has, so that a longer one goes on from a shorter."""
    return canonical_json([params.model_dump(exclude={"trials"}), first.model_dump()])


def _identity(journal: Path, params: TuneParams, first: TrainParams) -> str:
    """Digest of all that trials depend on."""
    return digest_of(journal.name, shape_of(params, first), optuna.__version__, boosting.VERSION)


@step
def tune(split: Split, params: TuneParams, first: TrainParams, journal: Path, tracker: Tracker = silent) -> Study:
    """Run the trials that `journal`, a folder of the study's own, lacks; `first` is the first."""
    records = _Journal(journal, _identity(journal, params, first))
    done = records.trials(params.trials)
    for trial in done:
        tracker(trial)
    data = boosting.prepare(split) if len(done) < params.trials else None
    while data and len(done) < params.trials:
        trial = _run(_ask(params, first, done), data, params, tracker)
        records.write(trial)
        done.append(trial)
        tracker(trial)
        _LOG.info("trial %d of %d: %s, log loss %.6f", len(done), params.trials, trial.state, trial.loss)
    records.sweep()
    return Study(tuple(done))


@step
def trial_table(study: Study) -> pl.DataFrame:
    """One row a trial, in their order."""
    columns = ["number", "state", "loss", *TrainParams.model_fields, "best_iteration", "rounds"]
    rows = [trial.model_dump(exclude={"params", "curve"}) | trial.params.model_dump() for trial in study.trials]
    return pl.DataFrame(rows).select(columns)
