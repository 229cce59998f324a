"""MLflow shows a study, and whatever is wrong with it, the study does not notice."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tandem.boosting import Split
from tandem.params import TrainParams, TuneParams
from tandem.tracking import (
    STATE_TAG,
    STUDY_TAG,
    TRIAL_TAG,
    MlflowTracker,
    Started,
    Step,
    Tracker,
    Trial,
    silent,
)
from tasks.tune import tune

SHAPE = TrainParams(depth=2, learning_rate=0.3, min_child_weight=5.0, subsample=0.8, colsample=0.5, l2=1.0)
LOSSES = (0.6, 0.5)
LONGEST = 90


def trial(number: int, state: str = "complete", loss: float = 0.5) -> Trial:
    values = {"number": number, "state": state, "params": SHAPE, "loss": loss, "best_iteration": 3, "rounds": 5}
    return Trial.model_validate(values | {"curve": LOSSES})


def show(tracker: MlflowTracker, told: Trial) -> None:
    tracker(Started(number=told.number, params=told.params))
    for rounds, loss in enumerate(LOSSES, start=1):
        tracker(Step(number=told.number, rounds=rounds, loss=loss))
    tracker(told)


def end(tracker: MlflowTracker) -> None:
    """Close, and wait for the child as no stage would."""
    tracker.close()
    tracker.reaper.join(LONGEST)
    assert not tracker.reaper.is_alive()


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow/mlflow.db"


@pytest.fixture
def runs(uri: str) -> Callable[[], dict[str | None, Any]]:
    """Every run by its trial's number; None is the parent."""

    def found() -> dict[str | None, Any]:
        from mlflow import MlflowClient  # noqa: PLC0415 - 3 s

        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("flights")
        listed = client.search_runs([experiment.experiment_id])
        assert all(run.data.tags[STUDY_TAG] == "digest" for run in listed)
        by_trial = {run.data.tags.get(TRIAL_TAG): run for run in listed}
        assert len(by_trial) == len(listed)
        return by_trial

    return found


def test_a_study_can_be_watched_and_goes_on_in_the_same_runs(
    uri: str, runs: Callable[[], dict[str | None, Any]], tmp_path: Path
) -> None:
    tracker = MlflowTracker(uri, experiment="flights", study="digest")
    show(tracker, trial(0))
    tracker(Started(number=1, params=SHAPE))
    end(tracker)
    first = runs()
    assert {number: run.info.status for number, run in first.items()} == {
        None: "FINISHED", "0": "FINISHED", "1": "KILLED",
    }  # fmt: skip
    assert first["0"].data.params == {name: str(value) for name, value in SHAPE.model_dump().items()}
    assert first["0"].data.metrics == {"loss": 0.5, "best_loss": 0.5, "best_iteration": 3.0, "rounds": 5.0}
    assert first["0"].data.tags["mlflow.parentRunId"] == first[None].info.run_id
    assert first["0"].info.artifact_uri.startswith((tmp_path / "mlflow" / "artifacts").as_uri())

    tracker = MlflowTracker(uri, experiment="flights", study="digest")
    tracker(trial(0))
    show(tracker, trial(1, "pruned", loss=0.4))
    show(tracker, trial(2, loss=0.3))
    end(tracker)
    second = runs()
    assert {number: run.info.run_id for number, run in second.items() if number != "2"} == {
        number: run.info.run_id for number, run in first.items()
    }
    assert second["0"].info.end_time == first["0"].info.end_time
    assert {run.info.status for run in second.values()} == {"FINISHED"}
    assert [second[number].data.tags[STATE_TAG] for number in "012"] == ["complete", "pruned", "complete"]
    assert second[None].data.metrics == {"best_loss": 0.3}


ORPHAN = """
import os, signal, sys
import psutil
from tandem.params import TrainParams
from tandem.tracking import MlflowTracker, Started
tracker = MlflowTracker(sys.argv[1], experiment="flights", study="digest")
values = dict(depth=2, learning_rate=0.3, min_child_weight=5.0, subsample=0.8, colsample=0.5, l2=1.0)
tracker(Started(number=0, params=TrainParams(**values)))
print(psutil.Process().children()[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_child_of_a_killed_study_ends_by_itself(uri: str, runs: Callable[[], dict[str | None, Any]]) -> None:
    study = subprocess.run([sys.executable, "-c", ORPHAN, uri], capture_output=True, text=True, check=False)
    child = int(study.stdout)
    assert study.stderr == ""
    until = time.monotonic() + LONGEST
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert {number: run.info.status for number, run in runs().items()} == {None: "KILLED", "0": "KILLED"}


def study(journal: Path, tracker: Tracker = silent) -> str:
    random = np.random.default_rng(3)
    x = random.normal(size=(600, 3)).astype(np.float32)
    y = (x[:, 0] + random.normal(size=600) > 0).astype(np.float32)
    split = Split(("a", "b", "c"), x[:400], y[:400], x[400:], y[400:])
    ranges = {name: (value, value) for name, value in SHAPE.model_dump().items()} | {"l2": (0.1, 10.0)}
    params = TuneParams.model_validate({"seed": 7, "trials": 3, "startup": 1, "rounds": 20, "patience": 5} | ranges)
    return repr(tune(split, params, SHAPE, journal, tracker))


def test_trackers_that_lead_nowhere_change_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = ["http://127.0.0.1:1", "nonsense://nowhere", "sqlite:////proc/nowhere/mlflow.db"]
    trackers = [MlflowTracker(uri, experiment="flights", study="digest") for uri in nowhere]
    alone = study(tmp_path / "alone" / "digest")
    assert [study(tmp_path / str(i) / "digest", tracker) for i, tracker in enumerate(trackers)] == [alone] * 3
    for tracker in trackers:
        end(tracker)
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "tracking ended early; the study goes on without"
    ] * 3


def test_a_missing_package_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.py").write_text("raise ModuleNotFoundError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tracker = MlflowTracker("sqlite://", experiment="flights", study="digest")
    assert study(tmp_path / "a" / "digest", tracker) == study(tmp_path / "b" / "digest")
    end(tracker)
    tracker.close()
    tracker(trial(0))


def test_a_child_that_cannot_be_started_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    tracker = MlflowTracker("sqlite://", experiment="flights", study="digest")
    show(tracker, trial(0))
    end(tracker)


def test_a_child_that_reads_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "stuck"
    stuck.write_text("#!/bin/sh\nexec sleep 30\n")
    stuck.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stuck))
    tracker = MlflowTracker("sqlite://", experiment="flights", study="digest")
    began = time.monotonic()
    for number in range(5000):
        show(tracker, trial(number))
    tracker.close()
    assert time.monotonic() - began < 5
    assert tracker.reaper.is_alive()
    for child in psutil.Process(os.getpid()).children():
        if child.cmdline()[:1] == ["sleep"]:
            child.kill()
    tracker.reaper.join(LONGEST)
