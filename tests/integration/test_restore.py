"""A stage that fails leaves what was there, although DVC deletes a stage's outputs before it runs."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import Workspace

from tandem.errors import StageError
from tandem.graph import Graph
from tandem.landing import Pins

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's own


@pytest.fixture
def tracked(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PYTHONPATH", str(workspace.root))
    for name in [name for name in os.environ if name.startswith("COV")]:  # the copy's code is not measured
        monkeypatch.delenv(name)
    command = (sys.executable, "-m", "dvc", "config", "core.no_scm", "true")
    subprocess.run(command, cwd=workspace.root, env=os.environ, check=True)
    return workspace


def spoil(workspace: Workspace) -> dict[str, bytes]:
    """Damage a landed file; give what must stay."""
    damaged = workspace.settings.landing / Pins.load(workspace.lock).of("parcels", "events")[0].sha256
    damaged.chmod(0o644)
    damaged.write_bytes(b"nothing")
    workspace.lock.write_text(workspace.lock.read_text() + "\n")  # or DVC would not look
    return workspace.files()


def test_a_failed_ingest_leaves_what_was_there(tracked: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    Graph(tracked.root).run("ingest")
    pinned = (tracked.root / "dvc.lock").read_bytes()
    before = spoil(tracked)
    assert set(before) > {"reports/ingest.json", "quarantine/orders.parquet", "facts/lost/2024-02.parquet"}
    with pytest.raises(StageError):
        Graph(tracked.root).run("ingest")
    assert "was damaged" in capfd.readouterr().err
    assert tracked.files() == before
    assert (tracked.root / "dvc.lock").read_bytes() == pinned
    assert Graph(tracked.root).states()["ingest"] == "changed"


def test_a_first_ingest_that_fails_leaves_nothing(tracked: Workspace) -> None:
    spoil(tracked)
    with pytest.raises(StageError):
        Graph(tracked.root).run("ingest")
    assert tracked.files() == {}
    assert Graph(tracked.root).states()["ingest"] == "never run"


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_the_code_with_which_a_stage_ended_is_passed_on(tracked: Workspace, end: str, code: int) -> None:
    Graph(tracked.root).run("ingest")
    before = tracked.files()
    (tracked.root / "flows" / "ingest.py").write_text(f"import os, sys\n{end}\n")
    with pytest.raises(StageError) as failure:
        Graph(tracked.root).run("ingest")
    assert failure.value.exit_code == code
    assert tracked.files() == before


def test_a_stage_that_another_process_runs_is_left_to_it(tracked: Workspace) -> None:
    Graph(tracked.root).run("ingest")
    spoil(tracked)
    shutil.rmtree(tracked.data / "facts")
    holder = {"pid": os.getppid(), "cmd": "dvc repro ingest"}
    locks = json.dumps({"write": {str(tracked.data / "facts"): holder}})
    (tracked.root / ".dvc" / "tmp" / "rwlock").write_text(locks)
    with pytest.raises(StageError, match="is busy") as failure:
        Graph(tracked.root).run("ingest")
    assert failure.value.exit_code == 1
    assert not (tracked.data / "facts").exists()
