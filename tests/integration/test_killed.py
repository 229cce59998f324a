"""Ingest is killed while it writes, and nothing is left half written."""

import shutil
import signal
from pathlib import Path

import pytest
from conftest import Workspace
from ingested import Raw, forget, relock, run_in

KILLED = """
import os, signal, sys
left = int(sys.argv[1])
def count(event, args):
    global left
    writes = event == "open" and isinstance(args[1], str) and args[1][0] in "wxa"
    changes = writes or event in ("os.mkdir", "os.rename", "os.remove", "shutil.rmtree", "shutil.copyfile")
    if changes and os.getcwd() in (path := os.path.abspath(str(args[0]))) and "__pycache__" not in path:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from flows.ingest import ingest
from tandem.params import Params
from tandem.settings import Settings
sys.addaudithook(count)
ingest(Params.load(), Settings.load())
print(-left)
"""
"""Ends itself by SIGKILL when it is about to change the folder for the n-th time; says how often it did if it lives."""


@pytest.fixture
def interrupted(workspace: Workspace, raw: Raw) -> tuple[Workspace, dict[str, bytes], dict[str, bytes]]:
    """A workspace with old facts and one more file pinned; the old files and those to come."""
    pins = workspace.lock.read_bytes()
    workspace.run("ingest")
    new = workspace.files()
    relock(workspace, *(file for _, file in raw if file.name != "spring.jsonl"))
    workspace.run("ingest")
    old = workspace.files()
    workspace.lock.write_bytes(pins)
    forget(workspace)
    return workspace, old, new


def visible(files: dict[str, bytes], below: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith(below)}


def test_killed_at_any_moment_it_leaves_nothing_half_written(
    interrupted: tuple[Workspace, dict[str, bytes], dict[str, bytes]], tmp_path: Path
) -> None:
    workspace, old, new = interrupted
    assert old != new
    start = tmp_path / "start"
    shutil.copytree(workspace.root / "data", start)
    whole = run_in(workspace, "-c", KILLED, "0")
    assert whole.returncode == 0, whole.stderr
    assert workspace.files() == new
    parts = cached(workspace)
    changes = int(whole.stdout)
    for number in range(1, changes + 1, max(1, changes // 6)):
        shutil.rmtree(workspace.root / "data")
        shutil.copytree(start, workspace.root / "data")
        forget(workspace)
        assert run_in(workspace, "-c", KILLED, str(number)).returncode == -signal.SIGKILL
        left = workspace.files()
        for output in ("facts/", "quarantine/", "reports/ingest.json"):
            assert visible(left, output) in (visible(old, output), visible(new, output), {})
        assert cached(workspace).items() <= parts.items()
        workspace.run("ingest")
        assert {name: data for name, data in workspace.files().items() if not name.startswith(".")} == new
        assert cached(workspace) == parts


def cached(workspace: Workspace) -> dict[str, dict[str, bytes]]:
    """The parts that the cache holds under their names."""
    folder = workspace.settings.cache / "ingest"
    parts = [part for part in folder.glob("*") if not part.name.startswith(".")]
    return {
        part.name: {file.relative_to(part).as_posix(): file.read_bytes() for file in part.rglob("*") if file.is_file()}
        for part in parts
    }
