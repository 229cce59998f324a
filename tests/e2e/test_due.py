"""Each closed day is trained and published once, and what a kill leaves behind is no obstacle."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from commands import begun, command, tandem
from conftest import AS_OF, STAGES, Workspace
from msgspec.structs import replace

from tandem.clock import Clock
from tandem.graph import Graph
from tandem.params import Params
from tandem.registry import Registry
from tandem.run import WALKER
from tandem.schedule import DAY, PIPELINE, Ended, alone
from tandem.settings import Settings

NO_GIT = "[core]\n no_scm = true\n analytics = false\n"
using_dvc = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


@pytest.fixture
def started(workspace: Workspace, tracked: Settings) -> Workspace:
    """A folder in which nothing was run, with a registry."""
    (workspace.root / ".dvc" / "config").write_text(NO_GIT)
    settings = replace(workspace.settings, tracking_uri=tracked.tracking)
    return Workspace(workspace.root, workspace.params, settings)


def run(at: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    return tandem(at.root, "run", *words, beside={"TANDEM_TRACKING_URI": at.settings.tracking})


def stand(at: Workspace, moment: datetime) -> None:
    Clock.stopped(moment).save(at.settings.clock)


def days(at: Workspace) -> list[datetime]:
    return [version.as_of for version in Registry("parcels", at.settings, Clock.stopped(AS_OF)).versions()]


def test_days_are_trained_once_and_a_refused_one_is_done_too(started: Workspace) -> None:
    stand(started, AS_OF + timedelta(hours=25))
    done = run(started, "--due")
    assert done.returncode == 0, done.stderr
    assert days(started) == [AS_OF, AS_OF + DAY]
    assert done.stdout.splitlines()[-1] == "trained as of 2024-04-15, 2024-04-16"
    done = run(started, "--due")
    assert (done.returncode, done.stdout) == (0, "no day is due\n")

    params = started.root / "params.yaml"
    good = params.read_text()
    params.write_text(good.replace("  ece: 0.10", "  ece: 0.0"))
    stand(started, AS_OF + 3 * DAY)
    done = run(started, "--due")
    assert done.returncode == 3
    assert "days without a bundle:\n2024-04-17: no bundle: 1 of 7 gates failed" in done.stderr
    assert "2024-04-18: no bundle" in done.stderr, "one that is refused holds up no other"
    last = Ended.load(started.settings.schedule, PIPELINE)
    assert last is not None
    assert (last.until, days(started)) == (AS_OF + 3 * DAY, [AS_OF, AS_OF + DAY])


def test_nothing_is_trained_while_another_one_is_at_it(started: Workspace) -> None:
    with alone(started.settings.schedule, PIPELINE):
        for words in (["--due"], ["--advance"], []):
            done = run(started, *words)
            assert (done.returncode, done.stderr) == (6, "another pipeline is going on in this workspace\n")
    assert Params.load(started.root / "params.yaml").as_of == AS_OF
    assert not (started.root / "dvc.lock").exists()


def test_a_failed_stage_leaves_its_day_to_be_done(started: Workspace) -> None:
    stand(started, AS_OF)
    label = started.root / "problems" / "parcels" / "label.sql"
    said = label.read_text()
    label.write_text("-- one row a parcel\nselect nothing from nowhere\n")
    done = run(started, "--due")
    assert done.returncode == 1
    assert "stage training_set failed" in done.stderr
    assert Ended.load(started.settings.schedule, PIPELINE) is None
    label.write_text(said)
    done = run(started, "--due")
    assert done.returncode == 0, done.stderr
    assert days(started) == [AS_OF]


def test_a_stage_ends_with_its_walker(started: Workspace) -> None:
    """One that goes on would write over what the next walk makes."""
    stage = started.root / "flows" / "views.py"
    stage.write_text(
        stage.read_text().replace(
            "    problem = ", "    import time\n    print('here', flush=True)\n    time.sleep(90)\n    problem = ", 1
        )
    )
    with begun(started.root, "run") as (walker, printed):
        assert any(line == "here\n" for line in printed), "the stage writes where its walker does"
        os.kill(walker.pid, signal.SIGKILL)
        since = time.monotonic()
        assert printed.read() == ""  # the end of all who could write there
        assert time.monotonic() - since < 60


def test_a_stage_whose_walker_is_no_more_does_not_begin(started: Workspace) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    done = command(started.root, sys.executable, "-m", "flows.views", beside={WALKER: str(gone.pid)})
    assert (done.returncode, done.stdout, done.stderr) == (137, "", "")


@using_dvc
@pytest.mark.parametrize("size", [0, 3, 2010, -40])
def test_half_a_lock_is_no_obstacle_and_becomes_whole_again(rebuilt: Workspace, size: int) -> None:
    (rebuilt.root / ".dvc" / "config").write_text(NO_GIT)
    graph = Graph(rebuilt.root)
    for stage in STAGES:
        graph.run(stage)
    lock = rebuilt.root / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:size])
    looked = Graph(rebuilt.root)
    looked.mend()
    assert set(looked.states()) == set(STAGES)
    lock.write_bytes(whole[:size])
    again = Graph(rebuilt.root)
    again.mend()
    for stage in STAGES:
        again.run(stage)
    assert lock.read_bytes() == whole


@using_dvc
def test_locks_of_those_who_are_no_more_are_forgotten_and_others_held(rebuilt: Workspace) -> None:
    (rebuilt.root / ".dvc" / "config").write_text(NO_GIT)
    held = rebuilt.root / ".dvc" / "tmp" / "rwlock"
    graph = Graph(rebuilt.root)
    held.parent.mkdir(exist_ok=True)
    for said, stays in (
        ("", False),
        ('{"write": {"/a"', False),
        (holding(os.getpid()), False),  # the number of one that was killed, in a container that was started anew
        (holding(2**22 + 1), False),
        (holding(os.getppid()), True),
    ):
        held.write_text(said)
        graph.mend()
        assert held.exists() == stays, said
    os.utime(held, (1, 1))
    graph.mend()
    assert not held.exists(), "who has that number now was not there then"


def holding(pid: int) -> str:
    return json.dumps({"write": {}, "read": {"/a": [{"pid": pid, "cmd": "dvc"}]}})


def test_byte_code_is_no_input(started: Workspace) -> None:
    assert run(started).returncode == 0
    cache = started.root / "problems" / "parcels" / "__pycache__"
    cache.mkdir(exist_ok=True)
    Path(cache / "problem.cpython-399.pyc").write_bytes(b"other")
    again = run(started)
    assert again.stdout.count(" cached ") == len(STAGES)
