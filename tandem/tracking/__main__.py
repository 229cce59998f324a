"""The child that keeps MLflow: told everything by its parent, and given a while longer when that has ended."""

import json
import math
import os
import sys
from collections.abc import Iterable
from queue import SimpleQueue
from threading import Thread

from tandem.mlflow_client import experiment_of, make_whole
from tandem.tracking import STATE_TAG, STUDY_TAG, TRIAL_TAG

LINGER = 60
"""Seconds that MLflow has left once the parent said its last."""


class _Runs:
    """A study's runs in MLflow, found again when the study goes on."""

    def __init__(self, uri: str, experiment: str, study: str) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415 - 3 s

        make_whole(uri)
        self.client, self.tags = MlflowClient(tracking_uri=uri), {STUDY_TAG: study}
        self.experiment = experiment_of(self.client, experiment, uri)
        where = f"tags.`{STUDY_TAG}` = '{study}'"
        runs = self.client.search_runs([self.experiment], where, max_results=50_000)
        found = {run.data.tags.get(TRIAL_TAG): run for run in runs}
        parent = found.pop(None, None)
        self.parent = parent.info.run_id if parent else self._create(f"study {study[:8]}")
        self.trials = {int(number): run.info.run_id for number, run in found.items()}
        self.finished = {int(number) for number, run in found.items() if run.info.status == "FINISHED"}
        self.best, self.status = math.inf, "KILLED"
        self.client.update_run(self.parent, status="RUNNING")

    def _create(self, name: str, **tags: str) -> str:
        return str(self.client.create_run(self.experiment, tags=self.tags | tags, run_name=name).info.run_id)

    def started(self, number: int, params: dict[str, float]) -> None:
        if number in self.finished:
            return
        if number not in self.trials:
            tags = {TRIAL_TAG: str(number), "mlflow.parentRunId": self.parent}
            self.trials[number] = self._create(f"trial {number}", **tags)
        for name, value in params.items():
            self.client.log_param(self.trials[number], name, value)

    def step(self, number: int, rounds: int, loss: float) -> None:
        if number in self.trials and number not in self.finished:
            self.client.log_metric(self.trials[number], "loss", loss, step=rounds)

    def trial(self, number: int, state: str, params: dict[str, float], loss: float, **figures: float) -> None:
        self.best = min(self.best, loss) if state == "complete" else self.best
        if number in self.finished:
            return
        self.started(number, params)
        for name, value in {"best_loss": loss, **figures}.items():
            self.client.log_metric(self.trials[number], name, value)
        self.client.log_metric(self.parent, "best_loss", self.best, step=number)
        self.client.set_tag(self.trials[number], STATE_TAG, state)
        self.client.set_terminated(self.trials[number], "FINISHED")
        self.finished.add(number)

    def close(self) -> None:
        self.status = "FINISHED"

    def end(self) -> None:
        """End the runs that are open: as killed, unless the last word was heard."""
        for number in self.trials.keys() - self.finished:
            self.client.set_terminated(self.trials[number], "KILLED")
        self.client.set_terminated(self.parent, self.status)


def _record(lines: Iterable[bytes]) -> bool:
    told = map(json.loads, lines)
    runs = _Runs(**next(told)[1])
    for event, said in told:
        getattr(runs, event)(**said)
    runs.end()
    return True


def main() -> None:
    """Take all that the parent tells, so that it never waits; then give what is slow some time, and end."""
    os.nice(19)
    told: SimpleQueue[bytes | None] = SimpleQueue()
    ended: list[bool] = []
    worker = Thread(target=lambda: ended.append(_record(iter(told.get, None))), daemon=True)
    worker.start()
    for line in sys.stdin.buffer:
        told.put(line)
        if not worker.is_alive():
            break
    told.put(None)
    worker.join(LINGER)
    os._exit(not ended)  # now, whatever MLflow's own threads still wait for


if __name__ == "__main__":
    main()
