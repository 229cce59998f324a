"""Trackers: a study watched while it runs. A side note: no output depends on it, and nothing waits or fails for it.

MLflow takes 3 to 6 s to import and to open, so it lives in a child process that reads a line of JSON for each thing
that happened, and ends by itself at the end of its input, which is also the end of a killed parent.
"""

import json
import logging
import os
import select
import subprocess
import sys
from contextlib import suppress
from threading import Thread
from typing import Literal, Protocol

from tandem.params import Frozen, TrainParams

STUDY_TAG, TRIAL_TAG, STATE_TAG = "tandem.study", "tandem.trial", "tandem.state"
QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

_LOG = logging.getLogger(__name__)


class Trial(Frozen):
    """One finished trial; `curve` is its loss at each step of rounds x learning rate."""

    number: int
    state: Literal["complete", "pruned"]
    params: TrainParams
    loss: float
    best_iteration: int
    rounds: int
    curve: tuple[float, ...]


class Tracker(Protocol):
    """What a study tells while it runs; no method raises or waits."""

    def trial_started(self, number: int, params: TrainParams) -> None:
        """Show a trial's params."""

    def round_finished(self, number: int, rounds: int, loss: float) -> None:
        """Show the loss of a running trial after some rounds."""

    def trial_finished(self, trial: Trial) -> None:
        """Show a trial's end, also of one that an earlier run finished."""

    def close(self) -> None:
        """Say that nothing more comes."""


class NoTracker:
    """Shows nothing."""

    def trial_started(self, number: int, params: TrainParams) -> None:
        """Do nothing."""

    def round_finished(self, number: int, rounds: int, loss: float) -> None:
        """Do nothing."""

    def trial_finished(self, trial: Trial) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


SILENT: Tracker = NoTracker()


class MlflowTracker:
    """Shows a study in MLflow, live: a parent run found by the study's digest, and a child run a trial."""

    def __init__(self, uri: str, *, experiment: str, study: str) -> None:
        """Start the child, which opens MLflow while the study already runs."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._pipe = os.fdopen(writing, "wb", buffering=0)
        self.reaper = Thread(target=_reap, args=(_start(reading),), daemon=True)
        self.reaper.start()
        self._tell("open", uri=uri, experiment=experiment, study=study)

    def trial_started(self, number: int, params: TrainParams) -> None:
        """Open the trial's run."""
        self._tell("trial_started", number=number, params=params.model_dump())

    def round_finished(self, number: int, rounds: int, loss: float) -> None:
        """Add a point to the trial's curve."""
        self._tell("round_finished", number=number, rounds=rounds, loss=loss)

    def trial_finished(self, trial: Trial) -> None:
        """End the trial's run, or leave it as an earlier study ended it."""
        self._tell("trial_finished", **trial.model_dump(exclude={"curve", "loss"}), best_loss=trial.loss)

    def close(self) -> None:
        """End the parent run and let the child finish by itself."""
        self._tell("close")
        self._pipe.close()

    def _tell(self, event: str, **said: object) -> None:
        line = json.dumps([event, said]).encode() + b"\n"
        if not self._pipe.closed and len(line) <= select.PIPE_BUF:  # a longer one could be torn
            with suppress(OSError):  # where the child has ended; a full pipe takes nothing and says nothing
                self._pipe.write(line)


def _start(reading: int) -> subprocess.Popen[bytes] | None:
    """Start the child apart from the study's terminal, so that Ctrl-C leaves it time to finish."""
    command, mute = [sys.executable, "-m", "tandem.tracking"], subprocess.DEVNULL
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=reading, stdout=mute, stderr=mute, env=os.environ | QUIET, start_new_session=True
        )
    except OSError as exc:
        _LOG.warning("tracking cannot be started; the study goes on without", extra={"reason": str(exc)})
        return None
    finally:
        os.close(reading)


def _reap(child: subprocess.Popen[bytes] | None) -> None:
    if child and (code := child.wait()):
        _LOG.warning("tracking ended early; the study goes on without", extra={"code": code})
