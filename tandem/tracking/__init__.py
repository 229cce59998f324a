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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Literal

from tandem.params import Frozen, TrainParams

STUDY_TAG, TRIAL_TAG, STATE_TAG = "tandem.study", "tandem.trial", "tandem.state"
QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

_LOG = logging.getLogger(__name__)


class Started(Frozen):
    """A trial begins."""

    number: int
    params: TrainParams


class Step(Frozen):
    """The loss of a running trial after some rounds."""

    number: int
    rounds: int
    loss: float


class Trial(Frozen):
    """One finished trial, maybe an earlier run's; `curve` is its loss at each step of rounds x learning rate."""

    number: int
    state: Literal["complete", "pruned"]
    params: TrainParams
    loss: float
    best_iteration: int
    rounds: int
    curve: tuple[float, ...]


Tracker = Callable[[Started | Step | Trial], object]
"""Is told what happens while a study runs; neither raises nor waits."""


def silent(_: Started | Step | Trial) -> None:
    """Show nothing."""


class MlflowTracker:
    """Shows a study in MLflow, live: a parent run found by the study's digest, and a child run a trial."""

    def __init__(self, uri: str, *, experiment: str, study: str) -> None:
        """Start the child, which opens MLflow while the study already runs."""
        child = _start()
        self._pipe = child.stdin if child else None
        self.reaper = Thread(target=_reap, args=(child,), daemon=True)
        self.reaper.start()
        self._tell("open", uri=uri, experiment=experiment, study=study)

    def __call__(self, event: Started | Step | Trial) -> None:
        """Show one thing that happened."""
        self._tell(type(event).__name__.lower(), **event.model_dump(exclude={"curve"}))

    def close(self) -> None:
        """End the parent run and let the child finish by itself."""
        self._tell("close")
        if self._pipe:
            self._pipe.close()

    def _tell(self, event: str, **said: object) -> None:
        line = json.dumps([event, said]).encode() + b"\n"
        if self._pipe and not self._pipe.closed and len(line) <= select.PIPE_BUF:  # a longer one could be torn
            with suppress(OSError):  # where the child has ended; a full pipe takes nothing and says nothing
                self._pipe.write(line)


@contextmanager
def tracked(uri: str, *, experiment: str, study: str) -> Iterator[Tracker]:
    """Give a tracker that leads to the URI, or nowhere without one; a study that fails is not shown as finished."""
    tracker = MlflowTracker(uri, experiment=experiment, study=study) if uri else None
    yield tracker or silent
    if tracker:
        tracker.close()


def _start() -> subprocess.Popen[bytes] | None:
    """Start the child apart from the study's terminal, so that Ctrl-C leaves it time to finish."""
    command, mute = [sys.executable, "-m", "tandem.tracking"], subprocess.DEVNULL
    environment = os.environ | QUIET
    try:
        child = subprocess.Popen(  # noqa: S603 - our own module
            command, 0, stdin=subprocess.PIPE, stdout=mute, stderr=mute, env=environment, start_new_session=True
        )
    except OSError as exc:
        _LOG.warning("tracking cannot be started; the study goes on without", extra={"reason": str(exc)})
        return None
    if child.stdin:
        os.set_blocking(child.stdin.fileno(), False)
    return child


def _reap(child: subprocess.Popen[bytes] | None) -> None:
    if child and (code := child.wait()):
        _LOG.warning("tracking ended early; the study goes on without", extra={"code": code})
