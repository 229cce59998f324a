"""Killed at any moment and started again, a study ends with the same table, to the bit."""

import random
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

KILLS = 10
TRIALS = 12
LONGEST = 120
STAGE = f"""
import sys
from pathlib import Path
import flows  # what a stage imports first: pins the processor
import numpy as np
from tandem.boosting import Split
from tandem.params import TrainParams, TuneParams
from tasks.tune import trial_table, tune

random = np.random.default_rng(5)
x = random.normal(size=(6000, 12)).astype(np.float32)
y = (x[:, 0] + x[:, 1] * x[:, 2] + random.normal(size=6000) > 0).astype(np.float32)
split = Split(tuple("abcdefghijkl"), x[:5000], y[:5000], x[5000:], y[5000:])
ranges = dict(depth=(2, 4), learning_rate=(0.03, 0.2), min_child_weight=(1.0, 50.0), subsample=(0.5, 1.0))
ranges |= dict(colsample=(0.3, 1.0), l2=(0.1, 9.0))
params = TuneParams(seed=7, trials={TRIALS}, startup=3, rounds=200, patience=20, **ranges)
first = TrainParams(depth=3, learning_rate=0.1, min_child_weight=5.0, subsample=0.8, colsample=0.6, l2=1.0)
study = tune(split, params, first, Path(sys.argv[1]))
trial_table(study).write_parquet(sys.argv[2])
"""


def start(journal: Path, table: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", STAGE, str(journal), str(table)])


def uninterrupted(folder: Path) -> tuple[bytes, float]:
    began = time.monotonic()
    assert start(folder / "digest", folder / "table").wait(LONGEST) == 0
    return (folder / "table").read_bytes(), time.monotonic() - began


def moments(longest: float) -> list[float]:
    """One moment in each tenth of a run, in any order."""
    seed = secrets.randbits(32)
    print(f"seed {seed}, a whole run takes {longest:.1f} s")  # noqa: T201 - to see it again
    draw = random.Random(seed)  # noqa: S311
    drawn = [(tenth + draw.random()) / KILLS * longest for tenth in range(KILLS)]
    draw.shuffle(drawn)
    return drawn


def killed(process: subprocess.Popen[bytes], moment: float) -> bool:
    try:
        assert process.wait(moment) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def test_a_study_that_is_killed_again_and_again_ends_with_the_same_table(tmp_path: Path) -> None:
    whole, longest = uninterrupted(tmp_path / "whole")
    journal, table = tmp_path / "killed" / "digest", tmp_path / "killed" / "table"
    for moment in moments(longest):
        if not killed(start(journal, table), moment):
            assert table.read_bytes() == whole
        found = len(list(journal.glob("[0-9]*.json")))
        print(f"after {moment:.1f} s there were {found} trials")  # noqa: T201
        if found == TRIALS:  # nothing is left to kill in this one: see that it ends well, and begin another
            assert start(journal, table).wait(LONGEST) == 0
            assert table.read_bytes() == whole
            shutil.rmtree(table.parent)
    assert start(journal, table).wait(LONGEST) == 0
    assert table.read_bytes() == whole
    files = {path.name: path.read_bytes() for path in journal.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "whole" / "digest").iterdir()}
    assert sorted(files) == sorted(f"{number}.json" for number in range(TRIALS))
