"""A study is a function of its rows and params: whatever was kept of an earlier run, the table is the same."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from tandem import boosting
from tandem.boosting import Prepared, Split
from tandem.params import TrainParams, TuneParams
from tandem.tracking import Started, Step, Trial
from tasks.tune import Study, trial_table, tune

FIRST = TrainParams(depth=2, learning_rate=0.3, min_child_weight=5.0, subsample=0.8, colsample=0.5, l2=1.0)
PARAMS = TuneParams(
    seed=7,
    trials=7,
    startup=3,
    rounds=40,
    patience=5,
    depth=(1, 3),
    learning_rate=(0.1, 0.5),
    min_child_weight=(1.0, 50.0),
    subsample=(0.5, 1.0),
    colsample=(0.5, 1.0),
    l2=(0.1, 30.0),
)


class Heard:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.rounds: list[tuple[int, int, float]] = []
        self.finished: list[Trial] = []

    def __call__(self, event: Started | Step | Trial) -> None:
        match event:
            case Started():
                self.started.append(event.number)
            case Step():
                self.rounds.append((event.number, event.rounds, event.loss))
            case Trial():
                self.finished.append(event)


@pytest.fixture(scope="module")
def split() -> Split:
    random = np.random.default_rng(3)
    x = random.normal(size=(600, 5)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    known = np.nan_to_num(x)
    y = (known[:, 0] + known[:, 1] * known[:, 2] + random.normal(size=600) > 0).astype(np.float32)
    return Split(("a", "b", "c", "d", "e"), x[:400], y[:400], x[400:], y[400:])


@pytest.fixture(scope="module")
def data(split: Split) -> Prepared:
    return boosting.prepare(split)


@pytest.fixture(scope="module")
def whole(split: Split, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    journal = tmp_path_factory.mktemp("cache") / "digest"
    return tune(split, PARAMS, FIRST, journal), journal


@pytest.fixture
def journal(whole: tuple[Study, Path], tmp_path: Path) -> Path:
    """The files of the whole study, as a copy that a test may harm."""
    target = tmp_path / "digest"
    target.mkdir()
    for source in whole[1].iterdir():
        (target / source.name).write_bytes(source.read_bytes())
    return target


def bits(study: Study) -> str:
    return repr(study.trials)


@pytest.mark.parametrize("kept", range(PARAMS.trials))
def test_a_study_goes_on_from_any_trial_as_if_never_interrupted(
    split: Split, whole: tuple[Study, Path], journal: Path, kept: int
) -> None:
    for number in range(kept, PARAMS.trials):
        (journal / f"{number}.json").unlink()
    heard = Heard()
    assert bits(tune(split, PARAMS, FIRST, journal, heard)) == bits(whole[0])
    assert heard.started == list(range(kept, PARAMS.trials))


def test_the_same_study_elsewhere_is_the_same(split: Split, whole: tuple[Study, Path], tmp_path: Path) -> None:
    again = tune(split, PARAMS, FIRST, tmp_path / "digest")
    assert bits(again) == bits(whole[0])
    names = {path.name: path.read_bytes() for path in whole[1].iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "digest").iterdir()} == names


def test_a_finished_study_fits_nothing(
    split: Split, whole: tuple[Study, Path], journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(boosting, "fit")
    monkeypatch.delattr(boosting, "prepare")
    assert bits(tune(split, PARAMS, FIRST, journal)) == bits(whole[0])


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True) + "\n"


def change(path: Path, **values: object) -> None:
    trial, check = path.read_text().splitlines()
    path.write_text(canonical(json.loads(trial) | values) + check)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "not text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "not a trial": lambda path: path.write_text("[1, 2]"),
    "another loss": lambda path: change(path, loss=0.123),
    "another count": lambda path: change(path, rounds=1),
    "no number at all": lambda path: change(path, loss=float("nan")),
    "another trial": lambda path: path.write_bytes(path.with_name("1.json").read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told_of_and_its_trial_run_again(
    split: Split,
    whole: tuple[Study, Path],
    journal: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sound = (journal / "3.json").read_bytes()
    DAMAGES[damage](journal / "3.json")
    assert bits(tune(split, PARAMS, FIRST, journal)) == bits(whole[0])
    assert (journal / "3.json").read_bytes() == sound
    assert [record.levelno for record in caplog.records if "damaged" in record.message] == [logging.WARNING]


@pytest.mark.parametrize(
    "other", [PARAMS.model_copy(update={"seed": 8}), PARAMS.model_copy(update={"l2": (0.2, 30.0)})], ids=repr
)
def test_the_files_of_another_study_are_not_taken(
    split: Split, journal: Path, tmp_path: Path, other: TuneParams
) -> None:
    assert bits(tune(split, other, FIRST, journal)) == bits(tune(split, other, FIRST, tmp_path / "fresh" / "digest"))


def test_the_files_of_other_rows_are_not_taken(split: Split, journal: Path) -> None:
    heard = Heard()
    tune(split, PARAMS, FIRST, journal.rename(journal.with_name("other")), heard)
    assert heard.started == list(range(PARAMS.trials))


def test_a_longer_study_begins_with_the_shorter_one(split: Split, whole: tuple[Study, Path], journal: Path) -> None:
    heard = Heard()
    longer = tune(split, PARAMS.model_copy(update={"trials": PARAMS.trials + 1}), FIRST, journal, heard)
    assert longer.trials[:-1] == whole[0].trials
    assert heard.started == [PARAMS.trials]


def test_what_a_killed_run_was_writing_is_swept(split: Split, journal: Path) -> None:
    (journal / ".2.json.0a1b2c3d").write_text("{")
    tune(split, PARAMS, FIRST, journal)
    assert sorted(path.name for path in journal.iterdir()) == [f"{number}.json" for number in range(PARAMS.trials)]


def test_the_first_trial_is_the_given_one_within_the_ranges(
    split: Split, whole: tuple[Study, Path], tmp_path: Path
) -> None:
    assert whole[0].trials[0].params == FIRST
    far = FIRST.model_copy(update={"depth": 9, "l2": 0.01})
    one = tune(split, PARAMS.model_copy(update={"trials": 1}), far, tmp_path / "far")
    assert one.trials[0].params == FIRST.model_copy(update={"depth": 3, "l2": 0.1})


def test_every_trial_tries_something_else_within_the_ranges(whole: tuple[Study, Path]) -> None:
    tried = [trial.params for trial in whole[0].trials]
    assert len({params.l2 for params in tried}) == PARAMS.trials
    for name in TrainParams.model_fields:
        low, high = getattr(PARAMS, name)
        assert all(low <= getattr(params, name) <= high for params in tried)


def test_trials_that_fall_behind_are_pruned_and_are_never_the_best(whole: tuple[Study, Path]) -> None:
    study = whole[0]
    complete = [trial for trial in study.trials if trial.state == "complete"]
    assert {trial.state for trial in study.trials} == {"complete", "pruned"}
    assert all(trial.state == "complete" for trial in study.trials[: PARAMS.startup])
    assert study.best.loss == min(trial.loss for trial in complete)
    behind = study.best.model_copy(update={"state": "pruned", "loss": 0.0})
    assert Study((behind, *study.trials)).best == study.best


def test_a_tracker_hears_everything_and_changes_nothing(
    split: Split, whole: tuple[Study, Path], tmp_path: Path
) -> None:
    heard = Heard()
    study = tune(split, PARAMS, FIRST, tmp_path / "digest", heard)
    assert bits(study) == bits(whole[0])
    assert tuple(heard.finished) == study.trials
    curves = [[loss for told, _, loss in heard.rounds if told == trial.number] for trial in study.trials]
    assert curves == [list(trial.curve) for trial in study.trials]


def test_a_tracker_hears_of_the_trials_that_are_known(split: Split, whole: tuple[Study, Path], journal: Path) -> None:
    heard = Heard()
    tune(split, PARAMS, FIRST, journal, heard)
    assert (heard.started, heard.rounds, tuple(heard.finished)) == ([], [], whole[0].trials)


def test_a_step_of_the_curve_is_one_of_rounds_times_learning_rate(whole: tuple[Study, Path]) -> None:
    for trial in whole[0].trials:
        assert len(trial.curve) == int(trial.rounds * trial.params.learning_rate)


def test_the_table_has_a_row_a_trial(whole: tuple[Study, Path]) -> None:
    table = trial_table(whole[0])
    first = whole[0].trials[0]
    row = {"number": 0, "state": "complete", "loss": first.loss, **FIRST.model_dump()}
    row |= {"best_iteration": first.best_iteration, "rounds": first.rounds}
    assert table.height == PARAMS.trials
    assert_frame_equal(table.head(1), pl.DataFrame([row]), check_exact=True)


def test_the_best_trial_fitted_again_is_the_same_model(data: Prepared, whole: tuple[Study, Path]) -> None:
    best = whole[0].best
    fitted = boosting.fit(data, best.params, PARAMS)
    assert (min(fitted.losses), fitted.best_iteration) == (best.loss, best.best_iteration)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_a_booster_is_cut_at_its_best_round_and_written_as_the_same_bytes(
    split: Split, data: Prepared, tmp_path: Path, suffix: str
) -> None:
    first, second = (boosting.fit(data, FIRST, PARAMS) for _ in range(2))
    paths = [
        boosting.write_booster(fitted.booster, tmp_path / f"{i}.{suffix}") for i, fitted in enumerate((first, second))
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(first.losses) == first.best_iteration + 1 + PARAMS.patience
    again = boosting.read_booster(paths[0])
    assert again.num_boosted_rounds() == first.best_iteration + 1
    assert again.feature_names == list(split.names)
    scores = boosting.predict(again, split.stop_x)
    np.testing.assert_array_equal(scores, boosting.predict(first.booster, split.stop_x))
    loss = -np.log(np.where(split.stop_y == 1, scores, 1 - scores)).mean()
    assert loss == pytest.approx(min(first.losses), abs=1e-6)


def test_a_watch_ends_a_fit(data: Prepared) -> None:
    heard: list[int] = []

    def watch(rounds: int, _loss: float) -> bool:
        heard.append(rounds)
        return rounds == 4

    assert len(boosting.fit(data, FIRST, PARAMS, watch).losses) == 4
    assert heard == [1, 2, 3, 4]


def test_nothing_is_printed(split: Split, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tune(split, PARAMS, FIRST, tmp_path / "digest")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("field", "value", "says"), [("subsample", (0.5, 1.5), "subsample"), ("l2", (3.0, 1.0), "ends before it begins")]
)
def test_ranges_that_cannot_be_searched_are_refused(field: str, value: tuple[float, float], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TuneParams.model_validate(PARAMS.model_dump() | {field: value})
